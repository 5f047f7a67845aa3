import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";
import { keyOf, narrow } from "./reference/workload.ts";

/** A desk on which one lot was traded at a price. */
function tradedAt(price: number, desk = new Desk()): Desk {
  desk.orders(`zoe s${price} sell 1 @ ${price}`, `yul b${price} buy 1 @ ${price}`);
  return desk;
}

test("a stop waits, unseen, until a trade is at its price or beyond; then it enters as a MARKET order", () => {
  const desk = tradedAt(100);
  assert.deepEqual(desk.order("ann 1 buy 5 stop 103"), ["ann 1: new"]);
  assert.deepEqual(desk.depth("buy"), []);
  desk.orders("bob 1 sell 1 @ 102", "bob 2 sell 1 @ 103", "bob 3 sell 9 @ 104");
  assert.deepEqual(desk.order("cem 1 buy 1"), ["cem 1: new", "cem 1: 1 @ 102, 0 left", "bob 1: 1 @ 102, 0 left"]);
  assert.deepEqual(desk.order("cem 2 buy 1"), [
    "cem 2: new",
    "cem 2: 1 @ 103, 0 left",
    "bob 2: 1 @ 103, 0 left",
    "ann 1: triggered",
    "ann 1: 5 @ 104, 0 left",
    "bob 3: 5 @ 104, 4 left",
  ]);
});

test("a stop-limit enters as a LIMIT order, and rests", () => {
  const desk = tradedAt(100);
  desk.orders("ann 1 sell 5 @ 98 stop 99", "bob 1 buy 1 @ 99");
  assert.deepEqual(desk.order("cem 1 sell 1 @ 99"), [
    "cem 1: new",
    "cem 1: 1 @ 99, 0 left",
    "bob 1: 1 @ 99, 0 left",
    "ann 1: triggered",
  ]);
  assert.deepEqual(desk.depth("sell"), ["5 @ 98"]);
  assert.equal(desk.engine.ordersOf("ann")[0]?.triggered, true);
});

test("a stop whose price the last trade has reached already is triggered as it comes; before any trade none is", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order("ann 1 buy 1 stop 1"), ["ann 1: new"]);
  desk.cancel("ann", "1");
  tradedAt(100, desk);
  assert.deepEqual(desk.order("ann 2 sell 1 stop 100"), [
    "ann 2: new",
    "ann 2: triggered",
    "ann 2: expired NO_LIQUIDITY",
  ]);
});

test("after the command's own events, in the order of the trades that reached them; at one trade the nearest first, then the oldest", () => {
  const desk = tradedAt(100);
  desk.orders("ann 1 buy 1 @ 90 stop 104", "ann 2 buy 1 @ 90 stop 102", "ann 3 buy 1 @ 90 stop 102");
  desk.orders("ann 4 buy 1 @ 90 stop 101", "bob 1 sell 1 @ 101", "bob 2 sell 1 @ 105");
  const lines = desk.order("cem 1 buy 2 @ 105").slice(-4);
  assert.deepEqual(lines, ["ann 4: triggered", "ann 2: triggered", "ann 3: triggered", "ann 1: triggered"]);
});

test("the first trade can reach stops of both sides: buys first", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 1 @ 110 stop 100", "ann 2 buy 1 @ 90 stop 100");
  assert.deepEqual(tradedAt(100, desk).events.length, 6);
  assert.deepEqual(
    desk.events.slice(-2).map(({ clientOrderId }) => clientOrderId),
    ["2", "1"],
  );
});

test("a triggered stop can trigger others; they follow in a queue", () => {
  const desk = tradedAt(100);
  desk.orders("bob 1 sell 1 @ 101", "bob 2 sell 1 @ 102", "bob 3 sell 1 @ 103");
  desk.orders("ann 2 buy 1 stop 102", "ann 1 buy 1 stop 101");
  assert.deepEqual(
    desk.order("cem 1 buy 1").filter((line) => line.startsWith("ann")),
    ["ann 1: triggered", "ann 1: 1 @ 102, 0 left", "ann 2: triggered", "ann 2: 1 @ 103, 0 left"],
  );
});

test("more stops than a command may set off wait, and go on with the next command or entry; time is asked for at once", () => {
  const desk = tradedAt(100, new Desk({}, narrow(1).rules));
  desk.orders("ann 1 buy 1 @ 9 stop 101", "ann 2 buy 1 @ 9 stop 101", "ann 3 buy 1 @ 9 stop 101");
  assert.equal(tradedAt(101, desk).events.length, 6, "two are set off");
  assert.equal(desk.engine.symbols()[0]?.waitingStops, 1);
  assert.equal(desk.engine.nextDue, desk.ms);
  assert.deepEqual(desk.tick(), ["ann 3: triggered"]);
  assert.equal(desk.engine.nextDue, Infinity);
});

test("a stop that waits for its turn can be canceled, and stays where it is while the symbol is not open", () => {
  const desk = tradedAt(100, new Desk({}, narrow(1).rules));
  desk.orders("ann 1 buy 1 @ 9 stop 101", "ann 2 buy 1 @ 9 stop 101", "ann 3 buy 1 @ 9 stop 101");
  desk.order("ann 4 buy 1 @ 9 stop 101");
  desk.orders("zoe 9 sell 1 @ 101");
  const { ms } = desk;
  desk.apply(
    { kind: "submit", account: "yul", keyHigh: 0, keyLow: 0, submit: market("9") },
    { kind: "status", symbol: "A-B", status: 2 },
  );
  assert.equal(desk.ms, ms + 1);
  assert.equal(desk.engine.symbol("A-B")?.waitingStops, 2);
  assert.equal(desk.engine.symbol("X-Y"), undefined);
  assert.equal(desk.engine.nextDue, Infinity, "nothing will come of a tick");
  assert.deepEqual(desk.cancel("ann", "3"), ["ann 3: canceled REQUESTED"]);
  assert.deepEqual(desk.status("OPEN"), ["A-B: done", "ann 4: triggered"]);
});

test("a stop that waits loses its turn with a new price, and keeps it where its quantity goes down", () => {
  const desk = tradedAt(100, new Desk({}, narrow(1).rules));
  desk.orders(...Array.from({ length: 8 }, (_, i) => `ann ${i + 1} buy 5 @ 9 stop 101`), "zoe 9 sell 1 @ 101");
  const replace = (clientOrderId: string, values: { readonly quantity?: number; readonly price?: number }) => {
    const target = { by: "client", clientOrderId, ...keyOf("ann", "A-B", clientOrderId) } as const;
    const unchanged = { quantity: 0, price: 0, stopPrice: 0, displayQuantity: 0 };
    return { kind: "replace", account: "ann", symbol: "A-B", target, ...unchanged, ...values } as const;
  };
  const lines = desk.apply(
    { kind: "submit", account: "yul", keyHigh: 0, keyLow: 0, submit: market("9") },
    replace("7", { price: 8 }),
  );
  assert.deepEqual(lines.slice(-5), [
    "ann 1: triggered",
    "ann 2: triggered",
    "ann 7: replaced, 5 @ 8, 5 left",
    "ann 3: triggered",
    "ann 4: triggered",
  ]);
  assert.deepEqual(desk.apply(replace("8", { quantity: 4 })), [
    "ann 5: triggered",
    "ann 6: triggered",
    "ann 8: replaced, 4 @ 9, 4 left",
    "ann 8: triggered",
    "ann 7: triggered",
  ]);
});

function market(clientOrderId: string) {
  const nothing = { price: 0, stopPrice: 0, displayQuantity: 0, expireTime: 0, selfTradePrevention: 0 };
  return { clientOrderId, symbol: "A-B", side: 1, type: 1, timeInForce: 3, quantity: 1, postOnly: false, ...nothing };
}
