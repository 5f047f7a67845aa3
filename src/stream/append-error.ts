/**
 * Why a command was not acknowledged:
 *
 * - `overloaded`: too much is waiting, or Redis is out of memory. Not in the log.
 * - `unavailable`: the log is shut at present. Not in the log.
 * - `expired`: its caller's deadline passed, or the call was cancelled, before it was sent. Not in the log.
 * - `changed`: the instrument that it replaces is no longer the one given. Not in the log.
 * - `unknown`: the answer did not come, or too few replicas did. It may be in the log; sending the same id again tells.
 */
export type AppendErrorCode = "overloaded" | "unavailable" | "expired" | "changed" | "unknown";

export class AppendError extends Error {
  override readonly name = "AppendError";
  readonly code: AppendErrorCode;

  constructor(code: AppendErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
