import type postgres from "postgres";

import type { EntryRecord, InstrumentRow } from "./entry-record.ts";
import { packBytes, plainArray, textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

/** An instrument's definition with the entry that it comes from. */
export interface EntryInstrument {
  readonly entry: EntryRecord;
  readonly instrument: InstrumentRow;
}

// The highest version wins, and of one version the latest place in the log, so that any order of writing gives the same row.
const UPSERT = `
  INSERT INTO instruments AS known (symbol, version, partition, epoch, ms, seq, index, definition, updated_at)
  SELECT symbol, version, partition, epoch, ms, seq, index, substring($1 FROM at FOR size), to_timestamp(ms / 1000.0)
  FROM unnest($2::text[], $3::bigint[], $4::smallint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::integer[],
              $9::integer[], $10::integer[])
    AS i (symbol, version, partition, epoch, ms, seq, index, at, size)
  ON CONFLICT (symbol) DO UPDATE SET
    version = excluded.version, partition = excluded.partition, epoch = excluded.epoch, ms = excluded.ms,
    seq = excluded.seq, index = excluded.index, definition = excluded.definition, updated_at = excluded.updated_at
  WHERE (excluded.version, excluded.epoch, excluded.ms, excluded.seq, excluded.index)
      > (known.version, known.epoch, known.ms, known.seq, known.index)`;

/** Writes the definitions that are newer than what is there. */
export async function upsertInstruments(
  transaction: Transaction,
  instruments: readonly EntryInstrument[],
): Promise<void> {
  if (instruments.length === 0) return;
  // One statement may touch a row once: of each symbol the newest, by symbol.
  const newest = new Map<string, EntryInstrument>();
  for (const candidate of [...instruments].sort(compareAge)) newest.set(candidate.instrument.symbol, candidate);
  const sorted = [...newest.values()].sort((a, b) => (a.instrument.symbol < b.instrument.symbol ? -1 : 1));
  const definitions = packBytes(sorted.map(({ instrument }) => instrument.definition));
  await transaction.query(UPSERT, [
    definitions.bytes,
    textArray(sorted.map(({ instrument }) => instrument.symbol)),
    plainArray(sorted.map(({ instrument }) => instrument.version)),
    plainArray(sorted.map(({ entry }) => entry.receipt.partition)),
    plainArray(sorted.map(({ entry }) => entry.receipt.epoch)),
    plainArray(sorted.map(({ entry }) => entry.receipt.ms)),
    plainArray(sorted.map(({ entry }) => entry.receipt.seq)),
    plainArray(sorted.map(({ instrument }) => instrument.index)),
    definitions.at,
    definitions.size,
  ]);
}

function compareAge(a: EntryInstrument, b: EntryInstrument): number {
  return (
    a.instrument.version - b.instrument.version ||
    a.entry.receipt.epoch - b.entry.receipt.epoch ||
    a.entry.receipt.ms - b.entry.receipt.ms ||
    a.entry.receipt.seq - b.entry.receipt.seq ||
    a.instrument.index - b.instrument.index
  );
}

export interface StoredInstrument {
  readonly symbol: string;
  readonly version: number;
  /** penstock.v1.Instrument, encoded. */
  readonly definition: Buffer;
  readonly updatedAt: Date;
}

/** The newest definition of each, by symbol. They are as many as an operator defined. */
export async function listInstruments(sql: postgres.Sql): Promise<StoredInstrument[]> {
  const rows = await sql<(Omit<StoredInstrument, "version" | "updatedAt"> & { version: string; updated_at: Date })[]>`
    SELECT symbol, version, definition, updated_at FROM instruments ORDER BY symbol`;
  return rows.map(({ symbol, version, definition, updated_at: updatedAt }) => ({
    symbol,
    version: Number(version),
    definition,
    updatedAt,
  }));
}
