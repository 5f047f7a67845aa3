import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";
import { narrow } from "./reference/workload.ts";

test("cancel-only: orders and replaces are refused, cancels are not", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9");
  assert.deepEqual(desk.status("CANCEL_ONLY"), ["A-B: done"]);
  assert.deepEqual(desk.order("bob 1 sell 1 @ 9"), ["bob 1: rejected TRADING_STATUS"]);
  assert.deepEqual(desk.replace("ann", "1", { quantity: 2 }), ["ann 1: replace refused TRADING_STATUS"]);
  assert.deepEqual(desk.cancel("ann", "1"), ["ann 1: canceled REQUESTED"]);
});

test("halted: cancels are refused as well, and a mass cancel leaves the symbol out", () => {
  const desk = new Desk();
  desk.define({ symbol: "C-D" });
  desk.orders("ann 1 buy 1 @ 9", "ann 2 buy 1 @ 9 on C-D");
  desk.status("HALTED");
  assert.deepEqual(desk.cancel("ann", "1"), ["ann 1: cancel refused TRADING_STATUS"]);
  assert.deepEqual(desk.massCancel("ann"), ["ann 2: canceled MASS_CANCEL", "ann: 1 canceled, 1 left TRADING_STATUS"]);
  desk.status("OPEN");
  assert.deepEqual(desk.cancel("ann", "1"), ["ann 1: canceled REQUESTED"]);
});

test("an instrument's quantities, price band and what it takes", () => {
  const desk = new Desk({
    minQuantity: 2,
    maxQuantity: 8,
    minPrice: 50,
    maxPrice: 60,
    timesInForce: [0, 0, 0b10, 0, 0b10],
  });
  const refused: readonly (readonly [string, string])[] = [
    ["ann 1 buy 1 @ 55", "QUANTITY_LIMIT"],
    ["ann 1 buy 9 @ 55", "QUANTITY_LIMIT"],
    ["ann 1 buy 2 @ 49", "PRICE_BAND"],
    ["ann 1 buy 2 @ 61", "PRICE_BAND"],
    ["ann 1 buy 2 @ 55 stop 61", "PRICE_BAND"],
    ["ann 1 buy 2 @ 55 ioc", "NOT_TAKEN"],
    ["ann 1 buy 2", "NOT_TAKEN"],
  ];
  for (const [text, reason] of refused) assert.deepEqual(desk.order(text), [`ann 1: rejected ${reason}`]);
  assert.deepEqual(desk.order("ann 1 buy 2 @ 50"), ["ann 1: new"]);
  assert.deepEqual(desk.replace("ann", "1", { price: 61 }), ["ann 1: replace refused PRICE_BAND"]);
  assert.deepEqual(desk.replace("ann", "1", { quantity: 9 }), ["ann 1: replace refused QUANTITY_LIMIT"]);
});

test("a new version of an instrument holds from the next command on; what rests stays; tick and lot never change", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9");
  assert.deepEqual(desk.define({ version: 2, minPrice: 50 }), ["A-B: done"]);
  assert.deepEqual(desk.order("ann 2 buy 1 @ 9"), ["ann 2: rejected PRICE_BAND"]);
  assert.deepEqual(desk.depth("buy"), ["1 @ 9"]);
  assert.deepEqual(desk.define({ version: 2 }), ["A-B: STALE_VERSION"]);
  assert.deepEqual(desk.define({ version: 3, tickSize: "0.1" }), ["A-B: STALE_VERSION"]);
  assert.deepEqual(desk.define({ version: 3, minQuantity: 5, maxQuantity: 4 }), ["A-B: MALFORMED"]);
});

test("price × quantity stays below 2^63", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order(`ann 1 buy ${2 ** 31} @ ${2 ** 32}`), ["ann 1: rejected VALUE_LIMIT"]);
  assert.deepEqual(desk.order(`ann 1 buy ${2 ** 31} @ ${2 ** 32 - 1}`), ["ann 1: new"]);
  assert.deepEqual(desk.replace("ann", "1", { price: 2 ** 32 }), ["ann 1: replace refused VALUE_LIMIT"]);
});

test("limits of an account: its greatest order, and how many are open; an order that cannot rest needs no room", () => {
  const desk = new Desk();
  assert.deepEqual(desk.limits("ann", 2, 5), ["system: done"]);
  assert.deepEqual(desk.order("ann 1 buy 6 @ 9"), ["ann 1: rejected ACCOUNT_QUANTITY"]);
  desk.orders("ann 1 buy 5 @ 9", "ann 2 buy 5 @ 9 stop 20", "bob 1 sell 1 @ 15");
  assert.deepEqual(desk.replace("ann", "1", { quantity: 6 }), ["ann 1: replace refused ACCOUNT_QUANTITY"]);
  assert.deepEqual(desk.order("ann 3 buy 5 @ 9"), ["ann 3: rejected ACCOUNT_ORDERS"]);
  assert.deepEqual(desk.order("ann 3 buy 5 @ 9 stop 30"), ["ann 3: rejected ACCOUNT_ORDERS"]);
  assert.equal(desk.order("ann 3 buy 1 @ 30 ioc").at(-1), "bob 1: 1 @ 15, 0 left");
  desk.limits("ann", 0, 0);
  assert.deepEqual(desk.order("ann 4 buy 6 @ 9"), ["ann 4: new"]);
});

test("bounds of the engine: orders, accounts and symbols", () => {
  const desk = new Desk({}, narrow(1).rules);
  for (const account of ["ann", "bob", "cem"]) {
    for (let i = 0; i < 8; i++) desk.order(`${account} ${i} buy 1 @ 9`);
  }
  assert.equal(desk.engine.openOrders, 20);
  assert.deepEqual(desk.order("dee 1 buy 1 @ 9"), ["dee 1: rejected FULL"]);
  desk.massCancel("ann");
  assert.deepEqual(desk.order("eve 1 buy 1 @ 9"), ["eve 1: rejected FULL"], "the fifth account");
  assert.equal(desk.events[0]?.sequence, 0);
  desk.define({ symbol: "C-D" });
  assert.deepEqual(desk.define({ symbol: "E-F" }), ["E-F: FULL"]);
});
