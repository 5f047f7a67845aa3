import { copyRows } from "./copy.ts";
import { writeDeadLetters } from "./dead-letters.ts";
import type { EntryDeadLetter } from "./dead-letters.ts";
import type { EntryRecord } from "./entry-record.ts";
import { isAbortedBefore, isDatabaseError, isMissingPartition, isPoison, TransientStoreError } from "./errors.ts";
import { EXECUTIONS } from "./execution-table.ts";
import { upsertInstruments } from "./instruments.ts";
import { deadLetter, type Refused, writeIsolated, writeRowsIsolated } from "./isolation.ts";
import { lockStates, newestChanges, upsertStates, writeStates } from "./order-states.ts";
import { ORDERS } from "./order-table.ts";
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
export async function persist(writer: Writer, entries: readonly EntryRecord[]): Promise<PersistOutcome> {
  try {
    const moments = [...entries.map(({ receipt }) => receipt.ms), ...daysOfStates(entries)];
    if (!partitionsKnown(writer, moments)) await ensurePartitions(writer, moments);
    try {
      return await writer.transaction((transaction) => writeTogether(transaction, entries));
    } catch (error) {
      // 25P02: what the COPY failed of stays hidden, and shows when the rows are written alone.
      if (!isPoison(error) && !isAbortedBefore(error)) throw error;
    }
    let total: PersistOutcome = { written: 0, duplicates: 0, rows: 0, deadLetters: 0, forks: 0 };
    for (const entry of entries) {
      const days = new OrderDays();
      for (const { orderId } of entry.orders) days.add(orderId);
      await ensurePartitions(writer, days.moments);
      total = sum(total, await writer.transaction((transaction) => writeAlone(transaction, entry)));
    }
    return total;
  } catch (error) {
    if (isMissingPartition(error)) writer.knownDays.clear(); // dropped since they were seen
    throw isDatabaseError(error) ? new TransientStoreError(error) : error;
  }
}

/** The usual way: everything by one statement a table. Tables always in this sequence, keys sorted within each. */
async function writeTogether(transaction: Transaction, entries: readonly EntryRecord[]): Promise<PersistOutcome> {
  const receipts = await writeReceipts(transaction, entries);
  const { fresh } = receipts;
  let rows = await copyRows(transaction, ORDERS, fresh);
  rows += await copyRows(transaction, EXECUTIONS, fresh);
  rows += await copyRows(transaction, TRADES, fresh);
  await writeStates(transaction, newestChanges(fresh));
  await upsertInstruments(transaction, instrumentsOf(fresh));
  const deadLetters = await writeDeadLetters(transaction, lettersOf(receipts));
  return outcome(receipts, rows, deadLetters);
}

/** The careful way, for one entry. */
async function writeAlone(transaction: Transaction, entry: EntryRecord): Promise<PersistOutcome> {
  let receipts: ReceiptOutcome = { fresh: [], duplicates: [], forks: [] };
  const refused = await writeIsolated(transaction, [entry], async (entries) => {
    receipts = await writeReceipts(transaction, entries);
  });
  const letters = lettersOf(receipts);
  // The receipt itself cannot be written. The dead letter then stands for the entry; so it is found again at a redelivery.
  for (const { sqlstate, reason } of refused) letters.push({ entry, letter: deadLetter(entry, -1, sqlstate, reason) });
  let rows = 0;
  const write = async <Row extends { readonly index: number }>(table: RowTable<Row>, fresh: EntryRecord) => {
    const unwritable = await writeRowsIsolated(transaction, table, fresh);
    rows += table.rowsOf(fresh).length - unwritable.length;
    for (const letter of unwritable) letters.push({ entry, letter });
  };
  const note = <T>(bad: readonly Refused<T>[], indexOf: (item: T) => number) => {
    for (const { item, sqlstate, reason } of bad)
      letters.push({ entry, letter: deadLetter(entry, indexOf(item), sqlstate, reason) });
  };
  for (const fresh of receipts.fresh) {
    await write(ORDERS, fresh);
    await write(EXECUTIONS, fresh);
    await write(TRADES, fresh);
    const states = newestChanges([fresh]);
    await lockStates(transaction, states);
    note(
      await writeIsolated(transaction, states, (items) => upsertStates(transaction, items)),
      ({ change }) => change.index,
    );
    const instruments = instrumentsOf([fresh]);
    note(
      await writeIsolated(transaction, instruments, (items) => upsertInstruments(transaction, items)),
      ({ instrument }) => instrument.index,
    );
  }
  return outcome(receipts, rows, await writeDeadLetters(transaction, letters));
}

/** A moment of each day on which an order began whose state is among these. */
function daysOfStates(entries: readonly EntryRecord[]): readonly number[] {
  const days = new OrderDays();
  for (const { executions } of entries) for (const row of executions) if (row.isChange) days.add(row.orderId);
  return days.moments;
}

function instrumentsOf(entries: readonly EntryRecord[]) {
  return entries.flatMap((entry) => entry.instruments.map((instrument) => ({ entry, instrument })));
}

function lettersOf({ fresh, forks }: ReceiptOutcome): EntryDeadLetter[] {
  return [
    ...fresh.flatMap((entry) => entry.deadLetters.map((letter) => ({ entry, letter }))),
    ...forks.map((entry) => ({ entry, letter: deadLetter(entry, -1, null, "FORK") })),
  ];
}

function outcome(receipts: ReceiptOutcome, rows: number, deadLetters: number): PersistOutcome {
  const { fresh, duplicates, forks } = receipts;
  return { written: fresh.length, duplicates: duplicates.length, rows, deadLetters, forks: forks.length };
}

function sum(a: PersistOutcome, b: PersistOutcome): PersistOutcome {
  return {
    written: a.written + b.written,
    duplicates: a.duplicates + b.duplicates,
    rows: a.rows + b.rows,
    deadLetters: a.deadLetters + b.deadLetters,
    forks: a.forks + b.forks,
  };
}
