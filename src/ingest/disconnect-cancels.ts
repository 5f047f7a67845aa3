import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Service } from "../runtime/service.ts";
import { prepareMassCancel } from "../stream/prepared-command.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import type { Placement } from "../stream/flush.ts";
import type { Partitioning } from "../stream/partition.ts";
import { parseOrderId, type Place } from "../stream/position.ts";
import type { EventWaits } from "./event-waits.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { OrderLog } from "./order-log.ts";

export interface DisconnectCancelsOptions {
  readonly log: OrderLog;
  readonly partitioning: Partitioning;
  readonly waits: Pick<EventWaits, "outcome" | "isProcessed">;
  readonly metrics: IngestMetrics;
  readonly logger: Logger;
}

/** A restarted or failed-over Redis is back within it; a client that comes back later looks at its orders first. */
const TRY_FOR_MS = 60_000;
const LEAST_RETRY_MS = 100;
const MOST_RETRY_MS = 2_000;

/**
 * Cancels the open orders of accounts whose stream ended, by a mass cancel in the log.
 *
 * Always true: each cancel that was asked for ends in the log or, after its time or a stop, as an error in our own log;
 * tries of one cancel have one request id, so the log has it once. Another one follows it where it left orders for which its entry
 * had no room, if the engine says so within the same time.
 */
export class DisconnectCancels implements Service {
  readonly name = "disconnect-cancels";
  readonly #options: DisconnectCancelsOptions;
  /** At most one for each stream that ended. */
  readonly #underWay = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(options: DisconnectCancelsOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  /** The try that is under way is the last one: the log behind it stops next. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#underWay);
  }

  /** Returns at once. What the log was handed before comes before it there. */
  cancelAll(account: string): void {
    const work = this.#cancel(account).finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async #cancel(account: string): Promise<void> {
    for (let isMore = true; isMore;) {
      const placements = await this.#log(account);
      isMore = placements !== undefined && (await this.#hasLeft(placements, account));
    }
  }

  /** The places of one mass cancel, or undefined where it is not in the log. */
  async #log(account: string): Promise<readonly Placement[] | undefined> {
    const { log, partitioning, metrics, logger } = this.#options;
    const command = prepareMassCancel(account, `disconnect-${randomUUID()}`, "");
    const caller = { deadline: Date.now() + TRY_FOR_MS, cancelled: false };
    const backoff = new Backoff(LEAST_RETRY_MS, MOST_RETRY_MS);
    for (;;) {
      try {
        const placements = await log.appendToEach(partitioning.all(), command, caller);
        metrics.disconnectCancels.inc({ outcome: "logged" });
        return placements;
      } catch (error) {
        if (this.#stopping.signal.aborted || Date.now() >= caller.deadline) {
          metrics.disconnectCancels.inc({ outcome: "failed" });
          logger.error({ err: error, account }, "ORDERS OF A CLIENT THAT IS GONE WERE NOT CANCELED");
          return undefined;
        }
        await delay(backoff.next(), this.#stopping.signal);
      }
    }
  }

  /** Whether the next one may cancel what this one could not. Where it canceled nothing either, that is halted, and stays. */
  async #hasLeft(placements: readonly Placement[], account: string): Promise<boolean> {
    try {
      const events = await Promise.all(placements.map(({ id }) => this.#outcomeOf(parseOrderId(id)!)));
      return events.some((event) => event !== undefined && event.affected > 0 && event.remaining > 0);
    } catch (error) {
      this.#options.logger.warn({ err: error, account }, "what a cancel on disconnect left is not known");
      return false;
    }
  }

  /** What the engine made of it; undefined where it does not say so in time, or before a stop. */
  async #outcomeOf({ partition, index, ...entry }: Place): Promise<EngineEvent | undefined> {
    const { waits } = this.#options;
    const { signal } = this.#stopping;
    const caller = {
      deadline: Date.now() + TRY_FOR_MS,
      get cancelled() {
        return signal.aborted;
      },
    };
    for (;;) {
      const outcome = await waits.outcome(partition, entry, caller);
      const isOver = waits.isProcessed(partition, entry) || signal.aborted || Date.now() >= caller.deadline;
      if (outcome !== undefined || isOver) return outcome?.last(index);
      await delay(LEAST_RETRY_MS, signal);
    }
  }
}
