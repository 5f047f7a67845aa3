import type { JournalEntry } from "../stream/journal.ts";
import type { EntryPosition } from "../stream/position.ts";

/** What an engine asks of the journal: what Redis has trimmed or lost. */
export interface EngineJournal {
  /** Up to `limit` entries of the orders stream behind `after`, in the order of positions. */
  read(partition: number, after: EntryPosition, limit: number): Promise<readonly JournalEntry[]>;
  /** SHA-256 of the payload of that very entry of the orders stream, where it stands there. */
  hashOf(partition: number, at: EntryPosition): Promise<Buffer | undefined>;
  /** Up to where the receipts of the events stream go on behind `after` without a gap; `after` itself where none does. */
  eventsEnd(partition: number, after: EntryPosition): Promise<EntryPosition>;
}
