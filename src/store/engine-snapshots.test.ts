import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import type postgres from "postgres";

import { createTestDatabase } from "../../test/support/servers.ts";
import type { LogPosition } from "./entry-record.ts";
import { persist } from "./batch.ts";
import { newestSnapshots, saveSnapshot, snapshotPlaces, type StoredSnapshot } from "./engine-snapshots.ts";
import { makeEntry, NOON, openSql, openWriter } from "./test-entries.ts";

const entryHash = createHash("sha256").update("an entry").digest();

function snapshot(seq: number, more: Partial<StoredSnapshot> = {}): StoredSnapshot {
  const data = Buffer.from(`state ${seq}`);
  return { partition: 0, epoch: 1, ms: NOON, seq, rules: 1, kept: false, stateHash: 7n, entryHash, data, ...more };
}

const END = { epoch: 16_383, ms: 2 ** 48 - 1, seq: 2 ** 32 - 1 };

async function all(sql: postgres.Sql, partition = 0, upTo: LogPosition = END): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = [];
  for await (const snapshot of newestSnapshots(sql, partition, upTo)) found.push(snapshot);
  return found;
}

test("a snapshot comes back as it was, of whatever size", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const mebibyte = 1024 * 1024;
  for (const [partition, size] of [0, 1, mebibyte, 2 * mebibyte, 3 * mebibyte + 17].entries()) {
    const given = snapshot(0, { ...END, partition, stateHash: 2n ** 64n - 1n, data: randomBytes(size) });
    await saveSnapshot(writer, given);
    assert.deepEqual(await all(sql, partition), [given]);
  }
  const [parts] = await sql`SELECT count(*)::int AS count, max(octet_length(data)) AS most FROM engine_snapshot_parts`;
  assert.deepEqual({ ...parts }, { count: 0 + 1 + 1 + 2 + 4, most: mebibyte });
  assert.deepEqual(await all(sql, 4_095), []);
});

test("the newest three stay, and those that are to be kept; positions count, not when they were stored", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const positions = async () => (await all(sql)).map(({ epoch, seq }) => `${epoch}/${seq}`);
  await saveSnapshot(writer, snapshot(1, { kept: true }));
  for (const seq of [5, 3, 4, 2]) await saveSnapshot(writer, snapshot(seq));
  assert.deepEqual(await positions(), ["1/5", "1/4", "1/3", "1/1"]);
  await saveSnapshot(writer, snapshot(1, { epoch: 2 }));
  assert.deepEqual(await positions(), ["2/1", "1/5", "1/4", "1/1"]);
  await saveSnapshot(writer, snapshot(4, { data: Buffer.from("another"), kept: true }));
  assert.deepEqual((await all(sql))[2], snapshot(4), "one that stands stays as it is");
  assert.deepEqual(
    (await all(sql, 0, { epoch: 1, ms: NOON, seq: 4 })).map(({ seq }) => seq),
    [4, 1],
    "up to a position",
  );
  assert.deepEqual(await all(sql, 0, { epoch: 1, ms: NOON - 1, seq: 9 }), []);
  await saveSnapshot(writer, snapshot(0, { partition: 1 }));
  assert.equal((await positions()).length, 4, "each partition has its own");
  const [left] = await sql`SELECT count(*)::int AS count FROM engine_snapshot_parts`;
  assert.equal(left?.["count"], 5, "with a snapshot go its data");
});

test("the first of each day stays for as long as the journal has that day", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const day = (n: number) => NOON + n * 86_400_000;
  await persist(writer, [
    makeEntry({ seq: 0, receipt: { ms: day(1) } }),
    makeEntry({ seq: 1, receipt: { ms: day(2) } }),
  ]);
  for (const n of [0, 1, 2])
    for (const seq of [1, 2, 3]) await saveSnapshot(writer, snapshot(seq, { ms: day(n) + seq }));
  const places = (await snapshotPlaces(sql, 0)).map(({ ms, seq }) => [Math.floor((ms - NOON) / 86_400_000), seq]);
  assert.deepEqual(places, [[1, 1], [2, 1], [2, 2], [2, 3]]); // prettier-ignore
});

test("each is read when it is asked for, and one that is damaged is handed over as it is found", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  for (const seq of [1, 2]) await saveSnapshot(writer, snapshot(seq));
  await sql`DELETE FROM engine_snapshot_parts WHERE seq = 2`;
  const snapshots = newestSnapshots(sql, 0, END);
  const first = await snapshots.next();
  assert.deepEqual([first.value?.seq, first.value?.data], [2, Buffer.alloc(7)]);
  await sql`DELETE FROM engine_snapshots WHERE seq = 1`;
  const second = await snapshots.next();
  assert.deepEqual([second.value?.seq, second.value?.data], [1, Buffer.alloc(7)], "removed meanwhile");
  assert.equal((await snapshots.next()).done, true);
});

test("a save that breaks off leaves what was there", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await saveSnapshot(writer, snapshot(1));
  await sql`ALTER TABLE engine_snapshot_parts ADD CHECK (octet_length(data) < 10)`;
  await assert.rejects(saveSnapshot(writer, snapshot(2, { data: Buffer.alloc(100) })));
  assert.deepEqual(await all(sql), [snapshot(1)]);
  await saveSnapshot(writer, snapshot(2, { data: Buffer.alloc(9) }));
  assert.equal((await all(sql)).length, 2);
});
