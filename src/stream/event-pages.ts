import type { Redis } from "ioredis";
import { type Entry, EntryError, readEntry, type StreamReply, versionOf } from "./entry.ts";
import { EVENTS_VERSION } from "./event-batch.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, formatEntryId } from "./position.ts";

/** What is read of the events at once: as many as 25,000 orders have, some 300 bytes each. More would not be quicker. */
export const EVENT_PAGE_BYTES = 8 * 1024 * 1024;

export interface EventPage {
  readonly from: EntryId;
  /** Whether the page begins behind that ID. */
  readonly isBehind: boolean;
  /** Of entries (page-size.ts): each has some 300 bytes for each order of its entry of the log, and up to 10 MB. */
  readonly count: number;
}

/** The entry was written by a newer Penstock, of which this one knows nothing. */
export class NewerEventsError extends EntryError {
  override readonly name = "NewerEventsError";
}

/** The next entries of the events stream. Throws an EntryError where one of them cannot be read by this code. */
export async function readEvents(redis: Redis, keys: PartitionKeys, page: EventPage): Promise<Entry[]> {
  const from = `${page.isBehind ? "(" : ""}${formatEntryId(page.from)}`;
  const replies = await redis.callBuffer("XRANGE", keys.events, from, "+", "COUNT", page.count);
  return (replies as StreamReply[]).map(readEventEntry);
}

/** Throws an EntryError. */
export function readEventEntry([bytes, fields]: StreamReply): Entry {
  const version = versionOf(fields ?? []);
  if (version > EVENTS_VERSION) {
    throw new NewerEventsError(
      `events of schema version ${version} stand in the log; this code knows ${EVENTS_VERSION}`,
    );
  }
  return readEntry(bytes.toString(), fields ?? []);
}
