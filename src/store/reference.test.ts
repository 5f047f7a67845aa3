import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import { connect } from "./connection.ts";
import { countOpenLetters, findLetter, listLetters, settleLetter } from "./dead-letter-shelf.ts";
import { claimPartitionCount, PartitionCountError } from "./settings.ts";
import { makeEntry, NOON, openSql, openWriter } from "./test-entries.ts";

test("the number of partitions is fixed by whoever starts first", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const claims = await Promise.allSettled([4, 8, 4, 8].map((count) => claimPartitionCount(sql, count)));
  assert.equal(claims.filter(({ status }) => status === "fulfilled").length, 2);
  const [row] = await sql<{ value: string }[]>`SELECT value FROM settings`;
  await claimPartitionCount(sql, Number(row?.value));
  await assert.rejects(claimPartitionCount(sql, 5), PartitionCountError);
});

test("dead letters, newest first, by what became of them", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  assert.deepEqual([...(await countOpenLetters(sql))], []);
  const letter = (index: number, sqlstate: string | null, reason: string) => {
    return { index, raw: Buffer.from([index]), sqlstate, reason };
  };
  const deadLetters = [letter(0, null, "odd"), letter(1, "22003", "too large"), letter(2, null, "odd")];
  await persist(writer, [makeEntry({ seq: 5, more: { deadLetters, deliveries: 2 } })]);
  assert.deepEqual(
    [...(await countOpenLetters(sql))].sort((a, b) => a.count - b.count),
    [
      { stream: 0, kind: "refused", count: 1 },
      { stream: 0, kind: "unreadable", count: 2 },
    ],
  );
  const [newest, ...others] = await listLetters(sql, { limit: 2 });
  assert.equal(others.length, 1);
  const { id, createdAt, ...rest } = newest!;
  const place = { stream: 0, partition: 0, epoch: 1, ms: NOON, seq: 5, index: 2 };
  const open = { state: "open", settledAt: null, settledBy: null, note: null };
  assert.deepEqual(rest, { ...place, ...open, kind: "unreadable", sqlstate: null, reason: "odd", attempts: 2 });
  assert.ok(createdAt instanceof Date);
  const older = await listLetters(sql, { before: others[0]!.id, limit: 10 });
  assert.deepEqual(older.map(({ index }) => index), [0]); // prettier-ignore
  assert.ok(id > others[0]!.id);
  assert.deepEqual((await findLetter(sql, id))?.raw, Buffer.from([2]));
  assert.equal(await findLetter(sql, id + 1), undefined);

  const settled = await writer.transaction((transaction) =>
    settleLetter(transaction, id, { state: "discarded", by: "root", note: "of a test" }),
  );
  assert.deepEqual([settled.state, settled.settledBy, settled.note], ["discarded", "root", "of a test"]);
  const indexesOf = async (state: "open" | "discarded" | "redriven") =>
    (await listLetters(sql, { state, limit: 10 })).map(({ index }) => index);
  assert.deepEqual(await indexesOf("open"), [1, 0]);
  assert.deepEqual(await indexesOf("discarded"), [2]);
  assert.deepEqual(await indexesOf("redriven"), []);
});

test("a pool answers again after its server's connections were cut", async (t) => {
  const { url } = await createTestDatabase(t);
  const [sql, other] = [connect(url, { max: 3 }), openSql(t, url)];
  t.after(() => sql.end({ timeout: 1 }));
  await Promise.all([1, 2, 3].map((n) => sql`SELECT ${n}::int`));
  await other`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'penstock'`;
  await Promise.allSettled([1, 2, 3].map((n) => sql`SELECT ${n}::int`));
  assert.equal((await Promise.all([1, 2, 3].map((n) => sql`SELECT ${n}::int`))).length, 3);
});

test("a pool fails at once where no server is, again and again, and refuses several hosts", async () => {
  const sql = connect("postgres://nobody@127.0.0.1:1/nothing", { max: 1 });
  for (let i = 0; i < 3; i++) await assert.rejects(sql`SELECT 1`, { code: "ECONNREFUSED" });
  await sql.end({ timeout: 1 });
  assert.throws(() => connect("postgres://a,b/nothing", { max: 1 }), RangeError);
});
