import { type Entry, sizeOf, type StreamReply } from "../stream/entry.ts";
import { EVENT_PAGE_BYTES } from "../stream/event-pages.ts";
import { PageSize } from "../stream/page-size.ts";
import { compareEntryIds, type EntryId, START } from "../stream/position.ts";
import { entriesOf } from "./chain-reader.ts";
import type { Scope } from "./scope.ts";

/** As many entries as a page of the log that is replayed may have. */
const MOST = 1_000;

/** The events that are under way: in Redis, and not in the journal. Always true: `#page` has all that stands in Redis up to `#end`. */
export class ToldEvents {
  readonly #scope: Scope;
  readonly #size = new PageSize({ bytes: EVENT_PAGE_BYTES, most: MOST });
  #page: ReadonlyMap<string, Entry> = new Map();
  #end: EntryId = START;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** The events of an entry; entries are asked for in the order of the log. */
  async find(entry: Entry): Promise<Entry | undefined> {
    if (compareEntryIds(entry, this.#end) > 0) await this.#read(entry);
    return this.#page.get(entry.id);
  }

  async #read(from: Entry): Promise<void> {
    const { redis, keys } = this.#scope;
    if (redis === undefined) return;
    const { limit } = this.#size;
    const page = (await redis.callBuffer("XRANGE", keys.events, from.id, "+", "COUNT", limit)) as StreamReply[];
    this.#size.adapt(page.map(sizeOf));
    const entries = entriesOf(page);
    this.#page = new Map(entries.map((event) => [event.id, event]));
    this.#end = entries.at(-1) ?? from;
  }
}
