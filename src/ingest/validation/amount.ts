// Quantities and prices as clients write them. A reader gives units, or what is wanted.

import { fromUnits, MAX_DIGITS, MAX_UNITS, parseScale, toUnits } from "../../stream/decimal.ts";
import type { Scale } from "../../stream/decimal.ts";
import type { TradedInstrument } from "../../stream/instrument.ts";

// Stands in for a scale that is not known: any text that is right for some scale is well-formed for this one.
const FINEST = parseScale("0.000000000000000001");

/** In lots, within the instrument's least and greatest quantity. */
export function readQuantity(text: string, instrument: TradedInstrument | undefined): number | string {
  return readUnits(text, "lot size", instrument?.lot, instrument?.minQuantity, instrument?.maxQuantity);
}

/** In ticks, within the instrument's price band. */
export function readPrice(text: string, instrument: TradedInstrument | undefined): number | string {
  return readUnits(text, "tick size", instrument?.tick, instrument?.minPrice, instrument?.maxPrice);
}

/**
 * A positive multiple of the scale. Where the scale is not known, only the form can be judged, and what is well-formed
 * reads as 0.
 *
 * @param step what the scale is called in a description
 */
export function readUnits(
  text: string,
  step: "tick size" | "lot size",
  scale: Scale | undefined,
  min = 1,
  max = MAX_UNITS,
): number | string {
  const units = toUnits(text, scale ?? FINEST);
  if (units === "syntax") return "must be a decimal such as 12.5, without sign, exponent or spaces";
  if (units === "digits") return `must be a decimal of at most ${MAX_DIGITS} digits`;
  if (units === "zero") return "must be more than 0";
  if (scale === undefined) return 0;
  if (units === "multiple") return `must be a multiple of the ${step} ${scale.text}`;
  if (units === "range" || units > max) return `must be at most ${fromUnits(max, scale)}`;
  return units < min ? `must be at least ${fromUnits(min, scale)}` : units;
}

/**
 * What is wanted of a quantity at a price, or undefined where it is well: ticks × lots must be at most 2^63 - 1.
 *
 * A fill is at the price of an order that rested, and at most its quantity. So this bound on every order with a price
 * keeps the value of every fill within a signed 64-bit integer: exact in the engine, a bigint in Postgres. With a tick
 * of 0.01 and a lot of 0.00000001 it is 922,337,203 of the quoted currency.
 */
export function notionalFault(quantity: number, price: number, instrument: TradedInstrument): string | undefined {
  // Rounding keeps the order of numbers, and 2^63 is a double: a product that rounds to less is less.
  if (quantity * price < 2 ** 63 || BigInt(quantity) * BigInt(price) < 1n << 63n) return undefined;
  const most = Number(((1n << 63n) - 1n) / BigInt(price));
  return `must be at most ${fromUnits(most, instrument.lot)} at this price`;
}
