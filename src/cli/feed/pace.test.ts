import assert from "node:assert/strict";
import { test } from "node:test";

import { Pace } from "./pace.ts";
import { progressLine } from "./progress.ts";
import { Tally } from "./tally.ts";

test("recorded time passes a factor as fast as it did; what is late or has no time does not wait", async () => {
  const pace = new Pace(10, new AbortController().signal);
  const since = performance.now();
  await pace.until(undefined);
  await pace.until(5_000);
  await pace.until(4_000);
  await pace.until(6_000);
  // Timers may be a millisecond early.
  assert.ok(performance.now() - since >= 99, "a second in a tenth of one");
});

test("Ctrl-C ends a wait of an hour", async () => {
  const controller = new AbortController();
  const pace = new Pace(1, controller.signal);
  await pace.until(0);
  const waiting = pace.until(3_600_000);
  controller.abort();
  await waiting;
});

test("the bar of a feed", () => {
  assert.equal(progressLine(0, 0, 0), `[>${" ".repeat(29)}]   0 %  0 sent  0/s`);
  assert.equal(progressLine(0.5, 12_345, 2), `[${"=".repeat(15)}>${" ".repeat(14)}]  50 %  12,345 sent  6,173/s`);
  assert.equal(progressLine(1, 1, 1), `[${"=".repeat(30)}] 100 %  1 sent  1/s`);
});

test("of thousands of lines at fault the first are told, and all are counted", () => {
  const told: string[] = [];
  const tally = new Tally((line) => told.push(line));
  for (let line = 1; line <= 5_000; line++) tally.fault(line, "no");
  for (let reason = 0; reason < 100; reason++) tally.skip(`reason ${reason}`);
  assert.deepEqual(
    [told.length, told[0], told[19], told[20]],
    [21, "line 1: no", "line 20: no", "and more lines, which are counted only"],
  );
  assert.equal(tally.faults, 5_000);
  const { skipped } = tally.json() as { skipped: Record<string, number> };
  assert.deepEqual([Object.keys(skipped).length, skipped["other reasons"]], [51, 50]);
});
