import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../../gen/penstock/v1/instrument_pb.ts";
import { AckLevel } from "../../gen/penstock/v1/order_pb.ts";
import {
  CancelAllOrdersRequestSchema,
  CancelOrderRequestSchema,
  GetOrderRequestSchema,
  ListOrdersRequestSchema,
  ReplaceOrderRequestSchema,
} from "../../gen/penstock/v1/order_service_pb.ts";
import { prepareInstrument } from "../../stream/instrument.ts";
import { formatOrderId } from "../../stream/position.ts";
import {
  validateBatchSize,
  validateCancel,
  validateCancelAll,
  validateGet,
  validateList,
  validateReplace,
  validateReplaceValues,
} from "./requests.ts";
import { isRefused } from "./violation.ts";

const BTC = prepareInstrument(
  create(InstrumentSchema, {
    symbol: "BTC-USD",
    tickSize: "0.01",
    lotSize: "0.001",
    minQuantity: "0.01",
    maxPrice: "1000",
  }),
);
const INSTRUMENTS = new Map([[BTC.symbol, BTC]]);
const PLACE = { partition: 3, epoch: 2, ms: 1_800_000_000_123, seq: 7, index: 41 };
const ORDER_ID = formatOrderId(PLACE);
const BY_ID = { by: "order_id", orderId: ORDER_ID, place: PLACE };
const BY_CLIENT_ID = { by: "client_order_id", instrument: BTC, clientOrderId: "a-1" };

const ID = "must be 1 to 64 printable ASCII characters without spaces";
const ACK = "unknown number 5: must be LOGGED or MATCHED";

function refused(result: object | undefined, expected: Record<string, string>): void {
  assert.ok(result !== undefined && isRefused(result), inspect(result));
  const found = result.violations.map(({ field, description }): [string, string] => [field, description]);
  assert.deepEqual(Object.fromEntries(found), expected);
  assert.equal(found.length, Object.keys(expected).length, "one violation a field");
}

function cancel(init: MessageInitShape<typeof CancelOrderRequestSchema>, ackLevel: number = AckLevel.LOGGED) {
  return validateCancel({ ...create(CancelOrderRequestSchema, init), ...({ ackLevel } as object) }, INSTRUMENTS);
}

test("a cancel names its order by either id", () => {
  const clientRequestId = "c-1";
  assert.deepEqual(cancel({ clientRequestId, orderId: ORDER_ID }), { clientRequestId, target: BY_ID });
  assert.deepEqual(cancel({ clientRequestId, orderId: ORDER_ID.toUpperCase() }), { clientRequestId, target: BY_ID });
  assert.deepEqual(cancel({ clientRequestId, symbol: "BTC-USD", clientOrderId: "a-1" }), {
    clientRequestId,
    target: BY_CLIENT_ID,
  });
});

test("a cancel is refused by its fields", () => {
  const clientRequestId = "c-1";
  refused(cancel({}), {
    client_request_id: "is required",
    order_id: "is required, or symbol and client_order_id",
  });
  for (const wrong of ["a b", "a\0", "\x1b", "é", "a".repeat(65)]) {
    refused(cancel({ clientRequestId: wrong, orderId: ORDER_ID }), { client_request_id: ID });
    refused(cancel({ clientRequestId, symbol: "BTC-USD", clientOrderId: wrong }), { client_order_id: ID });
  }
  for (const orderId of ["x", ORDER_ID.slice(1), `${ORDER_ID}0`, ORDER_ID.replace("-7", "-4"), `${ORDER_ID}\n`]) {
    refused(cancel({ clientRequestId, orderId }), { order_id: "must be an order_id as it was answered" });
  }
  refused(cancel({ clientRequestId, orderId: ORDER_ID, symbol: "BTC-USD", clientOrderId: "a-1" }), {
    symbol: "must be empty beside order_id",
    client_order_id: "must be empty beside order_id",
  });
  refused(cancel({ clientRequestId, symbol: "BTC-USD" }), { client_order_id: "is required" });
  refused(cancel({ clientRequestId, clientOrderId: "a-1" }), { symbol: "is required" });
  refused(cancel({ clientRequestId, symbol: "NONE\0", clientOrderId: "a-1" }), { symbol: "no such instrument" });
  refused(cancel({ clientRequestId, orderId: ORDER_ID }, 5), { ack_level: ACK });
});

function replace(init: MessageInitShape<typeof ReplaceOrderRequestSchema>) {
  return create(ReplaceOrderRequestSchema, { clientRequestId: "r-1", ...init });
}

const NAMED = { symbol: "BTC-USD", clientOrderId: "a-1" };

test("a replace by the client's id comes with its values", () => {
  assert.deepEqual(validateReplace(replace({ ...NAMED, quantity: "0.5", price: "99.99" }), INSTRUMENTS), {
    clientRequestId: "r-1",
    target: BY_CLIENT_ID,
    values: { quantity: 500, price: 9999, stopPrice: 0, displayQuantity: 0 },
  });
  assert.deepEqual(validateReplace(replace({ ...NAMED, stopPrice: "1", displayQuantity: "0.001" }), INSTRUMENTS), {
    clientRequestId: "r-1",
    target: BY_CLIENT_ID,
    values: { quantity: 0, price: 0, stopPrice: 100, displayQuantity: 1 },
  });
});

test("a replace by order id has its values once the instrument is known", () => {
  const request = replace({ orderId: ORDER_ID, quantity: "0.5", displayQuantity: "0.5" });
  assert.deepEqual(validateReplace(request, INSTRUMENTS), {
    clientRequestId: "r-1",
    target: BY_ID,
    values: undefined,
  });
  assert.deepEqual(validateReplaceValues(request, BTC), {
    quantity: 500,
    price: 0,
    stopPrice: 0,
    displayQuantity: 500,
  });
  refused(validateReplace(replace({ orderId: ORDER_ID, price: "1e9" }), INSTRUMENTS), {
    price: "must be a decimal such as 12.5, without sign, exponent or spaces",
  });
  refused(validateReplaceValues(replace({ orderId: ORDER_ID, price: "0.001" }), BTC), {
    price: "must be a multiple of the tick size 0.01",
  });
});

test("a replace is refused by its fields", () => {
  refused(validateReplace(replace({ ...NAMED }), INSTRUMENTS), {
    quantity: "is required, or price, stop_price or display_quantity",
  });
  refused(
    validateReplace(
      replace({ ...NAMED, quantity: "0.001", price: "1000.01", stopPrice: "-1", displayQuantity: "0" }),
      INSTRUMENTS,
    ),
    {
      quantity: "must be at least 0.01",
      price: "must be at most 1000",
      stop_price: "must be a decimal such as 12.5, without sign, exponent or spaces",
      display_quantity: "must be more than 0",
    },
  );
  refused(validateReplace(replace({ ...NAMED, quantity: "0.5", displayQuantity: "0.501" }), INSTRUMENTS), {
    display_quantity: "must be at most the quantity",
  });
  refused(validateReplace(replace({ ...NAMED, quantity: "9007199254740.991", price: "1000" }), INSTRUMENTS), {
    quantity: "must be at most 92233720368.547 at this price",
  });
  refused(validateReplace(create(ReplaceOrderRequestSchema, { symbol: "NONE", quantity: "1." }), INSTRUMENTS), {
    client_request_id: "is required",
    symbol: "no such instrument",
    client_order_id: "is required",
    quantity: "must be a decimal such as 12.5, without sign, exponent or spaces",
  });
});

test("a mass cancel is for one symbol or all", () => {
  const ask = (init: MessageInitShape<typeof CancelAllOrdersRequestSchema>) =>
    validateCancelAll(create(CancelAllOrdersRequestSchema, init), INSTRUMENTS);
  assert.deepEqual(ask({ clientRequestId: "m-1" }), { clientRequestId: "m-1", instrument: undefined });
  assert.deepEqual(ask({ clientRequestId: "m-1", symbol: "BTC-USD" }), { clientRequestId: "m-1", instrument: BTC });
  refused(ask({ symbol: "NONE" }), { client_request_id: "is required", symbol: "no such instrument" });
});

test("an order is asked for by either id", () => {
  const ask = (init: MessageInitShape<typeof GetOrderRequestSchema>) =>
    validateGet(create(GetOrderRequestSchema, init), INSTRUMENTS);
  assert.deepEqual(ask({ orderId: ORDER_ID }), BY_ID);
  assert.deepEqual(ask({ symbol: "BTC-USD", clientOrderId: "a-1" }), BY_CLIENT_ID);
  refused(ask({}), { order_id: "is required, or symbol and client_order_id" });
  refused(ask({ orderId: "\0" }), { order_id: "must be an order_id as it was answered" });
});

test("a list has a bounded page", () => {
  const ask = (init: MessageInitShape<typeof ListOrdersRequestSchema>) =>
    validateList(create(ListOrdersRequestSchema, init), INSTRUMENTS);
  assert.deepEqual(ask({}), { limit: 100, before: undefined, instrument: undefined, openOnly: false });
  assert.deepEqual(ask({ pageSize: 1000, pageToken: ORDER_ID, symbol: "BTC-USD", openOnly: true }), {
    limit: 1000,
    before: ORDER_ID,
    instrument: BTC,
    openOnly: true,
  });
  refused(ask({ pageSize: 1001, pageToken: "1", symbol: "btc-usd" }), {
    page_size: "must be at most 1000",
    page_token: "must be the next_page_token of a page",
    symbol: "no such instrument",
  });
});

test("a batch has 1 to 1,000 orders", () => {
  assert.equal(validateBatchSize(1), undefined);
  assert.equal(validateBatchSize(1000), undefined);
  refused(validateBatchSize(0), { orders: "must be 1 to 1000 orders" });
  refused(validateBatchSize(1001), { orders: "must be 1 to 1000 orders" });
});
