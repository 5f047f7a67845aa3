import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Service } from "../runtime/service.ts";
import { EventLog } from "../stream/event-log.ts";
import { NewerEventsError } from "../stream/event-pages.ts";
import { NotOpenError, openHead } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { type EntryPosition } from "../stream/position.ts";
import { voidedBy } from "../stream/voids.ts";
import type { EngineJournal } from "./engine-journal.ts";
import { EngineRun, EngineUnavailableError } from "./engine-run.ts";
import { PoisonError } from "./entry-outcome.ts";
import { GapError, type LogGap, LogReader } from "./log-reader.ts";
import { Engine } from "./matching/engine.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import { Divergence, Halt, Setback } from "./setback.ts";
import type { SnapshotStore } from "./snapshots.ts";
import { type EngineFactory, findStart } from "./start.ts";

/**
 * - `starting`: comes to the present: waits for the log to be opened, restores a snapshot, replays what is behind it.
 * - `active`: appends events. Of two engines that are idle both may say so, until the next entry.
 * - `standby`: another engine appends; this one compares.
 * - `stopped`: with an alarm, until an operator acts.
 */
export type EngineState = "starting" | "active" | "standby" | "stopped";

export interface EngineStatus {
  readonly partition: number;
  readonly state: EngineState;
  /** What it waits for, or why it stopped; "" where there is nothing to say. */
  readonly detail: string;
  /** The newest entry that it has worked and whose events stand; undefined before the first. */
  readonly position: EntryPosition | undefined;
  /** Of the state behind it. Unsigned, 64 bits. */
  readonly stateHash: bigint;
  readonly rules: number;
  readonly openOrders: number;
  /** Of the newest snapshot that was stored, or from which it started. */
  readonly snapshot: EntryPosition | undefined;
  /** The entry ("<ms>-<seq>") at which it stopped because it cannot work it: an operator may have it voided. */
  readonly unworkable: string | undefined;
  /** What it waits for, though nobody may have it any more: an operator may have the gap closed. */
  readonly gap: LogGap | undefined;
}

export interface PartitionEngineOptions {
  /** May be shared. */
  readonly redis: Redis;
  /** A connection of its own, whose socketTimeoutMs is above READ_BLOCK_MS: it reads with BLOCK. */
  readonly blocking: Redis;
  readonly keys: PartitionKeys;
  readonly journal: EngineJournal;
  readonly snapshots: SnapshotStore;
  /** A snapshot is taken after so many commands, or so many ms where there was any, whichever comes first. */
  readonly snapshotCommands: number;
  readonly snapshotIntervalMs: number;
  /** How long the place of an order's newest event is kept in Redis at least, ms, and of how many orders (twice over at the most). */
  readonly statusGenerationMs: number;
  readonly statusGenerationOrders: number;
  readonly log: Logger;
  /** Told of each entry that was worked, in a replay too. */
  readonly onApplied?: (entry: { readonly commands: number; readonly events: number }) => void;
  /** Told of each append that was taken. */
  readonly onAppended?: (append: {
    readonly entries: number;
    readonly commands: number;
    readonly bytes: number;
    readonly seconds: number;
  }) => void;
  readonly onTick?: () => void;
  readonly onSnapshot?: (snapshot: { readonly bytes: number; readonly seconds: number }) => void;
  readonly onDivergence?: () => void;
  /** Those of src/engine/matching, unless a test has its own. */
  readonly engines?: EngineFactory;
}

/** The engines of src/engine/matching. */
export const MATCHING: EngineFactory = {
  create: () => new Engine(),
  restore: (data) => Engine.restore(data),
};

/** How often a stopped engine looks for a void. */
const VOID_POLL_MS = 1_000;
const LEAST_BACKOFF_MS = 50;
/** A log that is opened is seen within this time. */
const MOST_BACKOFF_MS = 1_000;

/** How a stop is described. */
interface Stopped {
  readonly error: Error;
  readonly unworkable: string | undefined;
}

/**
 * The engine of one partition: follows the log, works each entry, and appends what came of it to the events stream.
 *
 * Invariants:
 * - One `EngineRun` lives at a time. Whatever it meets that it did not expect ends it, and the next one begins from a snapshot.
 * - Nothing is written to the events stream but by compare-and-append; so any number of these may run beside each other.
 * - Once stopped with an alarm it writes nothing more. An entry that cannot be worked is left by a void alone; the other
 *   causes by a new start of the process.
 */
export class PartitionEngine implements Service {
  readonly name: string;
  readonly #options: PartitionEngineOptions;
  readonly #events: EventLog;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  readonly #backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
  #living: Promise<void> | undefined;
  #run: EngineRun | undefined;
  #stopped: Stopped | undefined;
  /** Why the next start is being waited for. */
  #setback: Error | undefined;

  constructor(options: PartitionEngineOptions) {
    const { redis, keys, statusGenerationMs, statusGenerationOrders } = options;
    this.name = `engine of partition ${keys.partition}`;
    this.#log = options.log.child({ partition: keys.partition });
    this.#options = { ...options, log: this.#log };
    this.#events = new EventLog({
      ...{ redis, keys },
      ...{ generationMs: statusGenerationMs, generationOrders: statusGenerationOrders },
    });
  }

  /** Resolves at once: it may have to wait for the log. */
  async start(): Promise<void> {
    this.#living = this.#live(this.#stopping.signal);
  }

  /** Resolves when nothing is on its way any more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#living;
  }

  get status(): EngineStatus {
    const { partition } = this.#options.keys;
    const standing = this.#run?.standing;
    const { stateHash = 0n, rules = 0, openOrders = 0 } = standing ?? {};
    const isFirst = (standing?.position.epoch ?? 0) === 0;
    return {
      ...{ partition, state: this.#state(), detail: this.trouble === undefined ? "" : messageOf(this.trouble) },
      position: isFirst ? undefined : standing?.position,
      ...{ stateHash, rules, openOrders },
      snapshot: this.#run?.snapshot,
      unworkable: this.#stopped?.unworkable,
      gap: this.trouble instanceof GapError ? this.trouble.gap : undefined,
    };
  }

  /** What is being tried again, or why it stopped, for readiness; undefined while all is well. */
  get trouble(): Error | undefined {
    return this.#stopped?.error ?? this.#setback ?? this.#run?.trouble;
  }

  /**
   * What `look` finds in the engine now, with the position of the newest entry in it; once that entry's events stand.
   * Rejects with an EngineUnavailableError.
   */
  async read<Result>(look: (engine: MatchingEngine) => Result): Promise<{ result: Result; position: EntryPosition }> {
    if (this.#run?.isPresent !== true) throw new EngineUnavailableError("the engine has not come to the present");
    return await this.#run.read(look);
  }

  #state(): EngineState {
    if (this.#stopped !== undefined) return "stopped";
    if (this.#run?.isPresent !== true) return "starting";
    return this.#run.isStandby ? "standby" : "active";
  }

  async #live(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#once(signal);
      } catch (error) {
        const isFinal = error instanceof Halt || error instanceof NewerEventsError;
        if (isFinal) await this.#stand(error, undefined, () => forever(signal));
        else await this.#setBack(error, signal);
      }
    }
  }

  /** One life, until a stop, or what it ended with. */
  async #once(signal: AbortSignal): Promise<void> {
    const { redis, keys, engines = MATCHING } = this.#options;
    const head = await openHead(redis, keys);
    const reader = new LogReader({ ...this.#options, head });
    const start = await findStart({ ...this.#options, engines, events: this.#events }, head, reader, signal);
    this.#log.info(
      {
        snapshot: start.snapshot,
        epoch: head.epoch,
        end: head.last,
        events: start.eventsEnd,
        voided: [...start.voided],
      },
      "the engine starts",
    );
    this.#setback = undefined;
    this.#run = new EngineRun(this.#options, start, head, reader, this.#events);
    try {
      await this.#run.run(signal);
    } catch (error) {
      if (this.#run.isPresent) this.#backoff.reset();
      if (!(error instanceof PoisonError)) throw error;
      await this.#stand(error, error.entry.id, () => this.#awaitVoid(reader, error.entry, signal));
    }
  }

  /** The next life begins in a moment. */
  async #setBack(error: unknown, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const setback = error instanceof Error ? error : new Error(String(error));
    if (this.#setback?.message !== setback.message) {
      const level = setback instanceof NotOpenError ? "info" : "warn";
      this.#log[level]({ err: setback }, "the engine has to start again");
    }
    this.#setback = setback;
    this.#run = undefined;
    await delay(this.#backoff.next(), signal);
  }

  /** Stopped, with an alarm, until `end` resolves. */
  async #stand(error: Error, unworkable: string | undefined, end: () => Promise<void>): Promise<void> {
    this.#stopped = { error, unworkable };
    this.#log.error({ err: error, unworkable }, "STOPPED: the engine of this partition needs an operator");
    if (error instanceof Divergence) this.#options.onDivergence?.();
    await end();
    this.#run = undefined;
    this.#stopped = undefined;
  }

  /** Until the log has a void for the entry, or is another log. */
  async #awaitVoid(
    reader: LogReader,
    entry: EntryPosition & { readonly id: string },
    signal: AbortSignal,
  ): Promise<void> {
    let at: EntryPosition = entry;
    while (!signal.aborted) {
      try {
        const entries = await reader.next(at, 0);
        for (const { payload } of entries) if (voidedBy(payload).includes(entry.id)) return;
        at = entries.at(-1) ?? at;
        if (entries.length > 0) continue;
      } catch (error) {
        if (error instanceof Setback) return;
        this.#log.warn({ err: error }, "the log could not be looked through for a void");
      }
      await delay(VOID_POLL_MS, signal);
    }
  }
}

async function forever(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
