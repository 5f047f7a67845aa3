import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { Turns } from "./turns.ts";

test("so many in a turn, in the order of their coming, and none is left", async () => {
  const turns = new Turns(3);
  const had: number[] = [];
  const all = Array.from({ length: 10 }, async (_, n) => {
    await turns.next();
    had.push(n);
  });
  const seen: number[] = [];
  while (had.length < 10) {
    await nextTurn();
    seen.push(had.length);
  }
  await Promise.all(all);
  assert.deepEqual(had, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  for (const [i, count] of seen.entries()) assert.ok(count - (seen[i - 1] ?? 0) <= 6, seen.join());
  assert.ok(seen.length >= 3, seen.join());
});

test("who comes alone has its turn at once, again and again", async () => {
  const turns = new Turns(2);
  for (let n = 0; n < 5; n++) {
    assert.equal(turns.next(), undefined);
    assert.equal(turns.next(), undefined);
    assert.notEqual(turns.next(), undefined);
    await nextTurn();
    await nextTurn();
  }
});
