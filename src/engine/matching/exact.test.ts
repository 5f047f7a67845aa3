import assert from "node:assert/strict";
import { test } from "node:test";
import { borrowed, carried, carries, exact, highOf, isBeyondValue, lowOf } from "./exact.ts";

const MOST = Number.MAX_SAFE_INTEGER;

test("a sum is carried from 2^53 on, exactly there too, and back", () => {
  for (const [low, amount] of [
    [MOST, 1],
    [1, MOST],
    [2 ** 52, 2 ** 52],
    [MOST, MOST],
    [MOST - 5, 6],
    [2 ** 52 + 1, 2 ** 52 + 2],
  ] as const) {
    assert.ok(carries(low, amount), `${low} + ${amount}`);
    const sum = BigInt(low) + BigInt(amount);
    assert.equal(exact(1, carried(low, amount)), sum);
    assert.deepEqual([highOf(sum), lowOf(sum)], [1, carried(low, amount)]);
    assert.equal(borrowed(carried(low, amount), amount), low);
  }
  assert.equal(carries(MOST - 1, 1), false);
  assert.equal(carries(0, MOST), false);
});

test("a value is told from 2^63 to the last unit", () => {
  assert.equal(isBeyondValue(2 ** 31, 2 ** 32), true);
  assert.equal(isBeyondValue(2 ** 31, 2 ** 32 - 1), false);
  assert.equal(isBeyondValue(7, Number((2n ** 63n - 1n) / 7n / 2n)), false);
  assert.equal(isBeyondValue(MOST, 1025), true);
  assert.equal(isBeyondValue(MOST, 1024), false);
});
