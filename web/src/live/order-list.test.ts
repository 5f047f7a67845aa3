import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { OrderSchema, OrderStatus } from "../../../src/gen/penstock/v1/order_pb.ts";
import { OrderList } from "./order-list.ts";

const order = (orderId: string, status: OrderStatus, updatedMs = 0) =>
  create(OrderSchema, { orderId, status, updatedAt: timestampFromMs(updatedMs) });

test("an order is open or ended, once, newest first", () => {
  const list = new OrderList();
  list.reset([order("a", OrderStatus.NEW), order("c", OrderStatus.FILLED), order("b", OrderStatus.NEW)]);
  list.set(order("a", OrderStatus.PARTIALLY_FILLED));
  list.set(order("b", OrderStatus.CANCELED));
  list.set(order("d", OrderStatus.PENDING_NEW));
  assert.deepEqual(
    list.open.map(({ orderId, status }) => [orderId, status]),
    [
      ["d", OrderStatus.PENDING_NEW],
      ["a", OrderStatus.PARTIALLY_FILLED],
    ],
  );
  assert.deepEqual(
    list.ended.map(({ orderId }) => orderId),
    ["c", "b"],
  );
  assert.equal(list.find("b")?.status, OrderStatus.CANCELED);
  assert.equal(list.find("e"), undefined);
});

test("an answer that comes behind the report of it takes nothing back", () => {
  const list = new OrderList();
  list.set(order("a", OrderStatus.FILLED, 2_000));
  assert.ok(!list.learn(order("a", OrderStatus.NEW, 1_000)));
  list.set(order("b", OrderStatus.PARTIALLY_FILLED, 2_000));
  assert.ok(!list.learn(order("b", OrderStatus.NEW, 1_000)));
  assert.ok(list.learn(order("c", OrderStatus.NEW, 1_000)));
  assert.ok(list.learn(order("c", OrderStatus.FILLED, 1_500)));
});

test("of orders that have ended the newest are kept", () => {
  const list = new OrderList();
  for (let at = 0; at < 700; at++) list.set(order(String(at).padStart(4, "0"), OrderStatus.FILLED));
  assert.equal(list.ended.length, 500);
  assert.equal(list.ended.at(-1)?.orderId, "0200");
});
