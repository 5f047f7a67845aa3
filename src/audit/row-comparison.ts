import type { EntryRecord } from "../store/entry-record.ts";
import { orderTime } from "../store/partitions.ts";
import type { RowTable } from "../store/row-table.ts";
import { expectedLine } from "../store/stored-lines.ts";
import { formatEntryId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import type { Kind } from "./kinds.ts";
import type { Letters } from "./letters.ts";
import type { Kept } from "./scope.ts";

export interface RowFigures {
  readonly rows: number;
  readonly deadLetters: number;
}

/** How many columns of a row that differ are told. */
const COLUMNS_TOLD = 3;
/** Of the text of a value. */
const MOST_CHARACTERS = 60;

export interface RowComparison<Row extends { readonly index: number }> {
  readonly table: RowTable<Row>;
  /** What the entries of a stretch are to be. */
  readonly records: readonly EntryRecord[];
  /** What stands there of that stretch, as `storedLines` has it. */
  readonly stored: readonly string[];
  readonly letters: Letters;
  /** What a row is that none of the entries makes. */
  readonly stranger: Kind;
}

/** I5: every row that an entry makes stands there as it must, or is a dead letter, and no other does. */
export async function compareRows<Row extends { readonly index: number }>(
  { table, records, stored, letters, stranger }: RowComparison<Row>,
  kept: Kept,
  findings: Findings,
): Promise<RowFigures> {
  // Nearly all are equal, and these are not taken apart.
  const strangers = new Set(stored);
  const missing: { readonly record: EntryRecord; readonly row: Row; readonly line: string }[] = [];
  let rows = 0;
  for (const record of records) {
    const lineOf = expectedLine(table, record.receipt);
    for (const row of table.rowsOf(record)) {
      const line = lineOf(row);
      if (strangers.delete(line)) rows++;
      else missing.push({ record, row, line });
    }
  }
  if (missing.length === 0 && strangers.size === 0) return { rows, deadLetters: 0 };

  // The retention drops table after table: of a day that is going some have their rows still.
  await kept.refresh();
  let deadLetters = 0;
  const keyOf = keyReader(table);
  const byKey = new Map(Array.from(strangers, (line) => [keyOf(line), line]));
  for (const { record, row, line } of missing) {
    const { receipt } = record;
    const key = keyOf(line);
    const other = byKey.get(key);
    byKey.delete(key);
    const where = `partition ${receipt.partition}, entry ${formatEntryId(receipt)}: ${key}`;
    if (other !== undefined)
      findings.add("a row is not what it must be", `${where}: ${differences(table, line, other)}`);
    else if (letters.has(receipt, row.index)) deadLetters++;
    else if (kept.keeps(receipt.ms)) findings.add("neither row nor dead letter", where);
  }
  const timeOf = timeReader(table);
  for (const [key, line] of byKey) if (kept.keeps(timeOf(line))) findings.add(stranger, key);
  return { rows, deadLetters };
}

/** How a row is named, of its line: "orders, order_id 0193…". */
function keyReader(table: Pick<RowTable<never>, "name" | "key" | "columns">): (line: string) => string {
  const at = table.key.map((name) => table.columns.findIndex((column) => column.name === name));
  return (line) => {
    const values = line.split("\t");
    return [table.name, ...at.map((column, i) => `${table.key[i] ?? ""} ${values[column] ?? ""}`)].join(", ");
  };
}

/** The moment (ms) by which a row is partitioned, of its line. */
function timeReader({ columns }: Pick<RowTable<never>, "columns">): (line: string) => number {
  const at = columns.findIndex(({ name }) => name === "ms");
  const id = columns.findIndex(({ name }) => name === "order_id");
  return (line) => {
    const values = line.split("\t");
    return at >= 0 ? Number(values[at]) : orderTime(values[id] ?? "");
  };
}

function differences({ columns }: Pick<RowTable<never>, "columns">, expected: string, stored: string): string {
  const [musts, values] = [expected.split("\t"), stored.split("\t")];
  const different = columns.flatMap(({ name }, i) =>
    musts[i] === values[i] ? [] : [`${name} is ${shown(values[i])}, must be ${shown(musts[i])}`],
  );
  const rest = different.length - COLUMNS_TOLD;
  return different.slice(0, COLUMNS_TOLD).join("; ") + (rest > 0 ? `; and ${rest} more` : "");
}

function shown(value = ""): string {
  if (value === "\\N") return "null";
  return value.length > MOST_CHARACTERS ? `${value.slice(0, MOST_CHARACTERS)}…` : value;
}
