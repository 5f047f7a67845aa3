import assert from "node:assert/strict";
import { test } from "node:test";

import { plot } from "./plot.ts";

test("a line with a gap is two; its highest points are drawn, however many there are; words are escaped", () => {
  const points = Array.from({ length: 10_000 }, (_, at): [number, number] => {
    if (at >= 4_000 && at < 4_500) return [at, NaN];
    return [at, at === 7_000 ? 50 : 10];
  });
  const panel = { title: "a < b & c", format: String, lines: [{ name: "x", points }] };
  const svg = plot([panel], [{ at: 5_000, letter: "R" }], 10_000);
  const lines = [...svg.matchAll(/<polyline [^>]*points="([^"]*)"/g)].map(([, text = ""]) => text.split(" "));
  assert.equal(lines.length, 2);
  const [first = [], second = []] = lines;
  assert.ok(first.length + second.length <= 761, "one point a pixel");
  const heights = second.map((point) => Number(point.split(",")[1]));
  assert.ok(Math.min(...heights) < heights[0]! - 50, "the peak of one second is seen");
  assert.match(svg, /a &lt; b &amp; c/);
  assert.match(svg, />R<\/text>/);
  assert.match(svg, />2:46:40<\/text>/);
});

test("powers of ten, and nothing to draw", () => {
  const lines = [{ name: "p99", points: [[0, 2], [1, 900]] as const }]; // prettier-ignore
  const svg = plot([{ title: "ms", format: String, logarithmic: true, lines }], [], 2);
  for (const tick of ["1", "10", "100", "1000"]) assert.ok(svg.includes(`>${tick}</text>`), tick);
  assert.ok(!plot([{ title: "none", format: String, lines: [] }], [], 0).includes("NaN"));
});
