import type { Redis } from "ioredis";
import { type Entry, EntryError, readEntry, type StreamReply, versionOf } from "./entry.ts";
import { EVENTS_VERSION } from "./event-batch.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, formatEntryId } from "./position.ts";

export interface EventPage {
  readonly from: EntryId;
  /** Whether the page begins behind that ID. */
  readonly isBehind: boolean;
  /** Of entries: each has some 300 bytes for each order of its entry of the log. */
  readonly count: number;
}

/** The next entries of the events stream. Throws an EntryError where one of them cannot be read by this code. */
export async function readEvents(redis: Redis, keys: PartitionKeys, page: EventPage): Promise<Entry[]> {
  const from = `${page.isBehind ? "(" : ""}${formatEntryId(page.from)}`;
  const replies = (await redis.callBuffer(
    ...["XRANGE", keys.events, from, "+"],
    ...["COUNT", page.count],
  )) as StreamReply[];
  return replies.map(([id, fields]) => {
    const version = versionOf(fields ?? []);
    if (version > EVENTS_VERSION) throw new EntryError(`event entries of version ${version} are newer than this code`);
    return readEntry(id.toString(), fields ?? []);
  });
}
