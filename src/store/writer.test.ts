import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { TransactionError } from "./errors.ts";
import { openSql, openWriter } from "./test-entries.ts";
import { Writer } from "./writer.ts";

async function setUp(t: Parameters<typeof openWriter>[0]) {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  await sql`CREATE TABLE facts (fact int PRIMARY KEY)`;
  const facts = async () =>
    (await sql<{ fact: number }[]>`SELECT fact FROM facts ORDER BY fact`).map(({ fact }) => fact);
  return { url, sql, facts, writer: openWriter(t, url) };
}

const COPY = "COPY facts FROM STDIN";

test("commits what the work wrote, and gives its result", async (t) => {
  const { writer, facts } = await setUp(t);
  const result = await writer.transaction(async (transaction) => {
    await transaction.copy(COPY, [Buffer.from("1\n2"), Buffer.from("0\n3\n")]);
    const { count } = await transaction.query("INSERT INTO facts VALUES ($1), ($2)", [4, 5]);
    return { count, rows: [...(await transaction.query("SELECT count(*)::int AS n FROM facts")).rows] };
  });
  assert.deepEqual(result, { count: 2, rows: [{ n: 5 }] });
  assert.deepEqual(await facts(), [1, 3, 4, 5, 20]);
});

test("a COPY of nothing", async (t) => {
  const { writer, facts } = await setUp(t);
  await writer.transaction((transaction) => transaction.copy(COPY, []));
  assert.deepEqual(await facts(), []);
});

test("a COPY that fails is never reported as done", async (t) => {
  const { writer, facts } = await setUp(t);
  await writer.transaction((transaction) => transaction.query("INSERT INTO facts VALUES (7)"));
  const large = Buffer.from(Array.from({ length: 50_000 }, (_, i) => `${100 + i}\n`).join(""));
  const bad: Record<string, Buffer[]> = {
    "a duplicate key at the end": [Buffer.from("1\n2\n7\n")],
    "a duplicate key in an early piece": [Buffer.from("7\n"), large, Buffer.from("8\n")],
    "a bad value": [Buffer.from("1\n"), Buffer.from("seven\n"), large],
    "a bad value, then nothing": [Buffer.from("seven\n")],
    "a row cut short": [Buffer.from("1\t2\n")],
    "no UTF-8": [Buffer.from([0xff, 0x0a])],
  };
  for (const [name, chunks] of Object.entries(bad)) {
    await assert.rejects(
      writer.transaction((transaction) => transaction.copy(COPY, chunks)),
      (error: Error & { code?: string }) => /^(22|23|25P02)/.test(error.code ?? ""),
      name,
    );
    assert.deepEqual(await facts(), [7], name);
  }
  // The statement after it, which postgres.js would give the failed COPY's result to.
  await writer.transaction((transaction) => transaction.copy(COPY, [Buffer.from("8\n")]));
  assert.deepEqual(await facts(), [7, 8]);
});

test("a failed COPY that the work passes over is no success either", async (t) => {
  const { writer, facts } = await setUp(t);
  await assert.rejects(
    writer.transaction(async (transaction) => {
      await transaction.query("INSERT INTO facts VALUES (1)");
      await transaction.copy(COPY, [Buffer.from("1\n")]).catch(() => {});
    }),
    TransactionError,
  );
  assert.deepEqual(await facts(), []);
});

test("a COPY whose rows cannot be made leaves nothing", async (t) => {
  const { writer, facts } = await setUp(t);
  function* broken(): Generator<Buffer> {
    yield Buffer.from("1\n");
    throw new TypeError("no such row");
  }
  await assert.rejects(
    writer.transaction((transaction) => transaction.copy(COPY, broken())),
    TypeError,
  );
  assert.deepEqual(await facts(), []);
  await writer.transaction((transaction) => transaction.copy(COPY, [Buffer.from("1\n")]));
  assert.deepEqual(await facts(), [1]);
});

test("work that throws is rolled back, and the error is its own", async (t) => {
  const { writer, facts } = await setUp(t);
  const mistake = new RangeError("mine");
  await assert.rejects(
    writer.transaction(async (transaction) => {
      await transaction.query("INSERT INTO facts VALUES (1)");
      throw mistake;
    }),
    (error) => error === mistake,
  );
  assert.deepEqual(await facts(), []);
});

test("a savepoint's work may fail and the transaction go on", async (t) => {
  const { writer, facts } = await setUp(t);
  await writer.transaction(async (transaction) => {
    await transaction.query("INSERT INTO facts VALUES (1)");
    await transaction.query("SAVEPOINT s");
    await assert.rejects(transaction.query("INSERT INTO facts VALUES ($1)", [1]), { code: "23505" });
    await transaction.query("ROLLBACK TO s");
    await transaction.query("INSERT INTO facts VALUES ($1)", [2]);
  });
  assert.deepEqual(await facts(), [1, 2]);
});

test("a transaction has a time limit, whatever it waits for", async (t) => {
  const { url, sql, facts } = await setUp(t);
  const hasty = openWriter(t, url, 1000);
  await assert.rejects(
    hasty.transaction((transaction) => transaction.query("SELECT pg_sleep(60)")),
    (error: Error & { code?: string }) => error instanceof TransactionError || error.code === "57014",
  );
  await assert.rejects(
    hasty.transaction(() => new Promise(() => {})),
    TransactionError,
  );
  await hasty.transaction((transaction) => transaction.query("INSERT INTO facts VALUES (1)"));
  assert.deepEqual(await facts(), [1]);
  await sql`SELECT`;
});

test("one transaction at a time", async (t) => {
  const { writer } = await setUp(t);
  await writer.transaction(async () => {
    await assert.rejects(
      writer.transaction(async () => {}),
      /one transaction at a time/,
    );
  });
});

test("a server that refuses: an error each time, and nothing left that connects again", async () => {
  const writer = new Writer("postgres://nobody@127.0.0.1:1/nothing", { timeoutMs: 5000 });
  for (let i = 0; i < 3; i++) {
    await assert.rejects(
      writer.transaction(async () => {}),
      { code: "ECONNREFUSED" },
    );
  }
  await writer.close();
});

test("close ends the connection, and a transaction that is on its way", async (t) => {
  const { url, sql } = await setUp(t);
  const writer = new Writer(url, { timeoutMs: 20_000 });
  await writer.transaction((transaction) => transaction.query("SELECT 1"));
  await writer.close();
  const [row] = await sql`
    SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE application_name = 'penstock' AND datname = current_database()`;
  assert.equal(row?.count, 0);
  await assert.rejects(
    writer.transaction(async (transaction) => {
      await transaction.query("SELECT 1");
      await writer.close();
      await transaction.query("SELECT 1");
    }),
    TransactionError,
  );
});
