import assert from "node:assert/strict";
import { test } from "node:test";

import { Buckets } from "./buckets.ts";

const FILL = { perSecond: 10, burst: 20 };

test("a bucket holds a burst, and fills at its rate", () => {
  const buckets = new Buckets();
  assert.equal(buckets.wait("a", 20, FILL, 5), 0);
  assert.equal(buckets.wait("a", 21, FILL, 5), 100, "more than it holds never fits, and says so");
  buckets.charge("a", 20, FILL, 5);
  assert.equal(buckets.wait("a", 1, FILL, 5), 100);
  assert.equal(buckets.wait("a", 20, FILL, 5), 2_000);
  assert.equal(buckets.wait("a", 1, FILL, 105), 0);
  assert.equal(buckets.wait("a", 20, FILL, 2_005), 0);
  assert.equal(buckets.wait("b", 20, FILL, 5), 0, "another's is another");
});

test("it never holds more than its burst, however long it rests", () => {
  const buckets = new Buckets();
  buckets.charge("a", 1, FILL, 0);
  buckets.charge("a", 20, FILL, 1_000_000);
  assert.equal(buckets.wait("a", 1, FILL, 1_000_000), 100);
});

test("it can be charged more than it holds: the wait is the longer", () => {
  const buckets = new Buckets();
  for (let i = 0; i < 30; i++) buckets.charge("a", 1, FILL, 0);
  assert.equal(buckets.wait("a", 1, FILL, 0), 1_100);
});

test("over any time no more is taken than the burst and what came in", () => {
  const buckets = new Buckets();
  let taken = 0;
  for (let now = 0; now < 60_000; now += 7) {
    const n = 1 + (now % 5);
    if (buckets.wait("a", n, FILL, now) > 0) continue;
    buckets.charge("a", n, FILL, now);
    taken += n;
    assert.ok(taken <= FILL.burst + (now * FILL.perSecond) / 1_000);
  }
  assert.ok(taken > 0.95 * (FILL.burst + 60 * FILL.perSecond), `${taken} were taken`);
});

test("a crowd of names pushes out the idle ones, not those at work", () => {
  const buckets = new Buckets();
  buckets.charge("idle", 20, FILL, 0);
  for (let i = 0; i < 30_000; i++) {
    buckets.charge(`name-${i}`, 1, FILL, 0);
    if (i % 5_000 === 0) buckets.charge("at work", 1, FILL, 0);
  }
  assert.equal(buckets.wait("idle", 20, FILL, 0), 0);
  assert.equal(buckets.wait("at work", 20, FILL, 0), 600, "six were taken");
});
