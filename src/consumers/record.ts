import { hash } from "node:crypto";
import type { DeadLetter, EntryRecord, StreamNumber } from "../store/entry-record.ts";
import { type Entry, EntryError, readEntry, versionOf } from "../stream/entry.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import type { Delivered } from "../stream/group-reader.ts";
import type { Instruments, TradedInstrument } from "../stream/instrument.ts";
import { type EntryPosition, formatEntryId, parseEntryId, START } from "../stream/position.ts";
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
  /**
   * The same of one command or event alone, the payload being its bytes. Of a trade, the other side is asked for.
   * Throws a WireError.
   */
  readonly rowsAt: (entry: Entry, index: number, options: RecordOptions, resting: TradeSide | undefined) => EntryRows;
}

/** What the report of a trade's resting order says, as far as the trade needs it. */
export type TradeSide = Pick<EngineEvent, "trade" | "symbol" | "aggressor" | "orderId" | "account">;

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
  return recordOfEntry(rows, entry, options, delivered.deliveries);
}

/** The same of an entry that was read already, and whose version is known. Throws an UnknownSymbolError. */
export function recordOfEntry(rows: StreamRows, entry: Entry, options: RecordOptions, deliveries = 1): EntryRecord {
  const made = orLetter(-1, entry.payload, () => rows.rowsOf(entry, options));
  return entryRecord(rows, entry, options.partition, deliveries, made);
}

/** The rows that can be made, or a dead letter of all of it. */
function orLetter(index: number, payload: Buffer, make: () => EntryRows): EntryRows {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const what = index < 0 ? "the batch" : "it";
    return lettersOnly(deadLetter(index, payload, `${what} cannot be decoded: ${error.message}`));
  }
}

/** A dead letter, as far as its rows need it: its bytes and their place. */
export interface LetterSource extends EntryPosition {
  readonly index: number;
  readonly raw: Buffer;
  readonly attempts: number;
}

/**
 * What a dead letter becomes in Postgres where it is tried again: of its receipt only the place is right, for that stands
 * already. Throws an UnknownSymbolError.
 */
export function recordOfLetter(
  rows: StreamRows,
  letter: LetterSource,
  options: RecordOptions,
  resting: TradeSide | undefined,
): EntryRecord {
  const { epoch, ms, seq, index, raw } = letter;
  const entry = { id: formatEntryId(letter), epoch, ms, seq, previous: START, version: rows.version, payload: raw };
  const made = orLetter(index, raw, () =>
    index < 0 ? rows.rowsOf(entry, options) : rows.rowsAt(entry, index, options, resting),
  );
  return entryRecord(rows, entry, options.partition, letter.attempts + 1, made);
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
  return entryRecord(rows, entry, partition, delivered.deliveries, lettersOnly(deadLetter(-1, payload, reason)));
}

function lettersOnly(letter: DeadLetter): EntryRows {
  return { count: 0, deadLetters: [letter], raw: () => undefined };
}

function entryRecord(
  { stream, keepsPayload }: StreamRows,
  entry: Entry,
  partition: number,
  deliveries: number,
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
