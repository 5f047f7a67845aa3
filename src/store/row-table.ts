import type { EntryRecord, Receipt } from "./entry-record.ts";

/**
 * A table whose rows are written once, each with its entry. What both ways of writing them need: COPY, and the careful one
 * row by row where COPY is refused.
 */
export interface RowTable<Row extends { readonly index: number }> {
  readonly name: string;
  /** The columns that say which row it is. */
  readonly key: readonly string[];
  readonly columns: readonly Column<Row>[];
  readonly rowsOf: (entry: EntryRecord) => readonly Row[];
  /**
   * Makes lines of COPY's text format, the columns in the sequence above, of the rows of the entry with this receipt. By hand,
   * and not from the columns: it is done for every row.
   */
  readonly lines: (receipt: Receipt) => (row: Row) => string;
}

export interface Column<Row> {
  readonly name: string;
  /** Of the parameter from which it is made. */
  readonly type: string;
  /** How it is made, where it is not the parameter itself. */
  readonly as?: string;
  readonly value: (row: Row, receipt: Receipt) => string | number | bigint | boolean | null;
  /** What is read to have the text that `lines` writes, where that is not the column as text. */
  readonly stored?: string;
}
