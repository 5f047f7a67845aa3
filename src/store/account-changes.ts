import type { Transaction } from "./writer.ts";
import { WriterQueue } from "./writer-queue.ts";

/** Of one change, in ms: some statements on a few rows, and the wait for another process' change. A call has 10 s. */
const TIMEOUT_MS = 5_000;
/**
 * Changes of one process that may wait for their turn. At a few milliseconds each the last one waits for well below a
 * second.
 */
const MAX_WAITING = 64;

/** A transaction that may change accounts, keys and revocations. */
export interface Change {
  readonly transaction: Transaction;
  /** The number of this change, for every row that it touches. */
  readonly revision: number;
}

/** Too many changes wait already. Nothing was done. */
export class ChangesBusyError extends Error {
  override readonly name = "ChangesBusyError";

  constructor() {
    super("too many changes of accounts are being made, try again in a second");
  }
}

/**
 * Changes accounts, one change at a time in the whole deployment.
 *
 * Always true: changes commit in the order of their revisions, so that who has read up to one has read all before it;
 * what a change reads nobody else changes before it commits.
 */
export class AccountChanges {
  readonly #queue: WriterQueue;

  constructor(databaseUrl: string) {
    const busy = () => new ChangesBusyError();
    this.#queue = new WriterQueue(databaseUrl, { timeoutMs: TIMEOUT_MS, maxWaiting: MAX_WAITING, busy });
  }

  /** Where `work` throws, nothing is changed. Throws what it threw, a ChangesBusyError, or as Writer.transaction. */
  async change<T>(work: (change: Change) => Promise<T>): Promise<T> {
    return await this.#queue.run((writer) =>
      writer.transaction(async (transaction) => work({ transaction, revision: await nextRevision(transaction) })),
    );
  }

  /** Those that still wait are refused. */
  async close(): Promise<void> {
    await this.#queue.close();
  }
}

/** Waits for the change before it, if another process is making one. */
async function nextRevision(transaction: Transaction): Promise<number> {
  const { rows } = await transaction.query<{ number: string }>(
    "UPDATE account_revision SET number = number + 1 RETURNING number",
  );
  return Number(rows[0]?.number);
}

/** The number of the last change that is committed. */
export async function lastRevision(transaction: Transaction): Promise<number> {
  const { rows } = await transaction.query<{ number: string }>("SELECT number FROM account_revision");
  return Number(rows[0]?.number);
}
