import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Periodic } from "../runtime/periodic.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import {
  type EventsState,
  type GroupState,
  type MemoryState,
  readEventsState,
  readMemory,
  readStreamState,
  type StreamState,
} from "../stream/status.ts";
import { type RequestError, resourceExhausted } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";

export interface AdmissionLimits {
  /** Entries that a group may still have to finish. */
  readonly maxBacklog: number;
  readonly maxBacklogAgeMs: number;
  /** Share of Redis' maxmemory. */
  readonly maxMemoryShare: number;
}

export interface PartitionState {
  readonly partition: number;
  readonly state: StreamState;
  /** Undefined where no engine is part of the deployment. */
  readonly events: EventsState | undefined;
}

export interface PipelineState {
  readonly partitions: readonly PartitionState[];
  readonly memory: MemoryState;
}

/** The groups of both streams of a partition. */
export function groupsOf({ state, events }: PartitionState): { stream: "orders" | "events"; group: GroupState }[] {
  return [
    ...state.groups.map((group) => ({ stream: "orders" as const, group })),
    ...(events?.groups ?? []).map((group) => ({ stream: "events" as const, group })),
  ];
}

/** Often enough to refuse before a bound is far exceeded: 50,000 orders/s are some 100 entries a second. */
const INTERVAL_MS = 500;
const RETRY_AFTER_MS = 1_000;

/**
 * Decides whether new orders are taken, by what the pipeline behind the log can hold. What a partition has piled up stands in the
 * way of its own orders; Redis' memory is everybody's.
 *
 * Invariant: `refusal` and `refusalOf` say what the last look found. Cancels are not asked: they make room.
 */
export class Admission {
  readonly name = "admission";
  readonly #redis: Redis;
  readonly #partitions: readonly PartitionKeys[];
  readonly #limits: AdmissionLimits;
  readonly #metrics: IngestMetrics;
  readonly #log: Logger;
  /** By partition. */
  #refusals: readonly (RequestError | undefined)[] = [];
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

  /** Why no new orders at all are taken at present; undefined where those of some partition are. */
  get refusal(): RequestError | undefined {
    return this.#refusal;
  }

  /** Why new orders of a partition are refused at present; undefined where they are taken. */
  refusalOf(partition: number): RequestError | undefined {
    return this.#refusals[partition];
  }

  /** All reasons for which orders are refused at present; "" where none are. */
  get refusing(): string {
    return [...new Set(this.#refusals.flatMap((refusal) => refusal?.message ?? []))].join("; ");
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
    const partitions: PartitionState[] = [];
    for (const keys of this.#partitions) {
      const state = await readStreamState(this.#redis, keys);
      partitions.push({ partition: keys.partition, state, events: await readEventsState(this.#redis, keys) });
    }
    const state = { partitions, memory };
    const before = this.refusing;
    this.#refusals = this.#judge(state);
    this.#refusal = this.#refusals.includes(undefined) ? undefined : this.#refusals[0];
    const reason = this.refusing;
    if (reason !== before) {
      this.#log.warn({ reason }, reason === "" ? "new orders are taken again" : "NEW ORDERS ARE REFUSED");
    }
    this.#show(state);
    return state;
  }

  #judge({ partitions, memory }: PipelineState): (RequestError | undefined)[] {
    const { maxMemoryShare } = this.#limits;
    const isFull = memory.usedBytes > memory.maxBytes * maxMemoryShare;
    const full = `Redis uses more than ${Math.round(maxMemoryShare * 100)} % of its memory`;
    return partitions.map((state) => {
      const reason = isFull ? full : this.#backlogOf(state);
      return reason === undefined ? undefined : resourceExhausted(reason, RETRY_AFTER_MS);
    });
  }

  /** What a partition has piled up beyond its bounds. The message stays the same while the reason does, so that it is logged once. */
  #backlogOf(state: PartitionState): string | undefined {
    const { maxBacklog, maxBacklogAgeMs } = this.#limits;
    const { partition, events } = state;
    for (const { stream, group } of groupsOf(state)) {
      const named = `group ${group.group} of the ${stream} of partition ${partition}`;
      if (Math.max(group.lag, 0) + group.pending > maxBacklog) {
        return `${named} is more than ${maxBacklog} entries behind`;
      }
      if (Math.max(group.oldestPendingMs, group.oldestUndeliveredMs) > maxBacklogAgeMs) {
        return `${named} is more than ${maxBacklogAgeMs} ms behind`;
      }
    }
    // Redis counts entries for groups only, and the engine is none. What an engine that is away leaves in the log is bounded by
    // Redis' memory.
    return events !== undefined && events.oldestUnmatchedMs > maxBacklogAgeMs
      ? `the engine of partition ${partition} is more than ${maxBacklogAgeMs} ms behind`
      : undefined;
  }

  #show({ partitions, memory }: PipelineState): void {
    const { backlog, oldest, unmatched, entries, recognised, redisMemory, refusing } = this.#metrics;
    redisMemory.set({ limit: "used" }, memory.usedBytes);
    redisMemory.set({ limit: "max" }, memory.maxBytes);
    refusing.set(this.refusing === "" ? 0 : 1);
    for (const partitionState of partitions) {
      const { partition, state, events } = partitionState;
      entries.set({ partition, stream: "orders" }, state.entries);
      recognised.set({ partition }, Math.max(0, Date.now() - state.head.recognisedSince) / 1000);
      for (const { stream, group: of } of groupsOf(partitionState)) {
        const labels = { partition, stream, group: of.group };
        backlog.set({ ...labels, state: "pending" }, of.pending);
        backlog.set({ ...labels, state: "undelivered" }, of.lag);
        oldest.set({ ...labels, state: "pending" }, of.oldestPendingMs / 1000);
        oldest.set({ ...labels, state: "undelivered" }, of.oldestUndeliveredMs / 1000);
      }
      if (events === undefined) continue;
      entries.set({ partition, stream: "events" }, events.entries);
      unmatched.set({ partition }, events.oldestUnmatchedMs / 1000);
    }
  }
}
