import { TransactionError } from "../store/errors.ts";

/** How Redis says that it cannot answer now; https://redis.io/docs/latest/develop/reference/protocol-spec/ has no list. */
const REDIS_REPLY = /^(LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|OOM) /;
/** A connection of postgres.js or a socket that failed, or an SQLSTATE that says the same: 08, 40, 53, 57. */
const CODE = /^(CONNECT|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|08|40|53|57)/;

/**
 * Whether Redis or Postgres was not there, or could not answer now: no mistake of ours or of the client's, and worth trying
 * again. The drivers have no class for it, so it is told by names and codes.
 */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // ioredis: a command on a connection that was lost, or could not be made.
  if (error.name === "MaxRetriesPerRequestError" || error.name === "AbortError") return true;
  if (error.message === "Connection is closed.") return true;
  if (error instanceof TransactionError) return true;
  if (error.name === "ReplyError") return REDIS_REPLY.test(error.message);
  return "code" in error && typeof error.code === "string" && CODE.test(error.code);
}
