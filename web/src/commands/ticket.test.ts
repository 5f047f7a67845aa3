import assert from "node:assert/strict";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";

import { OrderType, Side, TimeInForce } from "../../../src/gen/penstock/v1/order_pb.ts";
import { Ticket } from "./ticket.ts";

function tab() {
  const items = new Map<string, string>();
  return {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
    removeItem: (key: string) => void items.delete(key),
  };
}

const refused = (code: Code) =>
  ({ kind: "refused", failure: { code, message: "", fields: new Map(), retryAfterMs: undefined } }) as const;

test("a ticket keeps its id over changes and reloads, until its order has an outcome", () => {
  const store = tab();
  const ticket = new Ticket("X", "demo", store);
  const { id } = ticket;
  ticket.change({ quantity: "1", price: "2", side: Side.SELL });
  const reloaded = new Ticket("X", "demo", store);
  assert.equal(reloaded.id, id);
  assert.equal(reloaded.draft.value.quantity, "1");
  assert.equal(reloaded.request().clientOrderId, id);

  reloaded.settle(id, refused(Code.InvalidArgument), false);
  assert.equal(reloaded.id, id);
  reloaded.settle("another", refused(Code.AlreadyExists), true);
  assert.equal(reloaded.id, id);
  reloaded.settle(id, refused(Code.AlreadyExists), true);
  assert.notEqual(reloaded.id, id);
  assert.equal(new Ticket("X", "demo", store).id, reloaded.id);
});

test("accounts and symbols have tickets of their own", () => {
  const store = tab();
  const ids = [new Ticket("X", "a", store), new Ticket("X", "b", store), new Ticket("Y", "a", store)].map(
    ({ id }) => id,
  );
  assert.equal(new Set(ids).size, 3);
});

test("an order has the fields of its type alone, and the times that it can have", () => {
  const ticket = new Ticket("X", "demo", tab());
  ticket.change({ quantity: " 1 ", price: "2", stopPrice: "3", displayQuantity: "0.5", postOnly: true });
  const limit = ticket.request();
  assert.deepEqual(
    [limit.quantity, limit.price, limit.stopPrice, limit.displayQuantity, limit.postOnly, limit.timeInForce],
    ["1", "2", "", "0.5", true, TimeInForce.GTC],
  );
  ticket.change({ type: OrderType.MARKET });
  const market = ticket.request();
  assert.deepEqual(
    [market.price, market.stopPrice, market.displayQuantity, market.postOnly, market.timeInForce],
    ["", "", "", false, TimeInForce.IOC],
  );
  ticket.change({ type: OrderType.STOP_LIMIT, timeInForce: TimeInForce.GTD, expireTime: "2030-01-31T12:00:00" });
  const stop = ticket.request();
  assert.deepEqual([stop.price, stop.stopPrice, stop.postOnly], ["2", "3", false]);
  assert.ok(stop.expireTime !== undefined);
});
