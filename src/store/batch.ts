import { copyRows } from "./copy.ts";
import { writeDeadLetters } from "./dead-letters.ts";
import type { EntryDeadLetter, NewDeadLetter } from "./dead-letters.ts";
import type { EntryRecord } from "./entry-record.ts";
import { isAbortedBefore, isDatabaseError, isMissingPartition, isPoison, TransientStoreError } from "./errors.ts";
import { EXECUTIONS } from "./execution-table.ts";
import { type FencedLog, holdFences, type Orphan } from "./fences.ts";
import { upsertInstruments } from "./instruments.ts";
import { deadLetter, type Refused, writeIsolated, writeRowsIsolated } from "./isolation.ts";
import { lockStates, newestChanges, upsertStates, writeStates } from "./order-states.ts";
import { ORDERS } from "./order-table.ts";
import { orphanReason } from "./orphans.ts";
import { ensurePartitions, OrderDays, partitionsKnown } from "./partitions.ts";
import { writeReceipts } from "./receipts.ts";
import type { ReceiptOutcome } from "./receipts.ts";
import type { RowTable } from "./row-table.ts";
import { TRADES } from "./trade-table.ts";
import type { Transaction, Writer } from "./writer.ts";

export interface PersistOutcome {
  /** Entries that are new. */
  readonly written: number;
  /** Entries that had been written before: nothing was done for them. */
  readonly duplicates: number;
  /** Rows of the new entries in the tables of orders, executions and trades. */
  readonly rows: number;
  /** Dead letters that are new. */
  readonly deadLetters: number;
  /** Entries in whose place the journal holds another payload: dead-lettered, and a cause for alarm. */
  readonly forks: number;
  /** Entries that the log had lost, and went on without: dead-lettered, and a cause for alarm. */
  readonly orphans: number;
}

export interface PersistOptions {
  /** Learns of the dead letters that are new, once they are committed. */
  readonly told?: (letters: readonly NewDeadLetter[]) => void;
  /** Where the entries come from it now: of one partition. */
  readonly log?: FencedLog;
}

/**
 * Makes entries durable: their receipts, their rows and their dead letters, in one transaction. When it resolves all of it is
 * committed and each entry may be acknowledged; entries that were written before change nothing.
 *
 * Where a row is refused, each entry gets a transaction of its own, in which the bad rows become dead letters beside the good
 * ones. Throws a TransientStoreError where the batch is to be given again later: whole, because parts of it may be written.
 *
 * Larger is cheaper. The best of three or four runs with everything on 2 busy cores, so a lower bound (others took up to twice
 * that), fsync on, µs of CPU a row in Node and in Postgres:
 *
 *     rows     entries    ms a call    rows/s    Node    Postgres
 *     50       50         2.9          17,000    20      30
 *     500      50         9.1          55,000    2.9     12.5
 *     5,000    10         52           97,000    1.1     9.5
 */
export async function persist(
  writer: Writer,
  entries: readonly EntryRecord[],
  { told = () => {}, log }: PersistOptions = {},
): Promise<PersistOutcome> {
  try {
    const moments = momentsOf(entries);
    if (!partitionsKnown(writer, moments)) await ensurePartitions(writer, moments);
    try {
      const written = await writer.transaction((transaction) => writeTogether(transaction, entries, log));
      if (written.letters.length > 0) told(written.letters);
      return written.outcome;
    } catch (error) {
      // 25P02: what the COPY failed of stays hidden, and shows when the rows are written alone.
      if (!isPoison(error) && !isAbortedBefore(error)) throw error;
    }
    let total: PersistOutcome = { written: 0, duplicates: 0, rows: 0, deadLetters: 0, forks: 0, orphans: 0 };
    for (const entry of entries) {
      const days = new OrderDays();
      for (const { orderId } of entry.orders) days.add(orderId);
      await ensurePartitions(writer, days.moments);
      const written = await writer.transaction((transaction) => writeAlone(transaction, entry, log));
      if (written.letters.length > 0) told(written.letters);
      total = sum(total, written.outcome);
    }
    return total;
  } catch (error) {
    if (isMissingPartition(error)) writer.knownDays.clear(); // dropped since they were seen
    throw isDatabaseError(error) ? new TransientStoreError(error) : error;
  }
}

/** What a transaction did, and the dead letters that it wrote. */
interface Written {
  readonly outcome: PersistOutcome;
  readonly letters: readonly NewDeadLetter[];
}

/** The usual way: everything by one statement a table. Tables always in this sequence, keys sorted within each. */
async function writeTogether(
  transaction: Transaction,
  entries: readonly EntryRecord[],
  log: FencedLog | undefined,
): Promise<Written> {
  const { welcome, orphans } = await holdFences(transaction, entries, log);
  const receipts = await writeReceipts(transaction, welcome);
  const { fresh } = receipts;
  let rows = await copyRows(transaction, ORDERS, fresh);
  rows += await copyRows(transaction, EXECUTIONS, fresh);
  rows += await copyRows(transaction, TRADES, fresh);
  await writeStates(transaction, newestChanges(fresh));
  await upsertInstruments(transaction, instrumentsOf(fresh));
  const letters = [...lettersOf(receipts), ...orphans.map(orphanLetter)];
  return outcomeOf({ ...receipts, orphans }, rows, await writeDeadLetters(transaction, letters));
}

/** The careful way, for one entry. */
async function writeAlone(transaction: Transaction, entry: EntryRecord, log: FencedLog | undefined): Promise<Written> {
  const { welcome, orphans } = await holdFences(transaction, [entry], log);
  let receipts: ReceiptOutcome = { fresh: [], duplicates: [], forks: [] };
  const refused = await writeIsolated(transaction, welcome, async (entries) => {
    receipts = await writeReceipts(transaction, entries);
  });
  const letters = [...lettersOf(receipts), ...orphans.map(orphanLetter)];
  // The receipt itself cannot be written. The dead letter then stands for the entry; so it is found again at a redelivery.
  for (const { sqlstate, reason } of refused) letters.push({ entry, letter: deadLetter(entry, -1, sqlstate, reason) });
  let rows = 0;
  for (const fresh of receipts.fresh) {
    const alone = await writeEntryRows(transaction, fresh);
    rows += alone.rows;
    letters.push(...alone.letters);
  }
  return outcomeOf({ ...receipts, orphans }, rows, await writeDeadLetters(transaction, letters));
}

/**
 * Writes the rows of an entry whose receipt stands, one by one where it must be. What cannot be written comes back as dead
 * letters, none of which is written yet. What stands there already is taken as written.
 */
export async function writeEntryRows(
  transaction: Transaction,
  entry: EntryRecord,
): Promise<{ readonly rows: number; readonly letters: EntryDeadLetter[] }> {
  const letters: EntryDeadLetter[] = [];
  let rows = 0;
  const write = async <Row extends { readonly index: number }>(table: RowTable<Row>) => {
    const unwritable = await writeRowsIsolated(transaction, table, entry);
    rows += table.rowsOf(entry).length - unwritable.length;
    for (const letter of unwritable) letters.push({ entry, letter });
  };
  const note = <T>(bad: readonly Refused<T>[], indexOf: (item: T) => number) => {
    for (const { item, sqlstate, reason } of bad)
      letters.push({ entry, letter: deadLetter(entry, indexOf(item), sqlstate, reason) });
  };
  await write(ORDERS);
  await write(EXECUTIONS);
  await write(TRADES);
  const states = newestChanges([entry]);
  await lockStates(transaction, states);
  note(
    await writeIsolated(transaction, states, (items) => upsertStates(transaction, items)),
    ({ change }) => change.index,
  );
  const instruments = instrumentsOf([entry]);
  note(
    await writeIsolated(transaction, instruments, (items) => upsertInstruments(transaction, items)),
    ({ instrument }) => instrument.index,
  );
  return { rows, letters };
}

/** A moment of each day (ms) whose partitions these entries' rows need. */
export function momentsOf(entries: readonly EntryRecord[]): readonly number[] {
  return [...entries.map(({ receipt }) => receipt.ms), ...daysOfStates(entries)];
}

/** A moment of each day on which an order began whose state is among these. */
function daysOfStates(entries: readonly EntryRecord[]): readonly number[] {
  const days = new OrderDays();
  for (const { executions } of entries) for (const row of executions) if (row.isChange) days.add(row.orderId);
  return days.moments;
}

export function instrumentsOf(entries: readonly EntryRecord[]) {
  return entries.flatMap((entry) => entry.instruments.map((instrument) => ({ entry, instrument })));
}

function lettersOf({ fresh, forks }: ReceiptOutcome): EntryDeadLetter[] {
  return [
    ...fresh.flatMap((entry) => entry.deadLetters.map((letter) => ({ entry, letter }))),
    ...forks.map((entry) => ({ entry, letter: deadLetter(entry, -1, null, "FORK") })),
  ];
}

/** No rows, no receipt: what nobody will ever match must not look like an order. The whole entry is kept. */
function orphanLetter({ entry, epoch }: Orphan): EntryDeadLetter {
  return { entry, letter: deadLetter(entry, -1, null, orphanReason(epoch)) };
}

function outcomeOf(
  found: ReceiptOutcome & { readonly orphans: readonly Orphan[] },
  rows: number,
  letters: readonly NewDeadLetter[],
): Written {
  const entries = {
    written: found.fresh.length,
    duplicates: found.duplicates.length,
    forks: found.forks.length,
    orphans: found.orphans.length,
  };
  return { outcome: { ...entries, rows, deadLetters: letters.length }, letters };
}

function sum(a: PersistOutcome, b: PersistOutcome): PersistOutcome {
  return {
    written: a.written + b.written,
    duplicates: a.duplicates + b.duplicates,
    rows: a.rows + b.rows,
    deadLetters: a.deadLetters + b.deadLetters,
    forks: a.forks + b.forks,
    orphans: a.orphans + b.orphans,
  };
}
