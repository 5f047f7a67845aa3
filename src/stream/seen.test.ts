import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeSeen, encodeSeen } from "./seen.ts";

test("I2: what an idempotency key stands for, there and back, in 22 bytes", () => {
  const payloadHash = "\0\x7f\x80\xff\x01\xfe\x55\xaa";
  for (const place of [
    { epoch: 1, ms: 0, seq: 0, index: 0 },
    { epoch: 0x3fff, ms: 2 ** 48 - 1, seq: 2 ** 32 - 1, index: 499 },
    { epoch: 3, ms: 1_763_812_800_123, seq: 12, index: 65_535 },
  ]) {
    const value = encodeSeen(payloadHash, place);
    assert.equal(value.length, 22);
    assert.deepEqual(decodeSeen(value), { payloadHash, ...place });
  }
});
