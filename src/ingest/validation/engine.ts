// What operators tell the engine: one function for each request, which answers what it says, or every field at fault. None
// throws.

import * as v from "valibot";

import type {
  CloseGapRequest,
  SetAccountLimitsRequest,
  SetTradingStatusRequest,
  VoidEntryRequest,
} from "../../gen/penstock/v1/admin_service_pb.ts";
import { TradingStatus } from "../../gen/penstock/v1/order_pb.ts";
import { MAX_UNITS } from "../../stream/decimal.ts";
import type { Instruments } from "../../stream/instrument.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseEntryId, START } from "../../stream/position.ts";
import { enumeration } from "./enumeration.ts";
import { AccountName, ClientId, Reason, requiredEnum, shapeFaults } from "./shape.ts";
import { readSymbol } from "./target.ts";
import type { Fields, Violation, Violations } from "./violation.ts";
import { REQUIRED } from "./violation.ts";

const Status = v.object({ requestId: ClientId, status: requiredEnum(enumeration(TradingStatus)) });

export interface TradingStatusFields {
  readonly requestId: string;
  readonly symbol: string;
  readonly status: TradingStatus;
}

export function validateTradingStatus(
  request: Fields<SetTradingStatusRequest>,
  instruments: Instruments,
): TradingStatusFields | Violations {
  const faults = shapeFaults(Status, request);
  const { requestId, symbol, status } = request;
  readSymbol(symbol, instruments, faults);
  return faults.length > 0 ? { violations: faults } : { requestId, symbol, status };
}

/** As many as one engine holds (src/engine/matching/rules.ts). */
const MAX_OPEN_ORDERS = 4_000_000;

const Limits = v.object({
  requestId: ClientId,
  account: AccountName,
  maxOpenOrders: v.pipe(v.number(), v.maxValue(MAX_OPEN_ORDERS, `must be at most ${MAX_OPEN_ORDERS}`)),
  maxQuantityLots: v.pipe(v.bigint(), v.maxValue(BigInt(MAX_UNITS), `must be at most ${MAX_UNITS}`)),
});

export interface AccountLimitsFields {
  readonly requestId: string;
  readonly account: string;
  /** 0 is the default of the rules; so is `maxQuantity`. */
  readonly maxOpenOrders: number;
  readonly maxQuantity: number;
}

export function validateAccountLimits(request: Fields<SetAccountLimitsRequest>): AccountLimitsFields | Violations {
  const faults = shapeFaults(Limits, request);
  const { requestId, account, maxOpenOrders, maxQuantityLots } = request;
  if (faults.length > 0) return { violations: faults };
  return { requestId, account, maxOpenOrders, maxQuantity: Number(maxQuantityLots) };
}

const Void = v.object({ requestId: ClientId, reason: Reason });

export interface VoidFields {
  readonly requestId: string;
  readonly partition: number;
  /** In its shortest form. */
  readonly entryId: string;
  readonly reason: string;
}

export function validateVoid(request: Fields<VoidEntryRequest>, partitions: number): VoidFields | Violations {
  const faults = shapeFaults(Void, request);
  const { requestId, partition, reason } = request;
  const entry = readPlace(request, partitions, faults);
  if (faults.length > 0 || entry === undefined) return { violations: faults };
  return { requestId, partition, entryId: formatEntryId(entry), reason };
}

const Closing = v.object({ reason: Reason });

export interface ClosingFields {
  readonly partition: number;
  readonly missing: EntryId;
  readonly reason: string;
}

export function validateCloseGap(request: Fields<CloseGapRequest>, partitions: number): ClosingFields | Violations {
  const faults = shapeFaults(Closing, request);
  const { partition, reason } = request;
  const missing = readPlace(request, partitions, faults);
  if (faults.length > 0 || missing === undefined) return { violations: faults };
  return { partition, missing, reason };
}

/** The entry that a request names; undefined where it names none, which is a fault. */
function readPlace(
  { partition, entryId }: { readonly partition: number; readonly entryId: string },
  partitions: number,
  faults: Violation[],
): EntryId | undefined {
  if (partition >= partitions) faults.push({ field: "partition", description: `must be less than ${partitions}` });
  const entry = readEntryId(entryId);
  if (entry === undefined) {
    const description = entryId === "" ? REQUIRED : "must be an entry ID such as 1735689600000-0";
    faults.push({ field: "entry_id", description });
  }
  return entry;
}

function readEntryId(text: string): EntryId | undefined {
  try {
    const id = parseEntryId(text);
    return compareEntryIds(id, START) > 0 ? id : undefined;
  } catch {
    return undefined;
  }
}
