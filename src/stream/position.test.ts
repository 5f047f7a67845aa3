import assert from "node:assert/strict";
import { test } from "node:test";

import {
  compareEntries,
  compareEntryIds,
  formatEntryId,
  formatOrderId,
  MAX_EPOCH,
  MAX_PARTITIONS,
  orderIdBytes,
  orderIdText,
  parseEntryId,
  parseOrderId,
} from "./position.ts";
import type { Place } from "./position.ts";

const MAX: Place = {
  partition: MAX_PARTITIONS - 1,
  epoch: MAX_EPOCH,
  ms: 2 ** 48 - 1,
  seq: 2 ** 32 - 1,
  index: 2 ** 16 - 1,
};
const SOME: Place = { partition: 0x123, epoch: 5, ms: 1_763_812_800_123, seq: 7, index: 499 };

test("I3: an order's id is its place, there and back, up to the bounds of each part", () => {
  const zero: Place = { partition: 0, epoch: 0, ms: 0, seq: 0, index: 0 };
  for (const place of [zero, SOME, MAX]) {
    const id = formatOrderId(place);
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.deepEqual(parseOrderId(id), place);
    assert.deepEqual(parseOrderId(id.toUpperCase()), place);
    assert.equal(orderIdText(orderIdBytes(id)), id);
    assert.equal(orderIdBytes(id).length, 16);
  }
  assert.equal(formatOrderId(SOME), "019aab6f-767b-7123-8005-0000000701f3");
});

test("what is no order id is none", () => {
  const id = formatOrderId(SOME);
  const wrong = [
    "",
    id.slice(1),
    `${id}0`,
    ` ${id}`,
    id.replaceAll("-", ""),
    id.replace("-7123", "-4123"),
    id.replace("-8005", "-c005"),
  ];
  for (const text of wrong) assert.equal(parseOrderId(text), undefined, text);
});

test("entry IDs are read and written as Redis does, and refused beyond 48 and 32 bits", () => {
  for (const text of ["0-0", "1763812800123-4294967295", `${2 ** 48 - 1}-0`]) {
    assert.equal(formatEntryId(parseEntryId(text)), text);
  }
  for (const text of ["", "1", "1-", "-1", "1-1-1", "a-1", "1-1 ", "1.5-0", `${2 ** 48}-0`, `0-${2 ** 32}`, "1e3-0"]) {
    assert.throws(() => parseEntryId(text), RangeError, text);
  }
});

test("positions are compared as numbers, the epoch first", () => {
  const entry = (epoch: number, ms: number, seq: number) => ({ epoch, ms, seq });
  const ascending = [entry(1, 9, 10), entry(1, 10, 9), entry(1, 10, 10), entry(1, 100, 0), entry(2, 9, 0)];
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) assert.equal(Math.sign(compareEntries(a, b)), Math.sign(i - j));
  }
  assert.ok(compareEntryIds(entry(2, 9, 0), entry(1, 10, 0)) < 0);
});
