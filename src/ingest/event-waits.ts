import type { Redis } from "ioredis";
import type { Service } from "../runtime/service.ts";
import { type EngineEvent, type EventBatch, EVENTS_VERSION } from "../stream/event-batch.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import type { Caller } from "../stream/flush.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEventEntry } from "../stream/order-status.ts";
import { compareEntryIds, type EntryId, type EntryPosition, formatEntryId } from "../stream/position.ts";
import type { EventFollower, FollowedEntry } from "./event-follower.ts";

export interface EventWaitsOptions {
  readonly follower: EventFollower;
  /** For entries that the follower has no more. */
  readonly redis: Redis;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
}

/** What the engine made of one entry of the log. */
export interface Outcome {
  /** The first and the last event of a command, by its index; undefined where it has none. */
  first(command: number): EngineEvent | undefined;
  last(command: number): EngineEvent | undefined;
  /** The newest event that has the state of an order. */
  newest(orderId: string): EngineEvent | undefined;
}

/**
 * As long as a caller waits for the engine: a standby takes over within a second, and what takes longer needs a person. Then
 * the order is in the log all the same, and its answer says so.
 */
const MAX_WAIT_MS = 2_000;
/** Of its deadline so much is left for the way of the answer, and for how late the end of a wait is noticed. */
const ANSWER_MS = 100;
/**
 * Half of the calls that a door takes at once: however long they wait for an engine that is dead, those that do not have the
 * other half. More are answered without.
 */
const MAX_WAITING = 5_000;
/** How late the end of a wait is noticed. */
const SWEEP_MS = 20;

interface Waiter {
  /** Milliseconds since 1970. */
  readonly until: number;
  readonly caller: Caller;
  /** True: look again. */
  readonly resolve: (look: boolean) => void;
}

/**
 * Lets calls wait until the engine has processed their entry.
 *
 * Always true: who waits is in `#waiting` once, by partition and entry; `#count` is their number, and the sweeper runs while
 * it is not 0.
 */
export class EventWaits implements Service {
  readonly name = "event-waits";
  readonly #options: EventWaitsOptions;
  readonly #waiting: readonly Map<string, Waiter[]>[];
  readonly #unlisten: (() => void)[] = [];
  #count = 0;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: EventWaitsOptions) {
    this.#options = options;
    this.#waiting = options.partitions.map(() => new Map());
  }

  /** How many wait. */
  get waiting(): number {
    return this.#count;
  }

  start(): Promise<void> {
    const { follower } = this.#options;
    for (const [partition, waiting] of this.#waiting.entries()) {
      const entry = ({ id }: FollowedEntry): void => this.#wake(waiting, id);
      const reset = (): void => {
        for (const id of waiting.keys()) this.#wake(waiting, id);
      };
      this.#unlisten.push(follower.listen(partition, { entry, reset }));
    }
    return Promise.resolve();
  }

  /** Whoever still waits is answered without. */
  stop(): Promise<void> {
    for (const unlisten of this.#unlisten) unlisten();
    this.#end(() => true);
    return Promise.resolve();
  }

  /**
   * What the engine made of an entry; undefined where it does not say so in time, or where that was trimmed already. Rejects
   * where Redis is asked for an old entry and does not answer.
   */
  async outcome(partition: number, entry: EntryPosition, caller: Caller): Promise<Outcome | undefined> {
    const until = Math.min(Date.now() + MAX_WAIT_MS, caller.deadline - ANSWER_MS);
    // After a reset the ring may have the entry, or be behind it again.
    for (;;) {
      if (this.isProcessed(partition, entry)) return this.#find(partition, entry);
      if (!(await this.#wait(partition, entry, until, caller))) return undefined;
    }
  }

  /** Whether the engine is known to have come to an entry, or beyond it. */
  isProcessed(partition: number, entry: EntryId): boolean {
    const end = this.#options.follower.end(partition);
    return end !== undefined && compareEntryIds(entry, end) <= 0;
  }

  async #find(partition: number, entry: EntryPosition): Promise<Outcome | undefined> {
    const { follower, redis, partitions } = this.#options;
    const followed = follower.find(partition, entry);
    if (followed !== undefined) return followed.epoch === entry.epoch ? outcomeOf(followed.batch) : undefined;
    const stored = await findEventEntry(redis, partitions[partition]!, entry);
    if (stored?.epoch !== entry.epoch || stored.version > EVENTS_VERSION) return undefined;
    return outcomeOf(decodeEventBatch(stored.payload));
  }

  /** False where there is no use in waiting, or no longer. */
  #wait(partition: number, entry: EntryId, until: number, caller: Caller): Promise<boolean> {
    if (this.#count >= MAX_WAITING || until <= Date.now() || caller.cancelled) return Promise.resolve(false);
    this.#count++;
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS);
    return new Promise((resolve) => {
      const waiting = this.#waiting[partition]!;
      const id = formatEntryId(entry);
      const waiter = { until, caller, resolve };
      const others = waiting.get(id);
      if (others === undefined) waiting.set(id, [waiter]);
      else others.push(waiter);
    });
  }

  #wake(waiting: Map<string, Waiter[]>, id: string): void {
    const woken = waiting.get(id);
    if (woken === undefined) return;
    waiting.delete(id);
    this.#ended(woken.length);
    for (const { resolve } of woken) resolve(true);
  }

  #sweep(): void {
    const now = Date.now();
    this.#end(({ until, caller }) => until <= now || caller.cancelled);
  }

  #end(isOver: (waiter: Waiter) => boolean): void {
    for (const waiting of this.#waiting) {
      for (const [id, waiters] of waiting) {
        const over: Waiter[] = [];
        const left: Waiter[] = [];
        for (const waiter of waiters) (isOver(waiter) ? over : left).push(waiter);
        if (left.length === 0) waiting.delete(id);
        else waiting.set(id, left);
        this.#ended(over.length);
        for (const { resolve } of over) resolve(false);
      }
    }
  }

  #ended(count: number): void {
    this.#count -= count;
    if (this.#count > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

/** One for all that ask about an entry: it goes with the decoded batch. */
const outcomes = new WeakMap<EventBatch, Outcome>();

function outcomeOf(batch: EventBatch): Outcome {
  let outcome = outcomes.get(batch);
  if (outcome === undefined) outcomes.set(batch, (outcome = new BatchOutcome(batch)));
  return outcome;
}

/** The events of a command stand together. */
class BatchOutcome implements Outcome {
  readonly #first = new Map<number, EngineEvent>();
  readonly #last = new Map<number, EngineEvent>();
  readonly #newest = new Map<string, EngineEvent>();

  constructor({ events }: EventBatch) {
    for (const event of events) {
      if (!this.#first.has(event.command)) this.#first.set(event.command, event);
      this.#last.set(event.command, event);
      if (event.status !== 0) this.#newest.set(event.orderId, event);
    }
  }

  first(command: number): EngineEvent | undefined {
    return this.#first.get(command);
  }

  last(command: number): EngineEvent | undefined {
    return this.#last.get(command);
  }

  newest(orderId: string): EngineEvent | undefined {
    return this.#newest.get(orderId);
  }
}
