import type { Redis } from "ioredis";
import { sizeOf, type StreamReply } from "./entry.ts";
import { PageSize } from "./page-size.ts";
import { formatEntryId, START } from "./position.ts";

export interface GroupReaderOptions {
  /** A connection of its own: a command behind a blocking read waits for it. */
  readonly blocking: Redis;
  /** For everything else; may be shared. */
  readonly redis: Redis;
  readonly stream: string;
  readonly group: string;
  /** Stable over restarts, so that what was pending is found again. */
  readonly consumer: string;
  /** Entries of a delivery: fewer behind one of which they were large. */
  readonly count: number;
  /** Of the first one, where they may be too large for `count` of them to be held. */
  readonly firstCount?: number;
  readonly blockMs: number;
  /** From when on an entry that another consumer holds is taken over. */
  readonly minIdleMs: number;
  /** How often such entries are looked for; each time is shifted by up to a quarter, so that workers do not meet. */
  readonly claimIntervalMs: number;
  /** Told where the group was gone, and was made again at the beginning of the stream: all that is there comes again. */
  readonly onGroupLost: () => void;
}

/** An entry that this consumer now holds. */
export interface Delivered {
  readonly id: string;
  /** Names and values in turns. */
  readonly fields: readonly Buffer[];
  /** How often it was delivered, this time included. Claims count too, so a high number is no fault of the entry. */
  readonly deliveries: number;
}

export interface Delivery {
  readonly entries: readonly Delivered[];
  /** IDs that the group still had to process and that are no longer in the stream: something trimmed what was needed. */
  readonly lost: readonly string[];
}

/** What a delivery should have: twice what 50 full entries of events have. */
const DELIVERY_BYTES = 16 * 1024 * 1024;

/**
 * Reads a stream as a member of a consumer group.
 *
 * Invariant: what this consumer holds and has not acknowledged is delivered again after `rewind`, before anything new;
 * so a reply that was lost on its way strands nothing.
 */
export class GroupReader {
  readonly #options: GroupReaderOptions;
  readonly #size: PageSize;
  /** Entries that the last delivery could have. */
  #asked: number;
  /** Where the own pending entries are read on from; undefined once they have been read to the end. */
  #pendingFrom: string | undefined = "0-0";
  /** Where the present round of claims goes on; undefined between rounds. */
  #claimFrom: string | undefined;
  /** By a count of time that nobody sets, ms. */
  #nextClaimAt = 0;
  /** Whether the group was ever found: it is then not missing because nobody has made it yet. */
  #joined = false;

  constructor(options: GroupReaderOptions) {
    this.#options = options;
    const { count, firstCount = count } = options;
    this.#size = new PageSize({ bytes: DELIVERY_BYTES, most: count, first: firstCount });
    this.#asked = this.#size.limit;
  }

  /** How many entries the last delivery could have: where it has as many, there may be more. */
  get count(): number {
    return this.#asked;
  }

  /** After a read that failed: starts again with what this consumer holds, for a reply may have been lost on its way. */
  rewind(): void {
    this.#pendingFrom = "0-0";
  }

  /**
   * Own pending entries first, then stalled ones of others when it is time, then new ones. Waits for `blockMs` at most and
   * may come back empty. On an error of any kind call `rewind`.
   */
  async next(): Promise<Delivery> {
    try {
      const delivery = (await this.#pending()) ?? (await this.#claimed()) ?? (await this.#new());
      this.#joined = true;
      return delivery;
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOGROUP")) throw error;
      await this.#createGroup();
      this.rewind();
      return { entries: [], lost: [] };
    }
  }

  /**
   * Returns how many of them the group really held: fewer means that it was lost, or that others took them over. Throws at once
   * where Redis is away, or reads its file back: whoever acknowledges has other things to write.
   */
  async acknowledge(ids: readonly string[]): Promise<number> {
    if (ids.length === 0) return 0;
    const { redis, stream, group } = this.#options;
    if (redis.status !== "ready") throw new Error(`Redis is not ready: ${redis.status}`);
    return await redis.xack(stream, group, ...ids);
  }

  /** From the beginning, never from "$": what is in the log must reach the group. */
  async #createGroup(): Promise<void> {
    const { redis, stream, group, onGroupLost } = this.#options;
    const lost = this.#joined || (await redis.xlen(stream)) > 0;
    await ensureGroup(redis, stream, group);
    if (lost) onGroupLost();
  }

  async #pending(): Promise<Delivery | undefined> {
    if (this.#pendingFrom === undefined) return undefined;
    const replies = await this.#read(this.#options.redis, [], this.#pendingFrom);
    const newest = replies.at(-1);
    if (newest === undefined) {
      this.#pendingFrom = undefined;
      return undefined;
    }
    this.#pendingFrom = newest[0].toString();
    const lost = replies.filter((reply) => reply[1] === null).map(([id]) => id.toString());
    return { entries: await this.#withDeliveries(replies), lost };
  }

  async #claimed(): Promise<Delivery | undefined> {
    if (this.#claimFrom === undefined) {
      if (performance.now() < this.#nextClaimAt) return undefined;
      this.#claimFrom = formatEntryId(START);
    }
    const { redis, stream, group, consumer, minIdleMs, claimIntervalMs } = this.#options;
    this.#asked = this.#size.limit;
    const [next, replies, deleted] = (await redis.callBuffer(
      ...["XAUTOCLAIM", stream, group, consumer],
      ...[minIdleMs, this.#claimFrom, "COUNT", this.#asked],
    )) as [Buffer, StreamReply[], Buffer[]];
    this.#size.adapt(replies.map(sizeOf));
    // A page may be empty and not the last: the round ends only where the cursor is back at the start.
    const cursor = next.toString();
    this.#claimFrom = cursor === formatEntryId(START) ? undefined : cursor;
    if (this.#claimFrom === undefined)
      this.#nextClaimAt = performance.now() + claimIntervalMs * (0.75 + Math.random() / 2);
    if (replies.length === 0 && deleted.length === 0 && this.#claimFrom === undefined) return undefined;
    return { entries: await this.#withDeliveries(replies), lost: deleted.map(String) };
  }

  async #new(): Promise<Delivery> {
    const replies = await this.#read(this.#options.blocking, ["BLOCK", this.#options.blockMs], ">");
    const entries = replies.flatMap(([id, fields]) =>
      fields === null ? [] : [{ id: id.toString(), fields, deliveries: 1 }],
    );
    return { entries, lost: [] };
  }

  async #read(redis: Redis, block: readonly (string | number)[], from: string): Promise<readonly StreamReply[]> {
    const { stream, group, consumer } = this.#options;
    this.#asked = this.#size.limit;
    const reply = (await redis.callBuffer(
      ...["XREADGROUP", "GROUP", group, consumer, "COUNT"],
      ...[this.#asked, ...block, "STREAMS", stream, from],
    )) as [[Buffer, StreamReply[]]] | null;
    const replies = reply?.[0][1] ?? [];
    this.#size.adapt(replies.map(sizeOf));
    return replies;
  }

  async #withDeliveries(replies: readonly StreamReply[]): Promise<Delivered[]> {
    const first = replies[0];
    const last = replies.at(-1);
    if (first === undefined || last === undefined) return [];
    const { redis, stream, group, consumer } = this.#options;
    const rows = (await redis.call(
      ...["XPENDING", stream, group, first[0].toString(), last[0].toString()],
      ...[replies.length, consumer],
    )) as [id: string, consumer: string, idleMs: number, deliveries: number][];
    const deliveries = new Map(rows.map(([id, , , count]) => [id, count]));
    return replies.flatMap(([id, fields]) => {
      const text = id.toString();
      return fields === null ? [] : [{ id: text, fields, deliveries: deliveries.get(text) ?? 1 }];
    });
  }
}

/** Makes a group where there is none, and the stream with it: at the beginning, so that it misses nothing. */
export async function ensureGroup(redis: Redis, stream: string, group: string): Promise<void> {
  try {
    await redis.xgroup("CREATE", stream, group, "0", "MKSTREAM");
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith("BUSYGROUP")) throw error;
  }
}
