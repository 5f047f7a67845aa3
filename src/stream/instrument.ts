import { OrderType, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import type { Instrument } from "../gen/penstock/v1/instrument_pb.ts";
import { MAX_UNITS, parseScale, toUnits } from "./decimal.ts";
import type { Scale } from "./decimal.ts";

/** A definition of an instrument, prepared for the path of every order. Immutable: a new version is a new object. */
export interface TradedInstrument {
  readonly symbol: string;
  readonly version: number;
  readonly tick: Scale;
  readonly lot: Scale;
  /** In lots, 1 to 2^53 - 1. */
  readonly minQuantity: number;
  readonly maxQuantity: number;
  /** The price band in ticks; 1 to 2^53 - 1 where there is none. */
  readonly minPrice: number;
  readonly maxPrice: number;
  /** Per order type (its number is the index) the times in force it can have here, as a bit set; 0: not taken. */
  readonly timesInForce: readonly number[];
}

/** Where instruments are found by their symbol. */
export interface Instruments {
  get(symbol: string): TradedInstrument | undefined;
}

const GTC = 1 << TimeInForce.GTC;
const IOC = 1 << TimeInForce.IOC;
const FOK = 1 << TimeInForce.FOK;
const GTD = 1 << TimeInForce.GTD;

/** The times in force with which an order rests in the book. */
export const RESTING_TIMES = GTC | GTD;

/**
 * What each order type can have anywhere; an instrument can only narrow it. A MARKET order has no price at which it
 * could rest, and a STOP order turns into one.
 */
export const TIMES_IN_FORCE: readonly number[] = (() => {
  const times = [0, 0, 0, 0, 0];
  times[OrderType.MARKET] = IOC | FOK;
  times[OrderType.LIMIT] = GTC | IOC | FOK | GTD;
  times[OrderType.STOP] = IOC | FOK;
  times[OrderType.STOP_LIMIT] = GTC | IOC | FOK | GTD;
  return Object.freeze(times);
})();

/** Narrows the table above to a definition's lists; an empty list is all. */
export function timesInForceOf(orderTypes: readonly number[], timesInForce: readonly number[]): readonly number[] {
  const allowed = timesInForce.length === 0 ? ~0 : timesInForce.reduce((set, time) => set | (1 << time), 0);
  const isTaken = (type: number) => orderTypes.length === 0 || orderTypes.includes(type);
  return Object.freeze(TIMES_IN_FORCE.map((times, type) => (isTaken(type) ? times & allowed : 0)));
}

/** Throws a RangeError where the definition is not one that validation lets into the log. */
export function prepareInstrument(definition: Instrument): TradedInstrument {
  const tick = parseScale(definition.tickSize);
  const lot = parseScale(definition.lotSize);
  return Object.freeze({
    symbol: definition.symbol,
    version: definition.version,
    tick,
    lot,
    minQuantity: limit(definition.minQuantity, lot, 1),
    maxQuantity: limit(definition.maxQuantity, lot, MAX_UNITS),
    minPrice: limit(definition.minPrice, tick, 1),
    maxPrice: limit(definition.maxPrice, tick, MAX_UNITS),
    timesInForce: timesInForceOf(definition.orderTypes, definition.timesInForce),
  });
}

function limit(text: string, scale: Scale, absent: number): number {
  if (text === "") return absent;
  const units = toUnits(text, scale);
  if (typeof units === "string") throw new RangeError(`not a limit in steps of ${scale.text} (${units})`);
  return units;
}
