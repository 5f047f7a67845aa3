import assert from "node:assert/strict";
import { test } from "node:test";

import { EntryRing } from "./entry-ring.ts";

interface Entry {
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly previous: { readonly ms: number; readonly seq: number };
  readonly bytes: number;
}

/** The n-th of a stream that begins at 1, in epoch 1 up to the 50th. */
function entry(n: number, bytes = 1): Entry {
  return { epoch: n > 50 ? 2 : 1, ms: n, seq: 7, previous: n === 1 ? { ms: 0, seq: 0 } : { ms: n - 1, seq: 7 }, bytes };
}

function filled(count: number, bounds: { entries: number; bytes: number }): EntryRing<Entry> {
  const ring = new EntryRing<Entry>(bounds);
  for (let n = 1; n <= count; n++) ring.push(entry(n));
  return ring;
}

const ms = (entries: readonly Entry[] | undefined) => entries?.map(({ ms }) => ms);

test("it holds the newest, within its bounds of entries and of bytes", () => {
  const ring = filled(5_000, { entries: 100, bytes: 1_000 });
  assert.equal(ring.end?.ms, 5_000);
  assert.equal(ring.find({ ms: 4_900, seq: 7 }), undefined);
  assert.equal(ring.find({ ms: 4_901, seq: 7 })?.ms, 4_901);
  ring.push(entry(5_001, 996));
  assert.deepEqual(ms(ring.since({ epoch: 2, ms: 4_996, seq: 7 })), [4_997, 4_998, 4_999, 5_000, 5_001]);
  assert.equal(ring.since({ epoch: 2, ms: 4_995, seq: 7 }), undefined);
  ring.push(entry(5_002, 10_000));
  assert.deepEqual(ms(ring.since({ epoch: 2, ms: 5_001, seq: 7 })), [5_002], "the newest stays, however large");
  ring.push(entry(5_003));
  assert.deepEqual(ms(ring.since({ epoch: 2, ms: 5_002, seq: 7 })), [5_003]);
  ring.clear();
  assert.equal(ring.end, undefined);
  assert.equal(ring.since({ epoch: 2, ms: 5_003, seq: 7 }), undefined);
});

test("an entry is found by its ID alone, and what is behind a place by all of it", () => {
  const ring = filled(100, { entries: 1_000, bytes: 1_000 });
  for (let n = 1; n <= 100; n++) {
    assert.equal(ring.find({ ms: n, seq: 7 })?.ms, n);
    assert.equal(ring.find({ ms: n, seq: 6 }), undefined);
    assert.equal(ring.since(entry(n))?.length, 100 - n);
  }
  assert.equal(ring.since({ epoch: 0, ms: 0, seq: 0 })?.length, 100, "it reaches back to the beginning");
  assert.equal(ring.since({ epoch: 1, ms: 60, seq: 7 })?.length, 50, "a later epoch is behind all of an earlier one");
  assert.deepEqual(ring.since({ epoch: 3, ms: 200, seq: 0 }), []);
});
