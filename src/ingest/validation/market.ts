// Requests about market data: one function each, which answers what the request says, or every field at fault. None throws.

import * as v from "valibot";
import type {
  GetBookAtRequest,
  GetBookRequest,
  ListTradesRequest,
  WatchBookRequest,
} from "../../gen/penstock/v1/market_data_service_pb.ts";
import type { Instruments, TradedInstrument } from "../../stream/instrument.ts";
import type { Partitioning } from "../../stream/partition.ts";
import { formatEntryId, parseEntryId } from "../../stream/position.ts";
import { PAGE_TOKEN, pageLimit, PageSize, shapeFaults } from "./shape.ts";
import { readSymbol } from "./target.ts";
import { readTime } from "./time.ts";
import { type Fields, isRefused, take, type Violation, type Violations } from "./violation.ts";

const MAX_DEPTH = 1_000;
const DEFAULT_DEPTH = 10;

export interface SymbolFields {
  readonly instrument: TradedInstrument;
}

/** What names a symbol and nothing else. */
export function validateSymbol(request: Fields<WatchBookRequest>, instruments: Instruments): SymbolFields | Violations {
  const faults: Violation[] = [];
  const instrument = readSymbol(request.symbol, instruments, faults);
  return instrument === undefined ? { violations: faults } : { instrument };
}

const Depth = v.object({ depth: v.pipe(v.number(), v.maxValue(MAX_DEPTH, `must be at most ${MAX_DEPTH}`)) });

export interface BookFields extends SymbolFields {
  /** Levels of each side. */
  readonly depth: number;
}

export function validateBook(request: Fields<GetBookRequest>, instruments: Instruments): BookFields | Violations {
  const faults = shapeFaults(Depth, request);
  const instrument = readSymbol(request.symbol, instruments, faults);
  if (faults.length > 0 || instrument === undefined) return { violations: faults };
  return { instrument, depth: request.depth === 0 ? DEFAULT_DEPTH : request.depth };
}

export interface BookAtFields extends BookFields {
  /** The ID of an entry; "" for the newest. */
  readonly entryId: string;
}

export function validateBookAt(
  { place, ...request }: Fields<GetBookAtRequest>,
  instruments: Instruments,
  partitioning: Partitioning,
): BookAtFields | Violations {
  const fields = validateBook(request, instruments);
  const faults = isRefused(fields) ? [...fields.violations] : [];
  let entryId = "";
  if (place.case === "at") entryId = lastIdOf(take(faults, "at", readTime(place.value)));
  if (place.case === "position") {
    const { partition, entryId: id } = place.value;
    if (!isEntryId(id))
      faults.push({ field: "position.entry_id", description: "must be an entry_id as it was answered" });
    if (!isRefused(fields) && partition !== partitioning.of(fields.instrument.symbol)) {
      faults.push({ field: "position.partition", description: "must be that of the symbol" });
    }
    entryId = id;
  }
  return isRefused(fields) || faults.length > 0 ? { violations: faults } : { ...fields, entryId };
}

/** Behind all entries of a millisecond. */
function lastIdOf(ms: number): string {
  return formatEntryId({ ms, seq: 0xffff_ffff });
}

function isEntryId(text: string): boolean {
  try {
    parseEntryId(text);
    return true;
  } catch {
    return false;
  }
}

const Page = v.object({
  pageSize: PageSize,
  pageToken: v.pipe(v.string(), v.regex(/^([1-9]\d{0,14})?$/, PAGE_TOKEN)),
});

export interface TradesFields extends SymbolFields {
  readonly limit: number;
  /** The trade's number in which a page token consists: the last one of the page before. Undefined: the first page. */
  readonly before: number | undefined;
}

export function validateTrades(
  request: Fields<ListTradesRequest>,
  instruments: Instruments,
): TradesFields | Violations {
  const faults = shapeFaults(Page, request);
  const instrument = readSymbol(request.symbol, instruments, faults);
  if (faults.length > 0 || instrument === undefined) return { violations: faults };
  const before = request.pageToken === "" ? undefined : Number(request.pageToken);
  return { instrument, limit: pageLimit(request.pageSize), before };
}
