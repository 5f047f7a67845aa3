import assert from "node:assert/strict";
import { test } from "node:test";

import { flatMemory, type Point, steadyCount, steadyWindows, trendOf } from "./verdict.ts";

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

const latency = (values: readonly number[]) =>
  steadyWindows(
    "x",
    values.map((value, at) => ({ at, value })),
    { unit: "ms", slack: 10 },
  );
const thirds = (...levels: readonly number[]) =>
  latency(levels.flatMap((level) => Array.from({ length: 8 }, () => level))).ok;

test("windows are held against the better of the thirds, and the worst against the best", () => {
  assert.equal(thirds(20, 24, 28), true, "10 ms more are within the noise");
  assert.equal(thirds(20, 30, 40), false);
  assert.equal(thirds(100, 60, 110), false, "grown since the second");
  assert.equal(thirds(100, 160, 140), true);
  assert.equal(thirds(176, 1_048, 38), false, "less at last, and far apart");
  assert.equal(thirds(2, 30, 2), true, "40 ms are nothing");
  assert.equal(latency([10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 99]).ok, undefined, "too few");
});

test("of windows that differ within a third more than growth would nothing is said", () => {
  const waves = (mean: number) => Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? 0.4 : 1.6) * mean);
  const { ok, figure } = latency([...waves(100), ...waves(110), ...waves(180)]);
  assert.equal(ok, undefined);
  assert.match(figure, /within a third/);
  assert.equal(latency([...waves(10), ...waves(12), ...Array.from({ length: 8 }, () => 500)]).ok, false, "it is none");
});

test("counts are held against their beginning", () => {
  const files = series(30, (at) => 40 + at);
  assert.equal(steadyCount("x", files.slice(0, 15)).ok, true);
  assert.equal(steadyCount("x", files).ok, false);
});
