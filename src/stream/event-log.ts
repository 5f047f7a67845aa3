import type { Redis } from "ioredis";
import type { Entry, StreamReply } from "./entry.ts";
import { EVENTS_VERSION } from "./event-batch.ts";
import { readEventEntry, readEvents } from "./event-pages.ts";
import type { Head } from "./head.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, type EntryPosition, formatEntryId, parseEntryId } from "./position.ts";
import { Script } from "./script.ts";

/** What is appended for one command entry. */
export interface NewEvents extends EntryPosition {
  /** "<ms>-<seq>", the command entry's. */
  readonly id: string;
  /** The command entry before it. */
  readonly previous: EntryId;
  /** An encoded EventBatch. */
  readonly payload: Buffer;
  /** `touchedOrders` of it. */
  readonly touched: Buffer;
}

export interface EventLogOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  /** How long the place of an order's newest event is kept at least, ms, and of how many orders (twice over at the most). */
  readonly generationMs: number;
  readonly generationOrders: number;
}

/** LAST: the newest entry is another one. REOPENED: the log is not the one of that head any more. */
export type AppendReply = { readonly status: "OK" | "REOPENED" } | { readonly status: "LAST"; readonly last: EntryId };

const appendScript = new Script("append_events");
const mendScript = new Script("mend_events");

/** Each means that the generation turned in between, which takes minutes. */
const TRIES = 3;

/** The events stream of a partition, as engines write and compare it. */
export class EventLog {
  readonly #options: EventLogOptions;
  /** The generation of `status` that an append was answered with last. */
  #generation = 1;

  constructor(options: EventLogOptions) {
    this.#options = options;
  }

  /** Appends the entries of consecutive commands behind `last`, at once and together, or nothing. */
  async append(
    head: Pick<Head, "run" | "epoch">,
    last: EntryId,
    entries: readonly [NewEvents, ...NewEvents[]],
  ): Promise<AppendReply> {
    const { redis, keys, generationMs, generationOrders } = this.#options;
    const touched = Buffer.concat(entries.map((entry) => entry.touched));
    for (let i = 0; i < TRIES; i++) {
      const generation = this.#generation;
      const status = [keys.status(generation), keys.status(generation - 1), keys.status(generation + 1)];
      const reply = (await appendScript.run(
        redis,
        [keys.events, keys.head, keys.engine, ...status],
        [
          ...[head.run, head.epoch, formatEntryId(last), generation, generationMs, generationOrders, EVENTS_VERSION],
          ...[formatEntryId(entries[0].previous), touched],
          ...entries.flatMap(({ id, epoch, payload }) => [id, epoch, payload]),
        ],
      )) as [Buffer, Buffer];
      const answer = reply[0].toString();
      switch (answer) {
        case "OK":
          this.#generation = Number(reply[1].toString());
          return { status: answer };
        case "GENERATION":
          this.#generation = Number(reply[1].toString());
          break;
        case "LAST":
          return { status: answer, last: parseEntryId(reply[1].toString()) };
        case "RUN":
        case "EPOCH":
          return { status: "REOPENED" };
        default:
          throw new Error(`the append script answered ${answer}`);
      }
    }
    throw new Error(`the generation of order states turned ${TRIES} times in a row`);
  }

  /**
   * Makes the stream anew where somebody removed its end by hand: Redis would take no entry below what it once had, and its
   * groups would never be given one. Says whether it did; what was in the stream is then to be appended again.
   */
  async mend(head: Pick<Head, "run" | "epoch">): Promise<boolean> {
    const { redis, keys } = this.#options;
    return (await mendScript.run(redis, [keys.events, keys.head], [head.run, head.epoch])) === 1;
  }

  /** Up to `count` entries behind `after`. Throws an EntryError, as `bounds`. */
  read(after: EntryId, count: number): Promise<Entry[]> {
    const { redis, keys } = this.#options;
    return readEvents(redis, keys, { from: after, isBehind: true, count });
  }

  /** The first and the newest entry; undefined where there is none. */
  async bounds(): Promise<{ readonly first: Entry; readonly newest: Entry } | undefined> {
    const { redis, keys } = this.#options;
    const [first] = (await redis.callBuffer("XRANGE", keys.events, "-", "+", "COUNT", 1)) as StreamReply[];
    const [newest] = (await redis.callBuffer("XREVRANGE", keys.events, "+", "-", "COUNT", 1)) as StreamReply[];
    return first && newest && { first: readEventEntry(first), newest: readEventEntry(newest) };
  }
}
