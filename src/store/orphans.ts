import type postgres from "postgres";
import { type LogPosition, ORDERS_STREAM } from "./entry-record.ts";
import { packBytes, plainArray } from "./parameters.ts";

/** Why an entry is an orphan; by its first word it is known as one. `epoch`: began without it; undefined where its gap was closed. */
export function orphanReason(epoch: number | undefined): string {
  return epoch === undefined
    ? "ORPHANED: the log had lost the entry, and the gap in which it stood was closed without it"
    : `ORPHANED: the log had lost the entry when it was opened in epoch ${epoch}, and went on without it`;
}

const INSERT = `
  INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, sqlstate, reason, attempts)
  SELECT ${ORDERS_STREAM}, $1::smallint, epoch, ms, seq, -1, substring($3::bytea FROM at FOR size), NULL, $2::text, 1
  FROM unnest($4::smallint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[]) AS entry (epoch, ms, seq, at, size)
  ON CONFLICT DO NOTHING`;

/** Keeps entries of the orders stream that no worker may have in hand. Of those that one had, the letter is there already. */
export async function keepOrphans(
  sql: postgres.Sql,
  partition: number,
  epoch: number,
  entries: readonly (LogPosition & { readonly payload: Buffer })[],
): Promise<void> {
  if (entries.length === 0) return;
  const raw = packBytes(entries.map(({ payload }) => payload));
  await sql.unsafe(INSERT, [
    ...[partition, orphanReason(epoch), raw.bytes],
    plainArray(entries.map((entry) => entry.epoch)),
    plainArray(entries.map(({ ms }) => ms)),
    plainArray(entries.map(({ seq }) => seq)),
    ...[raw.at, raw.size],
  ]);
}
