import type { Redis } from "ioredis";
import type postgres from "postgres";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { epochBegins } from "../store/journal.ts";
import { readHead } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { compareEntryIds, type EntryId, type EntryPosition } from "../stream/position.ts";

/** Where an epoch of a partition's log began. What stood there behind its base, of epochs before it, was lost. */
export interface LogCut {
  readonly epoch: number;
  /** The last entry before it. */
  readonly base: EntryId;
}

/** All that are kept. The journal may not have the beginning of the present epoch yet: the head has it. */
export async function readCuts(redis: Redis, sql: postgres.Sql, keys: PartitionKeys): Promise<readonly LogCut[]> {
  const begins = await epochBegins(sql, ORDERS_STREAM, keys.partition);
  const head = await readHead(redis, keys); // last, so that it is the newest
  const cuts = begins.map(({ epoch, prevMs, prevSeq }) => ({ epoch, base: { ms: prevMs, seq: prevSeq } }));
  return head.run === "" ? cuts : [...cuts, head];
}

/** Where the log went on without that entry: of several cuts the one furthest back. Undefined where it was not lost. */
export function cutBefore(cuts: readonly LogCut[], { epoch, ms, seq }: EntryPosition): LogCut | undefined {
  let furthest: LogCut | undefined;
  for (const cut of cuts) {
    if (cut.epoch <= epoch || compareEntryIds({ ms, seq }, cut.base) <= 0) continue;
    if (furthest === undefined || compareEntryIds(cut.base, furthest.base) < 0) furthest = cut;
  }
  return furthest;
}
