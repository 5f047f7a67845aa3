import assert from "node:assert/strict";
import { test } from "node:test";
import { exact } from "./exact.ts";
import { ExecType, OrderStatus } from "./sets.ts";
import { Desk } from "./reference/desk.ts";

test("a LIMIT order trades at the prices of the orders that rest, and rests with what is left", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order("ann 1 sell 5 @ 101"), ["ann 1: new"]);
  assert.deepEqual(desk.order("ann 2 sell 5 @ 102"), ["ann 2: new"]);
  assert.deepEqual(desk.order("bob 1 buy 12 @ 102"), [
    "bob 1: new",
    "bob 1: 5 @ 101, 7 left",
    "ann 1: 5 @ 101, 0 left",
    "bob 1: 5 @ 102, 2 left",
    "ann 2: 5 @ 102, 0 left",
  ]);
  assert.deepEqual(desk.depth("buy"), ["2 @ 102"]);
  assert.deepEqual(desk.depth("sell"), []);
});

test("I9: the best price first, then who came first", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 1 @ 100", "bob 1 buy 1 @ 101", "cem 1 buy 1 @ 100", "dee 1 buy 1 @ 101");
  assert.deepEqual(desk.queue("buy"), ["bob 1 1 of 1", "dee 1 1 of 1", "ann 1 1 of 1", "cem 1 1 of 1"]);
  const trades = desk.order("eve 1 sell 4 @ 100").filter((line) => !line.startsWith("eve"));
  assert.deepEqual(trades, [
    "bob 1: 1 @ 101, 0 left",
    "dee 1: 1 @ 101, 0 left",
    "ann 1: 1 @ 100, 0 left",
    "cem 1: 1 @ 100, 0 left",
  ]);
});

test("a MARKET order takes what there is, and the rest expires; with nothing there it expires at once", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order("bob 1 buy 3"), ["bob 1: new", "bob 1: expired NO_LIQUIDITY"]);
  desk.orders("ann 1 sell 1 @ 101", "ann 2 sell 1 @ 5000");
  assert.deepEqual(desk.order("bob 2 buy 3"), [
    "bob 2: new",
    "bob 2: 1 @ 101, 2 left",
    "ann 1: 1 @ 101, 0 left",
    "bob 2: 1 @ 5000, 1 left",
    "ann 2: 1 @ 5000, 0 left",
    "bob 2: expired UNFILLED",
  ]);
});

test("a post-only order that would trade is refused, whole, and does not slide; else it rests", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 5 @ 101");
  assert.deepEqual(desk.order("bob 1 buy 5 @ 101 post-only"), ["bob 1: rejected POST_ONLY"]);
  assert.deepEqual(desk.order("bob 2 buy 5 @ 100 post-only"), ["bob 2: new"]);
  assert.deepEqual(desk.depth("buy"), ["5 @ 100"]);
});

test("an event carries the whole order: status, Cum, Leaves, the last fill and the value of all fills", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 4 @ 10", "ann 2 sell 4 @ 13");
  desk.order("bob 1 buy 10 @ 13");
  const [, first, maker, second] = desk.events;
  assert.equal(first?.execType, ExecType.TRADE);
  assert.deepEqual([first.status, first.cumQuantity, first.leavesQuantity], [OrderStatus.PARTIALLY_FILLED, 4, 6]);
  assert.deepEqual([first.lastQuantity, first.lastPrice, first.trade, first.aggressor], [4, 10, 1, true]);
  assert.deepEqual([maker?.status, maker?.trade, maker?.aggressor], [OrderStatus.FILLED, 1, false]);
  assert.deepEqual([maker?.otherMs, maker?.otherIndex], [first.ms, first.index], "each names the other");
  assert.deepEqual([second?.cumQuantity, second?.trade], [8, 2]);
  assert.equal(exact(second!.valueHigh, second!.valueLow), 4n * 10n + 4n * 13n);
  const [order] = desk.engine.ordersOf("bob");
  assert.deepEqual([order?.quantity, order?.cumQuantity, order?.leavesQuantity], [10, 8, 2]);
});

test("values and the quantity of a level are exact beyond 2^53", () => {
  const desk = new Desk();
  const most = Number.MAX_SAFE_INTEGER;
  desk.orders(`ann 1 sell ${most} @ 1023`, `ann 2 sell ${most} @ 1023`, `ann 3 sell ${most} @ 1023`);
  assert.deepEqual(desk.depth("sell"), [`${3n * BigInt(most)} @ 1023`]);
  desk.order(`bob 1 buy ${most} @ 1024`);
  const filled = desk.events.at(-1)!;
  assert.equal(exact(filled.valueHigh, filled.valueLow), BigInt(most) * 1023n);
  assert.deepEqual(desk.depth("sell"), [`${2n * BigInt(most)} @ 1023`]);
});

test("I2: an open order's client order id is not taken twice, whatever the payload; after its end it is free", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 5 @ 100");
  assert.deepEqual(desk.order("ann 1 sell 5 @ 100"), ["ann 1: rejected DUPLICATE_CLIENT_ORDER_ID"]);
  const { otherMs, otherIndex } = desk.events[0]!;
  assert.deepEqual([otherMs, otherIndex], [desk.placeOf("ann 1").ms, 0], "it says which order has it");
  assert.deepEqual(desk.order("bob 1 buy 5 @ 99"), ["bob 1: new"], "another account's is another");
  desk.cancel("ann", "1");
  assert.deepEqual(desk.order("ann 1 buy 5 @ 100"), ["ann 1: new"]);
});

test("what no order can have is refused, and shown as nothing", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order("ann 1 buy 0 @ 100"), ["ann 1: rejected MALFORMED"]);
  assert.deepEqual(desk.order("ann 1 buy 1.5 @ 100"), ["ann 1: rejected MALFORMED"]);
  assert.equal(desk.events[0]?.quantity, 0);
  assert.deepEqual(desk.order("ann 1 buy 5 gtc"), ["ann 1: rejected MALFORMED"], "a MARKET order cannot rest");
  assert.deepEqual(desk.order("ann 1 buy 5 @ 100 show 6"), ["ann 1: rejected MALFORMED"]);
  assert.deepEqual(desk.order("ann 1 buy 5 @ 100 ioc post-only"), ["ann 1: rejected MALFORMED"]);
  assert.deepEqual(desk.order("ann 1 buy 5 @ 100 on X-Y"), ["ann 1: rejected UNKNOWN_SYMBOL"]);
});
