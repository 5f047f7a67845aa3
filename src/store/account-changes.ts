import { type Transaction, Writer } from "./writer.ts";

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
  readonly #writer: Writer;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #closed = false;

  constructor(databaseUrl: string) {
    this.#writer = new Writer(databaseUrl, { timeoutMs: TIMEOUT_MS });
  }

  /** Where `work` throws, nothing is changed. Throws what it threw, a ChangesBusyError, or as Writer.transaction. */
  async change<T>(work: (change: Change) => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) throw new ChangesBusyError();
    this.#waiting++;
    const result = this.#last.then(() => {
      if (this.#closed) throw new ChangesBusyError();
      return this.#writer.transaction(async (transaction) =>
        work({ transaction, revision: await nextRevision(transaction) }),
      );
    });
    this.#last = result.catch(() => {});
    try {
      return await result;
    } finally {
      this.#waiting--;
    }
  }

  /** Those that still wait are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writer.close();
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
