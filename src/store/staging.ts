import { encodeRows } from "./copy.ts";
import type { EntryRecord } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";
import type { Transaction } from "./writer.ts";

/** Places that hold another row: of one transaction so many are told one by one. */
const TOLD = 100;

/**
 * Writes those of the entries' rows that are missing, and tells the places in which another row stands: those stay as they
 * are. By COPY into a temporary table and an INSERT out of it; each table once in a transaction.
 */
export async function writeMissing<Row extends { readonly index: number }>(
  transaction: Transaction,
  table: RowTable<Row>,
  entries: readonly EntryRecord[],
): Promise<{ readonly rows: number; readonly taken: readonly string[] }> {
  const given = entries.reduce((count, entry) => count + table.rowsOf(entry).length, 0);
  if (given === 0) return { rows: 0, taken: [] };
  const { stage, copy, insert, findTaken } = statements(table);
  await transaction.query(stage);
  await transaction.copy(copy, encodeRows(table, entries));
  const { count } = await transaction.query(insert);
  if (count === given) return { rows: count, taken: [] };
  // Of the temporary table nothing is known that would tell how to join it: each row by the key, and no table is read whole.
  await transaction.query("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off");
  const { rows } = await transaction.query<{ place: string }>(findTaken);
  return { rows: count, taken: rows.map(({ place }) => place) };
}

/** Of the temporary table that takes the rows of another one first. */
export function stagedName(table: string): string {
  return `staged_${table}`;
}

function statements<Row extends { readonly index: number }>({ name, key, columns }: RowTable<Row>) {
  const staged = stagedName(name);
  const names = columns.map((column) => column.name);
  const all = names.join(", ");
  const facts = names.filter((column) => !key.includes(column));
  const of = (table: string) => facts.map((column) => `${table}.${column}`).join(", ");
  // What the table is partitioned by, so that the days of other rows are left alone.
  const along = key.includes("ms") ? "ms" : key[0]!;
  const bound = (direction: string) => `(SELECT ${along} FROM ${staged} ORDER BY ${along} ${direction} LIMIT 1)`;
  return {
    stage: `CREATE TEMP TABLE IF NOT EXISTS ${staged} (LIKE ${name}) ON COMMIT DELETE ROWS`,
    copy: `COPY ${staged} (${all}) FROM STDIN`,
    insert: `INSERT INTO ${name} (${all}) SELECT ${all} FROM ${staged} ON CONFLICT (${key.join(", ")}) DO NOTHING`,
    findTaken: `
      SELECT concat_ws(' ', ${key.join(", ")}) AS place FROM ${staged} AS given JOIN ${name} AS kept USING (${key.join(", ")})
      WHERE (${of("given")}) IS DISTINCT FROM (${of("kept")})
        AND kept.${along} BETWEEN ${bound("ASC")} AND ${bound("DESC")}
      LIMIT ${TOLD}`,
  };
}
