import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk, order } from "./reference/desk.ts";
import { narrow } from "./reference/workload.ts";
import { checked, RULES } from "./rules.ts";

test("an order meets as many others as the rules allow, and what is left is canceled", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.orders("ann 1 sell 1 @ 9", "ann 2 sell 1 @ 9", "ann 3 sell 1 @ 9", "ann 4 sell 1 @ 9");
  desk.order("ann 5 sell 1 @ 9");
  assert.equal(desk.order("bob 1 buy 9 @ 9 fok").at(-1), "bob 1: expired UNFILLABLE");
  assert.equal(desk.order("bob 2 buy 5 @ 9 fok").at(-1), "bob 2: expired UNFILLABLE", "it would meet five");
  const lines = desk.order("bob 3 buy 9 @ 9");
  assert.deepEqual(lines.slice(-2), ["ann 4: 1 @ 9, 0 left", "bob 3: canceled FILL_LIMIT"]);
  assert.deepEqual(desk.depth("sell"), ["1 @ 9"]);
});

test("an order that meets exactly as many goes on: to its end, or to rest", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.orders("ann 1 sell 1 @ 9", "ann 2 sell 1 @ 9", "ann 3 sell 1 @ 9", "ann 4 sell 1 @ 9");
  assert.equal(desk.order("bob 1 buy 5 @ 9").at(-1), "ann 4: 1 @ 9, 0 left");
  assert.deepEqual(desk.depth("buy"), ["1 @ 9"]);
});

test("the peaks of an iceberg count one by one", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.order("ann 1 sell 5 @ 9 show 1");
  assert.equal(desk.order("bob 1 buy 5 @ 9 fok").at(-1), "bob 1: expired UNFILLABLE");
  assert.equal(desk.order("bob 2 buy 4 @ 9 fok").at(-1), "ann 1: 1 @ 9, 1 left");
});

test("an entry without room for an order's events refuses it; each command has an answer all the same", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.orders(...Array.from({ length: 8 }, (_, i) => `ann ${i} sell 1 @ 9`));
  desk.orders(...Array.from({ length: 8 }, (_, i) => `dee ${i} sell 1 @ 9`));
  const buys = Array.from({ length: 6 }, (_, i) => `bob ${i} buy 4 @ 9`);
  const lines = desk.orders(...buys);
  assert.ok(lines.length <= 36);
  assert.deepEqual(lines.slice(-3), ["bob 3: rejected BUSY", "bob 4: rejected BUSY", "bob 5: rejected BUSY"]);
});

test("a mass cancel in an entry without room says what it left", () => {
  const desk = new Desk({}, narrow(1).rules);
  for (let i = 0; i < 8; i++) desk.orders(`ann ${i} sell 1 @ 9`, `bob ${i} sell 1 @ 8`);
  const lines = desk.apply(
    order("cem 1 buy 4 @ 8"),
    order("cem 2 buy 4 @ 8"),
    { kind: "mass-cancel", account: "ann", symbol: "" },
    order("cem 3 buy 4 @ 9"),
    ...Array.from({ length: 12 }, () => ({ kind: "mass-cancel", account: "dee", symbol: "" }) as const),
  );
  assert.ok(lines.includes("ann: 4 canceled, 4 left BUSY"), lines.join("\n"));
  assert.equal(lines.at(-1), "dee: done");
  assert.equal(desk.massCancel("ann").at(-1), "ann: 4 canceled, 0 left");
});

test("rules are switched by their number; bounds that do not fit each other are no rules", () => {
  const desk = new Desk({}, narrow(1).rules);
  desk.apply({ kind: "rules", rules: 2 });
  assert.equal(desk.engine.rules, 2);
  const rules = RULES.get(1)!;
  assert.throws(() => checked({ ...rules, maxFills: 20_000 }), /room/);
});
