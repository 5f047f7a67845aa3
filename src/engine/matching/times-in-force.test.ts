import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

test("IOC: what is not filled at once expires", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 3 @ 100");
  assert.deepEqual(desk.order("bob 1 buy 5 @ 100 ioc"), [
    "bob 1: new",
    "bob 1: 3 @ 100, 2 left",
    "ann 1: 3 @ 100, 0 left",
    "bob 1: expired UNFILLED",
  ]);
  assert.deepEqual(desk.depth("buy"), []);
});

test("FOK: all of it or nothing", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 3 @ 100", "ann 2 sell 3 @ 101");
  assert.deepEqual(desk.order("bob 1 buy 5 @ 100 fok"), ["bob 1: new", "bob 1: expired UNFILLABLE"]);
  assert.deepEqual(desk.order("bob 2 buy 7 @ 101 fok"), ["bob 2: new", "bob 2: expired UNFILLABLE"]);
  assert.deepEqual(desk.depth("sell"), ["3 @ 100", "3 @ 101"]);
  assert.equal(desk.order("bob 3 buy 6 @ 101 fok").at(-2), "bob 3: 3 @ 101, 0 left");
});

test("FOK counts what is hidden of an iceberg", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 10 @ 100 show 2");
  assert.equal(desk.order("bob 1 buy 9 @ 100 fok").at(-1), "ann 1: 1 @ 100, 1 left");
  assert.deepEqual(desk.queue("sell"), ["ann 1 1 of 1"]);
});

test("FOK foresees self-trade prevention: an own order in the way counts for nothing", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 5 @ 100", "bob 1 sell 5 @ 100", "ann 2 sell 5 @ 100");
  for (const prevention of ["cancel-newest", "cancel-both", "decrement"]) {
    assert.equal(desk.order(`bob 2 buy 6 @ 100 fok ${prevention}`).at(-1), "bob 2: expired UNFILLABLE");
  }
  assert.deepEqual(desk.depth("sell"), ["15 @ 100"], "and none of them is canceled in vain");
  assert.equal(desk.order("bob 3 buy 11 @ 100 fok cancel-oldest").at(-1), "bob 3: expired UNFILLABLE");
  assert.deepEqual(desk.order("bob 4 buy 10 @ 100 fok cancel-oldest"), [
    "bob 4: new",
    "bob 4: 5 @ 100, 5 left",
    "ann 1: 5 @ 100, 0 left",
    "bob 1: canceled SELF_TRADE",
    "bob 4: 5 @ 100, 0 left",
    "ann 2: 5 @ 100, 0 left",
  ]);
});

test("FOK before an own order behind an iceberg: the hidden part is behind the own order", () => {
  const desk = new Desk();
  desk.orders("ann 1 sell 10 @ 100 show 2", "bob 1 sell 1 @ 100");
  assert.equal(desk.order("bob 2 buy 3 @ 100 fok cancel-newest").at(-1), "bob 2: expired UNFILLABLE");
  assert.equal(desk.order("bob 3 buy 2 @ 100 fok cancel-newest").at(-1), "ann 1: 2 @ 100, 8 left");
});
