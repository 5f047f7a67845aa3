import assert from "node:assert/strict";
import { test } from "node:test";
import { RequestError, resourceExhausted } from "./errors.ts";
import { failureOf } from "./order-log.ts";

test("what a command for several partitions failed with: what all of them say, else that its outcome is unknown", () => {
  const full = resourceExhausted("full; nothing was done", 500);
  const shut = new RequestError("UNAVAILABLE", "shut; nothing was done");
  assert.equal(failureOf(1, [full]), full);
  assert.equal(failureOf(2, [full, resourceExhausted(full.message, 500)]), full);
  for (const [partitions, failures] of [
    [2, [full]],
    [3, [full, full]],
    [2, [full, shut]],
  ] as const) {
    const failure = failureOf(partitions, failures);
    assert.ok(failure instanceof RequestError);
    assert.equal(failure.code, "UNAVAILABLE");
    assert.match(failure.message, /the outcome is unknown in part; send the same id again$/);
  }
  const bug = new TypeError("a bug");
  assert.equal(failureOf(3, [full, bug]), bug);
});
