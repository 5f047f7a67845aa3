import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { type Entry, EntryError, readEntry, type StreamReply } from "./entry.ts";
import type { Head } from "./head.ts";
import type { Fence, Journal } from "./journal.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryPosition, formatEntryId } from "./position.ts";
import { Script } from "./script.ts";

export interface GivenUpOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly journal: Pick<Journal, "keepOrphans">;
  readonly log: Logger;
}

/** Entries of at most 1 MiB each; usually a few hundred bytes. */
const PAGE = 100;

const dropScript = new Script("drop");

/**
 * Gives up the log of this server, whose end the fence of a later epoch has left out: while this server was away the log was opened
 * on another one, without what stands here behind the fence's base, and what was appended there is written. One log can have only one
 * of the two behind that base, and the journal has the other one.
 *
 * The entries behind the base become dead letters, and are told; then all of the partition goes, to be put back from the journal as
 * where a server comes up empty. The log is shut by the claim in `head`. Where the opener dies in between, the next one finds all
 * of it as it was, or all of it gone. Resolves also where another opener was quicker.
 */
export async function giveUp(
  { redis, keys, journal, log }: GivenUpOptions,
  head: Head,
  end: EntryPosition,
  { epoch, base }: Pick<Fence, "epoch" | "base">,
): Promise<void> {
  let entries = 0;
  let first: string | undefined;
  for (let from = `(${formatEntryId(base)}`; ;) {
    const page = (await redis.callBuffer("XRANGE", keys.orders, from, "+", "COUNT", PAGE)) as StreamReply[];
    const last = page.at(-1);
    if (last === undefined) break;
    first ??= page[0]![0].toString();
    from = `(${last[0].toString()}`;
    entries += page.length;
    await journal.keepOrphans(keys.partition, epoch, page.flatMap(entryOf));
  }
  log.error(
    { partition: keys.partition, epoch, after: formatEntryId(base), entries, first, last: formatEntryId(end) },
    "THE END OF THIS LOG IS GIVEN UP: it was opened on another server without these entries, and went on there; each is a dead letter",
  );
  const status = Number((await redis.hget(keys.engine, "generation")) ?? 1);
  const { generation } = head;
  await dropScript.run(
    redis,
    [
      ...[keys.head, keys.orders, keys.events, keys.instruments, keys.engine],
      ...[keys.seen(generation), keys.seen(generation - 1), keys.status(status), keys.status(status - 1)],
    ],
    [head.run, formatEntryId(head.last)],
  );
}

/** None for what is none of ours. */
function entryOf([id, fields]: StreamReply): Entry[] {
  try {
    return [readEntry(id.toString(), fields ?? [])];
  } catch (error) {
    if (error instanceof EntryError) return [];
    throw error;
  }
}
