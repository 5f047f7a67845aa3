import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import type { EntryRecord, LogPosition, Receipt } from "./entry-record.ts";
import { findGaps, findWritten, journalEnd, readEntry, readJournal } from "./journal.ts";
import { makeEntry, NOON, openSql, openWriter } from "./test-entries.ts";

const DAY_MS = 86_400_000;

/** Entries that follow each other. */
function chain(...positions: (LogPosition & { partition?: number })[]): EntryRecord[] {
  return positions.map((position, i) => {
    const before = positions[i - 1] ?? { ms: 0, seq: 0 };
    const receipt: Partial<Receipt> = { ...position, prevMs: before.ms, prevSeq: before.seq };
    return makeEntry({ seq: position.seq, orders: 0, receipt });
  });
}

const at = ({ epoch, ms, seq }: LogPosition): LogPosition => ({ epoch, ms, seq });

test("the end of the journal is its highest position: epoch, ms, seq", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  assert.equal(await journalEnd(sql, 0, 0), undefined);
  const entries = chain(
    { epoch: 1, ms: NOON + DAY_MS, seq: 9 },
    { epoch: 2, ms: NOON, seq: 3 },
    { epoch: 2, ms: NOON, seq: 10 },
    { epoch: 9, ms: NOON, seq: 0, partition: 1 },
  );
  await persist(writer, entries);
  assert.deepEqual(await journalEnd(sql, 0, 0), { epoch: 2, ms: NOON, seq: 10 });
  assert.deepEqual(await journalEnd(sql, 0, 1), { epoch: 9, ms: NOON, seq: 0 });
  assert.equal(await journalEnd(sql, 1, 0), undefined);
});

test("pages in the log's order, and single entries", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entries = chain(
    { epoch: 0, ms: NOON - DAY_MS, seq: 0 },
    { epoch: 1, ms: NOON, seq: 0 },
    { epoch: 1, ms: NOON, seq: 2 ** 32 - 1 },
    { epoch: 1, ms: NOON + DAY_MS, seq: 1 },
    { epoch: 2, ms: NOON, seq: 5 },
  );
  await persist(writer, entries.toReversed());
  const positions = entries.map(({ receipt }) => at(receipt));

  const read: LogPosition[] = [];
  for (let after: LogPosition | undefined; ; after = read.at(-1)) {
    const page = await readJournal(sql, { stream: 0, partition: 0, after, limit: 2 });
    if (page.length === 0) break;
    read.push(...page.map(at));
  }
  assert.deepEqual(read, positions);
  const since = await readJournal(sql, { stream: 0, partition: 0, sinceMs: NOON + 1, limit: 10 });
  assert.deepEqual(since.map(at), [positions[3]]);

  const { receipt } = entries[2]!;
  const { epoch, ms, seq, prevMs, prevSeq, version, commands, hash, payload } = receipt;
  const entry = { epoch, ms, seq, prevMs, prevSeq, version, commands, hash, payload };
  assert.deepEqual(await readEntry(sql, 0, 0, receipt), entry);
  assert.deepEqual((await readJournal(sql, { stream: 0, partition: 0, limit: 10 }))[2], entry);
  assert.equal(await readEntry(sql, 0, 0, { ...receipt, epoch: 3 }), undefined);
});

test("says which entries have a receipt, whatever their epoch", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entries = chain({ epoch: 0, ms: NOON, seq: 1 }, { epoch: 3, ms: NOON + DAY_MS, seq: 2 });
  await persist(writer, entries);
  const ids = [
    { ms: NOON, seq: 1 },
    { ms: NOON, seq: 2 },
    { ms: NOON + DAY_MS, seq: 2 },
  ];
  const written = await findWritten(sql, 0, 0, ids);
  assert.deepEqual(
    written.toSorted((a, b) => a.ms - b.ms),
    [ids[0], ids[2]],
  );
  assert.deepEqual(await findWritten(sql, 0, 1, ids), []);
  assert.deepEqual(await findWritten(sql, 0, 0, []), []);
});

test("a payload comes back byte for byte, also a large one", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const payloads = [Buffer.alloc(0), Buffer.from([0, 255, 92, 39]), Buffer.alloc(1 << 20, "0123456789abcdef\0"), null];
  const entries = payloads.map((payload, seq) => makeEntry({ seq, orders: 0, receipt: { payload } }));
  await persist(writer, entries);
  const read = await readJournal(sql, { stream: 0, partition: 0, limit: 10 });
  assert.deepEqual(read.map(({ payload }) => payload), payloads); // prettier-ignore
});

test("a gap is an entry whose predecessor is not there", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entries = chain(
    { epoch: 0, ms: NOON, seq: 0 },
    { epoch: 0, ms: NOON, seq: 1 },
    { epoch: 0, ms: NOON + 1, seq: 0 },
    { epoch: 1, ms: NOON + 2, seq: 0 },
    { epoch: 1, ms: NOON + 3, seq: 0 },
    { epoch: 1, ms: NOON + DAY_MS, seq: 0 },
  );
  // After an opening, the new epoch may follow an entry that the old epoch's lost tail followed too.
  const branch = makeEntry({ seq: 7, orders: 0, receipt: { epoch: 1, ms: NOON + 1, prevMs: NOON, prevSeq: 1 } });
  const range = { stream: 0, partition: 0, fromMs: NOON, toMs: NOON + DAY_MS, oldestMs: 0, limit: 10 } as const;
  await persist(writer, [entries[0]!, entries[1]!, entries[3]!, entries[5]!, branch]);
  const missing = [
    { epoch: 1, ms: NOON + 2, seq: 0, prevMs: NOON + 1, prevSeq: 0 },
    { epoch: 1, ms: NOON + DAY_MS, seq: 0, prevMs: NOON + 3, prevSeq: 0 },
  ];
  assert.deepEqual(await findGaps(sql, range), missing);
  assert.deepEqual(await findGaps(sql, { ...range, limit: 1 }), missing.slice(0, 1));
  assert.deepEqual(await findGaps(sql, { ...range, toMs: NOON + 10 }), missing.slice(0, 1));
  assert.deepEqual(await findGaps(sql, { ...range, oldestMs: NOON + 2 }), missing.slice(1));
  assert.deepEqual(await findGaps(sql, { ...range, partition: 1 }), []);
  // A range that begins in the middle of the chain has no gap at its begin.
  assert.deepEqual(await findGaps(sql, { ...range, fromMs: NOON + 1, toMs: NOON + 1 }), []);
  await persist(writer, [entries[2]!, entries[4]!]);
  assert.deepEqual(await findGaps(sql, range), []);
});
