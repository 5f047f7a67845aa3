import { create } from "@bufbuild/protobuf";
import * as v from "valibot";

import type { UpsertInstrumentRequest } from "../../gen/penstock/v1/admin_service_pb.ts";
import { InstrumentSchema } from "../../gen/penstock/v1/instrument_pb.ts";
import type { Instrument } from "../../gen/penstock/v1/instrument_pb.ts";
import { OrderType, TimeInForce } from "../../gen/penstock/v1/order_pb.ts";
import { fromUnits, MAX_UNITS, readScale } from "../../stream/decimal.ts";
import type { Scale } from "../../stream/decimal.ts";
import { TIMES_IN_FORCE, timesInForceOf } from "../../stream/instrument.ts";
import type { Instruments } from "../../stream/instrument.ts";
import { readUnits } from "./amount.ts";
import { enumeration, namesOf } from "./enumeration.ts";
import type { Enumeration } from "./enumeration.ts";
import { requiredEnum, ScaleSize, shapeFaults, SymbolName } from "./shape.ts";
import { REQUIRED, take } from "./violation.ts";
import type { Fields, Violation, Violations } from "./violation.ts";

const TYPES = enumeration(OrderType);
const TIMES = enumeration(TimeInForce);

// The next version has to fit a uint32.
const MAX_VERSION = 2 ** 32 - 2;

const Definition = v.object(
  {
    instrument: v.object({
      symbol: SymbolName,
      tickSize: ScaleSize,
      lotSize: ScaleSize,
      minQuantity: v.string(),
      maxQuantity: v.string(),
      minPrice: v.string(),
      maxPrice: v.string(),
      orderTypes: listOf(TYPES),
      timesInForce: listOf(TIMES),
      version: v.pipe(v.number(), v.maxValue(MAX_VERSION, `must be at most ${MAX_VERSION}`)),
    }),
  },
  REQUIRED,
);

/** At most as many as there are names: looked at before the entries are, so that the faults stay few. */
function listOf(names: Enumeration) {
  const most = names.names.length;
  const bounded = v.pipe(v.array(v.number()), v.maxLength(most, `must have at most ${most} entries`));
  return v.pipe(bounded, v.array(requiredEnum(names)));
}

/**
 * The definition that would come next, in its shortest form: decimals without needless zeros, each type and time in
 * force once, `version` one more than the version that it replaces. Or every field at fault. Never throws.
 *
 * Whether the replaced version is the present one is not judged here: that is a race, to be settled where it is written.
 */
export function validateUpsertInstrument(
  request: Fields<UpsertInstrumentRequest>,
  instruments: Instruments,
): Instrument | Violations {
  const faults = shapeFaults(Definition, request);
  const wanted = request.instrument;
  if (wanted === undefined) return { violations: faults };

  const present = instruments.get(wanted.symbol);
  const tick = readSize("instrument.tick_size", wanted.tickSize, present?.tick, faults);
  const lot = readSize("instrument.lot_size", wanted.lotSize, present?.lot, faults);
  const minQuantity = readLimit("instrument.min_quantity", wanted.minQuantity, "lot size", lot, 1, faults);
  const maxQuantity = readLimit("instrument.max_quantity", wanted.maxQuantity, "lot size", lot, MAX_UNITS, faults);
  if (minQuantity > maxQuantity && maxQuantity > 0) {
    faults.push({ field: "instrument.max_quantity", description: "must be at least min_quantity" });
  }
  const minPrice = readLimit("instrument.min_price", wanted.minPrice, "tick size", tick, 1, faults);
  const maxPrice = readLimit("instrument.max_price", wanted.maxPrice, "tick size", tick, MAX_UNITS, faults);
  if (minPrice > maxPrice && maxPrice > 0) {
    faults.push({ field: "instrument.max_price", description: "must be at least min_price" });
  }

  const orderTypes = named(TYPES, wanted.orderTypes);
  const timesInForce = named(TIMES, wanted.timesInForce);
  const possible = timesInForceOf(orderTypes, timesInForce);
  const stranded = orderTypes.find((type) => possible[type] === 0);
  if (stranded !== undefined && !faults.some(({ field }) => field.startsWith("instrument.times_in_force"))) {
    const description = `must hold ${namesOf(TIMES_IN_FORCE[stranded] ?? 0, TIMES)} for ${namesOf(1 << stranded, TYPES)} orders`;
    faults.push({ field: "instrument.times_in_force", description });
  }

  if (faults.length > 0 || tick === undefined || lot === undefined) return { violations: faults };
  return create(InstrumentSchema, {
    symbol: wanted.symbol,
    tickSize: tick.text,
    lotSize: lot.text,
    minQuantity: wanted.minQuantity === "" ? "" : fromUnits(minQuantity, lot),
    maxQuantity: wanted.maxQuantity === "" ? "" : fromUnits(maxQuantity, lot),
    minPrice: wanted.minPrice === "" ? "" : fromUnits(minPrice, tick),
    maxPrice: wanted.maxPrice === "" ? "" : fromUnits(maxPrice, tick),
    orderTypes,
    timesInForce,
    version: wanted.version + 1,
  });
}

/** The tick or lot, or undefined where it is at fault. One that stands already never changes. */
function readSize(field: string, text: string, present: Scale | undefined, faults: Violation[]): Scale | undefined {
  const scale = readScale(text);
  if (typeof scale === "string") return undefined; // a fault of its shape
  if (present === undefined || present.text === scale.text) return scale;
  faults.push({ field, description: `never changes, and is ${present.text}: define a new symbol instead` });
  return undefined;
}

/** In units; where it is absent, the number that stands for that; 0 where it is at fault. */
function readLimit(
  field: string,
  text: string,
  step: "tick size" | "lot size",
  scale: Scale | undefined,
  absent: number,
  faults: Violation[],
): number {
  return text === "" ? absent : take(faults, field, readUnits(text, step, scale));
}

/** The named numbers of a list, each once, in the enum's order. */
function named<T extends number>(of: Enumeration<T>, numbers: readonly number[]): T[] {
  return of.names.flatMap(([number]) => (numbers.includes(number) ? [number] : []));
}
