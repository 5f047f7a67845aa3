import { setTimeout as sleep } from "node:timers/promises";

/**
 * How long to wait before the next try: exponential with full jitter, so that many clients of one server that came
 * back do not return in step. Always true: 0 <= wait < min(most, least * 2^tries).
 */
export class Backoff {
  readonly #leastMs: number;
  readonly #mostMs: number;
  readonly #random: () => number;
  #tries = 0;

  /** The first wait is below `leastMs * 2`, all are below `mostMs`; milliseconds. */
  constructor(leastMs: number, mostMs: number, random: () => number = Math.random) {
    this.#leastMs = leastMs;
    this.#mostMs = mostMs;
    this.#random = random;
  }

  /** Milliseconds to wait now. */
  next(): number {
    // 2^30 is beyond any bound in use, and far from where a shift or a double would go wrong.
    this.#tries = Math.min(this.#tries + 1, 30);
    return Math.floor(this.#random() * Math.min(this.#mostMs, this.#leastMs * 2 ** this.#tries));
  }

  /** After a success. */
  reset(): void {
    this.#tries = 0;
  }
}

/** Waits for `ms` milliseconds. Where the signal is or gets aborted it ends at once, and without an error. */
export async function delay(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}
