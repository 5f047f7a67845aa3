import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { Writer } from "./writer.ts";
import type { Transaction } from "./writer.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "migrations");

/** Of one migration, waiting for another process' included, in ms: an index built on a day's orders takes a minute. */
const TIMEOUT_MS = 10 * 60_000;

/** Any fixed number, the same in every version: whoever migrates holds this advisory lock. */
const LOCK = 7_366_511;

/** The database and this program do not fit. Nothing was changed. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Brings the schema to what this program knows: applies the missing files of migrations/ in sequence, each in a transaction
 * of its own. Several processes may do so at once. Throws a SchemaError where the database has a migration that is unknown
 * here (a newer program was there) or one that was another text when it was applied.
 */
export async function migrate(databaseUrl: string): Promise<{ applied: string[] }> {
  const migrations = await readMigrations(FOLDER);
  const writer = new Writer(databaseUrl, { timeoutMs: TIMEOUT_MS });
  const applied: string[] = [];
  try {
    for (;;) {
      const name = await writer.transaction((transaction) => applyNext(transaction, migrations));
      if (name === undefined) return { applied };
      applied.push(name);
    }
  } finally {
    await writer.close();
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  return await Promise.all(
    names.map(async (name, position) => {
      const number = Number(/^(\d{4})_\w+\.sql$/.exec(name)?.[1]);
      if (number !== position + 1) throw new SchemaError(`migrations must count from 0001 without a gap: ${name}`);
      const sql = await readFile(join(folder, name), "utf8");
      return { number, name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

/** Its name, or undefined where none is missing. */
async function applyNext(transaction: Transaction, migrations: readonly Migration[]): Promise<string | undefined> {
  // The lock ends with the transaction, so another process sees either the whole migration or none of it.
  await transaction.query(`SELECT pg_advisory_xact_lock(${LOCK})`);
  await transaction.query(
    `CREATE TABLE IF NOT EXISTS schema_migrations (
       number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
     )`,
  );
  const { rows } = await transaction.query<{ number: number; name: string; checksum: string }>(
    "SELECT number, name, checksum FROM schema_migrations ORDER BY number",
  );
  for (const row of rows) {
    const known = migrations[row.number - 1];
    if (known === undefined) {
      throw new SchemaError(
        `the database has the migration ${row.name}, this program knows them up to ` +
          `${migrations.at(-1)?.name ?? "none"}: run the newer program`,
      );
    }
    if (known.checksum !== row.checksum)
      throw new SchemaError(`the migration ${known.name} has changed since it was applied`);
  }
  const next = migrations[rows.length];
  if (next === undefined) return undefined;
  await transaction.query(next.sql);
  await transaction.query("INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)", [
    next.number,
    next.name,
    next.checksum,
  ]);
  return next.name;
}
