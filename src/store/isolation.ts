import type { DeadLetter, EntryRecord } from "./entry-record.ts";
import { isPoison } from "./errors.ts";
import { textArray } from "./parameters.ts";
import type { RowTable } from "./row-table.ts";
import type { Transaction } from "./writer.ts";

/** Something that Postgres refuses by itself, with its error. */
export interface Refused<T> {
  readonly item: T;
  readonly sqlstate: string;
  readonly reason: string;
}

/**
 * Writes items in one statement where that goes, else in halves, down to those that are refused alone. Each try stands under
 * a savepoint, so what could be written stays. Throws every error that is not an item's own.
 *
 * n items with k bad ones take at most about 2k·log2(n) tries.
 */
export async function writeIsolated<T>(
  transaction: Transaction,
  items: readonly T[],
  write: (items: readonly T[]) => Promise<void>,
): Promise<Refused<T>[]> {
  const [item] = items;
  if (item === undefined) return [];
  await transaction.query("SAVEPOINT isolated");
  try {
    await write(items);
    await transaction.query("RELEASE isolated");
    return [];
  } catch (error) {
    if (!isPoison(error)) throw error;
    await transaction.query("ROLLBACK TO isolated; RELEASE isolated");
    if (items.length === 1) return [{ item, sqlstate: error.code, reason: error.message }];
  }
  const middle = items.length >> 1;
  return [
    ...(await writeIsolated(transaction, items.slice(0, middle), write)),
    ...(await writeIsolated(transaction, items.slice(middle), write)),
  ];
}

/**
 * Writes a table's rows of one entry by plain INSERTs and gives the ones that cannot be written as dead letters. A row that
 * stands there already, as after a replay from the journal, is written; another one in its place is reported.
 */
export async function writeRowsIsolated<Row extends { readonly index: number }>(
  transaction: Transaction,
  table: RowTable<Row>,
  entry: EntryRecord,
): Promise<DeadLetter[]> {
  const taken = new Set<Row>();
  const { insert, findTaken } = statements(table);
  const refused = await writeIsolated(transaction, table.rowsOf(entry), async (rows) => {
    const values = parameters(table, entry, rows);
    const { count } = await transaction.query(insert, values);
    if (count === rows.length) return;
    const found = await transaction.query<{ place: string }>(findTaken, values);
    for (const { place } of found.rows) taken.add(rows[Number(place) - 1]!);
  });
  return [
    ...refused.map(({ item, sqlstate, reason }) => deadLetter(entry, item.index, sqlstate, reason)),
    ...Array.from(taken, ({ index }) =>
      deadLetter(entry, index, TAKEN, `another row of ${table.name} stands in its place`),
    ),
  ];
}

/** The SQLSTATE of a row in whose place another one stands, of which the insert itself says nothing. */
const TAKEN = "23505";

export function isTaken({ sqlstate }: DeadLetter): boolean {
  return sqlstate === TAKEN;
}

export function deadLetter(entry: EntryRecord, index: number, sqlstate: string | null, reason: string): DeadLetter {
  return { index, raw: entry.raw(index), sqlstate, reason };
}

/** INSERT of what is not there, and which of the rows another one stands in the place of. */
function statements<Row extends { readonly index: number }>({ name, key, columns }: RowTable<Row>) {
  const names = columns.map((column) => column.name);
  const arrays = columns.map(({ type }, i) => `$${i + 1}::${type}[]`).join(", ");
  const made = columns.map((column) => `${column.as ?? column.name} AS ${column.name}`).join(", ");
  const rows = `(SELECT ${made}, place FROM unnest(${arrays}) WITH ORDINALITY AS raw (${names.join(", ")}, place)) AS given`;
  const facts = names.filter((column) => !key.includes(column));
  const of = (table: string) => facts.map((column) => `${table}.${column}`).join(", ");
  return {
    insert: `
      INSERT INTO ${name} (${names.join(", ")}) SELECT ${names.join(", ")} FROM ${rows}
      ON CONFLICT (${key.join(", ")}) DO NOTHING`,
    findTaken: `
      SELECT place FROM ${rows} JOIN ${name} AS kept USING (${key.join(", ")})
      WHERE (${of("given")}) IS DISTINCT FROM (${of("kept")})`,
  };
}

function parameters<Row extends { readonly index: number }>(
  { columns }: RowTable<Row>,
  { receipt }: EntryRecord,
  rows: readonly Row[],
): string[] {
  return columns.map(({ value }) =>
    textArray(
      rows.map((row) => {
        const given = value(row, receipt);
        return given === null ? null : String(given);
      }),
    ),
  );
}
