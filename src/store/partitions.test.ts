import assert from "node:assert/strict";
import { test } from "node:test";

import type postgres from "postgres";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import { dropExpiredPartitions, ensurePartitions, firstOrderId, keptSince, orderTime } from "./partitions.ts";
import { countRows, makeEntry, NOON, openSql, openWriter } from "./test-entries.ts";

const DAY_MS = 86_400_000;

async function names(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent IN ('journal'::regclass, 'orders'::regclass) ORDER BY 1`;
  return rows.map(({ name }) => name);
}

test("a day gets its partitions, and the two days after it", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await ensurePartitions(writer, [NOON]);
  await ensurePartitions(writer, [NOON]);
  const days = ["20261122", "20261123", "20261124"];
  assert.deepEqual(await names(sql), [...days.map((day) => `journal_${day}`), ...days.map((day) => `orders_${day}`)]);
});

test("a partition has what its table has", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await ensurePartitions(writer, [NOON]);
  const [indexes] = await sql`SELECT count(*)::int AS count FROM pg_inherits
    WHERE inhparent IN (SELECT indexrelid FROM pg_index WHERE indrelid IN ('journal'::regclass, 'orders'::regclass))`;
  assert.equal(indexes?.count, 3 * 4); // journal has one, orders three
  const [payload] =
    await sql`SELECT attstorage FROM pg_attribute WHERE attrelid = 'journal_20261122'::regclass AND attname = 'payload'`;
  const [parent] =
    await sql`SELECT attstorage FROM pg_attribute WHERE attrelid = 'journal'::regclass AND attname = 'payload'`;
  assert.equal(payload?.attstorage, parent?.attstorage);
});

test("the first and the last millisecond of a day are in its partition", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const midnight = NOON - DAY_MS / 2;
  const entries = [midnight, midnight + DAY_MS - 1, midnight + DAY_MS].map((ms, seq) =>
    makeEntry({ seq, receipt: { ms } }),
  );
  await persist(writer, entries);
  for (const table of ["journal", "orders"]) {
    const [row] = await sql`SELECT count(*)::int AS count FROM ${sql(`${table}_20261122`)}`;
    assert.equal(row?.count, 2);
  }
});

test("several writers at once, with rows of days that nobody has made", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const outcomes = await Promise.all(
    [0, 1, 2, 3].map((turn) =>
      persist(
        openWriter(t, url),
        [0, 1, 2, 3, 4].map((day) => makeEntry({ seq: turn, receipt: { ms: NOON + ((day + turn) % 5) * DAY_MS } })),
      ),
    ),
  );
  assert.deepEqual(outcomes.map(({ rows }) => rows), [5, 5, 5, 5]); // prettier-ignore
  assert.equal((await names(sql)).length, 2 * 7);
});

test("a new day does not wait for those who read and write", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, busy] = [openWriter(t, url), openWriter(t, url)];
  await ensurePartitions(writer, [NOON]);
  await busy.transaction(async (transaction) => {
    await transaction.query(`SELECT count(*) FROM orders`);
    await transaction.query(`LOCK TABLE orders, journal IN ROW EXCLUSIVE MODE`);
    await ensurePartitions(writer, [NOON + 30 * DAY_MS]);
  });
});

test("drops what is older than the retention, and nothing else", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entries = [0, 1, 2, 3, 9].map((age) => makeEntry({ seq: 9 - age, receipt: { ms: NOON - age * DAY_MS } }));
  await persist(writer, entries);
  await sql`CREATE TABLE orders_20200101 (mine int)`; // not a partition
  const { dropped } = await dropExpiredPartitions(writer, 2, NOON);
  // Rows of up to 2 days ago stay: those of the 20th from noon on, and so the whole 20th.
  const expired = ["13", "14", "15", "19"];
  const tables = ["executions", "journal", "order_states", "orders", "trades"];
  assert.deepEqual(
    dropped.toSorted(),
    tables.flatMap((table) => expired.map((day) => `${table}_202611${day}`)),
  );
  assert.deepEqual(await countRows(sql), { journal: 3, orders: 3, deadLetters: 0 });
  assert.deepEqual(await dropExpiredPartitions(writer, 2, NOON), { dropped: [] });
});

test("what was dropped stays so, though the day of an order that is still open is made again", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const dayAgo = (days: number) => NOON - DAY_MS / 2 - days * DAY_MS;
  await ensurePartitions(
    writer,
    Array.from({ length: 10 }, (_, age) => dayAgo(age)),
  );
  assert.equal(await keptSince(sql), dayAgo(9));
  await dropExpiredPartitions(writer, 2, NOON);
  assert.equal(await keptSince(sql), dayAgo(2));
  // The order is filled: its state goes where it stood before.
  await ensurePartitions(openWriter(t, url), [dayAgo(8)]);
  assert.equal(await keptSince(sql), dayAgo(2));
  assert.equal((await dropExpiredPartitions(writer, 2, NOON)).dropped.length, 3 * 5);
  assert.equal(await keptSince(sql), dayAgo(2));
});

test("a table that is in use is dropped later, and its users do not wait", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, busy] = [openWriter(t, url), openWriter(t, url)];
  await persist(writer, [makeEntry({ seq: 0, receipt: { ms: NOON - 9 * DAY_MS } })]);
  await busy.transaction(async (transaction) => {
    await transaction.query("SELECT FROM journal");
    assert.deepEqual(await dropExpiredPartitions(writer, 1, NOON), { dropped: [] });
  });
  assert.equal((await dropExpiredPartitions(writer, 1, NOON)).dropped.length, 3 * 5);
});

test("the bounds of order ids", () => {
  assert.equal(firstOrderId(0x0123_4567_89ab), "01234567-89ab-0000-0000-000000000000");
  assert.equal(orderTime("01234567-89ab-7000-8001-000000010002"), 0x0123_4567_89ab);
  assert.ok(Number.isNaN(orderTime("no order id")));
});
