import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import postgres from "postgres";

import { createTestDatabase, startTestPostgres } from "../../test/support/servers.ts";

async function query<Row>(url: string, statement: string): Promise<Row> {
  const sql = postgres(url, { max: 1, connect_timeout: 5 });
  try {
    const [row] = await sql.unsafe(statement);
    return row as Row;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const setting = async (url: string, name: string): Promise<string> =>
  (await query<{ value: string }>(url, `SELECT current_setting('${name}') AS value`)).value;

test("it is a UTF-8 cluster that commits to the disk and listens on loopback", async (t) => {
  const server = await startTestPostgres(t, { durable: true });
  assert.equal(await setting(server.url, "server_encoding"), "UTF8");
  assert.equal(await setting(server.url, "lc_messages"), "C");
  assert.equal(await setting(server.url, "fsync"), "on");
  assert.equal(await setting(server.url, "synchronous_commit"), "on");
  assert.equal(await setting(server.url, "track_commit_timestamp"), "on");
  assert.equal(await setting(server.url, "listen_addresses"), "127.0.0.1");
  assert.equal(await setting(server.url, "TimeZone"), "UTC");
});

test("it asks for the password", async (t) => {
  const server = await startTestPostgres(t);
  const wrong = server.url.replace(/:[^:@]+@/, ":wrong@");
  await assert.rejects(setting(wrong, "fsync"), { code: "28P01" });
});

test("its data and its port survive a kill", async (t) => {
  const server = await startTestPostgres(t);
  const { url } = server;
  await query(url, "CREATE TABLE kept AS SELECT 7 AS n");
  await server.kill();
  assert.deepEqual(await server.exited, { code: null, signal: "SIGKILL" });
  await server.start();
  assert.equal(server.url, url);
  assert.deepEqual(await query(url, "SELECT n FROM kept"), { n: 7 });
});

test("a pid file that names a stranger does not keep it from starting", async (t) => {
  const server = await startTestPostgres(t);
  const pidFile = join(server.folder, "postmaster.pid");
  const lines = readFileSync(pidFile, "utf8").split("\n");
  await server.kill();
  writeFileSync(pidFile, [process.pid, ...lines.slice(1)].join("\n"));
  await server.start();
  assert.equal(await setting(server.url, "fsync"), "off");
});

test("data of another major version is refused, and left alone", async (t) => {
  const server = await startTestPostgres(t);
  await server.stop();
  writeFileSync(join(server.folder, "PG_VERSION"), "17\n");
  await assert.rejects(server.start(), /holds the data of PostgreSQL 17/);
});

test("each test database is its own, with all migrations applied", async (t) => {
  const [one, other] = await Promise.all([createTestDatabase(t), createTestDatabase(t)]);
  assert.notEqual(one.url, other.url);
  await query(one.url, "CREATE TABLE mine ()");
  const { mine, journal } = await query<{ mine: unknown; journal: unknown }>(
    other.url,
    "SELECT to_regclass('mine') AS mine, to_regclass('journal') AS journal",
  );
  assert.equal(mine, null);
  assert.equal(journal, "journal");
});
