import { compareEntries, compareEntryIds, type EntryId, type EntryPosition } from "../stream/position.ts";

/** What the ring needs of an entry. */
export interface RingEntry extends EntryPosition {
  /** ID of the entry before it. */
  readonly previous: EntryId;
  /** What it holds in memory. */
  readonly bytes: number;
}

export interface RingBounds {
  readonly entries: number;
  readonly bytes: number;
}

/** A ring is compacted when so many places at its beginning are empty: then moving the rest costs each entry little. */
const COMPACT_AT = 1_024;

/**
 * The newest entries of a stream.
 *
 * Always true: they stand in the order of the stream and without a gap (whoever pushes sees to that), and are within the
 * bounds, but for the newest one, which stays however large it is.
 */
export class EntryRing<Entry extends RingEntry> {
  readonly #bounds: RingBounds;
  /** From `#start` on; what is before it is gone. */
  #entries: Entry[] = [];
  #start = 0;
  #bytes = 0;

  constructor(bounds: RingBounds) {
    this.#bounds = bounds;
  }

  get end(): Entry | undefined {
    return this.#entries.length > this.#start ? this.#entries.at(-1) : undefined;
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
    while (this.#isFull && this.#entries.length - this.#start > 1) this.#bytes -= this.#entries[this.#start++]!.bytes;
    if (this.#start >= COMPACT_AT && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }

  clear(): void {
    this.#entries = [];
    this.#start = 0;
    this.#bytes = 0;
  }

  find(id: EntryId): Entry | undefined {
    const entry = this.#entries[this.#firstWhere((entry) => compareEntryIds(entry, id) >= 0)];
    return entry !== undefined && compareEntryIds(entry, id) === 0 ? entry : undefined;
  }

  /** Those behind a place, or undefined where there may be more of them than the ring still has. */
  since(after: EntryPosition): readonly Entry[] | undefined {
    const first = this.#entries[this.#start];
    if (first === undefined || compareEntryIds(after, first.previous) < 0) return undefined;
    return this.#entries.slice(this.#firstWhere((entry) => compareEntries(entry, after) > 0));
  }

  get #isFull(): boolean {
    return this.#entries.length - this.#start > this.#bounds.entries || this.#bytes > this.#bounds.bytes;
  }

  /** The index of the first entry for which it is true; it is for all behind that one. */
  #firstWhere(isBeyond: (entry: Entry) => boolean): number {
    let low = this.#start;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBeyond(this.#entries[middle]!)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
