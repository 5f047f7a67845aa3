import type { Logger } from "pino";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import { readClock } from "../store/clock.ts";
import { dropExpiredPartitions, ensurePartitions } from "../store/partitions.ts";
import { Writer } from "../store/writer.ts";

const INTERVAL_MS = 3_600_000;

/** Makes the coming days' partitions before they are needed, and drops those that the retention no longer keeps. */
export class Retention implements Service {
  readonly name = "retention";
  readonly #writer: Writer;
  readonly #days: number;
  readonly #log: Logger;
  readonly #rounds: Periodic;

  /** `days` 0 keeps everything. */
  constructor(databaseUrl: string, timeoutMs: number, days: number, log: Logger) {
    this.#writer = new Writer(databaseUrl, { timeoutMs });
    this.#days = days;
    this.#log = log;
    this.#rounds = new Periodic(INTERVAL_MS, () => this.#keep(), this.#complain);
  }

  async start(): Promise<void> {
    await this.#keep().catch(this.#complain);
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    await this.#writer.close();
  }

  async #keep(): Promise<void> {
    // A clock that has jumped ahead must not drop everything: of this one and Postgres' the one that is behind counts.
    const now = Math.min(Date.now(), await this.#writer.transaction(readClock));
    await ensurePartitions(this.#writer, [now]);
    if (this.#days === 0) return;
    const { dropped } = await dropExpiredPartitions(this.#writer, this.#days, now);
    if (dropped.length > 0) this.#log.info({ dropped, retentionDays: this.#days }, "dropped expired partitions");
  }

  /** Workers make a partition that they need; dropping waits for the next time. */
  readonly #complain = (error: unknown): void => this.#log.warn({ err: error }, "partitions could not be kept");
}
