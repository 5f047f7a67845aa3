import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { Findings } from "./findings.ts";
import { type LogPosition, ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry } from "../store/journal.ts";
import { holdPartition } from "../store/journal-lock.ts";
import { findStrayEvents, withdrawCommands, withdrawEvents } from "../store/withdraw.ts";
import type { Writer } from "../store/writer.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry } from "../stream/lookup.ts";
import { type EntryId, formatEntryId, orderIdAt, orderIdPrefix } from "../stream/position.ts";
import type { JournalChain } from "./journal-chain.ts";

export interface StraysOptions {
  readonly sql: postgres.Sql;
  /** The log is open there. */
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly writer: Writer;
  readonly chain: JournalChain;
  /** Both inclusive. */
  readonly from: EntryId;
  readonly to: EntryId;
  /** Whether they are taken back, or told. */
  readonly withdraw: boolean;
  readonly findings: Findings;
}

/** A second's entries under load, which is what a Redis loses that flushes every second. */
const PAGE = 1_000;

/**
 * What stands in Postgres though the log has lost it. The log went on without it, so no order is as these rows say:
 *
 * - Commands that a worker had in hand when the log was lost, and wrote only when it had been opened again.
 * - Events whose command is not there: its worker had not come to it, and theirs had come to them.
 *
 * Both are of a version that knows no fences (store/fences.ts). Others make dead letters of the former, and take back the latter
 * when they open the log.
 */
export async function settleStrays(options: StraysOptions): Promise<void> {
  await settleCommands(options);
  await settleEvents(options);
}

async function settleCommands({ chain, writer, keys, from, to, withdraw, findings }: StraysOptions): Promise<void> {
  const { partition } = keys;
  for await (const place of chain.lost(from, to)) {
    if (!withdraw) {
      findings.add(`a command that the log has lost ${HINT}`, placeText("entry", partition, place));
      continue;
    }
    const prefix = orderIdPrefix(partition, place);
    const orderIds = { first: orderIdAt(prefix, 0), last: orderIdAt(prefix, 0xffff) };
    await writer.transaction(async (transaction) => {
      await holdPartition(transaction, partition);
      await withdrawCommands(transaction, partition, place, orderIds);
    });
  }
}

async function settleEvents(options: StraysOptions): Promise<void> {
  const { sql, writer, keys, from, to, withdraw, findings } = options;
  const { partition } = keys;
  let after: LogPosition | undefined;
  do {
    const found = await findStrayEvents(sql, { partition, fromMs: from.ms, toMs: to.ms, after, limit: PAGE });
    for (const place of found) {
      if (await isLogged(options, place)) continue;
      if (!withdraw) {
        findings.add(`events of a command that the log has lost ${HINT}`, placeText("events", partition, place));
        continue;
      }
      await writer.transaction(async (transaction) => {
        await holdPartition(transaction, partition);
        await withdrawEvents(transaction, partition, place);
      });
    }
    after = found.length < PAGE ? undefined : found.at(-1);
  } while (after !== undefined);
}

const HINT = "(--withdraw takes them back)";

function placeText(what: string, partition: number, place: LogPosition): string {
  return `partition ${partition}, ${what} ${formatEntryId(place)} of epoch ${place.epoch}`;
}

/** In this sequence: what is trimmed between the two looks is in the journal by then. */
async function isLogged({ sql, redis, keys }: StraysOptions, place: LogPosition): Promise<boolean> {
  if ((await findEntry(redis, keys, place)) !== undefined) return true;
  return (await readEntry(sql, ORDERS_STREAM, keys.partition, place)) !== undefined;
}
