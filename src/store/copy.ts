import type { EntryRecord } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";
import type { Transaction } from "./writer.ts";

/**
 * Rows as COPY takes them, in its text format. The binary one was tried with orders: µs of CPU a row, in Node and in Postgres,
 * the indexes apart:
 *
 *     rows a COPY    text          binary
 *     500            2.3 + 6.9     3.1 + 6.5
 *     5,000          1.0 + 5.5     1.9 + 4.0
 *
 * So binary won 0.6 µs of 14 at best (COPY with its indexes, receipts and commit), for an encoder of numeric, uuid and
 * timestamps four times as long, and it moved work to Node's one thread, which has the decoding of the log to do as well.
 */

/**
 * A piece goes out when it has this many characters, some 800 rows. Each is awaited, so fewer are cheaper; the bound keeps a
 * transaction of 25,000 rows from being one string of 4 MB.
 */
const PIECE = 128 * 1024;

/** Writes the table's rows of these entries, and says how many they were. Throws as `Transaction.copy` does. */
export async function copyRows<Row extends { readonly index: number }>(
  transaction: Transaction,
  table: RowTable<Row>,
  entries: readonly EntryRecord[],
): Promise<number> {
  const rows = entries.reduce((count, entry) => count + table.rowsOf(entry).length, 0);
  if (rows === 0) return 0;
  const columns = table.columns.map(({ name }) => name).join(", ");
  await transaction.copy(`COPY ${table.name} (${columns}) FROM STDIN`, encodeRows(table, entries));
  return rows;
}

/** The rows of these entries in pieces of about 128 KiB. Text may hold anything; Postgres refuses NUL. */
export function encodeRows<Row extends { readonly index: number }>(
  table: RowTable<Row>,
  entries: Iterable<EntryRecord>,
): Generator<Buffer> {
  return pieces(linesOf(table, entries));
}

function* linesOf<Row extends { readonly index: number }>(
  table: RowTable<Row>,
  entries: Iterable<EntryRecord>,
): Generator<string> {
  for (const entry of entries) {
    const line = table.lines(entry.receipt);
    for (const row of table.rowsOf(entry)) yield line(row);
  }
}

export function* pieces(lines: Iterable<string>): Generator<Buffer> {
  let text = "";
  for (const line of lines) {
    text += line;
    if (text.length >= PIECE) {
      yield Buffer.from(text);
      text = "";
    }
  }
  if (text !== "") yield Buffer.from(text);
}

export const NULL = "\\N";

const SPECIAL = /[\\\t\n\r]/;
const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** Text that a client chose, or of which one cannot be sure. */
export function escaped(text: string): string {
  // The test alone, without a replacement, is 20 ns; nearly no text needs more.
  return SPECIAL.test(text) ? text.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character]!) : text;
}

/** Beyond the year 9999 Postgres reads ISO dates in another way: the number is refused, and the row then written alone. */
export function timestamp(ms: number): string {
  return ms < YEAR_10000 ? new Date(ms).toISOString() : String(ms);
}

const YEAR_10000 = Date.UTC(10_000, 0);
