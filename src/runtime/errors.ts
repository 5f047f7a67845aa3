/** How a process ends. `penstock --help` shows the same list. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, auditFailed: 3 } as const;

/** What was asked for makes no sense: wrong arguments, or a wrong configuration. Asking again changes nothing. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** The exit code with which a process ends after an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
}

/** What an error says, in one line where it says it in one: its message and those of its causes, without stacks. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node gives a refused connection to a name of several addresses as an AggregateError without a message.
  const own = error.message || (error instanceof AggregateError ? error.errors.map(messageOf).join("; ") : error.name);
  return error.cause === undefined ? own : `${own}: ${messageOf(error.cause)}`;
}
