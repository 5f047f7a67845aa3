import assert from "node:assert/strict";
import { test } from "node:test";

import { boundDeadlines } from "./http-deadlines.ts";

const CASES: readonly (readonly [given: string | null, connect: string, given: string | null, grpc: string])[] = [
  [null, "10000", null, "10000m"],
  ["500", "500", "500m", "500m"],
  ["10001", "10000", "11S", "10000m"],
  ["9999999999", "10000", "99999999H", "10000m"],
  ["0", "0", "1n", "1n"],
  ["10000", "10000", "10S", "10S"],
  // What is no deadline is left to who says so.
  ["soon", "soon", "soon", "soon"],
  ["-1", "-1", "10", "10"],
];

test("a call's deadline is its client's, or ours where that is sooner", () => {
  for (const [givenConnect, connect, givenGrpc, grpc] of CASES) {
    const header = new Headers();
    if (givenConnect !== null) header.set("connect-timeout-ms", givenConnect);
    if (givenGrpc !== null) header.set("grpc-timeout", givenGrpc);
    boundDeadlines(header, 10_000);
    assert.deepEqual([header.get("connect-timeout-ms"), header.get("grpc-timeout")], [connect, grpc]);
  }
});
