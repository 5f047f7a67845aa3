import assert from "node:assert/strict";
import { test } from "node:test";
import { Engine } from "./engine.ts";
import type { Command, SubmitCommand } from "./interface.ts";
import { Desk, order } from "./reference/desk.ts";

const IDLE: readonly Command[] = [{ kind: "idle" }];

test("an entry that is not beyond the one before is refused, and nothing has changed", () => {
  const engine = new Engine();
  engine.apply({ epoch: 2, ms: 100, seq: 5, commands: IDLE });
  const hash = engine.stateHash;
  for (const position of [
    { epoch: 2, ms: 100, seq: 5 },
    { epoch: 2, ms: 100, seq: 4 },
    { epoch: 2, ms: 99, seq: 9 },
    { epoch: 1, ms: 900, seq: 0 },
    { epoch: 2, ms: 100.5, seq: 0 },
    { epoch: 2 ** 14, ms: 900, seq: 0 },
    { epoch: 2, ms: 900, seq: 2 ** 32 },
  ]) {
    assert.throws(() => engine.apply({ ...position, commands: IDLE }), RangeError);
  }
  const many = Array.from({ length: 501 }, () => IDLE[0]!);
  assert.throws(() => engine.apply({ epoch: 2, ms: 101, seq: 0, commands: many }), RangeError);
  assert.equal(engine.stateHash, hash);
  engine.apply({ epoch: 3, ms: 50, seq: 0, commands: IDLE });
  assert.deepEqual(engine.position, { epoch: 3, ms: 50, seq: 0 });
});

test("after a throw in the middle of an entry the engine does nothing any more", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9");
  assert.throws(() => desk.apply({ kind: "rules", rules: 99 }), /no rules have the number 99/);
  assert.throws(() => desk.tick(), /worthless/);
  assert.throws(() => desk.engine.snapshot(), /worthless/);
});

test("every command of a voided entry is refused, and changes nothing but the count of its account's events", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9");
  const queue = desk.queue("buy");
  const target = { by: "order", ...desk.placeOf("ann 1") } as const;
  const unchanged = { quantity: 0, price: 0, stopPrice: 0, displayQuantity: 0 };
  const aim = { account: "ann", symbol: "A-B", target };
  const lines = desk.apply(
    { kind: "refused", command: order("bob 1 sell 1 @ 9") as SubmitCommand },
    { kind: "refused", command: { kind: "cancel", ...aim } },
    { kind: "refused", command: { kind: "replace", ...aim, ...unchanged, price: 8 } },
    { kind: "refused", command: { kind: "mass-cancel", account: "ann", symbol: "" } },
    { kind: "refused", command: { kind: "status", symbol: "A-B", status: 3 } },
    { kind: "refused", command: { kind: "limits", account: "ann", maxOpenOrders: 1, maxQuantity: 1 } },
  );
  assert.deepEqual(lines, [
    "bob 1: rejected VOIDED",
    "ann : cancel refused VOIDED",
    "ann : replace refused VOIDED",
    "ann: VOIDED",
    "A-B: VOIDED",
    "system: VOIDED",
  ]);
  assert.deepEqual(desk.queue("buy"), queue);
  assert.equal(desk.engine.sequenceOf("ann"), 4);
  assert.equal(desk.order("bob 1 sell 1 @ 9").at(-1), "ann 1: 1 @ 9, 0 left");
});

test("an order's id is its place: epoch, entry and index, to their greatest values (I3)", () => {
  const desk = new Desk();
  const engine = Engine.restore(desk.engine.snapshot());
  const idle = Array.from({ length: 499 }, () => IDLE[0]!);
  const [order] = [...submits("ann 1")];
  const last = { epoch: 2 ** 14 - 1, ms: 2 ** 48 - 1, seq: 2 ** 32 - 1 };
  const { events } = engine.apply({ ...last, commands: [...idle, order!] });
  const { epoch, ms, seq, index } = events.at(0);
  assert.deepEqual({ epoch, ms, seq, index }, { ...last, index: 499 });
  assert.equal(engine.order({ ...last, index: 499 })?.clientOrderId, "1");
  assert.equal(Engine.restore(engine.snapshot()).order({ ...last, index: 499 })?.account, "ann");
});

test("orders are found by client order id where all share one key", () => {
  const desk = new Desk();
  const key = { keyHigh: -1, keyLow: -1 };
  const names = Array.from({ length: 200 }, (_, i) => `ann ${i}`);
  const commands = [...submits(...names)].map((command) => ({ ...command, ...key }));
  desk.apply(...commands);
  const cancels = names
    .filter((_, i) => i % 3 > 0)
    .map((name): Command => {
      const clientOrderId = name.slice(4);
      return { kind: "cancel", account: "ann", symbol: "A-B", target: { by: "client", clientOrderId, ...key } };
    });
  assert.equal(desk.apply(...cancels).filter((line) => line.endsWith("canceled REQUESTED")).length, cancels.length);
  for (let i = 0; i < names.length; i++) {
    assert.equal(desk.engine.orderOf("ann", "A-B", String(i), key) !== undefined, i % 3 === 0);
  }
});

function* submits(...names: readonly string[]) {
  for (const name of names) {
    const [account = "", clientOrderId = ""] = name.split(" ");
    const nothing = { stopPrice: 0, displayQuantity: 0, expireTime: 0, postOnly: false, selfTradePrevention: 0 };
    const submit = {
      clientOrderId,
      symbol: "A-B",
      side: 1,
      type: 2,
      timeInForce: 1,
      quantity: 1,
      price: 9,
      ...nothing,
    };
    yield { kind: "submit", account, keyHigh: 7, keyLow: 7, submit } as const;
  }
}
