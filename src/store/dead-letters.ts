import { compareKeys } from "./entry-record.ts";
import type { DeadLetter, EntryRecord } from "./entry-record.ts";
import { packBytes, plainArray, textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

/** A dead letter with the entry that it comes from. */
export interface EntryDeadLetter {
  readonly entry: EntryRecord;
  readonly letter: DeadLetter;
}

/** A letter that was just written, as it is told of. */
export interface NewDeadLetter {
  readonly id: number;
  readonly stream: number;
  readonly partition: number;
  /** "<ms>-<seq>" */
  readonly entry: string;
  readonly index: number;
  readonly kind: string;
  readonly sqlstate: string | null;
  readonly reason: string;
}

const INSERT = `
  INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, sqlstate, reason, attempts)
  SELECT stream, partition, epoch, ms, seq, index, substring($1 FROM at FOR size), sqlstate, reason, attempts
  FROM unnest($2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[], $7::integer[],
              $8::integer[], $9::integer[], $10::text[], $11::text[], $12::integer[])
    AS d (stream, partition, epoch, ms, seq, index, at, size, sqlstate, reason, attempts)
  ON CONFLICT DO NOTHING
  RETURNING id, stream, partition, ms || '-' || seq AS entry, index, kind, sqlstate, reason`;

/** Writes those that are not there yet, and gives them back. */
export async function writeDeadLetters(
  transaction: Transaction,
  letters: readonly EntryDeadLetter[],
): Promise<NewDeadLetter[]> {
  if (letters.length === 0) return [];
  const sorted = [...letters].sort(
    (a, b) => compareKeys(a.entry.receipt, b.entry.receipt) || a.letter.index - b.letter.index,
  );
  const raw = packBytes(sorted.map(({ letter }) => letter.raw));
  const { rows } = await transaction.query<Omit<NewDeadLetter, "id"> & { readonly id: string }>(INSERT, [
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
  return rows.map((row) => ({ ...row, id: Number(row.id) }));
}
