import { delay } from "../../runtime/backoff.ts";

/** Longer than a timer can be. */
const MAX_WAIT_MS = 2 ** 30;

/** Lets recorded time pass, a factor as fast as it did. What has no time comes with what is before it. */
export class Pace {
  readonly #factor: number;
  readonly #signal: AbortSignal;
  #origin: { readonly at: number; readonly now: number } | undefined;

  constructor(factor: number, signal: AbortSignal) {
    this.#factor = factor;
    this.#signal = signal;
  }

  /** Until it is time for what was recorded at `at` milliseconds; the first one sets the clock. */
  async until(at: number | undefined): Promise<void> {
    if (at === undefined) return;
    this.#origin ??= { at, now: performance.now() };
    const due = this.#origin.now + (at - this.#origin.at) / this.#factor;
    for (;;) {
      const wait = due - performance.now();
      if (wait <= 0 || this.#signal.aborted) return;
      await delay(Math.min(wait, MAX_WAIT_MS), this.#signal);
    }
  }
}
