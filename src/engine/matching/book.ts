import { HIGHEST_FIRST, Ladder, LOWEST_FIRST, type TouchedLevels } from "./ladder.ts";
import * as sets from "./sets.ts";
import type { InstrumentCommand } from "./interface.ts";
import type { Levels } from "./levels.ts";
import * as layout from "./layout.ts";
import type { Orders } from "./orders.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { Side, TradingStatus } = sets;
type TradingStatus = sets.TradingStatus;
const { INT, NEXT, NIL, PREVIOUS } = layout;

/** What of an instrument's definition may change. */
export type Instrument = Omit<InstrumentCommand, "kind" | "symbol">;

/**
 * A symbol: its instrument, its status, the two sides of its book and its stops.
 *
 * Invariants, after each command: the best buy price is below the best sell price; every buy stop is above the last
 * price, every sell stop below it. Stops that were reached wait in a queue of their own until it is their turn.
 */
export class Book {
  readonly index: number;
  readonly symbol: string;
  instrument: Instrument;
  status: TradingStatus = TradingStatus.OPEN;
  readonly bids: Ladder;
  readonly asks: Ladder;
  readonly buyStops: Ladder;
  readonly sellStops: Ladder;
  waitingHead = NIL;
  waitingTail = NIL;
  waiting = 0;
  /** 0 before the first trade. */
  lastPrice = 0;
  trades = 0;
  /** How many entries have touched the book. */
  version = 0;
  /** The last PRIORITY that was given. */
  priority = 0;
  /** Whether the entry has touched a level. */
  touched = false;
  // The share of the state's hash, and whether it is due to be made anew.
  dirty = false;
  fixedA = 0;
  fixedB = 0;
  hashA = 0;
  hashB = 0;

  constructor(
    index: number,
    symbol: string,
    instrument: Instrument,
    orders: Orders,
    levels: Levels,
    touched: TouchedLevels,
  ) {
    this.index = index;
    this.symbol = symbol;
    this.instrument = instrument;
    this.bids = new Ladder(index * 4, HIGHEST_FIRST, orders, levels, touched);
    this.asks = new Ladder(index * 4 + 1, LOWEST_FIRST, orders, levels, touched);
    this.buyStops = new Ladder(index * 4 + 2, LOWEST_FIRST, orders, levels, undefined);
    this.sellStops = new Ladder(index * 4 + 3, HIGHEST_FIRST, orders, levels, undefined);
  }

  side(side: number): Ladder {
    return side === Side.BUY ? this.bids : this.asks;
  }

  opposite(side: number): Ladder {
    return side === Side.BUY ? this.asks : this.bids;
  }

  stops(side: number): Ladder {
    return side === Side.BUY ? this.buyStops : this.sellStops;
  }

  /** Whether an order of this side and limit would trade now. */
  crosses(side: number, limit: number): boolean {
    return side === Side.BUY ? this.asks.bestPrice() <= limit : this.bids.bestPrice() >= limit;
  }

  /** Whether the last price has reached a stop. */
  hasReached(side: number, stopPrice: number): boolean {
    if (this.lastPrice === 0) return false;
    return side === Side.BUY ? this.lastPrice >= stopPrice : this.lastPrice <= stopPrice;
  }

  /** Puts a stop that was reached at the end of those that wait. */
  await(orders: Orders, slot: number): void {
    const { int } = orders;
    int[slot * INT + NEXT] = NIL;
    int[slot * INT + PREVIOUS] = this.waitingTail;
    if (this.waitingTail === NIL) this.waitingHead = slot;
    else int[this.waitingTail * INT + NEXT] = slot;
    this.waitingTail = slot;
    this.waiting++;
  }

  /** Takes one of those that wait out, wherever it is. */
  unawait(orders: Orders, slot: number): void {
    const { int } = orders;
    const next = int[slot * INT + NEXT]!;
    const previous = int[slot * INT + PREVIOUS]!;
    if (previous === NIL) this.waitingHead = next;
    else int[previous * INT + NEXT] = next;
    if (next === NIL) this.waitingTail = previous;
    else int[next * INT + PREVIOUS] = previous;
    this.waiting--;
  }
}

/** Ladder numbers, as levels have them, are made of the book's index and which of its ladders it is. */
export function bookOfLadder(ladder: number): number {
  return ladder >> 2;
}

export function sideOfLadder(ladder: number): number {
  return (ladder & 1) === 0 ? Side.BUY : Side.SELL;
}
