import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Periodic } from "../runtime/periodic.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { type MemoryState, readMemory, readStreamState, type StreamState } from "../stream/status.ts";
import { type RequestError, resourceExhausted } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";

export interface AdmissionLimits {
  /** Entries that a group may still have to finish. */
  readonly maxBacklog: number;
  readonly maxBacklogAgeMs: number;
  /** Share of Redis' maxmemory. */
  readonly maxMemoryShare: number;
}

export interface PipelineState {
  readonly partitions: readonly { readonly partition: number; readonly state: StreamState }[];
  readonly memory: MemoryState;
}

/** Often enough to refuse before a bound is far exceeded: 50,000 orders/s are some 100 entries a second. */
const INTERVAL_MS = 500;
const RETRY_AFTER_MS = 1_000;

/**
 * Decides whether new orders are taken, by what the pipeline behind the log can hold.
 *
 * Invariant: `refusal` says what the last look found. Cancels are not asked: they make room.
 */
export class Admission {
  readonly name = "admission";
  readonly #redis: Redis;
  readonly #partitions: readonly PartitionKeys[];
  readonly #limits: AdmissionLimits;
  readonly #metrics: IngestMetrics;
  readonly #log: Logger;
  #refusal: RequestError | undefined;
  readonly #looks: Periodic;

  constructor(
    redis: Redis,
    partitions: readonly PartitionKeys[],
    limits: AdmissionLimits,
    metrics: IngestMetrics,
    log: Logger,
  ) {
    this.#redis = redis;
    this.#partitions = partitions;
    this.#limits = limits;
    this.#metrics = metrics;
    this.#log = log;
    // What Redis does not answer it also does not append: that is refused by the log itself.
    const complain = (error: unknown) => log.warn({ err: error }, "the state of the log could not be read");
    this.#looks = new Periodic(INTERVAL_MS, () => this.look(), complain);
  }

  /** Why new orders are refused at present, or undefined where they are taken. */
  get refusal(): RequestError | undefined {
    return this.#refusal;
  }

  async start(): Promise<void> {
    await this.look();
    this.#looks.start();
  }

  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  /** Reads the state and judges it. */
  async look(): Promise<PipelineState> {
    const memory = await readMemory(this.#redis);
    const partitions = [];
    for (const keys of this.#partitions) {
      partitions.push({ partition: keys.partition, state: await readStreamState(this.#redis, keys) });
    }
    const state = { partitions, memory };
    const reason = this.#judge(state);
    if (reason !== this.#refusal?.message) {
      this.#log.warn({ reason }, reason === undefined ? "new orders are taken again" : "NEW ORDERS ARE REFUSED");
    }
    this.#refusal = reason === undefined ? undefined : resourceExhausted(reason, RETRY_AFTER_MS);
    this.#show(state);
    return state;
  }

  /** The message stays the same while the reason does, so that it is logged once. */
  #judge({ partitions, memory }: PipelineState): string | undefined {
    const { maxBacklog, maxBacklogAgeMs, maxMemoryShare } = this.#limits;
    if (memory.usedBytes > memory.maxBytes * maxMemoryShare) {
      return `Redis uses more than ${Math.round(maxMemoryShare * 100)} % of its memory`;
    }
    for (const { partition, state } of partitions) {
      for (const { group, lag, pending, oldestPendingMs, oldestUndeliveredMs } of state.groups) {
        if (Math.max(lag, 0) + pending > maxBacklog) {
          return `group ${group} of partition ${partition} is more than ${maxBacklog} entries behind`;
        }
        if (Math.max(oldestPendingMs, oldestUndeliveredMs) > maxBacklogAgeMs) {
          return `group ${group} of partition ${partition} is more than ${maxBacklogAgeMs} ms behind`;
        }
      }
    }
    return undefined;
  }

  #show({ partitions, memory }: PipelineState): void {
    const { backlog, oldest, entries, recognised, redisMemory, refusing } = this.#metrics;
    redisMemory.set({ limit: "used" }, memory.usedBytes);
    redisMemory.set({ limit: "max" }, memory.maxBytes);
    refusing.set(this.#refusal === undefined ? 0 : 1);
    for (const { partition, state } of partitions) {
      entries.set({ partition }, state.entries);
      recognised.set({ partition }, Math.max(0, Date.now() - state.head.recognisedSince) / 1000);
      for (const { group, lag, pending, oldestPendingMs, oldestUndeliveredMs } of state.groups) {
        backlog.set({ partition, group, state: "pending" }, pending);
        backlog.set({ partition, group, state: "undelivered" }, lag);
        oldest.set({ partition, group, state: "pending" }, oldestPendingMs / 1000);
        oldest.set({ partition, group, state: "undelivered" }, oldestUndeliveredMs / 1000);
      }
    }
  }
}
