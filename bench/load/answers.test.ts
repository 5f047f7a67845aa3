import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import {
  SubmitOrderRequestSchema,
  SubmitOrderResponseSchema,
  SubmitOrdersRequestSchema,
  SubmitOrdersResponseSchema,
} from "../../src/gen/penstock/v1/order_service_pb.ts";
import { OrderStatus, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import { readAnswer, readBatchAnswer } from "./answers.ts";
import { clientOrderId, OrderBodies } from "./orders.ts";

const ORDER_ID = "01234567-89ab-7cde-8f01-23456789abcd";

function accepted(duplicate = false) {
  return { orderId: ORDER_ID, clientOrderId: "a", status: OrderStatus.NEW, createdAt: timestampNow(), duplicate };
}

function visits() {
  const seen: string[] = [];
  const visitor = {
    accepted: (order: number, bytes: Buffer, at: number, duplicate: boolean) =>
      seen.push(`${order} ${bytes.toString("latin1", at, at + 36)}${duplicate ? " duplicate" : ""}`),
    refused: (order: number, reason: string) => seen.push(`${order} refused: ${reason}`),
  };
  return { seen, visitor };
}

test("an answer is read", () => {
  const { seen, visitor } = visits();
  for (const duplicate of [false, true]) {
    const answer = create(SubmitOrderResponseSchema, accepted(duplicate));
    readAnswer(Buffer.from(toBinary(SubmitOrderResponseSchema, answer)), visitor);
  }
  readAnswer(Buffer.alloc(0), visitor);
  assert.deepEqual(seen, [`0 ${ORDER_ID}`, `0 ${ORDER_ID} duplicate`, "0 refused: accepted without an order id"]);
});

test("a batch's answer is read, result by result", () => {
  const { seen, visitor } = visits();
  const results = [
    { result: { case: "accepted" as const, value: accepted() } },
    { result: { case: "refused" as const, value: { code: 3, message: "price: must be positive" } } },
    { result: { case: undefined } },
  ];
  const bytes = Buffer.from(toBinary(SubmitOrdersResponseSchema, create(SubmitOrdersResponseSchema, { results })));
  readBatchAnswer(bytes, 3, visitor);
  assert.deepEqual(seen, [`0 ${ORDER_ID}`, "1 refused: price: must be positive", "2 refused: an empty result"]);
  assert.throws(() => readBatchAnswer(bytes, 4, visitor), /3 results for 4 orders/);
  assert.throws(() => readBatchAnswer(bytes.subarray(0, 20), 1, visitor), /too early/);
});

test("a body holds the orders with the ids of their numbers", () => {
  const unary = new OrderBodies({ run: "run", symbol: "BTC-USD", batch: 0 });
  for (const order of [0, 63, 64, 123_456_789, 999_999_999]) {
    const body = unary.body(order);
    assert.equal(body.readUInt32BE(1), body.length - 5);
    const request = fromBinary(SubmitOrderRequestSchema, body.subarray(5));
    assert.equal(request.clientOrderId, clientOrderId("run", order));
    assert.match(request.price, /^\d+\.\d\d$/);
  }
  for (const batch of [1, 3, 100, 1000]) {
    const bodies = new OrderBodies({ run: "run", symbol: "BTC-USD", batch });
    for (const call of [0, 1, 7]) {
      const { orders } = fromBinary(SubmitOrdersRequestSchema, bodies.body(call * batch).subarray(5));
      assert.deepEqual(
        orders.map((order) => order.clientOrderId),
        Array.from({ length: batch }, (_, at) => clientOrderId("run", call * batch + at)),
      );
    }
  }
});

test("orders meet: whoever sends them in turn leaves no order open after each rotation", () => {
  for (const batch of [0, 100, 1000]) {
    const bodies = new OrderBodies({ run: "run", symbol: "BTC-USD", batch });
    const book: Record<Side, number[]> = { [Side.UNSPECIFIED]: [], [Side.BUY]: [], [Side.SELL]: [] };
    let most = 0;
    for (let order = 0; order < 64_000; order += Math.max(1, batch)) {
      const bytes = bodies.body(order).subarray(5);
      const orders =
        batch === 0
          ? [fromBinary(SubmitOrderRequestSchema, bytes)]
          : fromBinary(SubmitOrdersRequestSchema, bytes).orders;
      for (const { side, price } of orders) {
        const isBuy = side === Side.BUY;
        const [own, others] = isBuy ? [book[Side.BUY], book[Side.SELL]] : [book[Side.SELL], book[Side.BUY]];
        const best = isBuy ? Math.min(...others) : Math.max(...others);
        const meets = others.length > 0 && (isBuy ? best <= Number(price) : best >= Number(price));
        if (meets) others.splice(others.indexOf(best), 1);
        else own.push(Number(price));
        most = Math.max(most, own.length);
      }
    }
    assert.deepEqual([most, book[Side.BUY], book[Side.SELL]], [16, [], []]);
  }
});
