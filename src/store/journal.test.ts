import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import type { EntryRecord, LogPosition, Receipt } from "./entry-record.ts";
import { connect } from "./connection.ts";
import { findGaps, findWritten, journalAhead, journalBefore, journalEnd, readEntry, readJournal } from "./journal.ts";
import { ensurePartitions } from "./partitions.ts";
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

test("so many entries ahead, and the one before, through epochs", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const places = [
    { epoch: 1, ms: NOON, seq: 0 },
    { epoch: 1, ms: NOON, seq: 1 },
    { epoch: 1, ms: NOON + DAY_MS, seq: 0 },
    { epoch: 3, ms: NOON + 5, seq: 2 },
    { epoch: 3, ms: NOON + 2 * DAY_MS, seq: 0 },
  ];
  await persist(writer, chain(...places));
  const ahead = (of: LogPosition, entries: number) => journalAhead(sql, 0, 0, of, entries);
  const [first, , third, fourth, fifth] = places as [LogPosition, LogPosition, LogPosition, LogPosition, LogPosition];
  assert.deepEqual(await ahead(first, 2), third);
  assert.deepEqual(await ahead(first, 9), third, "the last of its epoch");
  assert.deepEqual(await ahead(third, 9), fourth, "the first of the next one");
  assert.deepEqual(await ahead(fourth, 1), fifth);
  assert.equal(await ahead(fifth, 1), undefined);
  assert.equal(await journalAhead(sql, 1, 0, first, 1), undefined);
  for (const [i, place] of places.entries()) assert.deepEqual(await journalBefore(sql, 0, 0, place), places[i - 1]);
  assert.deepEqual(await journalBefore(sql, 0, 0, { epoch: 9, ms: 0, seq: 0 }), fifth);
});

test("a page costs what it holds, however much stands behind it", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  const sql = connect(url, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  await ensurePartitions(writer, [NOON, NOON + DAY_MS]);
  await sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash)
    SELECT 0, 0, 1, ${NOON}::bigint + n * 10000, 0, 0, 0, 1, 1, sha256('') FROM generate_series(1, 15000) AS n`;
  await sql`ANALYZE journal`;
  const looked = async () => {
    await sql`SELECT pg_stat_force_next_flush()`;
    const [row] = await sql<{ entries: number }[]>`
      SELECT sum(seq_tup_read + coalesce(idx_tup_read, 0))::int AS entries
      FROM pg_stat_user_tables JOIN (
        SELECT relid, sum(idx_tup_read) AS idx_tup_read FROM pg_stat_user_indexes GROUP BY relid
      ) AS index USING (relid) WHERE relname LIKE 'journal_%'`;
    return row!.entries;
  };
  const before = await looked();
  const after = { epoch: 1, ms: NOON + 1_000_000, seq: 0 };
  assert.equal((await readJournal(sql, { stream: 0, partition: 0, after, limit: 10 })).length, 10);
  assert.equal((await journalAhead(sql, 0, 0, after, 10))?.ms, NOON + 1_100_000);
  assert.equal((await journalBefore(sql, 0, 0, { epoch: 1, ms: NOON + 100_000_000, seq: 0 }))?.ms, NOON + 99_990_000);
  const entries = (await looked()) - before;
  assert.ok(entries < 1_000, `looked at ${entries} entries`);
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
