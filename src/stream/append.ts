import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { ReplyError } from "ioredis";
import { AppendError } from "./append-error.ts";
import type { PreparedCommand } from "./command.ts";
import { type Caller, type CommitReply, Flush, type InstrumentChange, type Placement, readReply, Ticket } from "./flush.ts";
import { type Opened, openPartition, type OpeningOptions } from "./opening.ts";
import { compareEntryIds, type EntryPosition, formatEntryId } from "./position.ts";
import { Script } from "./script.ts";

export interface AppenderOptions extends OpeningOptions {
  /** How many commands may wait for their answer; beyond it they are refused. */
  readonly maxWaiting: number;
  /** How long a key of idempotency is kept at least, and how many a generation may hold. */
  readonly generationMs: number;
  readonly generationKeys: (maxMemoryBytes: number) => number;
  /** Told of each flush that was answered. */
  readonly onFlush?: (flush: { commands: number; bytes: number; duplicates: number; seconds: number }) => void;
  /** Told where acknowledged entries turn out to be lost, beyond what the durability level promises to keep. */
  readonly onLoss?: (lost: { from: string; to: string }) => void;
}

/** How far Redis' clock may be ahead: an order is not to be dated into the future by a wrong clock. */
const MAX_CLOCK_AHEAD_MS = 5_000;
/** For how long a flush is sent again before its callers are told "unknown": a server restarts within a few seconds. */
const RESEND_MS = 5_000;
const RESEND_DELAY_MS = 50;
/** Far longer than RESEND_MS, so the stored answer is still there when a flush comes again. */
const FLUSH_ANSWER_MS = 10 * 60_000;

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
 * - `#acknowledged` is the newest entry that was answered in `#epoch`; Redis must never be found to end before it.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #flushKey: string;
  readonly #queue: Ticket[] = [];
  #waiting = 0;
  #counter = 0;
  #pumping: Promise<void> | undefined;
  #opened: Opened | undefined;
  #acknowledged: EntryPosition | undefined;
  #stopping = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#flushKey = options.keys.flush(randomUUID());
  }

  /** Commands whose answer is awaited. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Opens the log, or throws why it cannot be opened now. Appending does the same where it is needed. */
  async open(): Promise<Opened> {
    const opened = await openPartition(this.#options, this.#acknowledged);
    const lost = this.#acknowledged;
    if (lost !== undefined && lost.epoch !== opened.head.epoch) {
      if (compareEntryIds(lost, opened.head.base) > 0) {
        this.#options.onLoss?.({ from: formatEntryId(opened.head.base), to: formatEntryId(lost) });
      }
      this.#acknowledged = undefined;
    }
    this.#opened = opened;
    return opened;
  }

  /**
   * Resolves with the place of each command, in their order, once all of them are as durable as the level says.
   * Rejects with an AppendError; then some of several commands may be in the log all the same.
   */
  append(commands: readonly PreparedCommand[], caller: Caller, change?: InstrumentChange): Promise<readonly Placement[]> {
    return new Promise((resolve, reject) => {
      if (this.#stopping) {
        reject(new AppendError("unavailable", "this server is shutting down"));
        return;
      }
      if (this.#waiting + commands.length > this.#options.maxWaiting) {
        reject(new AppendError("overloaded", "too many commands are waiting for the log"));
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
      // The next flush goes out before the answers of this one are written: Redis works while we do.
      const next = this.#take();
      outcome = next && this.#commit(next);
      this.#settle(flush, settled);
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

  #settle(flush: Flush, outcome: Outcome): void {
    if ("error" in outcome) {
      flush.fail(outcome.error);
      // What is left of these calls must not follow: their callers were told.
      const failed = new Set(flush.tickets);
      for (let i = this.#queue.length - 1; i >= 0; i--) if (failed.has(this.#queue[i]!)) this.#queue.splice(i, 1);
      return;
    }
    const { epoch, entry, seen } = outcome.reply;
    flush.settle(this.#options.keys.partition, epoch, entry, seen);
  }

  /** Sends a flush until it is answered, for RESEND_MS at most. Never rejects. */
  async #commit(flush: Flush): Promise<Outcome> {
    const started = performance.now();
    const payload = flush.payload();
    let uncertain = false;
    let cause: unknown;
    for (let attempt = 0; performance.now() - started < RESEND_MS; attempt++) {
      try {
        if (attempt > 0) await delay(Math.min(RESEND_DELAY_MS * attempt, 500));
        const opened = this.#opened ?? (await this.open());
        uncertain = true; // until an answer says otherwise
        const reply = await this.#send(flush, payload, opened);
        uncertain = false;
        switch (reply.status) {
          case "OK":
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
            return { error: new AppendError("changed", "the instrument was changed meanwhile") };
          case "CLOCK":
            cause = new Error(`Redis' clock is ahead: ${reply.ms} against ${Date.now()}`);
            break;
          case "STALE":
            return { error: new AppendError("unknown", "a later flush is in the log already") };
          default:
            this.#opened = undefined;
        }
      } catch (error) {
        cause = error;
        if (error instanceof AppendError) return { error };
        if (isRefusal(error)) {
          uncertain = false;
          if (/^OOM/.test((error as Error).message)) {
            return { error: new AppendError("overloaded", "Redis is out of memory", { cause: error }) };
          }
        }
        this.#opened = undefined; // the server may be another one by now
      }
    }
    this.#options.log.warn({ err: cause, commands: flush.commands.length, uncertain }, "a flush was given up");
    return {
      error: uncertain
        ? new AppendError("unknown", "the log did not answer in time: the outcome is unknown", { cause })
        : new AppendError("unavailable", "the log is not open at present", { cause }),
    };
  }

  async #send(flush: Flush, payload: readonly (string | number | Buffer)[], opened: Opened): Promise<CommitReply> {
    const { keys, generationMs, generationKeys } = this.#options;
    const { generation, epoch } = opened.head;
    const acknowledged = this.#acknowledged?.epoch === epoch ? formatEntryId(this.#acknowledged) : "0-0";
    const { change } = flush;
    const reply = await commitScript.run(
      this.#options.redis,
      [
        ...[keys.orders, keys.head, keys.instruments],
        ...[keys.seen(generation), keys.seen(generation - 1), keys.seen(generation + 1), this.#flushKey],
      ],
      [
        ...[flush.counter, generation, epoch, acknowledged, Date.now(), MAX_CLOCK_AHEAD_MS],
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
    const count = await this.#options.redis.wait(replicas, replicaTimeoutMs);
    if (count < replicas) {
      throw new AppendError("unknown", `${count} of ${replicas} replicas confirmed in time: the outcome is unknown`);
    }
  }

  #note(reply: CommitReply & { status: "OK" }, opened: Opened): void {
    if (reply.generation !== opened.head.generation) {
      this.#opened = { ...opened, head: { ...opened.head, generation: reply.generation } };
    }
    if (reply.entry !== undefined && reply.epoch === opened.head.epoch) {
      this.#acknowledged = { epoch: reply.epoch, ...reply.entry };
    }
  }
}

/** The server answered with an error: the script ended before it wrote (its first write is the one that is refused). */
function isRefusal(error: unknown): boolean {
  return error instanceof (ReplyError as new () => Error);
}
