import postgres from "postgres";

/**
 * Postgres could not take the batch now, through no fault of its rows: nothing of it is known to be written, and the same
 * batch may be given again later. `sqlstate` is null where the connection failed or the time was up.
 */
export class TransientStoreError extends Error {
  override readonly name = "TransientStoreError";
  readonly sqlstate: string | null;

  constructor(cause: unknown) {
    super(`Postgres did not take the batch: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.sqlstate = cause instanceof postgres.PostgresError ? cause.code : null;
  }
}

/**
 * A transaction was given up: its connection was lost or took no COMMIT, or its time was up. Where the answer to COMMIT was
 * lost, it may have taken effect.
 */
export class TransactionError extends Error {
  override readonly name = "TransactionError";
}

/** A row of a day whose partition does not exist, which says nothing about the row. */
export function isMissingPartition(error: unknown): boolean {
  // 23514 is also a failed CHECK, which names its constraint.
  return error instanceof postgres.PostgresError && error.code === "23514" && !error.constraint_name;
}

/**
 * The row itself is refused and always will be: bad data (22), a violated constraint (23), or beyond what a row or an index
 * entry may hold (54). Every other error says something about the server, the connection or the schema.
 */
export function isPoison(error: unknown): error is postgres.PostgresError {
  return error instanceof postgres.PostgresError && /^(22|23|54)/.test(error.code) && !isMissingPartition(error);
}

/** The transaction was aborted by an error that nobody saw, as after a failed COPY. */
export function isAbortedBefore(error: unknown): boolean {
  return error instanceof postgres.PostgresError && error.code === "25P02";
}

/** Everything that Postgres, the way to it or a transaction's end can bring: all but a mistake of this program. */
export function isDatabaseError(error: unknown): boolean {
  // The errors of postgres.js' connections and of sockets are told by their code: CONNECTION_CLOSED, ECONNREFUSED.
  return (
    error instanceof TransactionError ||
    (error instanceof Error && !(error instanceof TypeError) && "code" in error && typeof error.code === "string")
  );
}
