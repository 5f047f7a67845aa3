import { setImmediate as turn } from "node:timers/promises";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Entry } from "../stream/entry.ts";
import type { EventLog } from "../stream/event-log.ts";
import type { Head } from "../stream/head.ts";
import { findEventEntry } from "../stream/order-status.ts";
import { compareEntryIds, type EntryPosition } from "../stream/position.ts";
import { readClock } from "../stream/redis.ts";
import { appendTick } from "../stream/tick.ts";
import { PoisonError, saysVoided, workEntry } from "./entry-outcome.ts";
import { EventWriter, TAKEOVER_MS } from "./event-writer.ts";
import { GapError, type LogReader } from "./log-reader.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import { Outbox, type Waiting } from "./outbox.ts";
import type { PartitionEngineOptions } from "./partition-engine.ts";
import { Halt, Setback } from "./setback.ts";
import { SnapshotKeeper } from "./snapshot-keeper.ts";
import type { Start } from "./start.ts";

/** For how long a read of the log waits, ms: how soon at the latest an idle engine notices that the log was opened anew. */
export const READ_BLOCK_MS = 1_000;
/** How often Redis' clock is looked at while an order is due some time, ms: so late at the most it is found due where a clock was set. */
const CLOCK_INTERVAL_MS = 10_000;
/** For how long entries are worked before the answers of Redis are looked at, ms. */
const SLICE_MS = 5;
const LEAST_BACKOFF_MS = 50;
/** A Redis that comes back, and a gap that the journal fills, is seen within this time. */
const MOST_BACKOFF_MS = 2_000;

/** It has no state to read now: it is starting or stopped, or was thrown back before the events of what was read stood. */
export class EngineUnavailableError extends Error {
  override readonly name = "EngineUnavailableError";
}

/** The engine's state behind an entry whose events stand. */
interface Standing {
  readonly position: EntryPosition;
  readonly stateHash: bigint;
  readonly rules: number;
  readonly openOrders: number;
}

/**
 * One life of a partition's engine: from a start until a stop, a setback, or an entry that it cannot work.
 *
 * Two sides work at the same time. This one reads the log and works each entry; `EventWriter` brings what came of it into the
 * events stream, or compares.
 *
 * Invariants:
 * - `#position` is the newest entry that the engine has worked; what lies between it and `#standing` is in the outbox.
 * - The state that is made is that of the log under `#head`. Where another run or epoch of the log is met, this life ends.
 */
export class EngineRun {
  readonly #options: PartitionEngineOptions;
  readonly #head: Head;
  readonly #engine: MatchingEngine;
  readonly #reader: LogReader;
  readonly #voided: ReadonlySet<string>;
  readonly #outbox = new Outbox();
  readonly #writer: EventWriter;
  readonly #keeper: SnapshotKeeper;
  readonly #log: Logger;
  #position: EntryPosition;
  #standing: Standing;
  /** Redis' clock minus ours, ms, as far as it is known. */
  #aheadMs = 0;
  /** By our own count of time, which nobody sets, ms. */
  #clockReadAt = Number.NEGATIVE_INFINITY;
  #trouble: Error | undefined;
  #isOver = false;

  constructor(options: PartitionEngineOptions, start: Start, head: Head, reader: LogReader, events: EventLog) {
    const { redis, keys, log, onAppended, onSnapshot } = options;
    this.#options = options;
    this.#head = head;
    this.#reader = reader;
    this.#engine = start.engine;
    this.#voided = start.voided;
    this.#position = start.position;
    this.#log = log;
    const { stateHash, rules, openOrders } = start.engine;
    this.#standing = { position: start.position, stateHash, rules, openOrders };
    this.#keeper = new SnapshotKeeper({ ...options, newest: start.snapshot, onSnapshot });
    this.#writer = new EventWriter({
      ...{ redis, keys, events, head, log, outbox: this.#outbox },
      ...{ end: start.eventsEnd, from: start.position },
      onStanding: (waiting) => this.#stands(waiting),
      onAppended: (append) => onAppended?.(append),
    });
  }

  /** Whether it has come to where the log was when it began. */
  get isPresent(): boolean {
    return this.#writer.mode !== "comparing" && compareEntryIds(this.#position, this.#head.last) >= 0;
  }

  get isStandby(): boolean {
    return this.#writer.mode === "standby";
  }

  get standing(): Standing {
    return this.#standing;
  }

  get snapshot(): EntryPosition | undefined {
    return this.#keeper.newest;
  }

  get trouble(): Error | undefined {
    return this.#trouble ?? this.#writer.trouble;
  }

  /** Resolves after a stop. Throws a Setback, a Halt or a PoisonError; the events of what came before that stand then. */
  async run(stop: AbortSignal): Promise<void> {
    const ending = new AbortController();
    const signal = AbortSignal.any([stop, ending.signal]);
    const wake = (): void => {
      this.#reader.interrupt();
      this.#outbox.wake();
    };
    signal.addEventListener("abort", wake, { once: true });
    const writing = this.#writer.run(signal);
    const following = this.#follow(signal).finally(() => this.#outbox.close());
    try {
      await Promise.race([writing, following]);
      await Promise.all([writing, following]);
    } catch (error) {
      if (error instanceof PoisonError) await writing;
      throw error;
    } finally {
      ending.abort();
      await Promise.allSettled([writing, following]);
      this.#isOver = true;
      const error = new EngineUnavailableError("the engine has to start again");
      for (const { readers } of this.#outbox.clear()) for (const tell of readers) tell(error);
      await this.#keeper.close();
    }
  }

  /** See PartitionEngine. */
  async read<Result>(look: (engine: MatchingEngine) => Result): Promise<{ result: Result; position: EntryPosition }> {
    if (this.#isOver) throw new EngineUnavailableError("the engine has to start again");
    const result = look(this.#engine);
    const position = this.#position;
    const { newest } = this.#outbox;
    if (newest !== undefined) {
      await new Promise<void>((resolve, reject) => {
        newest.readers.push((error) => (error === undefined ? resolve() : reject(error)));
      });
    }
    return { result, position };
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
    while (!signal.aborted) {
      try {
        await this.#step(signal);
        this.#trouble = undefined;
        backoff.reset();
      } catch (error) {
        if (error instanceof Setback || error instanceof Halt || error instanceof PoisonError) throw error;
        if (signal.aborted) return;
        this.#complain(error);
        await delay(backoff.next(), signal);
      }
    }
  }

  #complain(error: unknown): void {
    const trouble = error instanceof Error ? error : new Error(String(error));
    // Said once: it is tried again until it is over.
    if (this.#trouble?.message !== trouble.message) {
      if (error instanceof GapError)
        this.#log.error({ err: error }, "GAP IN THE LOG: the engine waits for what is missing");
      else this.#log.warn({ err: error }, "the log could not be read");
    }
    this.#trouble = trouble;
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { nextDue } = this.#engine;
    if (nextDue < Infinity) await this.#readClock();
    // A standby leaves it to the active one for as long as it leaves it the events.
    const patience = this.isStandby ? TAKEOVER_MS : 0;
    const dueInMs = nextDue + patience - (Date.now() + this.#aheadMs);
    const entries = await this.#reader.next(this.#position, Math.max(0, Math.min(dueInMs, READ_BLOCK_MS)));
    let since = performance.now();
    for (const entry of entries) {
      while (this.#outbox.isFull && !signal.aborted) await this.#outbox.changed;
      if (signal.aborted) return;
      await this.#work(entry);
      if (performance.now() - since < SLICE_MS) continue;
      await turn();
      since = performance.now();
    }
    if (entries.length === 0 && dueInMs <= 0) await this.#tick(nextDue);
  }

  async #readClock(): Promise<void> {
    const now = performance.now();
    if (now - this.#clockReadAt < CLOCK_INTERVAL_MS) return;
    this.#aheadMs = (await readClock(this.#options.redis)) - Date.now();
    this.#clockReadAt = now;
  }

  async #work(entry: Entry): Promise<void> {
    const { keys, onApplied } = this.#options;
    const hasVoid = this.#voided.has(entry.id);
    const isVoided = hasVoid && (await this.#wasVoided(entry));
    const { rules } = this.#engine;
    let outcome;
    try {
      outcome = workEntry(this.#engine, keys.partition, entry, isVoided);
    } catch (error) {
      this.#isOver = true;
      if (!hasVoid) throw error;
      const words = isVoided ? "although it is voided" : "which another engine has worked before it was voided";
      throw new Halt(`the engine cannot work entry ${entry.id}, ${words}`, { cause: error });
    }
    const { epoch, ms, seq } = entry;
    this.#position = { epoch, ms, seq };
    this.#aheadMs = Math.max(this.#aheadMs, ms - Date.now());
    const when = { isSwitch: outcome.rules !== rules, isOurs: !this.isStandby };
    const snapshot = this.#keeper.take(this.#engine, entry, outcome, when);
    this.#outbox.push({ outcome, snapshot, since: performance.now(), readers: [] });
    onApplied?.(outcome);
  }

  /** A void counts where it came before the entry's events; where those stand, they tell. */
  async #wasVoided(entry: Entry): Promise<boolean> {
    const { redis, keys } = this.#options;
    const events = await findEventEntry(redis, keys, entry);
    return events === undefined || saysVoided(events.payload);
  }

  async #tick(dueMs: number): Promise<void> {
    const { redis, keys, onTick } = this.#options;
    const reply = await appendTick(redis, keys, this.#head, this.#position, dueMs);
    if (reply.status === "REOPENED") throw new Setback("the log was opened anew, or is not open");
    if (reply.status === "EARLY") this.#aheadMs = reply.aheadMs;
    if (reply.status === "OK") onTick?.();
  }

  #stands({ outcome, snapshot, readers }: Waiting): void {
    const { epoch, ms, seq, stateHash, rules, openOrders } = outcome;
    this.#standing = { position: { epoch, ms, seq }, stateHash, rules, openOrders };
    for (const tell of readers) tell();
    if (snapshot !== undefined) this.#keeper.store(snapshot);
  }
}
