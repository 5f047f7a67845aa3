import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_COMMAND } from "./sets.ts";
import { Desk, order } from "./reference/desk.ts";
import { narrow } from "./reference/workload.ts";

test("GTD: an order that is due leaves before any command of the entry, by the log's time", () => {
  const desk = new Desk();
  desk.order("ann 1 sell 5 @ 100 until 2000");
  assert.equal(desk.engine.nextDue, 2000);
  desk.tick(1999);
  assert.deepEqual(desk.depth("sell"), ["5 @ 100"]);
  assert.deepEqual(desk.order("bob 1 buy 5 @ 100"), ["ann 1: expired DUE", "bob 1: new"]);
  assert.equal(desk.events[0]?.command, NO_COMMAND);
  assert.equal(desk.engine.nextDue, Infinity);
});

test("by due time, then by place", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 1 @ 9 until 3000", "ann 2 buy 1 @ 8 until 2000", "ann 3 buy 1 @ 7 until 2000");
  desk.order("ann 4 buy 1 @ 6 until 4000");
  desk.cancel("ann", "1");
  desk.order("ann 5 buy 1 @ 5 until 3000");
  assert.deepEqual(desk.tick(9000), [
    "ann 2: expired DUE",
    "ann 3: expired DUE",
    "ann 5: expired DUE",
    "ann 4: expired DUE",
  ]);
});

test("an order whose time has come when it arrives is refused", () => {
  const desk = new Desk();
  assert.deepEqual(desk.order("ann 1 buy 1 @ 9 until 1002"), ["ann 1: rejected TOO_LATE"]);
  assert.deepEqual(desk.order("ann 1 buy 1 @ 9 until 1004"), ["ann 1: new"]);
});

test("stops that are due expire too, and in a halted symbol time goes on", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9 stop 8 until 2000");
  desk.status("HALTED");
  assert.deepEqual(desk.tick(2000), ["ann 1: expired DUE"]);
});

test("more that is due than an entry may expire: no order may trade meanwhile, cancels may, and the rest is due at once", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.orders(
    "ann 1 buy 1 @ 9 until 2000",
    "ann 2 buy 1 @ 9 until 2000",
    "ann 3 buy 1 @ 9 until 2000",
    "ann 4 buy 1 @ 9 until 2000",
    "ann 5 buy 1 @ 9 until 2000",
  );
  desk.ms = 2999;
  assert.deepEqual(desk.apply(order("bob 1 sell 1 @ 9"), { kind: "mass-cancel", account: "dee", symbol: "" }), [
    "ann 1: expired DUE",
    "ann 2: expired DUE",
    "bob 1: rejected BUSY",
    "dee: done",
  ]);
  assert.equal(desk.engine.nextDue, 2000);
  assert.deepEqual(desk.cancel("ann", "5"), ["ann 3: expired DUE", "ann 4: expired DUE", "ann 5: canceled REQUESTED"]);
  assert.deepEqual(desk.order("bob 1 sell 1 @ 9"), ["bob 1: new"]);
});
