import { ORDERS_STREAM } from "../store/entry-record.ts";
import { readJournal } from "../store/journal.ts";
import { type Entry, EntryError, readEntry, type StreamReply } from "../stream/entry.ts";
import { PageSize } from "../stream/page-size.ts";
import { compareEntries, compareEntryIds, type EntryPosition, formatEntryId } from "../stream/position.ts";
import { toEntry } from "./expected.ts";
import { JOURNAL_PAGE } from "./pages.ts";
import { isOffChain, type Scope } from "./scope.ts";

/** Entries of Redis' stream at once; what is there and not in the journal is under way, so there is little of it. */
const PAGE = 100;
/** At epoch 0 the journal has what is no entry of the log. */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };

/**
 * Reads a partition's log along its chain, from the journal, and from Redis what is not there yet.
 *
 * Always true: what it gives follows, without a gap, what it was asked to begin behind.
 */
export class ChainReader {
  readonly #scope: Scope;
  readonly #size = new PageSize(JOURNAL_PAGE);

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** The next entries; none where the log ends, or has a gap. */
  async next(after: EntryPosition): Promise<readonly Entry[]> {
    const journaled = await this.#journaled(after);
    if (journaled.length > 0) return journaled;
    const logged = this.#chained(after, await this.#logged(after));
    // It may have been written and trimmed between the two looks.
    return logged.length > 0 ? logged : await this.#journaled(after);
  }

  async #journaled(after: EntryPosition): Promise<readonly Entry[]> {
    for (let position = after; ;) {
      const page = await this.#page(position);
      const entries = this.#chained(after, page);
      if (entries.length > 0) return entries;
      const last = page.at(-1);
      if (last === undefined || !page.every((entry) => isOffChain(this.#scope, entry))) return [];
      position = last;
    }
  }

  async #page(position: EntryPosition): Promise<Entry[]> {
    const { sql, partition } = this.#scope;
    const after = compareEntries(position, LOG_BEGIN) < 0 ? LOG_BEGIN : position;
    const page = await readJournal(sql, { stream: ORDERS_STREAM, partition, after, limit: this.#size.limit });
    this.#size.adapt(page.map(({ payload }) => payload?.length ?? 0));
    return page.map(toEntry);
  }

  async #logged(after: EntryPosition): Promise<Entry[]> {
    const { redis, keys } = this.#scope;
    if (redis === undefined) return [];
    const from = `(${formatEntryId(after)}`;
    const page = (await redis.callBuffer("XRANGE", keys.orders, from, "+", "COUNT", PAGE)) as StreamReply[];
    return entriesOf(page);
  }

  /** As far as each follows the one before it. What the log lost in the end is left out. */
  #chained(after: EntryPosition, page: readonly Entry[]): Entry[] {
    const entries: Entry[] = [];
    let last = after;
    for (const entry of page) {
      if (isOffChain(this.#scope, entry)) continue;
      if (compareEntryIds(entry.previous, last) !== 0 || entry.epoch < last.epoch) break;
      entries.push(entry);
      last = entry;
    }
    return entries;
  }
}

/** The entries among what a stream holds. What is none of ours stands outside the chain, and is told where the stream is read. */
export function entriesOf(page: readonly StreamReply[]): Entry[] {
  return page.flatMap(([id, fields]) => {
    try {
      return [readEntry(id.toString(), fields ?? [])];
    } catch (error) {
      if (error instanceof EntryError) return [];
      throw error;
    }
  });
}
