import { compareEntries, compareEntryIds, type EntryId, type EntryPosition } from "./position.ts";

/** An entry of the orders stream as the journal keeps it. */
export interface JournalEntry extends EntryPosition {
  readonly previous: EntryId;
  readonly version: number;
  readonly payload: Buffer;
}

/** What the log asks of the journal when it opens. The rows lie in Postgres, which this folder does not know. */
export interface Journal {
  /** The highest position that stands there, or undefined where the partition has none. */
  end(partition: number): Promise<EntryPosition | undefined>;
  /** Up to `limit` entries behind `after`, in the order of positions, none older than `sinceMs`. */
  read(partition: number, after: EntryPosition, sinceMs: number, limit: number): Promise<JournalEntry[]>;
  /** Whether this very entry stands there. */
  has(partition: number, entry: EntryPosition): Promise<boolean>;
  /** The newest definition of each instrument of the partition: encoded penstock.v1.Instrument. */
  instruments(partition: number): Promise<readonly { symbol: string; version: number; definition: Buffer }[]>;
}

/** The entry that names `end` as its predecessor; where an older epoch left one too, the newest epoch's is the log's. */
export function successor(page: readonly JournalEntry[], end: EntryPosition): JournalEntry | undefined {
  let found: JournalEntry | undefined;
  for (const entry of page) {
    const follows = compareEntryIds(entry.previous, end) === 0 && compareEntries(entry, end) > 0;
    if (follows && entry.epoch >= (found?.epoch ?? 0)) found = entry;
  }
  return found;
}
