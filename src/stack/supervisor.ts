import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Service } from "../runtime/service.ts";
import type { Exit } from "./detached-process.ts";

/** A process that can be started again and again: a server or a role. */
export interface Supervised {
  readonly name: string;
  /** Resolves when it is ready, rejects when it ended before or takes too long; then no process of it is left. */
  start(): Promise<void>;
  /** Resolves when it has ended, by force where it does not end in time. Ends a start that is under way, too. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** Resolved when the process of the last start has ended. */
  readonly exited: Promise<Exit>;
}

// A crash that passes costs a fifth of a second or so; one that stays costs a start every few seconds, not a busy machine.
const LEAST_WAIT_MS = 200;
const MOST_WAIT_MS = 10_000;

// After three of the longest waits the next crash counts as the first again.
const HEALTHY_MS = 3 * MOST_WAIT_MS;

/**
 * Keeps one process running: a crash after the first start has it started again.
 *
 * Always true: after `stop` no process of it runs and none is started; one start is under way at most.
 */
export class Supervisor implements Service {
  readonly #child: Supervised;
  readonly #say: (line: string) => void;
  readonly #backoff = new Backoff(LEAST_WAIT_MS, MOST_WAIT_MS);
  readonly #life = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  constructor(child: Supervised, say: (line: string) => void) {
    this.#child = child;
    this.#say = say;
  }

  get name(): string {
    return this.#child.name;
  }

  /** The first start. It is not tried again: what fails now is more likely a wrong setting than an accident. */
  async start(): Promise<void> {
    await this.#child.start();
    if (this.#life.signal.aborted) await this.#child.stop();
    else this.#watching = this.#watch();
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await this.#child.stop();
    await this.#watching;
  }

  /** SIGKILL; the signal is sent before this returns. */
  kill(): void {
    this.#life.abort();
    this.#child.kill().catch(() => {}); // nobody is left to be told
  }

  async #watch(): Promise<void> {
    while (!this.#life.signal.aborted) {
      const since = performance.now();
      const exit = await this.#child.exited;
      if (this.#life.signal.aborted) return;
      if (performance.now() - since > HEALTHY_MS) this.#backoff.reset();
      const how = exit.reason ?? exit.signal ?? `exit code ${exit.code}`;
      this.#say(`${this.name} ended unexpectedly (${how}), starting it again`);
      await this.#startAgain();
    }
  }

  async #startAgain(): Promise<void> {
    for (;;) {
      await delay(this.#backoff.next(), this.#life.signal);
      if (this.#life.signal.aborted) return;
      try {
        await this.#child.start();
        if (this.#life.signal.aborted) await this.#child.stop();
        else this.#say(`${this.name} is back`);
        return;
      } catch (error) {
        if (this.#life.signal.aborted) return;
        this.#say(messageOf(error));
      }
    }
  }
}
