import { hash } from "node:crypto";
import type { DeadLetter, EntryRecord, StreamNumber } from "../store/entry-record.ts";
import { type Entry, EntryError, readEntry, versionOf } from "../stream/entry.ts";
import type { Delivered } from "../stream/group-reader.ts";
import type { Instruments, TradedInstrument } from "../stream/instrument.ts";
import { parseEntryId, START } from "../stream/position.ts";
import { WireError } from "../stream/wire.ts";

/** The entry was written by a newer Penstock: this worker must leave it to one that knows it, and not guess. */
export class NewerVersionError extends Error {
  override readonly name = "NewerVersionError";
}

/** A symbol that the instruments at hand do not have. They may be older than the entry: read them again. */
export class UnknownSymbolError extends Error {
  override readonly name = "UnknownSymbolError";
}

export interface RecordOptions {
  readonly partition: number;
  readonly instruments: Instruments;
  /** True where the instruments were just read: a symbol that is still unknown then makes a dead letter. */
  readonly instrumentsAreFresh: boolean;
}

/** How the entries of one of a partition's streams become rows. */
export interface StreamRows {
  readonly stream: StreamNumber;
  /** As it is called in metrics and in what is logged. */
  readonly name: "orders" | "events";
  /** The newest version of its schema that is known here. */
  readonly version: number;
  /** Whether the journal keeps the entries themselves. */
  readonly keepsPayload: boolean;
  /** Throws a WireError where the payload cannot be taken apart, and an UnknownSymbolError. */
  readonly rowsOf: (entry: Entry, options: RecordOptions) => EntryRows;
}

/** What one entry becomes. */
export interface EntryRows extends Partial<Pick<EntryRecord, "orders" | "instruments" | "executions" | "trades">> {
  /** Of commands or events. */
  readonly count: number;
  readonly deadLetters: readonly DeadLetter[];
  /** The bytes of one of them. */
  readonly raw: (index: number) => Buffer | undefined;
}

/** What an entry becomes in Postgres. Throws a NewerVersionError or an UnknownSymbolError. */
export function recordOf(rows: StreamRows, delivered: Delivered, options: RecordOptions): EntryRecord {
  // Before anything else: of a newer version nothing is known, not even the other fields.
  const version = versionOf(delivered.fields);
  if (version > rows.version) {
    const words = `entry ${delivered.id} has schema version ${version}; this worker knows ${rows.version}`;
    throw new NewerVersionError(words);
  }
  let entry: Entry;
  try {
    entry = readEntry(delivered.id, delivered.fields);
  } catch (error) {
    if (!(error instanceof EntryError)) throw error;
    return strangeRecord(rows, delivered, options.partition, error.message);
  }
  try {
    return entryRecord(rows, entry, options.partition, delivered, rows.rowsOf(entry, options));
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const letter = deadLetter(-1, entry.payload, `the batch cannot be decoded: ${error.message}`);
    return entryRecord(rows, entry, options.partition, delivered, lettersOnly(letter));
  }
}

/** For an entry that the group still had to process and that is gone from the stream. */
export function lostRecord(rows: StreamRows, id: string, partition: number): EntryRecord {
  const reason = "LOST: the entry was removed from the stream before it was written";
  return strangeRecord(rows, { id, fields: [], deliveries: 1 }, partition, reason);
}

/** For what stands in the stream and is none of our entries: kept as it is, at epoch 0, which no entry has. */
function strangeRecord(rows: StreamRows, delivered: Delivered, partition: number, reason: string): EntryRecord {
  const payload = Buffer.concat(delivered.fields);
  const entry = { id: delivered.id, ...parseEntryId(delivered.id), epoch: 0, previous: START, version: 0, payload };
  return entryRecord(rows, entry, partition, delivered, lettersOnly(deadLetter(-1, payload, reason)));
}

function lettersOnly(letter: DeadLetter): EntryRows {
  return { count: 0, deadLetters: [letter], raw: () => undefined };
}

function entryRecord(
  { stream, keepsPayload }: StreamRows,
  entry: Entry,
  partition: number,
  { deliveries }: Delivered,
  { count, deadLetters, raw, orders = [], instruments = [], executions = [], trades = [] }: EntryRows,
): EntryRecord {
  const { epoch, ms, seq, previous, version, payload } = entry;
  return {
    receipt: {
      ...{ stream, partition, epoch, ms, seq, prevMs: previous.ms, prevSeq: previous.seq, version, commands: count },
      hash: hash("sha256", payload, "buffer"),
      payload: keepsPayload ? payload : null,
    },
    ...{ orders, instruments, executions, trades, deadLetters, deliveries },
    raw: (index) => raw(index) ?? payload,
  };
}

export function deadLetter(index: number, raw: Buffer, reason: string): DeadLetter {
  return { index, raw, sqlstate: null, reason };
}

/** The instrument of a symbol, or why there is none. Throws an UnknownSymbolError. */
export function instrumentOf(symbol: string, options: RecordOptions): TradedInstrument | string {
  const instrument = options.instruments.get(symbol);
  if (instrument !== undefined) return instrument;
  if (!options.instrumentsAreFresh) throw new UnknownSymbolError(symbol);
  return "the symbol is unknown";
}
