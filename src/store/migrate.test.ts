import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { migrate, SchemaError } from "./migrate.ts";
import { openSql } from "./test-entries.ts";

const ALL = (await readdir(join(import.meta.dirname, "..", "..", "migrations"))).sort();

/** A database with nothing in it. */
async function createEmpty(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  await sql`DROP SCHEMA public CASCADE`;
  await sql`CREATE SCHEMA public`;
  return { url, sql };
}

test("applies what is missing, once", async (t) => {
  const { url, sql } = await createEmpty(t);
  assert.deepEqual(await migrate(url), { applied: ALL });
  assert.deepEqual(await migrate(url), { applied: [] });
  await sql`DROP TABLE settings, accounts, instruments`;
  await sql`DELETE FROM schema_migrations WHERE number = ${ALL.length}`;
  assert.deepEqual(await migrate(url), { applied: ALL.slice(-1) });
});

test("several processes at once: each migration is applied by one of them", async (t) => {
  const { url } = await createEmpty(t);
  const script = `
    import { migrate } from ${JSON.stringify(join(import.meta.dirname, "migrate.ts"))};
    console.log(JSON.stringify((await migrate(process.argv[1])).applied));`;
  const applied = await Promise.all(
    [1, 2, 3].map(async () => {
      const child = spawn(process.execPath, ["--input-type=module", "--eval", script, url], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
      assert.equal(child.exitCode, 0);
      return JSON.parse(output) as string[];
    }),
  );
  assert.deepEqual(applied.flat().sort(), ALL);
});

test("refuses a schema that is newer than this program, and one with another past", async (t) => {
  const { url, sql } = await createEmpty(t);
  await migrate(url);
  await sql`UPDATE schema_migrations SET checksum = 'other' WHERE number = 2`;
  await assert.rejects(migrate(url), { name: "SchemaError", message: /0002_\w+\.sql has changed/ });
  await sql`INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, '9999_from_the_future.sql', '')`;
  await sql`DELETE FROM schema_migrations WHERE number = 2`;
  await assert.rejects(migrate(url), SchemaError);
});

test("a migration that fails leaves nothing of itself", async (t) => {
  const { url, sql } = await createEmpty(t);
  await sql`CREATE TABLE instruments (mine int)`; // in the way of the last one
  await assert.rejects(migrate(url), { code: "42P07" });
  const names = await sql<{ name: string }[]>`SELECT name FROM schema_migrations ORDER BY number`;
  assert.deepEqual(names.map(({ name }) => name), ALL.slice(0, -1)); // prettier-ignore
  const [row] = await sql`SELECT to_regclass('accounts') AS accounts`;
  assert.equal(row?.accounts, null);
});
