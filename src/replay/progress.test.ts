import assert from "node:assert/strict";
import { test } from "node:test";

import { progressLine } from "./progress.ts";

test("a line of progress says how far it is, how quick, and how long it will take", () => {
  assert.equal(progressLine("orders", 0, 1_000, 0, 0), "orders: 0 % of 1,000 entries, 0 rows/s, some time left");
  assert.equal(progressLine("orders", 250, 1_000, 5_000, 10), "orders: 25 % of 1,000 entries, 500 rows/s, 30 s left");
  assert.equal(progressLine("e", 1, 100, 60, 60), "e: 1 % of 100 entries, 1 rows/s, 1.6 h left");
  assert.equal(progressLine("e", 10, 100, 60, 60), "e: 10 % of 100 entries, 1 rows/s, 9 min left");
  assert.equal(progressLine("e", 7, 5, 7, 1), "e: 100 % of 5 entries, 7 rows/s, 0 s left", "more came meanwhile");
  assert.equal(progressLine("e", 0, 0, 0, 1), "e: 100 % of 0 entries, 0 rows/s, 0 s left");
});
