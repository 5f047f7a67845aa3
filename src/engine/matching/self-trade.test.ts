import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

function desk(): Desk {
  const desk = new Desk();
  desk.orders("ann 1 sell 4 @ 100", "bob 1 sell 4 @ 100");
  return desk;
}

test("none: an account trades with itself", () => {
  assert.deepEqual(desk().order("ann 2 buy 4 @ 100"), [
    "ann 2: new",
    "ann 2: 4 @ 100, 0 left",
    "ann 1: 4 @ 100, 0 left",
  ]);
});

test("the setting of the order that comes in decides, not that of the one that rests", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 4 @ 100 cancel-both");
  assert.equal(desk.order("ann 2 buy 4 @ 100").at(-1), "ann 1: 4 @ 100, 0 left");
});

test("cancel-newest: the order that comes in ends where it meets an own one", () => {
  const first = desk();
  assert.deepEqual(first.order("ann 2 buy 9 @ 100 cancel-newest"), ["ann 2: new", "ann 2: canceled SELF_TRADE"]);
  assert.deepEqual(first.depth("sell"), ["8 @ 100"]);
  assert.deepEqual(desk().order("bob 2 buy 9 @ 100 cancel-newest"), [
    "bob 2: new",
    "bob 2: 4 @ 100, 5 left",
    "ann 1: 4 @ 100, 0 left",
    "bob 2: canceled SELF_TRADE",
  ]);
});

test("cancel-oldest: the own order that rests ends, and matching goes on", () => {
  assert.deepEqual(desk().order("ann 2 buy 6 @ 100 cancel-oldest"), [
    "ann 2: new",
    "ann 1: canceled SELF_TRADE",
    "ann 2: 4 @ 100, 2 left",
    "bob 1: 4 @ 100, 0 left",
  ]);
});

test("cancel-both: both end", () => {
  const both = desk();
  assert.deepEqual(both.order("ann 2 buy 6 @ 100 cancel-both"), [
    "ann 2: new",
    "ann 1: canceled SELF_TRADE",
    "ann 2: canceled SELF_TRADE",
  ]);
  assert.deepEqual(both.depth("sell"), ["4 @ 100"]);
  const [, resting, incoming] = both.events;
  assert.deepEqual([resting?.otherMs, incoming?.otherMs], [incoming?.ms, resting?.ms], "each names the other");
});

test("decrement: both go down by the smaller one's quantity, and the smaller one ends", () => {
  const larger = desk();
  assert.deepEqual(larger.order("ann 2 buy 6 @ 100 decrement"), [
    "ann 2: new",
    "ann 1: canceled SELF_TRADE",
    "ann 2: restated SELF_TRADE, 2 @ 100, 2 left",
    "ann 2: 2 @ 100, 0 left",
    "bob 1: 2 @ 100, 2 left",
  ]);
  const smaller = desk();
  assert.deepEqual(smaller.order("ann 2 buy 3 @ 100 decrement"), [
    "ann 2: new",
    "ann 1: restated SELF_TRADE, 1 @ 100, 1 left",
    "ann 2: canceled SELF_TRADE",
  ]);
  assert.deepEqual(smaller.queue("sell"), ["ann 1 1 of 1", "bob 1 4 of 4"], "it keeps its place");
  assert.deepEqual(desk().order("ann 2 buy 4 @ 100 decrement"), [
    "ann 2: new",
    "ann 1: canceled SELF_TRADE",
    "ann 2: canceled SELF_TRADE",
  ]);
});

test("decrement counts what is hidden of an iceberg, and takes of its peak last", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 10 @ 100 show 3");
  desk.order("ann 2 buy 5 @ 100 decrement");
  assert.deepEqual(desk.queue("sell"), ["ann 1 3 of 5"]);
  desk.order("ann 3 buy 4 @ 100 decrement");
  assert.deepEqual(desk.queue("sell"), ["ann 1 1 of 1"]);
  assert.deepEqual(desk.depth("sell"), ["1 @ 100"]);
});
