/**
 * Does a job again and again.
 *
 * Always true: the job runs at most once at a time; a time that comes while it runs is left out.
 */
export class Periodic {
  readonly #intervalMs: number;
  readonly #job: () => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  /** `onError` is told of each run that rejected; the next one comes all the same. */
  constructor(intervalMs: number, job: () => Promise<unknown>, onError: (error: unknown) => void) {
    this.#intervalMs = intervalMs;
    this.#job = job;
    this.#onError = onError;
  }

  /** The first run comes after one interval. */
  start(): void {
    this.#timer = setInterval(() => {
      this.#running ??= this.#run();
    }, this.#intervalMs);
  }

  /** Resolves when the run that is under way has ended; none begins after this. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      await this.#job();
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#running = undefined;
    }
  }
}
