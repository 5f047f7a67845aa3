import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Entry } from "../stream/entry.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import type { EventLog, NewEvents } from "../stream/event-log.ts";
import { EVENT_PAGE_BYTES, NewerEventsError } from "../stream/event-pages.ts";
import { type Head, readHead } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { PageSize } from "../stream/page-size.ts";
import { compareEntryIds, type EntryId, formatEntryId } from "../stream/position.ts";
import type { EntryOutcome } from "./entry-outcome.ts";
import type { Outbox, Waiting } from "./outbox.ts";
import { Divergence, Halt, Setback } from "./setback.ts";

export interface EventWriterOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly events: EventLog;
  readonly outbox: Outbox;
  /** As the log was open when the engine's state was made. */
  readonly head: Pick<Head, "run" | "epoch">;
  /** The newest event entry when the writing begins, and the one from which on the engine works: the earlier one counts. */
  readonly end: EntryId;
  readonly from: EntryId;
  readonly log: Logger;
  /** Told of each entry, in order, once its events stand. */
  readonly onStanding: (waiting: Waiting) => void;
  readonly onAppended: (append: { entries: number; commands: number; bytes: number; seconds: number }) => void;
}

/**
 * - `comparing`: there are events of an earlier life to compare with.
 * - `active`: appends, until an append is refused.
 * - `standby`: another engine appends; compares.
 */
export type WriterMode = "comparing" | "active" | "standby";

/**
 * What one call of the script appends, a single greater entry aside (some 10 MiB). Redis does nothing else meanwhile: half a
 * MiB are some 3,000 orders, and 5 to 10 ms, which is what an order may have to wait for its acknowledgement.
 */
const MAX_APPEND_ENTRIES = 64;
const MAX_APPEND_BYTES = 512 * 1024;
/** Event entries read at once to be compared. */
const COMPARED = 64;
/** How soon a standby sees that an event stands. Nobody waits for it. */
const POLL_MS = 25;
/**
 * Another engine is taken to be dead that has not appended an event for so long: many times what an append takes. Where it
 * lives all the same (a snapshot of a million orders is a pause of about a second), one append is refused, and that is all.
 */
export const TAKEOVER_MS = 500;
const LEAST_BACKOFF_MS = 50;
const MOST_BACKOFF_MS = 2_000;

/**
 * Brings what the engine made of entries into the events stream, or finds it there.
 *
 * Invariants:
 * - One append is on its way at any time. It names the entry that must be the newest; so no entry is written twice, and
 *   none is left out, however many engines write.
 * - `#last` is the newest entry whose events stand and are known to be ours, byte for byte (or were trimmed before they could
 *   be compared). What is in the outbox follows it.
 * - After an append whose end is unknown, what stands is compared before anything is appended.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  readonly #backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
  /** Of what stands, to compare it. */
  readonly #pages = new PageSize({ bytes: EVENT_PAGE_BYTES, most: COMPARED });
  #mode: WriterMode;
  #last: EntryId;
  /** When another engine's work was seen last. */
  #heard = -Infinity;
  #trouble: Error | undefined;

  constructor(options: EventWriterOptions) {
    this.#options = options;
    // An events stream that ends before the engine's beginning (start.ts) goes on where it ends.
    this.#last = compareEntryIds(options.end, options.from) < 0 ? options.end : options.from;
    this.#mode = compareEntryIds(options.end, this.#last) > 0 ? "comparing" : "active";
  }

  get mode(): WriterMode {
    return this.#mode;
  }

  /** The error that is being retried. */
  get trouble(): Error | undefined {
    return this.#trouble;
  }

  /**
   * Until the outbox is closed and empty, or the signal comes (with a `wake` of the outbox): then an active one appends
   * what it has in hand, unless that fails.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { outbox } = this.#options;
    for (;;) {
      if (outbox.first === undefined) {
        if (outbox.isClosed || signal.aborted) return;
        await outbox.changed;
        continue;
      }
      if (signal.aborted && this.#mode !== "active") return;
      try {
        await (this.#mode === "active" ? this.#append() : this.#compare(signal));
        this.#trouble = undefined;
        this.#backoff.reset();
      } catch (error) {
        if (error instanceof Setback || error instanceof Halt || error instanceof NewerEventsError) throw error;
        if (signal.aborted) return;
        this.#complain(error);
        // What was sent may stand.
        if (this.#mode === "active") this.#mode = "standby";
        await delay(this.#backoff.next(), signal);
      }
    }
  }

  #complain(error: unknown): void {
    const trouble = error instanceof Error ? error : new Error(String(error));
    // Said once: it is tried again until it is over.
    if (this.#trouble?.message !== trouble.message) {
      this.#options.log.warn({ err: error }, "events could not be appended or read");
    }
    this.#trouble = trouble;
  }

  async #append(): Promise<void> {
    const { events, outbox, head, onAppended } = this.#options;
    const batch = outbox.batch(MAX_APPEND_ENTRIES, MAX_APPEND_BYTES);
    const [first, ...others] = batch;
    if (first === undefined) return;
    const started = performance.now();
    const reply = await events.append(head, this.#last, [first, ...others]);
    switch (reply.status) {
      case "OK":
        this.#mode = "active";
        for (let i = 0; i < batch.length; i++) this.#stands();
        onAppended({
          entries: batch.length,
          commands: batch.reduce((sum, { commands }) => sum + commands, 0),
          bytes: batch.reduce((sum, { payload }) => sum + payload.length, 0),
          seconds: (performance.now() - started) / 1000,
        });
        return;
      case "REOPENED":
        throw new Setback("the log was opened anew, or is not open");
      case "LAST":
        if (compareEntryIds(reply.last, this.#last) < 0) throw new Setback("the events stream has lost its end");
        this.#mode = "standby";
        this.#heard = performance.now();
        return;
    }
  }

  async #compare(signal: AbortSignal): Promise<void> {
    const entries = await this.#options.events.read(this.#last, this.#pages.limit);
    this.#pages.adapt(entries.map(({ payload }) => payload.length));
    if (entries.length === 0) return this.#unheard(signal);
    this.#heard = performance.now();
    for (const entry of entries) if (!(await this.#found(entry))) return;
  }

  /** There is work whose events do not stand. */
  async #unheard(signal: AbortSignal): Promise<void> {
    if (this.#mode === "comparing") {
      this.#mode = "active";
      return;
    }
    const since = Math.max(this.#heard, this.#options.outbox.first?.since ?? 0);
    if (performance.now() - since < TAKEOVER_MS) await delay(POLL_MS, signal);
    else await this.#append();
  }

  /** Whether there was something to compare the entry with: what is beyond the engine's place is read again. */
  async #found(entry: Entry): Promise<boolean> {
    const { outbox, events, from } = this.#options;
    if (compareEntryIds(entry, from) <= 0) {
      // Another engine began further back behind an events stream that had been lost.
      this.#last = { ms: entry.ms, seq: entry.seq };
      return true;
    }
    let waiting = outbox.first;
    if (waiting !== undefined && compareEntryIds(entry, waiting.outcome) > 0) {
      // Events were trimmed behind which a replay begins, or while this process was paused.
      const bounds = await events.bounds();
      if (bounds === undefined) throw new Setback("the events stream was lost");
      while (waiting !== undefined && compareEntryIds(waiting.outcome, bounds.first) < 0) {
        this.#stands();
        waiting = outbox.first;
      }
      // It was trimmed itself since it was read, and what came behind it perhaps, too.
      if (compareEntryIds(entry, bounds.first) < 0) return false;
    }
    if (waiting === undefined) return false;
    if (!isSame(entry, waiting.outcome)) await this.#diverged(entry, waiting.outcome);
    this.#stands();
    return true;
  }

  #stands(): void {
    const { outbox, end, onStanding } = this.#options;
    const { first } = outbox;
    if (first === undefined) return;
    const { ms, seq } = first.outcome;
    this.#last = { ms, seq };
    if (this.#mode === "comparing" && compareEntryIds(first.outcome, end) >= 0) this.#mode = "active";
    outbox.shift();
    onStanding(first);
  }

  async #diverged(entry: Entry, own: EntryOutcome): Promise<never> {
    const { redis, keys, head } = this.#options;
    const now = await readHead(redis, keys);
    // Under one head both streams have only grown, so a difference is the engine's.
    if (now.run !== head.run || now.epoch !== head.epoch) throw new Setback("the log was opened anew");
    throw new Divergence(
      `DIVERGENCE: at ${own.id} of epoch ${own.epoch} the engine came to another state than the events say ` +
        `(${hashText(own.payload)}; entry ${entry.id} behind ${formatEntryId(entry.previous)} has ${hashText(entry.payload)})`,
    );
  }
}

function isSame(entry: Entry, own: NewEvents): boolean {
  return (
    entry.id === own.id &&
    entry.epoch === own.epoch &&
    compareEntryIds(entry.previous, own.previous) === 0 &&
    entry.payload.equals(own.payload)
  );
}

function hashText(payload: Buffer): string {
  try {
    return decodeEventBatch(payload).stateHash.toString(16).padStart(16, "0");
  } catch {
    return "no state hash";
  }
}
