import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

test("a cancel by client order id, and by the order's place", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 10 @ 100", "ann 2 buy 10 @ 100 stop 200");
  assert.deepEqual(desk.cancel("ann", "1"), ["ann 1: canceled REQUESTED"]);
  assert.equal(desk.events[0]?.leavesQuantity, 0);
  assert.deepEqual(desk.cancelAt("ann", desk.placeOf("ann 2")), ["ann 2: canceled REQUESTED"]);
  assert.equal(desk.engine.openOrders, 0);
  assert.deepEqual(desk.cancel("ann", "1"), ["ann 1: cancel refused UNKNOWN_ORDER"]);
});

test("I12: another account's order is no more there than one that never was", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 10 @ 100");
  const place = desk.placeOf("ann 1");
  assert.deepEqual(desk.cancelAt("bob", place), ["bob : cancel refused UNKNOWN_ORDER"]);
  assert.deepEqual(desk.cancelAt("bob", { ...place, index: 7 }), ["bob : cancel refused UNKNOWN_ORDER"]);
  assert.deepEqual(desk.cancel("bob", "1"), ["bob 1: cancel refused UNKNOWN_ORDER"]);
  const replace = { kind: "replace", account: "bob", symbol: "A-B", target: { by: "order", ...place } } as const;
  assert.deepEqual(desk.apply({ ...replace, quantity: 1, price: 0, stopPrice: 0, displayQuantity: 0 }), [
    "bob : replace refused UNKNOWN_ORDER",
  ]);
  assert.deepEqual(desk.massCancel("bob"), ["bob: done"]);
  assert.deepEqual(desk.depth("buy"), ["10 @ 100"]);
});

test("a place that differs in one number is another order, and one with impossible numbers is none", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 10 @ 100");
  const place = desk.placeOf("ann 1");
  const others = [
    { epoch: 2 },
    { ms: 3 },
    { seq: 4 },
    { index: 1 },
    { index: 2 ** 16 },
    { epoch: 2 ** 16 + 1 },
    { seq: -1 },
  ];
  for (const other of others) {
    assert.deepEqual(desk.cancelAt("ann", { ...place, ...other }), ["ann : cancel refused UNKNOWN_ORDER"]);
  }
  assert.deepEqual(desk.cancelAt("ann", place, "X-Y"), ["ann : cancel refused UNKNOWN_SYMBOL"]);
});

test("a mass cancel ends all orders of an account, the oldest first, and says how many", () => {
  const desk = new Desk();
  desk.define({ symbol: "C-D" });
  desk.orders("ann 1 buy 1 @ 9", "ann 2 buy 1 @ 9 on C-D", "bob 1 buy 1 @ 9", "ann 3 sell 1 @ 10 stop 2 show 1");
  assert.deepEqual(desk.massCancel("ann", "C-D"), ["ann 2: canceled MASS_CANCEL", "ann: 1 canceled, 0 left"]);
  assert.deepEqual(desk.massCancel("ann"), [
    "ann 1: canceled MASS_CANCEL",
    "ann 3: canceled MASS_CANCEL",
    "ann: 2 canceled, 0 left",
  ]);
  assert.deepEqual(desk.massCancel("ann", "X-Y"), ["ann: UNKNOWN_SYMBOL"]);
  assert.equal(desk.engine.openOrders, 1);
});

test("an account's events are counted without a gap, whatever they are", () => {
  const desk = new Desk();
  const sequences: number[] = [];
  const note = () => sequences.push(...desk.events.filter(({ account }) => account === "ann").map((e) => e.sequence));
  desk.orders("ann 1 buy 1 @ 9", "bob 1 sell 1 @ 9", "ann 1 buy 0 @ 9");
  note();
  desk.cancel("ann", "7");
  note();
  desk.massCancel("ann");
  note();
  assert.deepEqual(sequences, [1, 2, 3, 4, 5]);
  assert.equal(desk.engine.sequenceOf("ann"), 5);
});
