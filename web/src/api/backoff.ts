/** The first wait is short because a server that restarts is back within a second; the longest is what people still wait for. */
const FIRST_MS = 400;
const LONGEST_MS = 10_000;

/** How long to wait before the try with this number (from 0 on), drawn apart so that many pages do not come at once. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10)) * (0.75 + random() / 2);
}

/** Resolves when the time is over; rejects with the signal's reason where it is aborted before. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => {
    clearTimeout(timer);
    reject(signal!.reason as Error);
  };
  const timer = setTimeout(() => {
    signal?.removeEventListener("abort", onAbort);
    resolve();
  }, ms);
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  return promise;
}
