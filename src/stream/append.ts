import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { ReplyError } from "ioredis";
import { AppendError } from "./append-error.ts";
import type { PreparedCommand } from "./prepared-command.ts";
import {
  type Caller,
  type CommitReply,
  Flush,
  type InstrumentChange,
  type Placement,
  readReply,
  Ticket,
} from "./flush.ts";
import { type Opened, openPartition, type OpeningOptions } from "./opening.ts";
import { findEntry } from "./lookup.ts";
import { type EntryPosition, formatEntryId } from "./position.ts";
import { Script } from "./script.ts";

export interface AppenderOptions extends OpeningOptions {
  /** How many commands may wait for their answer; beyond it they are refused. */
  readonly maxWaiting: number;
  /** How long a key of idempotency is kept at least. */
  readonly generationMs: number;
  /** Told of each flush that was answered. */
  readonly onFlush?: (flush: { commands: number; bytes: number; duplicates: number; seconds: number }) => void;
  /**
   * Told where the newest entry that was acknowledged here turns out to be in neither the log nor the journal. `base` is
   * the end of the log when its present epoch began: what was acknowledged before it and in the same epoch may be lost too.
   */
  readonly onLoss?: (lost: { acknowledged: string; base: string }) => void;
}

/** How far Redis' clock may be ahead: an order is not to be dated into the future by a wrong clock. */
export const MAX_CLOCK_AHEAD_MS = 5_000;

/** Redis' clock is too far ahead of ours, or ours behind. */
export class ClockError extends Error {
  override readonly name = "ClockError";

  constructor(aheadMs: number) {
    super(
      `Redis' clock is ${aheadMs} ms ahead of this machine's: more than ${MAX_CLOCK_AHEAD_MS} is an error of one of them`,
    );
  }
}

/** For how long a flush is sent again before its callers are told "unknown": a server restarts within a few seconds. */
const RESEND_MS = 5_000;
const RESEND_DELAY_MS = 50;
/** Far longer than RESEND_MS, so the stored answer is still there when a flush comes again. */
const FLUSH_ANSWER_MS = 10 * 60_000;

/** Why a command is refused where too many wait. */
export const OVERLOADED = "too many commands are waiting for the log";

const commitScript = new Script("commit");

type Outcome = { readonly reply: CommitReply & { status: "OK" } } | { readonly error: AppendError };

/**
 * Appends commands to the log of one partition, many at once: what arrives while a flush is on its way waits for the
 * next one (group commit).
 *
 * Invariants:
 * - One flush is in flight at any time, so commands of a process stand in the log in the order of their calls.
 * - A flush keeps its counter however often it is sent, and the next one has a higher counter: the script appends each
 *   at most once, and none behind a later one.
 * - Once an attempt of a flush may have been appended, it is answered by the script's own answer or as `unknown`.
 * - `#acknowledged` is the newest entry that was answered, on the server of that run id; where the log was opened again
 *   since, it is looked for, so that a loss is noticed even where others went on behind it.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #flushKey: string;
  readonly #queue: Ticket[] = [];
  #waiting = 0;
  #counter = 0;
  #pumping: Promise<void> | undefined;
  #opened: Opened | undefined;
  #opening: Promise<Opened> | undefined;
  #acknowledged: (EntryPosition & { readonly run: string }) | undefined;
  #stopping = false;
  /** Since the last flush that was appended: a lasting refusal is told once. */
  #isClockTold = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#flushKey = options.keys.flush(randomUUID());
  }

  /** Commands whose answer is awaited. */
  get waiting(): number {
    return this.#waiting;
  }

  /** How many more commands may wait. */
  get room(): number {
    return this.#options.maxWaiting - this.#waiting;
  }

  /** Whether the log was open when it was last used. */
  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /**
   * Opens the log, or throws why it cannot be opened now. Appending does the same where it is needed, and gives up before
   * this does: an opening that has much to put back goes on meanwhile.
   */
  open(): Promise<Opened> {
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #open(): Promise<Opened> {
    const acknowledged = this.#acknowledged;
    const opened = await openPartition(this.#options, acknowledged);
    const { run, epoch, base } = opened.head;
    if (acknowledged !== undefined && (acknowledged.run !== run || acknowledged.epoch !== epoch)) {
      const { redis, keys, journal } = this.#options;
      const there =
        (await findEntry(redis, keys, acknowledged)) !== undefined || (await journal.has(keys.partition, acknowledged));
      if (!there) this.#options.onLoss?.({ acknowledged: formatEntryId(acknowledged), base: formatEntryId(base) });
      this.#acknowledged = there && acknowledged.epoch === epoch ? { ...acknowledged, run } : undefined;
    }
    this.#opened = opened;
    return opened;
  }

  /**
   * Resolves with the place of each command, in their order, once all of them are as durable as the level says.
   * Rejects with an AppendError; then some of several commands may be in the log all the same.
   */
  append(
    commands: readonly PreparedCommand[],
    caller: Caller,
    change?: InstrumentChange,
  ): Promise<readonly Placement[]> {
    return new Promise((resolve, reject) => {
      if (this.#stopping) {
        reject(new AppendError("unavailable", "this server is shutting down"));
        return;
      }
      if (commands.length > this.room) {
        reject(new AppendError("overloaded", OVERLOADED));
        return;
      }
      this.#waiting += commands.length;
      const settled = () => (this.#waiting -= commands.length);
      const ticket = new Ticket(
        commands,
        caller,
        change,
        (placements) => {
          settled();
          resolve(placements);
        },
        (error) => {
          settled();
          reject(error);
        },
      );
      this.#queue.push(ticket);
      // Starting in setImmediate lets all calls that this turn of the event loop reads share the first flush.
      this.#pumping ??= new Promise<void>((next) => setImmediate(next)).then(() => this.#pump());
    });
  }

  /** Resolves when everything that was taken is answered. From now on nothing more is taken. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#pumping;
  }

  async #pump(): Promise<void> {
    let flush = this.#take();
    let outcome = flush && this.#commit(flush);
    while (flush !== undefined && outcome !== undefined) {
      const settled = await outcome;
      // What is left of calls that failed must not follow.
      if ("error" in settled) this.#fail(flush, settled.error);
      // The next flush goes out before the answers of this one are written: Redis works while we do.
      const next = this.#take();
      outcome = next && this.#commit(next);
      if ("reply" in settled) {
        const { epoch, entry, seen } = settled.reply;
        flush.settle(this.#options.keys.partition, epoch, entry, seen);
      }
      flush = next;
    }
    this.#pumping = undefined;
  }

  /** The next flush, or undefined where nothing waits. Callers that gave up are answered here and not sent. */
  #take(): Flush | undefined {
    const flush = new Flush(this.#counter + 1);
    const now = Date.now();
    let taken = 0;
    for (const ticket of this.#queue) {
      if (ticket.sent === 0 && (ticket.caller.cancelled || ticket.caller.deadline <= now)) {
        ticket.fail(new AppendError("expired", "the deadline passed before the command was sent to the log"));
      } else if (!flush.add(ticket)) {
        if (ticket.sent === ticket.commands.length) taken++;
        break;
      }
      taken++;
    }
    this.#queue.splice(0, taken);
    if (flush.commands.length === 0) return undefined;
    this.#counter = flush.counter;
    return flush;
  }

  #fail(flush: Flush, error: AppendError): void {
    flush.fail(error);
    // Only the last call of a flush can have commands left, and then it is the first one that waits.
    if (this.#queue[0] !== undefined && this.#queue[0] === flush.tickets.at(-1)) this.#queue.shift();
  }

  /** Sends a flush until it is answered, for RESEND_MS at most. Never rejects. */
  async #commit(flush: Flush): Promise<Outcome> {
    const started = performance.now();
    const payload = flush.payload();
    const until = started + RESEND_MS;
    let maybeLogged = false;
    let cause: unknown;
    for (let attempt = 0; performance.now() < until; attempt++) {
      const before: boolean = maybeLogged;
      try {
        if (attempt > 0) await delay(Math.min(RESEND_DELAY_MS * attempt, 500));
        const opened = this.#opened ?? (await within(this.open(), until - performance.now()));
        maybeLogged = true; // until an answer says otherwise
        const reply = await this.#send(flush, payload, opened);
        // Any other answer speaks of this attempt only: one before it may have been appended and its answer lost.
        if (reply.status !== "OK") maybeLogged = before;
        switch (reply.status) {
          case "OK":
            this.#isClockTold = false;
            await this.#replicated();
            this.#note(reply, opened);
            this.#options.onFlush?.({
              commands: flush.commands.length,
              bytes: flush.bytes,
              duplicates: reply.seen.length / 2,
              seconds: (performance.now() - started) / 1000,
            });
            return { reply };
          case "GENERATION":
            this.#opened = { ...opened, head: { ...opened.head, generation: reply.generation } };
            attempt = -1; // no need to wait
            break;
          case "CHANGED":
            // By an attempt before this one, perhaps, of which the server knows no more than that.
            return {
              error: before
                ? new AppendError("unknown", "the instrument was changed, by this command or another one")
                : new AppendError("changed", "the instrument was changed meanwhile"),
            };
          case "CLOCK":
            cause = new ClockError(reply.ms - Date.now());
            // It does not pass within seconds. But what was sent before may be in the log, and is asked for again.
            if (!before) return { error: this.#refusedByClock(cause) };
            break;
          case "STALE":
            return { error: new AppendError("unknown", "a later flush is in the log already") };
          default:
            this.#opened = undefined;
        }
      } catch (error) {
        // That the time was up says less than what went wrong before.
        if (error !== LATE || cause === undefined) cause = error;
        if (error instanceof AppendError) return { error };
        if (isRefusal(error)) {
          maybeLogged = before;
          if (!before && error.message.startsWith("OOM")) {
            return { error: new AppendError("overloaded", "Redis is out of memory", { cause: error }) };
          }
        }
        this.#opened = undefined; // the server may be another one by now
      }
    }
    this.#options.log.warn({ err: cause, commands: flush.commands.length, maybeLogged }, "a flush was given up");
    return {
      error: maybeLogged
        ? new AppendError("unknown", "the log did not answer in time: the outcome is unknown", { cause })
        : new AppendError("unavailable", "the log is not open at present", { cause }),
    };
  }

  #refusedByClock(cause: unknown): AppendError {
    if (!this.#isClockTold) this.#options.log.error({ err: cause }, "A CLOCK IS WRONG: nothing is appended");
    this.#isClockTold = true;
    return new AppendError("unavailable", "the clocks of this server and of its log differ", { cause });
  }

  async #send(flush: Flush, payload: readonly (string | number | Buffer)[], opened: Opened): Promise<CommitReply> {
    const { keys, generationMs, generationKeys } = this.#options;
    const { run, generation, epoch } = opened.head;
    const acknowledged = this.#acknowledged?.epoch === epoch ? formatEntryId(this.#acknowledged) : "0-0";
    const { change } = flush;
    const reply = await commitScript.run(
      this.#options.redis,
      [
        ...[keys.orders, keys.head, keys.instruments],
        ...[keys.seen(generation), keys.seen(generation - 1), keys.seen(generation + 1), this.#flushKey],
      ],
      [
        ...[flush.counter, generation, run, epoch, acknowledged, Date.now(), MAX_CLOCK_AHEAD_MS],
        ...payload,
        ...[generationMs, generationKeys(opened.maxMemoryBytes), FLUSH_ANSWER_MS],
        ...(change === undefined ? [] : [change.symbol, change.present, change.next]),
      ],
    );
    return readReply(reply);
  }

  /** WAIT covers what this connection wrote before; duplicates wait too, for the first one may still be on its way. */
  async #replicated(): Promise<void> {
    const { level, replicas, replicaTimeoutMs } = this.#options.durability;
    if (level !== "replicas") return;
    const count = await this.#options.redis.wait(replicas, replicaTimeoutMs).catch((error: unknown) => {
      // Of whatever kind it is, it says nothing of the flush, which stands in the log.
      throw new Error("WAIT was not answered", { cause: error });
    });
    if (count < replicas) {
      throw new AppendError("unknown", `${count} of ${replicas} replicas confirmed in time: the outcome is unknown`);
    }
  }

  #note(reply: CommitReply & { status: "OK" }, opened: Opened): void {
    if (reply.generation !== opened.head.generation) {
      this.#opened = { ...opened, head: { ...opened.head, generation: reply.generation } };
    }
    if (reply.entry !== undefined && reply.epoch === opened.head.epoch) {
      this.#acknowledged = { run: opened.head.run, epoch: reply.epoch, ...reply.entry };
    }
  }
}

/**
 * The server answered that it does not do this now: OOM, NOREPLICAS, LOADING, READONLY … The script did not begin, or ended
 * at its first write. A plain ERR is none of these: it could come from the script's middle.
 */
function isRefusal(error: unknown): error is Error {
  return error instanceof (ReplyError as new () => Error) && !error.message.startsWith("ERR ");
}

const LATE = new Error("the log is still being opened");

/** The result of the work, or an error where it takes longer; the work then goes on. */
async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  const timer = new AbortController();
  const late = delay(Math.max(ms, 0), undefined, { signal: timer.signal }).then(() => {
    throw LATE;
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
    late.catch(() => {});
  }
}
