import assert from "node:assert/strict";
import { test } from "node:test";

import { type Question, REPORTED, suspectsOf } from "./suspects.ts";

/** Numbers from 1 on that look wrong, each of the moment of its value. */
function question(count: number, more: Partial<Question<number>> = {}): Question<number> {
  return {
    keyOf: String,
    timeOf: (suspect) => suspect,
    ask: async ({ sinceMs, after = 0, limit }) =>
      Array.from({ length: count }, (_, i) => i + 1).filter((n) => n > after && n >= sinceMs).slice(0, limit), // prettier-ignore
    ...more,
  };
}

/** Of what is kept since then; the retention drops up to the next moment of the list at each look. */
function keptSince(...moments: readonly number[]) {
  let sinceMs = 0;
  let looks = 0;
  return {
    refresh: async () => (sinceMs = moments[Math.min(looks++, moments.length - 1)]!),
    keeps: (ms: number) => ms >= sinceMs,
  };
}

test("what nothing accounts for is found behind pages of what something does", async () => {
  const unexplained = async (rows: readonly number[]) => rows.filter((n) => n === 249);
  assert.deepEqual(await suspectsOf(keptSince(0), question(250, { unexplained }), 50), [249]);
  assert.deepEqual(await suspectsOf(keptSince(0), question(0), 50), []);
  assert.deepEqual(
    await suspectsOf(keptSince(0), question(50), 50),
    Array.from({ length: 50 }, (_, i) => i + 1),
  );
});

test("no more are told than a hundred", async () => {
  assert.equal((await suspectsOf(keptSince(0), question(1_000), 70)).length, REPORTED);
});

test("what looks right a moment later is not told", async () => {
  let looks = 0;
  const ask = async () => (looks++ === 0 ? [3, 4, 5] : [4, 9]);
  assert.deepEqual(await suspectsOf(keptSince(0), question(0, { ask })), [4]);
});

test("what the retention drops before the question, while it is answered, or before the second look is not told", async () => {
  assert.deepEqual(await suspectsOf(keptSince(9), question(10)), [9, 10]);
  assert.deepEqual(await suspectsOf(keptSince(0, 9), question(10)), [9, 10]);
  assert.deepEqual(await suspectsOf(keptSince(0, 0, 9), question(10)), [9, 10]);
  assert.deepEqual(await suspectsOf(keptSince(0, 0, 0, 9), question(10)), [9, 10]);
});
