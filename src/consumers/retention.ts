import type { Logger } from "pino";
import type { Service } from "../runtime/service.ts";
import { dropExpiredPartitions, ensurePartitions } from "../store/partitions.ts";
import { Writer } from "../store/writer.ts";

const INTERVAL_MS = 3_600_000;

/** Makes the coming days' partitions before they are needed, and drops those that the retention no longer keeps. */
export class Retention implements Service {
  readonly name = "retention";
  readonly #writer: Writer;
  readonly #days: number;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  /** `days` 0 keeps everything. */
  constructor(databaseUrl: string, timeoutMs: number, days: number, log: Logger) {
    this.#writer = new Writer(databaseUrl, { timeoutMs });
    this.#days = days;
    this.#log = log;
  }

  async start(): Promise<void> {
    await this.#keep();
    this.#timer = setInterval(() => {
      this.#running ??= this.#keep().finally(() => (this.#running = undefined));
    }, INTERVAL_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    await this.#writer.close();
  }

  async #keep(): Promise<void> {
    try {
      const now = Date.now();
      await ensurePartitions(this.#writer, [now]);
      if (this.#days === 0) return;
      const { dropped } = await dropExpiredPartitions(this.#writer, this.#days, now);
      if (dropped.length > 0) this.#log.info({ dropped, retentionDays: this.#days }, "dropped expired partitions");
    } catch (error) {
      // Workers make a partition that they need; dropping waits for the next time.
      this.#log.warn({ err: error }, "partitions could not be kept");
    }
  }
}
