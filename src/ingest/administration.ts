import type { Logger } from "pino";

import type { AccountChanges, Change } from "../store/account-changes.ts";
import { ChangesBusyError } from "../store/account-changes.ts";
import { ableAdmins } from "../store/accounts.ts";
import { type AdminAction, recordDone } from "../store/admin-actions.ts";
import type { AccountBook } from "./account-book.ts";
import { SecretsBusyError } from "./auth/secrets.ts";
import { RequestError, resourceExhausted } from "./errors.ts";

const RETRY_AFTER_MS = 1_000;

/**
 * How accounts are changed: with a line of the audit trail in the same transaction, and known to this process when it
 * is answered.
 */
export class Administration {
  readonly #changes: AccountChanges;
  readonly #book: AccountBook;
  readonly #log: Logger;

  constructor(changes: AccountChanges, book: AccountBook, log: Logger) {
    this.#changes = changes;
    this.#book = book;
    this.#log = log;
  }

  /** What an admin asked for. Where `work` throws a refusal, nothing is changed and nothing recorded. */
  async administer<T>(action: AdminAction, work: (change: Change) => Promise<T>): Promise<T> {
    const result = await this.change(async (change) => {
      const done = await work(change);
      await recordDone(change.transaction, action);
      return done;
    });
    this.#log.info({ ...action }, "account administered");
    return result;
  }

  async change<T>(work: (change: Change) => Promise<T>): Promise<T> {
    const result = await patiently(this.#changes.change(work));
    // Where this fails the change stands all the same: the next look finds it.
    await this.#book.look().catch(() => {});
    return result;
  }
}

/** Throws FAILED_PRECONDITION where `work` would leave no admin who can log in, or takes that from the one who asks. */
export async function keepingAdmins<T>(actor: string, { transaction }: Change, work: () => Promise<T>): Promise<T> {
  const before = await ableAdmins(transaction);
  const result = await work();
  const after = await ableAdmins(transaction);
  if (before.length > 0 && after.length === 0) {
    throw new RequestError("FAILED_PRECONDITION", "no admin would be left who can log in");
  }
  if (before.includes(actor) && !after.includes(actor)) {
    throw new RequestError("FAILED_PRECONDITION", "admins cannot shut themselves out: another admin can");
  }
  return result;
}

/** Where too much of such work is under way, the caller may come again. */
export async function patiently<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const busy = error instanceof SecretsBusyError || error instanceof ChangesBusyError;
    throw busy ? resourceExhausted(error.message, RETRY_AFTER_MS) : error;
  }
}
