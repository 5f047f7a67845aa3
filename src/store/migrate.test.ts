import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { findCredentials } from "./account-keys.ts";
import { migrate, SchemaError } from "./migrate.ts";
import { openSql } from "./test-entries.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "migrations");
const ALL = (await readdir(FOLDER)).sort();

/** A database with nothing in it. */
async function createEmpty(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  await sql`DROP SCHEMA public CASCADE`;
  await sql`CREATE SCHEMA public`;
  return { url, sql };
}

async function undoBehindThird(sql: ReturnType<typeof openSql>): Promise<void> {
  await sql`DROP TABLE settings, accounts, instruments, account_keys, account_revision, revocations, admin_actions, executions,
    trades, order_states, engine_snapshots, engine_snapshot_parts, log_fences, log_closings CASCADE`;
  await sql`ALTER TABLE dead_letters DROP COLUMN state CASCADE, DROP COLUMN settled_at CASCADE,
    DROP COLUMN settled_by CASCADE, DROP COLUMN note CASCADE, DROP COLUMN kind CASCADE`;
  await sql`DELETE FROM schema_migrations WHERE number > 3`;
}

test("applies what is missing, once", async (t) => {
  const { url, sql } = await createEmpty(t);
  assert.deepEqual(await migrate(url), { applied: ALL });
  assert.deepEqual(await migrate(url), { applied: [] });
  await undoBehindThird(sql);
  assert.deepEqual(await migrate(url), { applied: ALL.slice(3) });
});

test("the secret of an account that was there becomes its first key", async (t) => {
  const { url, sql } = await createEmpty(t);
  await migrate(url);
  await undoBehindThird(sql);
  await sql.unsafe(await readFile(join(FOLDER, "0004_reference.sql"), "utf8"));
  const checksum = createHash("sha256")
    .update(await readFile(join(FOLDER, "0004_reference.sql")))
    .digest("hex");
  await sql`INSERT INTO schema_migrations (number, name, checksum) VALUES (4, '0004_reference.sql', ${checksum})`;
  await sql`INSERT INTO accounts (name, role, secret_hash) VALUES ('alice', 'trader', 'hash of alice'), ('bob', 'admin', 'b')`;
  await migrate(url);
  const [credentials, none] = [
    await findCredentials(sql, "alice", undefined),
    await findCredentials(sql, "carol", undefined),
  ];
  assert.equal(credentials?.key.secretHash, "hash of alice");
  assert.match(credentials.key.id, /^[0-9a-f]{12}$/);
  assert.deepEqual([credentials.role, credentials.suspended, credentials.generation], ["trader", false, 0]);
  assert.equal(none, undefined);
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
  await sql`CREATE TABLE admin_actions (mine int)`; // in the way of the fifth one, at its end
  await assert.rejects(migrate(url), { code: "42P07" });
  const names = await sql<{ name: string }[]>`SELECT name FROM schema_migrations ORDER BY number`;
  assert.deepEqual(names.map(({ name }) => name), ALL.slice(0, 4)); // prettier-ignore
  const [row] = await sql`SELECT to_regclass('account_keys') AS keys`;
  assert.equal(row?.keys, null);
});
