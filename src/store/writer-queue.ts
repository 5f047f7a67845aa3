import { Writer } from "./writer.ts";

export interface WriterQueueOptions {
  /** The bound of one piece of work, in ms. */
  readonly timeoutMs: number;
  /** Pieces that may wait for their turn. */
  readonly maxWaiting: number;
  /** What is thrown where more than those would wait, or the queue is closed. Nothing was done then. */
  readonly busy: () => Error;
}

/** A writer for work that comes by calls, each piece in its turn. Always true: one piece runs at a time. */
export class WriterQueue {
  readonly #writer: Writer;
  readonly #options: WriterQueueOptions;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #closed = false;

  constructor(databaseUrl: string, options: WriterQueueOptions) {
    this.#writer = new Writer(databaseUrl, { timeoutMs: options.timeoutMs });
    this.#options = options;
  }

  /** Throws what `work` threw, or `busy`. */
  async run<T>(work: (writer: Writer) => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#options.maxWaiting) throw this.#options.busy();
    this.#waiting++;
    const result = this.#last.then(() => {
      if (this.#closed) throw this.#options.busy();
      return work(this.#writer);
    });
    this.#last = result.catch(() => {});
    try {
      return await result;
    } finally {
      this.#waiting--;
    }
  }

  /** What still waits is refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writer.close();
  }
}
