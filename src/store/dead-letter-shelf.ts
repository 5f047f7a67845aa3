import type postgres from "postgres";

import type { DeadLetter, LogPosition, StreamNumber } from "./entry-record.ts";
import type { Transaction } from "./writer.ts";

/** `redriven`: its rows are written. `discarded`: they never will be, for a reason that was given. */
export type LetterState = "open" | "redriven" | "discarded";
/** migrations/0007_dead_letters.sql and 0008_log_fences.sql say what they mean. */
export type LetterKind = "fork" | "orphaned" | "lost" | "foreign" | "refused" | "unreadable";

/** A dead letter without its bytes. */
export interface KnownLetter extends Omit<DeadLetter, "raw">, LogPosition {
  readonly id: number;
  readonly stream: StreamNumber;
  readonly partition: number;
  readonly kind: LetterKind;
  readonly state: LetterState;
  /** Deliveries of its entry until it was written, and redrives that failed since. */
  readonly attempts: number;
  readonly createdAt: Date;
  /** When it was redriven or discarded, and by whom; null while it is open. */
  readonly settledAt: Date | null;
  readonly settledBy: string | null;
  /** Why it was discarded. */
  readonly note: string | null;
}

export interface StoredLetter extends KnownLetter {
  readonly raw: Buffer;
}

const COLUMNS = `id, stream, partition, epoch, ms, seq, index, kind, state, sqlstate, reason, attempts,
  created_at AS "createdAt", settled_at AS "settledAt", settled_by AS "settledBy", note`;

/** As the driver gives it: bigints are text. */
type Row<Letter extends KnownLetter> = Omit<Letter, "id" | "ms" | "seq"> & Record<"id" | "ms" | "seq", string>;

function toLetter<Letter extends KnownLetter>(row: Row<Letter>): Letter {
  return { ...row, id: Number(row.id), ms: Number(row.ms), seq: Number(row.seq) } as unknown as Letter;
}

export interface LetterPage {
  /** All where it is absent. */
  readonly state?: LetterState | undefined;
  /** The id at which the page before ended. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listLetters(sql: postgres.Sql, { state, before, limit }: LetterPage): Promise<KnownLetter[]> {
  // The state stands in the text, so that the index of those that are open is found.
  const wanted = state === undefined ? sql`` : state === "open" ? sql`AND state = 'open'` : sql`AND state = ${state}`;
  const rows = await sql<Row<KnownLetter>[]>`
    SELECT ${sql.unsafe(COLUMNS)} FROM dead_letters
    WHERE id < ${before ?? Number.MAX_SAFE_INTEGER} ${wanted} ORDER BY id DESC LIMIT ${limit}`;
  return rows.map(toLetter);
}

export async function findLetter(sql: postgres.Sql, id: number): Promise<StoredLetter | undefined> {
  const [row] = await sql<Row<StoredLetter>[]>`
    SELECT ${sql.unsafe(COLUMNS)}, raw FROM dead_letters WHERE id = ${id}`;
  return row && toLetter(row);
}

/** Holds it until the transaction ends: another one that wants it waits, and then sees what became of it. */
export async function lockLetter(transaction: Transaction, id: number): Promise<KnownLetter | undefined> {
  const { rows } = await transaction.query<Row<KnownLetter>>(
    `SELECT ${COLUMNS} FROM dead_letters WHERE id = $1 FOR UPDATE`,
    [id],
  );
  return rows[0] && toLetter(rows[0]);
}

/** `note` goes with `discarded` alone. Returns the letter as it is then. */
export async function settleLetter(
  transaction: Transaction,
  id: number,
  { state, by, note }: { readonly state: "redriven" | "discarded"; readonly by: string; readonly note?: string },
): Promise<KnownLetter> {
  const { rows } = await transaction.query<Row<KnownLetter>>(
    `UPDATE dead_letters SET state = $2, settled_at = now(), settled_by = $3, note = $4 WHERE id = $1 RETURNING ${COLUMNS}`,
    [id, state, by, note ?? null],
  );
  return toLetter(rows[0]!);
}

/** Says that it could not be written once more, and why. Returns the letter as it is then. */
export async function noteAttempt(
  transaction: Transaction,
  id: number,
  { sqlstate, reason }: Pick<DeadLetter, "sqlstate" | "reason">,
): Promise<KnownLetter> {
  const { rows } = await transaction.query<Row<KnownLetter>>(
    `UPDATE dead_letters SET sqlstate = $2, reason = $3, attempts = attempts + 1 WHERE id = $1 RETURNING ${COLUMNS}`,
    [id, sqlstate, reason.replaceAll("\0", "\\0")],
  );
  return toLetter(rows[0]!);
}

/** How many are open, of each stream and kind that has any. */
export async function countOpenLetters(
  sql: postgres.Sql,
): Promise<readonly { readonly stream: StreamNumber; readonly kind: LetterKind; readonly count: number }[]> {
  return await sql<{ stream: StreamNumber; kind: LetterKind; count: number }[]>`
    SELECT stream, kind, count(*)::integer AS count FROM dead_letters WHERE state = 'open' GROUP BY stream, kind`;
}

/** A place in an entry. */
export interface LetterPlace extends LogPosition {
  readonly stream: StreamNumber;
  readonly partition: number;
  readonly index: number;
}

/** The bytes of a command or event, where it became a dead letter. */
export async function findLetterBytes(sql: postgres.Sql, place: LetterPlace): Promise<Buffer | undefined> {
  const { stream, partition, epoch, ms, seq, index } = place;
  const [row] = await sql<{ raw: Buffer }[]>`
    SELECT raw FROM dead_letters
    WHERE stream = ${stream} AND partition = ${partition} AND epoch = ${epoch} AND ms = ${ms} AND seq = ${seq}
      AND index = ${index} LIMIT 1`;
  return row?.raw;
}
