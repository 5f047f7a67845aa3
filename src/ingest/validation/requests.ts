// Every request about orders but SubmitOrder: one function each, which answers what the request says, or every field at
// fault. None throws. Shapes are valibot's; what joins two fields or asks the instruments is written out.

import * as v from "valibot";

import { AckLevel } from "../../gen/penstock/v1/order_pb.ts";
import type {
  CancelAllOrdersRequest,
  CancelOrderRequest,
  GetOrderRequest,
  ListOrdersRequest,
  ReplaceOrderRequest,
} from "../../gen/penstock/v1/order_service_pb.ts";
import type { Instruments, TradedInstrument } from "../../stream/instrument.ts";
import { parseOrderId } from "../../stream/position.ts";
import { notionalFault, readPrice, readQuantity, readUnits } from "./amount.ts";
import { enumeration } from "./enumeration.ts";
import { ClientId, optionalEnum, PAGE_TOKEN, pageLimit, PageSize, shapeFaults } from "./shape.ts";
import { readSymbol, readTarget } from "./target.ts";
import type { Target } from "./target.ts";
import { take } from "./violation.ts";
import type { Fields, Violation, Violations } from "./violation.ts";

const Change = v.object({ clientRequestId: ClientId, ackLevel: optionalEnum(enumeration(AckLevel)) });

export interface CancelFields {
  readonly clientRequestId: string;
  readonly target: Target;
}

export function validateCancel(
  request: Fields<CancelOrderRequest>,
  instruments: Instruments,
): CancelFields | Violations {
  const faults = shapeFaults(Change, request);
  const target = readTarget(request, instruments, faults);
  if (faults.length > 0 || target === undefined) return { violations: faults };
  return { clientRequestId: request.clientRequestId, target };
}

/** New values of an order, in lots and ticks; 0 leaves a value as it is. */
export interface ReplaceValues {
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
}

export interface ReplaceFields {
  readonly clientRequestId: string;
  readonly target: Target;
  /** Undefined where the target is an order id: once its instrument is known, `validateReplaceValues` gives them. */
  readonly values: ReplaceValues | undefined;
}

export function validateReplace(
  request: Fields<ReplaceOrderRequest>,
  instruments: Instruments,
): ReplaceFields | Violations {
  const faults = shapeFaults(Change, request);
  const target = readTarget(request, instruments, faults);
  const instrument = target?.by === "client_order_id" ? target.instrument : undefined;
  const values = readValues(request, instrument, faults);
  if (faults.length > 0 || target === undefined) return { violations: faults };
  return { clientRequestId: request.clientRequestId, target, values: instrument === undefined ? undefined : values };
}

/** The new values by the rules of an instrument. What depends on the order's present values is left to the engine. */
export function validateReplaceValues(
  request: Fields<ReplaceOrderRequest>,
  instrument: TradedInstrument,
): ReplaceValues | Violations {
  const faults: Violation[] = [];
  const values = readValues(request, instrument, faults);
  return faults.length > 0 ? { violations: faults } : values;
}

function readValues(
  request: Fields<ReplaceOrderRequest>,
  instrument: TradedInstrument | undefined,
  faults: Violation[],
): ReplaceValues {
  const { quantity, price, stopPrice, displayQuantity } = request;
  if (quantity === "" && price === "" && stopPrice === "" && displayQuantity === "") {
    faults.push({ field: "quantity", description: "is required, or price, stop_price or display_quantity" });
  }
  const values = {
    quantity: quantity === "" ? 0 : take(faults, "quantity", readQuantity(quantity, instrument)),
    price: price === "" ? 0 : take(faults, "price", readPrice(price, instrument)),
    stopPrice: stopPrice === "" ? 0 : take(faults, "stop_price", readPrice(stopPrice, instrument)),
    displayQuantity:
      displayQuantity === ""
        ? 0
        : take(faults, "display_quantity", readUnits(displayQuantity, "lot size", instrument?.lot)),
  };
  if (values.quantity > 0 && values.displayQuantity > values.quantity) {
    faults.push({ field: "display_quantity", description: "must be at most the quantity" });
  }
  if (values.quantity > 0 && values.price > 0 && instrument !== undefined) {
    const description = notionalFault(values.quantity, values.price, instrument);
    if (description !== undefined) faults.push({ field: "quantity", description });
  }
  return values;
}

export interface CancelAllFields {
  readonly clientRequestId: string;
  /** Undefined: all symbols. */
  readonly instrument: TradedInstrument | undefined;
}

export function validateCancelAll(
  request: Fields<CancelAllOrdersRequest>,
  instruments: Instruments,
): CancelAllFields | Violations {
  const faults = shapeFaults(Change, request);
  const instrument = request.symbol === "" ? undefined : readSymbol(request.symbol, instruments, faults);
  return faults.length > 0 ? { violations: faults } : { clientRequestId: request.clientRequestId, instrument };
}

export function validateGet(request: Fields<GetOrderRequest>, instruments: Instruments): Target | Violations {
  const faults: Violation[] = [];
  return readTarget(request, instruments, faults) ?? { violations: faults };
}

const List = v.object({
  pageSize: PageSize,
  pageToken: v.pipe(
    v.string(),
    v.check((token) => token === "" || parseOrderId(token) !== undefined, PAGE_TOKEN),
  ),
});

export interface ListFields {
  readonly limit: number;
  /** The order id in which a page token consists: the last one of the page before. Undefined: the first page. */
  readonly before: string | undefined;
  /** Undefined: all symbols. */
  readonly instrument: TradedInstrument | undefined;
  readonly openOnly: boolean;
}

export function validateList(request: Fields<ListOrdersRequest>, instruments: Instruments): ListFields | Violations {
  const faults = shapeFaults(List, request);
  const instrument = request.symbol === "" ? undefined : readSymbol(request.symbol, instruments, faults);
  if (faults.length > 0) return { violations: faults };
  const before = request.pageToken === "" ? undefined : request.pageToken.toLowerCase();
  return { limit: pageLimit(request.pageSize), before, instrument, openOnly: request.openOnly };
}

/** As many orders as the 1,000 that one SubmitOrders may hold. */
export const MAX_ORDERS = 1000;

/** Whether a SubmitOrders holds as many orders as it may; each order is then judged alone. */
export function validateBatchSize(orders: number): Violations | undefined {
  if (orders >= 1 && orders <= MAX_ORDERS) return undefined;
  return { violations: [{ field: "orders", description: `must be 1 to ${MAX_ORDERS} orders` }] };
}
