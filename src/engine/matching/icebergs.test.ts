import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

test("of an iceberg the peak alone is seen; each new peak goes behind the others of its price", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 10 @ 100 show 3", "bob 1 sell 4 @ 100");
  assert.deepEqual(desk.depth("sell"), ["7 @ 100"]);
  desk.order("cem 1 buy 5 @ 100");
  assert.deepEqual(desk.queue("sell"), ["bob 1 2 of 2", "ann 1 3 of 7"]);
  assert.deepEqual(desk.order("cem 2 buy 20 @ 100"), [
    "cem 2: new",
    "cem 2: 2 @ 100, 18 left",
    "bob 1: 2 @ 100, 0 left",
    "cem 2: 3 @ 100, 15 left",
    "ann 1: 3 @ 100, 4 left",
    "cem 2: 3 @ 100, 12 left",
    "ann 1: 3 @ 100, 1 left",
    "cem 2: 1 @ 100, 11 left",
    "ann 1: 1 @ 100, 0 left",
  ]);
});

test("a peak that is filled in part keeps its place", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 10 @ 100 show 3", "bob 1 sell 4 @ 100");
  desk.order("cem 1 buy 2 @ 100");
  assert.deepEqual(desk.queue("sell"), ["ann 1 1 of 8", "bob 1 4 of 4"]);
});

test("an iceberg that comes in trades with all of its quantity, then shows a peak of the rest", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 4 @ 100");
  assert.equal(desk.order("bob 1 buy 10 @ 100 show 5").at(-1), "ann 1: 4 @ 100, 0 left");
  assert.deepEqual(desk.queue("buy"), ["bob 1 5 of 6"]);
});
