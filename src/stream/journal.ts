import { compareEntries, compareEntryIds, type EntryId, type EntryPosition } from "./position.ts";

/**
 * Where an epoch begins that may lack something of those before it. What stands behind it and is of a lower epoch was lost by
 * the log, whoever still has it in hand.
 */
export interface Fence {
  /** The epoch that begins. */
  readonly epoch: number;
  /** The end of the log, of whatever epoch; all that the journal has by then is in it. */
  readonly base: EntryPosition;
  /** Where the stream ended before anything was put back: up to there it had lost nothing. */
  readonly from: EntryId;
  /** Tells this opening from another one that wants the same epoch. */
  readonly claim: string;
}

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
  /** The newest fence, whether the log was opened behind it or not; undefined where there is none. */
  newestFence(partition: number): Promise<Pick<Fence, "epoch" | "claim"> | undefined>;
  /**
   * Keeps from the journal what stands behind the fence: transactions that are under way are waited for, later ones meet it.
   * `grown`: the journal has something behind the base by now, which must be put back first. `overtaken`: a fence of
   * another claim has this epoch, or a higher one. In both cases nothing was written. The same one may be raised again.
   */
  raiseFence(partition: number, fence: Fence): Promise<"raised" | "grown" | "overtaken">;
  /**
   * Takes back, behind a fence that was raised, what was written of events of commands that the log has lost. Of how many entries,
   * and whether these were all: it does not go on for ever.
   */
  withdrawLost(partition: number, fence: Fence): Promise<{ readonly entries: number; readonly isAll: boolean }>;
  /**
   * The fence that left this place out of the log to which entries of `epoch` belong; undefined where it is part of that log, or
   * before it.
   */
  fenceWithout(
    partition: number,
    place: EntryPosition,
    epoch: number,
  ): Promise<Pick<Fence, "epoch" | "base"> | undefined>;
  /** Keeps entries of the orders stream that the log gives up, without the epoch that the fence began, as dead letters. */
  keepOrphans(
    partition: number,
    epoch: number,
    entries: readonly (EntryPosition & { readonly payload: Buffer })[],
  ): Promise<void>;
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
