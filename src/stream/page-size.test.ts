import assert from "node:assert/strict";
import { test } from "node:test";

import { PageSize } from "./page-size.ts";

const MB = 1_000_000;

/** The limits before each of these pages, which are as full as they may be, of entries of so many bytes. */
function limitsOf(size: PageSize, entryBytes: readonly number[]): number[] {
  return entryBytes.map((bytes) => {
    const { limit } = size;
    size.adapt(Array.from({ length: limit }, () => bytes));
    return limit;
  });
}

test("it doubles where entries are small, up to its bound, and is one where they are large", () => {
  const size = new PageSize({ bytes: 8 * MB, most: 100 });
  assert.deepEqual(limitsOf(size, [100, 100, 100, 100, 100, 100]), [8, 16, 32, 64, 100, 100]);
  assert.deepEqual(limitsOf(size, [10 * MB, 10 * MB, 10 * MB]), [100, 1, 1]);
  assert.deepEqual(limitsOf(size, [100, 100, MB, MB]), [1, 2, 4, 8]);
  assert.equal(size.limit, 8, "what fits");
  assert.equal(new PageSize({ bytes: MB, most: 3 }).limit, 3);
});

test("a page that is not full changes it only where its entries are large", () => {
  const size = new PageSize({ bytes: 8 * MB, most: 100 });
  for (let i = 0; i < 10; i++) size.adapt([100]);
  size.adapt([]);
  assert.equal(size.limit, 8);
  size.adapt([9 * MB]);
  assert.equal(size.limit, 1);
});

test("one large entry among many small ones is no reason for small pages, but as many of them would be", () => {
  const size = new PageSize({ bytes: MB, most: 1_000 });
  limitsOf(size, [100, 100, 100, 100, 100, 100, 100]);
  size.adapt([...Array.from({ length: 999 }, () => 100), 100_000]);
  assert.equal(size.limit, 80);
});
