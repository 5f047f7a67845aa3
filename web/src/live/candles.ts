import type { Trade } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { compareDecimals } from "./decimal.ts";

/** Seconds that had a trade: two hours of a market that always has one. */
const KEPT = 7_200;

/** What was traded within some time. Prices are decimals. */
export interface Candle {
  /** Its beginning, in seconds since 1970. */
  readonly time: number;
  readonly open: string;
  readonly high: string;
  readonly low: string;
  readonly close: string;
}

interface Second {
  readonly time: number;
  open: string;
  high: string;
  low: string;
  close: string;
  /** The numbers of its first and of its last trade. */
  first: bigint;
  last: bigint;
}

/**
 * The trades of a symbol by the second, from which longer candles are made.
 *
 * Always true: sorted by time; it is the same whatever the order in which the trades came.
 */
export class Candles {
  readonly #seconds: Second[] = [];
  #changedFrom = Infinity;

  add(trade: Trade): void {
    const { price, trade: number } = trade;
    const time = Number(trade.at?.seconds ?? 0n);
    this.#changedFrom = Math.min(this.#changedFrom, time);
    let at = this.#seconds.length;
    while (at > 0 && this.#seconds[at - 1]!.time > time) at--;
    const second = this.#seconds[at - 1];
    if (second?.time !== time) {
      this.#seconds.splice(at, 0, {
        time,
        open: price,
        high: price,
        low: price,
        close: price,
        first: number,
        last: number,
      });
      if (this.#seconds.length > KEPT) this.#seconds.shift();
      return;
    }
    if (compareDecimals(price, second.high) > 0) second.high = price;
    if (compareDecimals(price, second.low) < 0) second.low = price;
    if (number < second.first) Object.assign(second, { first: number, open: price });
    if (number > second.last) Object.assign(second, { last: number, close: price });
  }

  /** The price of the first trade that is kept, and of the last one; undefined where there was none. */
  get ends(): { readonly first: string; readonly last: string } | undefined {
    const [first] = this.#seconds;
    const last = this.#seconds.at(-1);
    return first === undefined || last === undefined ? undefined : { first: first.open, last: last.close };
  }

  /** The first second that changed since this was asked last (seconds since 1970); Infinity where none did. */
  takeChanges(): number {
    const from = this.#changedFrom;
    this.#changedFrom = Infinity;
    return from;
  }

  /** Of so many seconds each, oldest first; those alone that end behind `from` (seconds since 1970). */
  of(length: number, from = 0): Candle[] {
    const candles: { time: number; open: string; high: string; low: string; close: string }[] = [];
    for (let at = this.#firstFrom(from - (from % length)); at < this.#seconds.length; at++) {
      const { time, open, high, low, close } = this.#seconds[at]!;
      const begin = time - (time % length);
      const candle = candles.at(-1);
      if (candle?.time !== begin) {
        candles.push({ time: begin, open, high, low, close });
        continue;
      }
      if (compareDecimals(high, candle.high) > 0) candle.high = high;
      if (compareDecimals(low, candle.low) < 0) candle.low = low;
      candle.close = close;
    }
    return candles;
  }

  #firstFrom(time: number): number {
    let from = 0;
    let to = this.#seconds.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#seconds[middle]!.time < time) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}
