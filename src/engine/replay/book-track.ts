import type { LevelChange } from "../../stream/event-batch.ts";
import { compareEntryIds, type EntryId, type EntryPosition } from "../../stream/position.ts";
import type { BookLevel, MatchingEngine } from "../matching/interface.ts";
import { Side } from "../matching/sets.ts";

/** What an entry did to a symbol's book. */
export interface BookFrame extends EntryPosition {
  /** The entries that had touched the book by then, this one too. */
  readonly version: number;
  readonly status: number;
  readonly lastPrice: number;
  /** Those of the symbol, each as it is behind the entry. */
  readonly levels: readonly LevelChange[];
  /** An encoded EventBatch: all that the entry did. */
  readonly events: Buffer;
}

/** A book at one place; best first. */
export interface TrackedBook {
  readonly version: number;
  readonly status: number;
  readonly lastPrice: number;
  readonly bids: readonly BookLevel[];
  readonly asks: readonly BookLevel[];
}

/** Those that lie about a place; each is absent where there is none. */
export interface Around {
  readonly frame: BookFrame | undefined;
  readonly previous: BookFrame | undefined;
  readonly next: BookFrame | undefined;
}

/** So many steps back are answered at once. */
const MAX_FRAMES = 5_000;
/** Of what the frames hold of events: an entry of 500 orders has some 150 kB. */
const MAX_BYTES = 32 * 1024 * 1024;

/**
 * How a symbol's book came to be.
 *
 * Always true: `#bids` and `#asks` are the book behind `begin`; the frames are all entries from there on that touched it, in their
 * order. Beyond the bounds the oldest one becomes a part of the book behind it.
 */
export class BookTrack {
  readonly symbol: string;
  /** The place of the book from which the frames go on. */
  begin: EntryPosition;
  /** Whether the entry there touched the book. */
  beginsWithFrame = false;
  readonly #bids = new Map<number, BookLevel>();
  readonly #asks = new Map<number, BookLevel>();
  #head: Pick<TrackedBook, "version" | "status" | "lastPrice">;
  #frames: BookFrame[] = [];
  #oldest = 0;
  #bytes = 0;

  /** As the engine has it at that place. */
  constructor(symbol: string, engine: MatchingEngine, begin: EntryPosition) {
    this.symbol = symbol;
    this.begin = begin;
    const state = engine.symbol(symbol);
    this.#head = headOf(engine, symbol);
    if (state === undefined) return;
    for (const level of engine.depth(symbol, Side.BUY, Infinity)) this.#bids.set(level.price, level);
    for (const level of engine.depth(symbol, Side.SELL, Infinity)) this.#asks.set(level.price, level);
  }

  /** Whether anything had touched the book at its beginning. */
  get hasPast(): boolean {
    return this.#head.version > 0;
  }

  get newest(): BookFrame | undefined {
    return this.#frames.at(-1);
  }

  push(frame: BookFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.events.length;
    while (this.#count > MAX_FRAMES || (this.#bytes > MAX_BYTES && this.#count > 2)) {
      const oldest = this.#frames[this.#oldest++]!;
      this.#bytes -= oldest.events.length;
      this.#apply(oldest, this.#bids, this.#asks);
      this.#head = oldest;
      this.beginsWithFrame = true;
      this.begin = { epoch: oldest.epoch, ms: oldest.ms, seq: oldest.seq };
    }
    if (this.#oldest < MAX_FRAMES) return;
    this.#frames = this.#frames.slice(this.#oldest);
    this.#oldest = 0;
  }

  /** The last frame at or before an ID, the one before that, and the one after. */
  around(at: EntryId): Around {
    let low = this.#oldest;
    let high = this.#frames.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareEntryIds(this.#frames[middle]!, at) > 0) high = middle;
      else low = middle + 1;
    }
    const frameAt = (index: number) => (index < this.#oldest ? undefined : this.#frames[index]);
    return { frame: frameAt(low - 1), previous: frameAt(low - 2), next: frameAt(low) };
  }

  /** The book behind one of its frames, or at its beginning. */
  book(frame: BookFrame | undefined, depth: number): TrackedBook {
    const [bids, asks] = [new Map(this.#bids), new Map(this.#asks)];
    for (let i = this.#oldest; frame !== undefined && i < this.#frames.length; i++) {
      this.#apply(this.#frames[i]!, bids, asks);
      if (this.#frames[i] === frame) break;
    }
    const { version, status, lastPrice } = frame ?? this.#head;
    return {
      ...{ version, status, lastPrice },
      bids: [...bids.values()].sort((a, b) => b.price - a.price).slice(0, depth),
      asks: [...asks.values()].sort((a, b) => a.price - b.price).slice(0, depth),
    };
  }

  get #count(): number {
    return this.#frames.length - this.#oldest;
  }

  #apply({ levels }: BookFrame, bids: Map<number, BookLevel>, asks: Map<number, BookLevel>): void {
    for (const { side, price, quantityHigh, quantityLow, orders } of levels) {
      const levelsOfSide = side === Side.BUY ? bids : asks;
      if (quantityHigh === 0 && quantityLow === 0) levelsOfSide.delete(price);
      else levelsOfSide.set(price, { price, quantityHigh, quantityLow, orders });
    }
  }
}

/** What the engine says of a symbol as a whole; zeros before it knows it. */
export function headOf(engine: MatchingEngine, symbol: string): Pick<TrackedBook, "version" | "status" | "lastPrice"> {
  const { bookVersion: version = 0, status = 0, lastPrice = 0 } = engine.symbol(symbol) ?? {};
  return { version, status, lastPrice };
}
