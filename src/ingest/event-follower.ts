import { ReplyError, type Redis } from "ioredis";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Service } from "../runtime/service.ts";
import { type Entry, EntryError, sizeOf, type StreamReply } from "../stream/entry.ts";
import type { EngineEvent, EventBatch } from "../stream/event-batch.ts";
import { decodeEvent, decodeEventBatch } from "../stream/event-decoder.ts";
import { EVENT_PAGE_BYTES, readEventEntry } from "../stream/event-pages.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { PageSize } from "../stream/page-size.ts";
import { compareEntryIds, type EntryId, type EntryPosition, parseEntryId, START } from "../stream/position.ts";
import { EntryRing, type RingBounds, type RingEntry } from "./entry-ring.ts";

/** An entry of the events stream. */
export interface FollowedEntry extends EntryPosition {
  /** "<ms>-<seq>" */
  readonly id: string;
  /** ID of the event entry before it. */
  readonly previous: EntryId;
  /** When it came, in milliseconds since 1970; undefined where it stood there before this process looked. */
  readonly seenMs?: number | undefined;
  /** Decoded when it is asked for. Empty where its bytes are none, which is logged. */
  readonly batch: EventBatch;
  /** One of its events, by its index: the rest of the batch is not decoded for it. */
  event(index: number): EngineEvent | undefined;
}

export interface FollowListener {
  /** The next entry, by which time the ring has it. Neither of these may throw. */
  entry(entry: FollowedEntry): void;
  /** There is a hole before what the ring now has: Redis lost something, or trimmed it before it was read here. */
  reset(): void;
}

export interface EventFollowerOptions {
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
  /** Likewise, each for blocking reads alone. Their answers may take `FOLLOW_BLOCK_MS` longer than others. */
  readonly redis: readonly Redis[];
  readonly log: Logger;
}

/** A second: as soon it is noticed that an idle stream lost its end. */
export const FOLLOW_BLOCK_MS = 1_000;
/** In a read: 16,000 orders where entries are full. */
const READ_COUNT = 32;
/** Of all partitions. An order makes some 300 bytes of events: three seconds of 30,000 a second. */
const RING_BYTES = 32 * 1024 * 1024;
/** Of one partition, however many there are: some thousand orders. */
const LEAST_RING_BYTES = 1024 * 1024;
/** Ten seconds where each of 1,000 orders a second has an entry of its own. */
const RING_ENTRIES = 10_000;
/** What an entry holds beside its payload, measured roughly. */
const ENTRY_BYTES = 300;
/** Decoded, an entry takes three times its bytes: only those in use stay so. */
const DECODED_ENTRIES = 16;
const LEAST_RETRY_MS = 50;
const MOST_RETRY_MS = 2_000;

const NOTHING: EventBatch = { stateHash: 0n, rules: 0, events: [], levels: [] };

/**
 * Reads the events of all partitions as they come, once a process, and keeps the newest of them. Nothing is decoded before
 * somebody asks for it.
 *
 * It goes on whatever Redis does, and throws at nobody: while the stream cannot be read, there is nothing new.
 */
export class EventFollower implements Service {
  readonly name = "events";
  readonly #partitions: readonly FollowedPartition[];

  constructor({ partitions, redis, log }: EventFollowerOptions) {
    const bytes = Math.max(RING_BYTES / partitions.length, LEAST_RING_BYTES);
    const bounds = { entries: RING_ENTRIES, bytes };
    this.#partitions = partitions.map((keys, i) => new FollowedPartition(keys, redis[i]!, bounds, log));
  }

  /** Resolves when what the streams have is in the rings, or could not be read at once. */
  async start(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.start()));
  }

  /** Ends its connections too. */
  async stop(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.stop()));
  }

  /** The newest entry that was followed. */
  end(partition: number): EntryPosition | undefined {
    return this.#partitions[partition]?.ring.end;
  }

  /** An entry, where the ring still has it. */
  find(partition: number, id: EntryId): FollowedEntry | undefined {
    return this.#partitions[partition]?.ring.find(id);
  }

  /** The entries behind a place in their order, or undefined where the ring does not reach back to it. */
  since(partition: number, after: EntryPosition): readonly FollowedEntry[] | undefined {
    return this.#partitions[partition]?.ring.since(after);
  }

  /** From now on, in order. Returns what ends it. */
  listen(partition: number, listener: FollowListener): () => void {
    const listeners = this.#partitions[partition]?.listeners;
    listeners?.add(listener);
    return () => void listeners?.delete(listener);
  }
}

/**
 * Always true: the ring holds a stretch of the stream that ends with the newest entry that was read, in which each names the
 * one before it; listeners are told of each entry behind that end, or of a reset.
 */
class FollowedPartition {
  readonly listeners = new Set<FollowListener>();
  readonly ring: EntryRing<Followed>;
  readonly #keys: PartitionKeys;
  readonly #redis: Redis;
  readonly #bounds: RingBounds;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  readonly #decoded: Followed[] = [];
  readonly #pages = new PageSize({ bytes: EVENT_PAGE_BYTES, most: READ_COUNT });
  #following: Promise<void> | undefined;
  /** Whether the ring is to be filled before anything else is read. */
  #isLost = true;
  #trouble: string | undefined;

  constructor(keys: PartitionKeys, redis: Redis, bounds: RingBounds, log: Logger) {
    this.#keys = keys;
    this.#redis = redis;
    this.#bounds = bounds;
    this.#log = log;
    this.ring = new EntryRing(bounds);
  }

  async start(): Promise<void> {
    const begun = Promise.withResolvers<void>();
    this.#following = this.#follow(begun.resolve);
    await begun.promise;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#redis.disconnect();
    await this.#following;
  }

  async #follow(begun: () => void): Promise<void> {
    const backoff = new Backoff(LEAST_RETRY_MS, MOST_RETRY_MS);
    const { signal } = this.#stopping;
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      try {
        if (this.#isLost) await this.#fill(isFirst);
        begun();
        await this.#read();
        backoff.reset();
        this.#tell(undefined);
      } catch (error) {
        begun();
        if (signal.aborted) return;
        this.#tell(error);
        await delay(backoff.next(), signal);
      }
    }
  }

  /** Takes what the stream has, as far as the ring's bounds, the chain and what can be read reach back. */
  async #fill(isFirst: boolean): Promise<void> {
    const found: Followed[] = [];
    let bytes = 0;
    try {
      for await (const reply of this.#newestFirst()) {
        const entry = new Followed(readEventEntry(reply), this);
        const newer = found.at(-1);
        if (newer !== undefined && compareEntryIds(newer.previous, entry) !== 0) break;
        found.push(entry);
        bytes += entry.bytes;
        if (found.length >= this.#bounds.entries || bytes >= this.#bounds.bytes) break;
      }
    } catch (error) {
      if (!(error instanceof EntryError) || found.length === 0) throw error;
    }
    this.ring.clear();
    for (const entry of found.toReversed()) this.ring.push(entry);
    this.#isLost = false;
    if (!isFirst) for (const listener of this.listeners) listener.reset();
  }

  async *#newestFirst(): AsyncGenerator<StreamReply> {
    for (let end = "+"; ;) {
      const { limit } = this.#pages;
      const page = (await this.#answered(
        this.#redis.callBuffer("XREVRANGE", this.#keys.events, end, "-", "COUNT", limit),
      )) as StreamReply[];
      this.#pages.adapt(page.map(sizeOf));
      yield* page;
      const oldest = page.at(-1);
      if (oldest === undefined || page.length < limit) return;
      end = `(${oldest[0].toString()}`;
    }
  }

  /** Waits for what comes next, for a while. */
  async #read(): Promise<void> {
    const { end } = this.ring;
    const reading = this.#redis.callBuffer(
      ...["XREAD", "COUNT", this.#pages.limit, "BLOCK", FOLLOW_BLOCK_MS],
      ...["STREAMS", this.#keys.events, end?.id ?? "0-0"],
    );
    const reply = (await this.#answered(reading)) as [[Buffer, StreamReply[]]] | null;
    if (reply === null) return this.#verify();
    this.#pages.adapt(reply[0][1].map(sizeOf));
    for (const read of reply[0][1]) {
      const entry = new Followed(readEventEntry(read), this);
      const before = this.ring.end;
      if (before !== undefined && (compareEntryIds(entry.previous, before) !== 0 || entry.epoch < before.epoch)) {
        this.#isLost = true;
        return;
      }
      entry.seenMs = Date.now();
      this.ring.push(entry);
      this.#announce(entry);
    }
  }

  /** A mistake of one listener must not cost another one an entry in silence: then there is a hole for all. */
  #announce(entry: Followed): void {
    try {
      for (const listener of this.listeners) listener.entry(entry);
    } catch (error) {
      this.#isLost = true;
      throw error;
    }
  }

  /** Nothing came: does the stream end where it was read to? One that was lost may come again with IDs that were read. */
  async #verify(): Promise<void> {
    const { end } = this.ring;
    if (end !== undefined && compareEntryIds(await this.#last(), end) < 0) this.#isLost = true;
  }

  /** ID of the newest entry that the stream ever had. */
  async #last(): Promise<EntryId> {
    try {
      const info = (await this.#answered(this.#redis.xinfo("STREAM", this.#keys.events))) as unknown[];
      return parseEntryId(String(info[info.indexOf("last-generated-id") + 1]));
    } catch (error) {
      if (error instanceof (ReplyError as new () => Error) && error.message.includes("no such key")) return START;
      throw error;
    }
  }

  /** At a stop it rejects: a command that waits for a connection, on one that is given up, waits for ever. */
  #answered<Answer>(answer: Promise<Answer>): Promise<Answer> {
    const { signal } = this.#stopping;
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(new Error("no more is read"));
      signal.addEventListener("abort", stop, { once: true });
      answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
    });
  }

  decode(entry: Followed, payload: Buffer): EventBatch {
    this.#decoded.push(entry);
    if (this.#decoded.length > DECODED_ENTRIES) this.#decoded.shift()!.forget();
    return this.read(entry, () => decodeEventBatch(payload)) ?? NOTHING;
  }

  /** What can be read of an entry. */
  read<Part>(entry: Followed, decode: () => Part): Part | undefined {
    try {
      return decode();
    } catch (error) {
      const { partition } = this.#keys;
      this.#log.error({ err: error, partition, entry: entry.id }, "AN EVENT ENTRY IS DAMAGED");
      return undefined;
    }
  }

  /** Once for each kind of trouble, and when it is over. */
  #tell(error: unknown): void {
    const trouble = error === undefined ? undefined : messageOf(error);
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    const { partition } = this.#keys;
    if (trouble === undefined) this.#log.info({ partition }, "events are followed again");
    else this.#log.warn({ partition, err: error }, "events cannot be followed at present");
  }
}

/** Its batch is decoded, or can be. */
class Followed implements FollowedEntry, RingEntry {
  readonly id: string;
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly previous: EntryId;
  seenMs: number | undefined;
  readonly #payload: Buffer;
  readonly #partition: FollowedPartition;
  #batch: EventBatch | undefined;

  constructor({ id, epoch, ms, seq, previous, payload }: Entry, partition: FollowedPartition) {
    this.id = id;
    this.epoch = epoch;
    this.ms = ms;
    this.seq = seq;
    this.previous = previous;
    this.#payload = payload;
    this.#partition = partition;
  }

  get bytes(): number {
    return this.#payload.length + ENTRY_BYTES;
  }

  get batch(): EventBatch {
    return (this.#batch ??= this.#partition.decode(this, this.#payload));
  }

  event(index: number): EngineEvent | undefined {
    return this.#batch?.events[index] ?? this.#partition.read(this, () => decodeEvent(this.#payload, index));
  }

  forget(): void {
    this.#batch = undefined;
  }
}
