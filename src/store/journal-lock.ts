import type { Transaction } from "./writer.ts";

/** Any fixed number, the same in every version; with the partition's. */
export const JOURNAL_LOCK = 7_366_514;

/**
 * Makes the transaction alone with the journal of a partition, until it ends: it waits for those that write entries there, and
 * they for it (fences.ts). Throws 55P03 after `waitMs`.
 */
export async function lockJournal(transaction: Transaction, partition: number, waitMs: number): Promise<void> {
  await transaction.query(`SET LOCAL lock_timeout = ${waitMs}`);
  await transaction.query("SELECT pg_advisory_xact_lock($1, $2)", [JOURNAL_LOCK, partition]);
}

/**
 * Keeps others from being alone with the journal of a partition until the transaction ends: first in each transaction that reads
 * receipts and writes by them. Waits for one that is.
 */
export async function holdPartition(transaction: Transaction, partition: number): Promise<void> {
  await transaction.query("SELECT pg_advisory_xact_lock_shared($1, $2)", [JOURNAL_LOCK, partition]);
}
