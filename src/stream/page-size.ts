/** Entries of a first page: nothing is known of them yet, and one of events can have 10 MB. */
const FIRST = 8;
/** Were all entries as large as the largest of the page before, a page would have so many times what it should, and no more. */
const EXCESS = 8;

export interface PageBounds {
  /** What a page should have, in bytes. */
  readonly bytes: number;
  /** And in entries. */
  readonly most: number;
  /** The first one, in entries; 8 by default. */
  readonly first?: number;
}

/**
 * How many entries of a stream to read at once: Redis and Postgres count entries alone, of which some have a hundred bytes and
 * others ten million.
 *
 * Always true: `limit` entries like those of the last page have `bytes` at the most (or it is 1), and it is at most doubled from
 * one page to the next. So large ones behind small ones come once in a page of too many, and then no more.
 */
export class PageSize {
  readonly #bounds: PageBounds;
  #limit: number;

  constructor(bounds: PageBounds) {
    this.#bounds = bounds;
    this.#limit = Math.min(bounds.first ?? FIRST, bounds.most);
  }

  get limit(): number {
    return this.#limit;
  }

  /** After a page was read, with the bytes of each of its entries. */
  adapt(sizes: readonly number[]): void {
    if (sizes.length === 0) return;
    const { bytes, most } = this.#bounds;
    let sum = 0;
    let largest = 1;
    for (const size of sizes) {
      sum += size;
      if (size > largest) largest = size;
    }
    const fitting = Math.min((bytes * sizes.length) / Math.max(1, sum), (EXCESS * bytes) / largest);
    // A page that was not full says nothing of how many there can be.
    const grown = sizes.length < this.#limit ? this.#limit : 2 * this.#limit;
    this.#limit = Math.max(1, Math.min(Math.floor(fitting), grown, most));
  }
}
