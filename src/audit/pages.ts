/** Of payload in a page: some 12,000 commands, and as many rows beside them. */
const PAGE_BYTES = 1024 * 1024;
const MOST_ENTRIES = 1_000;

/**
 * How many entries to read at once: a thousand where they are small, and so few where they are large that a page has some MiB. An
 * entry has 1 MiB at most, so the first page of large ones after small ones is bounded by what is read before it is known.
 */
export class PageSize {
  #limit = 16;

  get limit(): number {
    return this.#limit;
  }

  /** After a page was read. */
  adapt(page: readonly { readonly payload: Buffer | null }[]): void {
    if (page.length === 0) return;
    const bytes = page.reduce((sum, { payload }) => sum + (payload?.length ?? 0), 0);
    const fitting = Math.floor(PAGE_BYTES / Math.max(1, bytes / page.length));
    this.#limit = Math.max(1, Math.min(fitting, 2 * this.#limit, MOST_ENTRIES));
  }
}
