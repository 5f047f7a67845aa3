import assert from "node:assert/strict";
import { test } from "node:test";

import { flatMemory, type Point, steadyCount, steadyLatency, trendOf } from "./verdict.ts";

const MIB = 1024 * 1024;
const series = (seconds: number, value: (at: number) => number, run = 0, from = 0): Point[] =>
  Array.from({ length: seconds }, (_, i) => ({ at: from + i, value: value(i), run }));

test("a trend is that within the lives of a process, behind their warm-up", () => {
  // Each life begins with a steep rise, and at another level; both leak 2 a second.
  const life = (level: number) => (at: number) => level + (at < 60 ? 100 * at : 6_000 + 2 * at);
  const points = [...series(300, life(0), 1), ...series(300, life(50_000), 2, 400)];
  const trend = trendOf(points, 60);
  assert.ok(Math.abs(trend!.perHour - 7_200) < 1e-6);
  assert.equal(trend!.span, 2 * 239);
  assert.equal(
    trendOf(
      series(50, () => 1),
      60,
    ),
    undefined,
    "all of it is warm-up",
  );
});

test("a leak is found, waves are none, and of a short run nothing is said", () => {
  const judged = (points: readonly Point[]) => flatMemory("x", trendOf(points, 60)).ok;
  const waves = (at: number) => 100 * MIB + 20 * MIB * Math.sin(at);
  const leak = (at: number) => waves(at) + at * 0.02 * MIB;
  assert.equal(judged(series(3_600, waves)), true);
  assert.equal(judged(series(3_600, leak)), false);
  assert.equal(judged(series(300, leak)), undefined);
  assert.equal(judged([]), undefined);
});

test("latency and counts are held against their beginning", () => {
  const latency = (value: (at: number) => number, windows = 30) => steadyLatency("x", series(windows, value)).ok;
  const steady = (at: number) => 20 + at / 2; // 10 ms more at last are within the noise
  assert.equal(latency(steady), true);
  assert.equal(
    latency((at) => 20 + 2 * at),
    false,
  );
  assert.equal(latency(steady, 8), undefined);
  const files = series(30, (at) => 40 + at);
  assert.equal(steadyCount("x", files.slice(0, 15)).ok, true);
  assert.equal(steadyCount("x", files).ok, false);
});
