import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

function desk(): Desk {
  const desk = new Desk();
  desk.orders("ann 1 buy 10 @ 100", "bob 1 buy 10 @ 100");
  return desk;
}

test("an order whose quantity alone goes down keeps its priority", () => {
  const kept = desk();
  assert.deepEqual(kept.replace("ann", "1", { quantity: 4 }), ["ann 1: replaced, 4 @ 100, 4 left"]);
  assert.deepEqual(kept.queue("buy"), ["ann 1 4 of 4", "bob 1 10 of 10"]);
  kept.replace("ann", "1", { quantity: 4, price: 100 });
  assert.deepEqual(kept.queue("buy"), ["ann 1 4 of 4", "bob 1 10 of 10"], "the same values are no change");
});

test("with any other change it goes behind the others of its price", () => {
  const more = desk();
  more.replace("ann", "1", { quantity: 11 });
  assert.deepEqual(more.queue("buy"), ["bob 1 10 of 10", "ann 1 11 of 11"]);
  const moved = desk();
  moved.replace("ann", "1", { price: 99 });
  moved.replace("ann", "1", { price: 100 });
  assert.deepEqual(moved.queue("buy"), ["bob 1 10 of 10", "ann 1 10 of 10"]);
  const hidden = desk();
  hidden.replace("ann", "1", { displayQuantity: 3 });
  assert.deepEqual(hidden.queue("buy"), ["bob 1 10 of 10", "ann 1 3 of 10"]);
});

test("with a new price it trades as an order that comes in", () => {
  const crossing = desk();
  crossing.order("cem 1 sell 4 @ 105");
  assert.deepEqual(crossing.replace("ann", "1", { price: 105 }), [
    "ann 1: replaced, 10 @ 105, 10 left",
    "ann 1: 4 @ 105, 6 left",
    "cem 1: 4 @ 105, 0 left",
  ]);
  assert.deepEqual(crossing.depth("buy"), ["6 @ 105", "10 @ 100"]);
});

test("the quantity is the whole order's: at or below what is filled it is refused, and the order stays", () => {
  const filled = desk();
  filled.order("cem 1 sell 4 @ 100");
  assert.deepEqual(filled.replace("ann", "1", { quantity: 4 }), ["ann 1: replace refused ALREADY_FILLED"]);
  assert.deepEqual(filled.replace("ann", "1", { quantity: 5 }), ["ann 1: replaced, 5 @ 100, 1 left"]);
  assert.deepEqual(filled.queue("buy"), ["ann 1 1 of 1", "bob 1 10 of 10"]);
});

test("a refusal shows the order as it is", () => {
  const refused = desk();
  refused.order("cem 1 sell 4 @ 100");
  refused.replace("ann", "1", { quantity: 3 });
  const { cumQuantity, leavesQuantity, status, price } = refused.events[0]!;
  assert.deepEqual([cumQuantity, leavesQuantity, status, price], [4, 6, 3, 100]);
});

test("a post-only order that would trade at its new price stays where it is", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 10 @ 100 post-only", "bob 1 sell 10 @ 101");
  assert.deepEqual(desk.replace("ann", "1", { price: 101 }), ["ann 1: replace refused POST_ONLY"]);
  assert.deepEqual(desk.depth("buy"), ["10 @ 100"]);
});

test("an iceberg: the peak goes down with the quantity, and a replace that loses priority shows a new peak", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 10 @ 100 show 4");
  desk.replace("ann", "1", { quantity: 3 });
  assert.deepEqual(desk.queue("sell"), ["ann 1 3 of 3"]);
  desk.replace("ann", "1", { quantity: 8 });
  assert.deepEqual(desk.queue("sell"), ["ann 1 3 of 8"], "the display went down to the quantity");
});

test("a stop: a new stop price that the last trade has reached triggers it", () => {
  const desk = new Desk();
  desk.orders("zoe 1 sell 1 @ 100", "yul 1 buy 1 @ 100", "ann 1 buy 5 @ 110 stop 105", "bob 1 sell 5 @ 108");
  assert.deepEqual(desk.replace("ann", "1", { stopPrice: 100 }), [
    "ann 1: replaced, 5 @ 110, 5 left",
    "ann 1: triggered",
    "ann 1: 5 @ 108, 0 left",
    "bob 1: 5 @ 108, 0 left",
  ]);
});

test("what the order does not have cannot be set", () => {
  const malformed = desk();
  malformed.order("ann 2 buy 5 stop 300");
  assert.deepEqual(malformed.replace("ann", "1", {}), ["ann 1: replace refused MALFORMED"]);
  assert.deepEqual(malformed.replace("ann", "1", { stopPrice: 5 }), ["ann 1: replace refused MALFORMED"]);
  assert.deepEqual(malformed.replace("ann", "2", { price: 5 }), ["ann 2: replace refused MALFORMED"]);
  assert.deepEqual(malformed.replace("ann", "2", { displayQuantity: 1 }), ["ann 2: replace refused MALFORMED"]);
  assert.deepEqual(malformed.replace("ann", "1", { quantity: 5, displayQuantity: 6 }), [
    "ann 1: replace refused MALFORMED",
  ]);
});
