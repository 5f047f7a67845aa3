import type postgres from "postgres";

import { compareKeys } from "./entry-record.ts";
import type { DeadLetter, EntryRecord } from "./entry-record.ts";
import { packBytes, plainArray, textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

/** A dead letter with the entry that it comes from. */
export interface EntryDeadLetter {
  readonly entry: EntryRecord;
  readonly letter: DeadLetter;
}

const INSERT = `
  INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, sqlstate, reason, attempts)
  SELECT stream, partition, epoch, ms, seq, index, substring($1 FROM at FOR size), sqlstate, reason, attempts
  FROM unnest($2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[], $7::integer[],
              $8::integer[], $9::integer[], $10::text[], $11::text[], $12::integer[])
    AS d (stream, partition, epoch, ms, seq, index, at, size, sqlstate, reason, attempts)
  ON CONFLICT DO NOTHING`;

/** Writes those that are not there yet, and says how many they were. */
export async function writeDeadLetters(transaction: Transaction, letters: readonly EntryDeadLetter[]): Promise<number> {
  if (letters.length === 0) return 0;
  const sorted = [...letters].sort(
    (a, b) => compareKeys(a.entry.receipt, b.entry.receipt) || a.letter.index - b.letter.index,
  );
  const raw = packBytes(sorted.map(({ letter }) => letter.raw));
  const { count } = await transaction.query(INSERT, [
    raw.bytes,
    plainArray(sorted.map(({ entry }) => entry.receipt.stream)),
    plainArray(sorted.map(({ entry }) => entry.receipt.partition)),
    plainArray(sorted.map(({ entry }) => entry.receipt.epoch)),
    plainArray(sorted.map(({ entry }) => entry.receipt.ms)),
    plainArray(sorted.map(({ entry }) => entry.receipt.seq)),
    plainArray(sorted.map(({ letter }) => letter.index)),
    raw.at,
    raw.size,
    textArray(sorted.map(({ letter }) => letter.sqlstate)),
    // A decoder's words may quote the input; text in Postgres holds no NUL.
    textArray(sorted.map(({ letter }) => letter.reason.replaceAll("\0", "\\0"))),
    plainArray(sorted.map(({ entry }) => entry.deliveries)),
  ]);
  return count;
}

export interface StoredDeadLetter extends DeadLetter {
  readonly id: number;
  readonly stream: number;
  readonly partition: number;
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly attempts: number;
  readonly createdAt: Date;
}

/** Newest first; `before` is the id at which the page before ended. */
export async function listDeadLetters(
  sql: postgres.Sql,
  options: { readonly before?: number; readonly limit: number },
): Promise<StoredDeadLetter[]> {
  const rows = await sql<StoredRow[]>`
    SELECT id, stream, partition, epoch, ms, seq, index, raw, sqlstate, reason, attempts, created_at
    FROM dead_letters WHERE id < ${options.before ?? Number.MAX_SAFE_INTEGER} ORDER BY id DESC LIMIT ${options.limit}`;
  return rows.map(({ id, ms, seq, created_at: createdAt, ...rest }) => ({
    ...rest,
    id: Number(id),
    ms: Number(ms),
    seq: Number(seq),
    createdAt,
  }));
}

type StoredRow = Omit<StoredDeadLetter, "id" | "ms" | "seq" | "createdAt"> & {
  readonly id: string;
  readonly ms: string;
  readonly seq: string;
  readonly created_at: Date;
};

export async function countDeadLetters(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`SELECT count(*)::integer AS count FROM dead_letters`;
  return row?.count ?? 0;
}
