import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import { compareEntries, type EntryPosition } from "../stream/position.ts";
import type { Feed } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { asRequestError, RequestError } from "./errors.ts";
import { LiveBook, MAX_LEVELS } from "./live-book.ts";
import type { News, NewsListener, SymbolNews } from "./symbol-news.ts";

export interface BookWatchesOptions {
  readonly engines: EngineClient;
  readonly news: SymbolNews;
  readonly log: Logger;
}

/** Half of what the API promises, so that one that is late is not missed. */
const HEARTBEAT_MS = 5_000;
/** A book that nobody watches any more is kept so long for who comes again: to make it takes the engine's time. */
const LINGER_MS = 10_000;
/** A standby may answer in the place of an engine that is gone, and be behind what was followed here: it comes on within this. */
const TRIES = 8;
const LEAST_WAIT_MS = 50;
const MOST_WAIT_MS = 1_000;
/** What may come while the engine is asked, for a second at most; more is a reason to ask again. */
const MAX_MISSED = 10_000;

/** The books that are watched: one for each symbol, however many watch it. */
export class BookWatches {
  readonly #options: BookWatchesOptions;
  readonly #books = new Map<string, WatchedBook>();

  constructor(options: BookWatchesOptions) {
    this.#options = options;
  }

  /** Until the feed is over. Rejects with a RequestError where the engine does not answer. */
  async watch(instrument: TradedInstrument, feed: Feed): Promise<void> {
    const { symbol } = instrument;
    let book = this.#books.get(symbol);
    if (book === undefined) {
      book = new WatchedBook(this.#options, instrument, (ended) => {
        if (this.#books.get(symbol) === ended) this.#books.delete(symbol);
      });
      this.#books.set(symbol, book);
    }
    book.join(feed);
    await feed.over;
    book.leave(feed);
  }
}

/**
 * One symbol's book and who watches it.
 *
 * Always true: each watcher has a snapshot and every change behind it, or waits for the next snapshot; while `#book` is undefined one
 * is on its way, and `#missed` has what came meanwhile.
 */
class WatchedBook implements NewsListener {
  readonly #options: BookWatchesOptions;
  readonly #instrument: TradedInstrument;
  readonly #onEnd: (ended: WatchedBook) => void;
  readonly #watchers = new Set<Feed>();
  readonly #life = new AbortController();
  readonly #stopListening: () => void;
  readonly #beats: NodeJS.Timeout;
  #book: LiveBook | undefined;
  #missed: News[] = [];
  /** The last entry that was followed, unless something was missed behind it: no snapshot may be older. */
  #newest: EntryPosition | undefined;
  /** Something was missed since the engine was asked. */
  #isLost = false;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: BookWatchesOptions, instrument: TradedInstrument, onEnd: (ended: WatchedBook) => void) {
    this.#options = options;
    this.#instrument = instrument;
    this.#onEnd = onEnd;
    this.#stopListening = options.news.listen(instrument.symbol, this);
    this.#beats = setInterval(() => this.#beat(), HEARTBEAT_MS).unref();
    void this.#load();
  }

  join(feed: Feed): void {
    clearTimeout(this.#lingering);
    this.#watchers.add(feed);
    if (this.#book !== undefined) feed.send(this.#book.answers());
  }

  leave(feed: Feed): void {
    this.#watchers.delete(feed);
    if (this.#watchers.size > 0 || this.#life.signal.aborted) return;
    clearTimeout(this.#lingering);
    this.#lingering = setTimeout(() => this.#end(), LINGER_MS).unref();
  }

  news(news: News): void {
    this.#newest = news;
    if (this.#book === undefined) {
      if (this.#missed.length < MAX_MISSED) this.#missed.push(news);
      else this.#isLost = true;
      return;
    }
    const applied = this.#book.apply(news);
    if (applied instanceof Uint8Array) this.#tell([applied]);
    if (applied === "gap" || applied === "stale" || this.#book.isWorn) this.#renew();
  }

  reset(): void {
    this.#newest = undefined; // the log may have lost it
    this.#renew();
  }

  #renew(): void {
    this.#isLost = true;
    if (this.#book === undefined) return; // it is being taken
    this.#book = undefined;
    void this.#load();
  }

  /** Takes the book from the engine, and tells all who wait for it. */
  async #load(): Promise<void> {
    const { engines, log } = this.#options;
    const { symbol } = this.#instrument;
    const { signal } = this.#life;
    const backoff = new Backoff(LEAST_WAIT_MS, MOST_WAIT_MS);
    try {
      for (let tries = 1; !signal.aborted; tries++) {
        this.#missed = [];
        this.#isLost = false;
        const newest = this.#newest;
        const book = new LiveBook(this.#instrument, await engines.getBook(symbol, MAX_LEVELS));
        const isOld = newest !== undefined && compareEntries(book.place, newest) < 0;
        const fits = this.#missed.every((news) => {
          const applied = book.apply(news);
          return applied !== "gap" && applied !== "stale";
        });
        if (fits && !isOld && !this.#isLost) {
          this.#missed = [];
          this.#book = book;
          return this.#tell(book.answers());
        }
        if (tries === TRIES) throw new RequestError("UNAVAILABLE", "no engine has come to the present yet");
        await delay(backoff.next(), signal);
      }
    } catch (error) {
      const refusal = asRequestError(error);
      log.warn({ symbol, err: error }, "a book cannot be shown at present");
      this.#end();
      for (const feed of this.#watchers) feed.end(refusal.code === "NOT_FOUND" ? notThereYet() : refusal);
    }
  }

  #tell(answers: readonly Uint8Array[]): void {
    for (const feed of this.#watchers) feed.send(answers);
  }

  #beat(): void {
    if (this.#book !== undefined) this.#tell([this.#book.heartbeat(Date.now())]);
  }

  #end(): void {
    this.#life.abort();
    clearTimeout(this.#lingering);
    clearInterval(this.#beats);
    this.#stopListening();
    this.#onEnd(this);
  }
}

/** It is defined, and its definition is still on its way through the log. */
export function notThereYet(): RequestError {
  return new RequestError("UNAVAILABLE", "the engine has not come to this instrument yet", { retryAfterMs: 500 });
}
