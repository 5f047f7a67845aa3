import assert from "node:assert/strict";
import { test } from "node:test";
import { Engine } from "./engine.ts";
import { Desk } from "./reference/desk.ts";

function busyDesk(): Desk {
  const desk = new Desk();
  desk.define({ symbol: "C-D" });
  desk.limits("ann", 9, 1_000);
  desk.orders(
    "ann 1 buy 9 @ 100 show 2",
    "bob 1 sell 3 @ 101 until 5000",
    "ann 2 sell 4 @ 99 stop 95",
    "cem ö sell 2 @ 100",
  );
  desk.orders("dee 1 buy 5 @ 80 on C-D", "dee 2 buy 5 stop 200 on C-D", "dee 3 sell 9007199254740991 @ 1000 on C-D");
  return desk;
}

test("I7: a restored engine is the same: hash, bytes, and what comes after", () => {
  const desk = busyDesk();
  const bytes = desk.engine.snapshot();
  const restored = Engine.restore(bytes);
  assert.deepEqual(restored.position, desk.engine.position);
  assert.equal(restored.stateHash, desk.engine.stateHash);
  assert.deepEqual(restored.snapshot(), bytes);
  const entry = {
    epoch: 1,
    ms: 6_000,
    seq: 0,
    commands: [{ kind: "mass-cancel", account: "ann", symbol: "" }],
  } as const;
  assert.deepEqual(restored.apply(entry).events.copy(), desk.engine.apply(entry).events.copy());
  assert.equal(restored.stateHash, desk.engine.stateHash);
});

test("a snapshot in which any one bit is wrong, or that ends early, is no snapshot", () => {
  const bytes = busyDesk().engine.snapshot();
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => Engine.restore(damaged), /damaged|snapshot|rules/, `bit ${bit}`);
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => Engine.restore(bytes.subarray(0, length)), RangeError, `${length} bytes`);
  }
});

test("the hash differs where anything does", () => {
  const hashes = new Set<bigint>();
  const changes: readonly ((desk: Desk) => unknown)[] = [
    () => {},
    (desk) => desk.tick(2_000),
    (desk) => desk.tick(2_001),
    (desk) => desk.status("HALTED"),
    (desk) => desk.limits("ann", 9, 1_001),
    (desk) => desk.limits("bob", 9, 1_000),
    (desk) => desk.define({ version: 2 }),
    (desk) => desk.define({ version: 3 }),
    (desk) => desk.cancel("ann", "1"),
    (desk) => desk.cancel("ann", "2"),
    (desk) => desk.cancel("ann", "none"),
    (desk) => desk.order("ann 3 buy 1 @ 99"),
    (desk) => desk.order("ann 4 buy 1 @ 99"),
    (desk) => desk.order("bob 3 buy 1 @ 99"),
    (desk) => desk.order("ann 3 buy 1 @ 99 until 9000"),
    (desk) => desk.order("ann 3 buy 1 @ 99 until 9001"),
    (desk) => desk.order("ann 3 buy 1 @ 99 post-only"),
    (desk) => desk.order("ann 3 buy 1 @ 99 decrement"),
    (desk) => desk.order("ann 3 buy 2 @ 99"),
    (desk) => desk.order("ann 3 buy 2 @ 99 show 1"),
    (desk) => desk.order("ann 3 buy 2 @ 99 on C-D"),
  ];
  for (const change of changes) {
    const desk = busyDesk();
    change(desk);
    hashes.add(desk.engine.stateHash);
  }
  assert.equal(hashes.size, changes.length);
});

test("the hash differs by the order of a queue", () => {
  const [first, second] = ["ann", "bob"].map((account) => {
    const desk = new Desk();
    desk.orders("ann 1 buy 5 @ 100", "bob 1 buy 5 @ 100");
    desk.replace(account, "1", { price: 101 });
    desk.replace(account, "1", { price: 100 });
    desk.replace(account, "1", { price: 99 });
    desk.replace(account, "1", { price: 100 });
    return desk;
  });
  assert.notDeepEqual(first?.queue("buy"), second?.queue("buy"));
  assert.notEqual(first?.engine.stateHash, second?.engine.stateHash);
});
