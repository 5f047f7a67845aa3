import { instrumentsOf, momentsOf, writeEntryRows } from "./batch.ts";
import { writeDeadLetters } from "./dead-letters.ts";
import type { EntryDeadLetter } from "./dead-letters.ts";
import { compareKeys } from "./entry-record.ts";
import type { EntryRecord, Receipt } from "./entry-record.ts";
import { isAbortedBefore, isDatabaseError, isMissingPartition, isPoison, TransientStoreError } from "./errors.ts";
import { EXECUTIONS } from "./execution-table.ts";
import { holdFences, type Orphan } from "./fences.ts";
import { upsertInstruments } from "./instruments.ts";
import { deadLetter, isTaken, writeIsolated } from "./isolation.ts";
import { findOtherStates, newestChanges, writeStates } from "./order-states.ts";
import { ORDERS } from "./order-table.ts";
import { ensurePartitions, OrderDays, partitionsKnown } from "./partitions.ts";
import { writeReceipts } from "./receipts.ts";
import type { ReceiptOutcome } from "./receipts.ts";
import type { RowTable } from "./row-table.ts";
import { writeMissing } from "./staging.ts";
import { TRADES } from "./trade-table.ts";
import type { Transaction, Writer } from "./writer.ts";

/** A place that holds something else than the log says. It stays as it is. */
export interface Conflict {
  readonly what: string;
  readonly where: string;
}

export interface RewriteOutcome {
  /** Entries that had no receipt, and have one now. */
  readonly receipts: number;
  /** Rows of orders, executions and trades that were missing (where Postgres refused some, all of those entries'). */
  readonly rows: number;
  readonly conflicts: readonly Conflict[];
}

/**
 * Writes entries once more, whatever of them is there already: receipts, rows, states, instruments and dead letters that are
 * missing, in one transaction, and `mark` with them, which is told of the conflicts. `persist` looks at the receipts and leaves alone what has one; this one
 * leaves alone what is there. So it may run beside workers, and any number of times.
 *
 * Where a row is refused, each entry gets a transaction of its own. Throws a TransientStoreError where the batch is to be
 * given again later.
 */
export async function rewrite(
  writer: Writer,
  entries: readonly EntryRecord[],
  mark: (transaction: Transaction, conflicts: readonly Conflict[]) => Promise<void>,
): Promise<RewriteOutcome> {
  try {
    const moments = momentsOf(entries);
    if (!partitionsKnown(writer, moments)) await ensurePartitions(writer, moments);
    try {
      return await writer.transaction(async (transaction) => {
        const outcome = await rewriteTogether(transaction, entries);
        await mark(transaction, outcome.conflicts);
        return outcome;
      });
    } catch (error) {
      if (!isPoison(error) && !isAbortedBefore(error)) throw error;
    }
    const outcomes: RewriteOutcome[] = [];
    for (const entry of entries) {
      const days = new OrderDays();
      for (const { orderId } of entry.orders) days.add(orderId);
      await ensurePartitions(writer, days.moments);
      outcomes.push(await writer.transaction((transaction) => rewriteAlone(transaction, entry)));
    }
    const conflicts = outcomes.flatMap((outcome) => outcome.conflicts);
    await writer.transaction((transaction) => mark(transaction, conflicts));
    return {
      receipts: outcomes.reduce((sum, { receipts }) => sum + receipts, 0),
      rows: outcomes.reduce((sum, { rows }) => sum + rows, 0),
      conflicts,
    };
  } catch (error) {
    if (isMissingPartition(error)) writer.knownDays.clear(); // dropped since they were seen
    throw isDatabaseError(error) ? new TransientStoreError(error) : error;
  }
}

/** Tables in the sequence of `persist`, and keys sorted within each: so the two never wait for each other. */
async function rewriteTogether(transaction: Transaction, entries: readonly EntryRecord[]): Promise<RewriteOutcome> {
  const { welcome, orphans } = await holdFences(transaction, entries);
  const receipts = await writeReceipts(transaction, welcome);
  const conflicts = [...forksOf(receipts), ...conflictsOf(orphans)];
  const there = [...receipts.fresh, ...receipts.duplicates].sort((a, b) => compareKeys(a.receipt, b.receipt));
  let rows = 0;
  const write = async <Row extends { readonly index: number }>(table: RowTable<Row>) => {
    const written = await writeMissing(transaction, table, there);
    rows += written.rows;
    for (const where of written.taken) conflicts.push({ what: `another row of ${table.name}`, where });
  };
  await write(ORDERS);
  await write(EXECUTIONS);
  await write(TRADES);
  const states = newestChanges(there);
  await writeStates(transaction, states);
  for (const where of await findOtherStates(transaction, states))
    conflicts.push({ what: "another state of an order, of the same change", where });
  await upsertInstruments(transaction, instrumentsOf(there));
  await writeDeadLetters(transaction, there.flatMap(lettersOf));
  return { receipts: receipts.fresh.length, rows, conflicts };
}

/** The careful way, for one entry. */
async function rewriteAlone(transaction: Transaction, entry: EntryRecord): Promise<RewriteOutcome> {
  const { welcome, orphans } = await holdFences(transaction, [entry]);
  let receipts: ReceiptOutcome = { fresh: [], duplicates: [], forks: [] };
  const refused = await writeIsolated(transaction, welcome, async (entries) => {
    receipts = await writeReceipts(transaction, entries);
  });
  const conflicts = [...forksOf(receipts), ...conflictsOf(orphans)];
  const letters = refused.map(({ sqlstate, reason }) => ({ entry, letter: deadLetter(entry, -1, sqlstate, reason) }));
  let rows = 0;
  for (const there of [...receipts.fresh, ...receipts.duplicates]) {
    const written = await writeEntryRows(transaction, there);
    rows += written.rows;
    letters.push(...lettersOf(there), ...written.letters.filter(({ letter }) => !isTaken(letter)));
    for (const { letter } of written.letters.filter(({ letter }) => isTaken(letter)))
      conflicts.push({ what: letter.reason, where: `${placeOf(there.receipt)}, index ${letter.index}` });
  }
  await writeDeadLetters(transaction, letters);
  return { receipts: receipts.fresh.length, rows, conflicts };
}

function lettersOf(entry: EntryRecord): EntryDeadLetter[] {
  return entry.deadLetters.map((letter) => ({ entry, letter }));
}

function forksOf({ forks }: ReceiptOutcome): Conflict[] {
  return forks.map(({ receipt }) => ({ what: "another payload in the journal", where: placeOf(receipt) }));
}

/** It was read before the log was lost. */
function conflictsOf(orphans: readonly Orphan[]): Conflict[] {
  return orphans.map(({ entry }) => ({ what: "an entry that the log has lost", where: placeOf(entry.receipt) }));
}

function placeOf({ stream, partition, epoch, ms, seq }: Receipt): string {
  return `partition ${partition}, ${stream === 0 ? "entry" : "events"} ${ms}-${seq} of epoch ${epoch}`;
}
