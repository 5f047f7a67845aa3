import assert from "node:assert/strict";
import { test } from "node:test";

import type { MarkedFindings } from "../store/replay-marks.ts";
import { countMarked, Findings, FindingTotals } from "./findings.ts";

function begin() {
  const lines: string[] = [];
  const totals = new FindingTotals((line) => lines.push(line));
  return { lines, totals, findings: new Findings(totals) };
}

/** As it stands in a mark. */
function stored(findings: Findings): MarkedFindings {
  return JSON.parse(JSON.stringify(findings.marked)) as MarkedFindings;
}

test("what is met twice is one finding, of one partition", () => {
  const { lines, totals, findings } = begin();
  const other = new Findings(totals);
  for (const where of ["a", "b", "a"]) findings.add("another row", where);
  findings.add("missing", "a");
  other.add("another row", "c");
  assert.deepEqual(lines, ["FOUND another row: a", "FOUND another row: b", "FOUND missing: a", "FOUND another row: c"]);
  assert.equal(totals.count, 4);
  assert.deepEqual(totals.summary(), ["  another row: 3", "  missing: 1"]);
  assert.deepEqual(stored(other), { "another row": { count: 1, first: ["c"] } });
});

test("through a mark each is told again, and counted once; of very many the number is kept", () => {
  const first = begin();
  for (let i = 0; i < 1_500; i++) first.findings.add("another row", String(i));
  first.findings.add("missing", "x");
  const mark = stored(first.findings);
  assert.equal(countMarked(mark), 1_501);

  const second = begin();
  second.findings.resume(mark);
  assert.equal(second.totals.count, 1_501);
  assert.equal(second.lines.filter((line) => /^FOUND another row: \d+$/.test(line)).length, 20);
  assert.ok(second.lines.includes("FOUND another row: 500 more, of which only the number was kept"));
  second.findings.add("another row", "7"); // met again
  second.findings.add("missing", "y");
  assert.equal(second.totals.count, 1_502);

  const third = begin();
  third.findings.resume(stored(second.findings));
  assert.equal(third.totals.count, 1_502);
  assert.deepEqual(third.totals.summary(), ["  another row: 1500", "  missing: 2"]);
});
