import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PriceLevelSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import { fromUnits, quotient, type Scale } from "../stream/decimal.ts";
import type { TradedInstrument } from "../stream/instrument.ts";

/** A level in ticks and lots; quantityHigh × 2^53 + quantityLow is what all can see of it, 0 where it is gone. */
export interface LevelSource {
  readonly price: number;
  readonly quantityHigh: number;
  readonly quantityLow: number;
  readonly orders: number;
}

/** A level as clients have it. */
export interface Level {
  readonly price: string;
  readonly quantity: string;
  readonly orders: number;
  /** What it adds to the text of which the checksum is made. */
  readonly text: string;
}

/** Levels of each side that a checksum covers. */
export const CHECKED_LEVELS = 10;

const HIGH = 1n << 53n;

/** Always true: `#prices` has the keys of `#levels` in order, the best one last: most changes are near it, and move little. */
export class BookSide {
  readonly #instrument: TradedInstrument;
  readonly #isBids: boolean;
  readonly #prices: number[] = [];
  readonly #levels = new Map<number, Level>();
  /** The worst price that is known; what lies beyond it is not kept. Undefined where all are known. */
  readonly horizon: number | undefined;

  /** `levels` are best first; where there are `limit` of them there may be more. */
  constructor(instrument: TradedInstrument, isBids: boolean, levels: readonly LevelSource[], limit: number) {
    this.#instrument = instrument;
    this.#isBids = isBids;
    this.horizon = levels.length < limit ? undefined : levels.at(-1)?.price;
    for (const level of levels.toReversed()) {
      this.#prices.push(level.price);
      this.#levels.set(level.price, levelOf(level, instrument));
    }
  }

  get count(): number {
    return this.#prices.length;
  }

  /** Takes a level as it is now. Gives it as clients are told of it, or undefined where it is beyond the horizon. */
  set(source: LevelSource): Level | undefined {
    const { price } = source;
    if (this.horizon !== undefined && this.#isBetter(this.horizon, price)) return undefined;
    const level = levelOf(source, this.#instrument, this.#levels.get(price)?.price);
    const isThere = source.quantityHigh > 0 || source.quantityLow > 0;
    if (this.#levels.has(price)) {
      if (!isThere) this.#prices.splice(this.#placeOf(price), 1);
    } else if (isThere) this.#prices.splice(this.#placeOf(price), 0, price);
    if (isThere) this.#levels.set(price, level);
    else this.#levels.delete(price);
    return level;
  }

  /** Best first. */
  best(count: number): Level[] {
    const first = Math.max(0, this.#prices.length - count);
    return this.#prices
      .slice(first)
      .toReversed()
      .map((price) => this.#levels.get(price)!);
  }

  #isBetter(a: number, b: number): boolean {
    return this.#isBids ? a > b : a < b;
  }

  /** The index of a price, or where it belongs. */
  #placeOf(price: number): number {
    let low = 0;
    let high = this.#prices.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isBetter(price, this.#prices[middle]!)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A level in decimals, of which the price may be known already. */
export function levelOf(source: LevelSource, { tick, lot }: TradedInstrument, known?: string): Level {
  const price = known ?? fromUnits(source.price, tick);
  const quantity = quantityOf(source, lot);
  return { price, quantity, orders: source.orders, text: `${price}:${quantity}:${source.orders}|` };
}

export function messageOf({ price, quantity, orders }: Level): MessageInitShape<typeof PriceLevelSchema> {
  return { price, quantity, orders };
}

function quantityOf({ quantityHigh, quantityLow }: LevelSource, lot: Scale): string {
  if (quantityHigh === 0) return fromUnits(quantityLow, lot);
  const units = BigInt(quantityHigh) * HIGH + BigInt(quantityLow);
  return quotient(units * lot.exactStep, 10n ** BigInt(lot.decimals), lot.decimals);
}
