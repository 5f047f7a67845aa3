import type postgres from "postgres";

import { NULL } from "./copy.ts";
import type { Receipt } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";

/**
 * Stored rows as the lines that `expectedLine` makes, so that the two are compared without taking either apart: rows as objects
 * of their columns would cost ten times as much. `from` is what stands behind FROM, and bounds how many there are.
 */
export async function storedLines<Row extends { readonly index: number }>(
  sql: postgres.Sql,
  table: RowTable<Row>,
  from: string,
  parameters: readonly (string | number)[],
): Promise<string[]> {
  const values = table.columns.map(({ name, stored }) => `coalesce((${stored ?? name})::text, '${NULL}')`);
  const statement = `SELECT concat_ws(E'\\t', ${values.join(", ")}) AS line FROM ${from}`;
  const rows = await sql.unsafe<{ line: string }[]>(statement, [...parameters], { prepare: true });
  return rows.map(({ line }) => line);
}

/** A row as it is to stand there: what COPY is given, without the escapes. */
export function expectedLine<Row extends { readonly index: number }>(
  table: RowTable<Row>,
  receipt: Receipt,
): (row: Row) => string {
  const lineOf = table.lines(receipt);
  return (row) => {
    const line = lineOf(row).slice(0, -1);
    return /\\[\\tnr]/.test(line) ? line.replace(/\\([\\tnr])/g, (_escape, kind: string) => PLAIN[kind]!) : line;
  };
}

const PLAIN: Readonly<Record<string, string>> = { "\\": "\\", t: "\t", n: "\n", r: "\r" };
