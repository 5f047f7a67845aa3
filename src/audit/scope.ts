import type { Redis } from "ioredis";
import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM, type StreamNumber } from "../store/entry-record.ts";
import { epochBegins, journalEnd } from "../store/journal.ts";
import { plainArray } from "../store/parameters.ts";
import { keptSince } from "../store/partitions.ts";
import { EntryError, readEntry, type StreamReply } from "../stream/entry.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { type Head, readHead } from "../stream/head.ts";
import { PartitionKeys } from "../stream/keys.ts";
import {
  compareEntryIds,
  type EntryId,
  type EntryPosition,
  formatEntryId,
  parseEntryId,
  START,
} from "../stream/position.ts";
import { earlierClock } from "../stream/redis.ts";
import { readGroups } from "../stream/status.ts";

/**
 * An entry that is under way is told of from this age on. A worker that died is followed after PENSTOCK_MIN_IDLE_MS and a claim
 * interval, 75 s together, and a transaction takes 20 s at the most: three of them in a row take 5 minutes.
 */
const STUCK_MS = 300_000;

/** How far one of a partition's streams had come when the audit began. */
export interface StreamScope {
  readonly key: string;
  readonly stream: StreamNumber;
  /** Up to here everything is in Postgres. */
  readonly settled: EntryId;
  /** The newest entry that the workers were given. */
  readonly delivered: EntryId;
  /** The newest entry; START where there is none. */
  readonly newest: EntryId;
  /** The entry behind `settled`, where it has been under way for long, and keeps journaled ones behind it from being looked at. */
  readonly stuck: StuckEntry | undefined;
}

export interface StuckEntry extends EntryId {
  readonly ageMs: number;
}

/** A partition as the audit found it. Positions are taken before anything is read, so that what is under way is not looked for. */
export interface Scope {
  readonly partition: number;
  readonly partitions: number;
  readonly keys: PartitionKeys;
  readonly sql: postgres.Sql;
  /** Undefined where the log cannot be asked: there is no Redis, or nothing in it. */
  readonly redis: Redis | undefined;
  /** Of the log in Redis, where there is one. */
  readonly head: Head | undefined;
  readonly orders: StreamScope;
  readonly events: StreamScope;
  readonly cuts: readonly Cut[];
  readonly kept: Kept;
}

/** A place behind which an epoch began: entries of earlier ones beyond it were lost by the log, which went on without them. */
export interface Cut {
  readonly epoch: number;
  readonly end: EntryId;
}

/** Whether the log lost the entry and went on without it, though the journal has it. */
export function isOffChain({ cuts }: Pick<Scope, "cuts">, entry: EntryPosition): boolean {
  return cuts.some(({ epoch, end }) => epoch > entry.epoch && compareEntryIds(entry, end) > 0);
}

/** Other positions hold now than those that the audit has taken. */
export class ReopenedError extends Error {
  override readonly name = "ReopenedError";
}

/** The head of the log as it is now. Throws a ReopenedError where the log was opened anew since the audit began. */
export async function sameHead(redis: Redis, { keys, head }: Pick<Scope, "keys" | "head">): Promise<Head> {
  const now = await readHead(redis, keys);
  if (now.run === head?.run && now.epoch === head.epoch) return now;
  throw new ReopenedError(`the log of partition ${keys.partition} was opened anew while the audit ran: run it again`);
}

/** Takes the positions of a partition; without Redis those of the journal. */
export async function takeScope(
  redis: Redis | undefined,
  sql: postgres.Sql,
  { partition, partitions, kept }: Pick<Scope, "partition" | "partitions" | "kept">,
): Promise<Scope> {
  const keys = new PartitionKeys(partition);
  const found = redis && (await readHead(redis, keys));
  const head = found === undefined || found.epoch === 0 ? undefined : found; // never opened, or emptied
  const log = head && redis;
  // The events first: all that they tell of is in the log by then.
  const events = await streamScope(log, sql, partition, keys.events, EVENTS_STREAM);
  const orders = await streamScope(log, sql, partition, keys.orders, ORDERS_STREAM);
  const begins = await epochBegins(sql, ORDERS_STREAM, partition);
  const cuts = begins.map(({ epoch, prevMs, prevSeq }): Cut => ({ epoch, end: { ms: prevMs, seq: prevSeq } }));
  if (head !== undefined) cuts.push({ epoch: head.epoch, end: head.base });
  return { partition, partitions, keys, sql, redis: log, head, orders, events, cuts, kept };
}

async function streamScope(
  redis: Redis | undefined,
  sql: postgres.Sql,
  partition: number,
  key: string,
  stream: StreamNumber,
): Promise<StreamScope> {
  const journaled = (await journalEnd(sql, stream, partition)) ?? START;
  if (redis === undefined)
    return { key, stream, settled: journaled, delivered: journaled, newest: journaled, stuck: undefined };
  const group = (await readGroups(redis, key)).find((state) => state.group === PERSIST_GROUP);
  const [last] = await redis.xrevrange(key, "+", "-", "COUNT", 1);
  const logged = last === undefined ? START : parseEntryId(last[0]);
  // What was trimmed is written, also where the group was lost and begins anew.
  const trimmed = await trimmedTo(redis, key);
  const settled = later(parseEntryId(group?.finished ?? "0-0"), trimmed);
  return {
    key,
    stream,
    settled,
    delivered: parseEntryId(group?.delivered ?? "0-0"),
    // Redis may have lost what the journal has.
    newest: later(logged, journaled),
    stuck: compareEntryIds(journaled, settled) > 0 ? await stuckBehind(redis, key, settled) : undefined,
  };
}

async function stuckBehind(redis: Redis, key: string, settled: EntryId): Promise<StuckEntry | undefined> {
  const [first] = await redis.xrange(key, `(${formatEntryId(settled)}`, "+", "COUNT", 1);
  if (first === undefined) return undefined;
  const entry = parseEntryId(first[0]);
  const ageMs = (await earlierClock(redis)) - entry.ms;
  return ageMs > STUCK_MS ? { ...entry, ageMs } : undefined;
}

function later(a: EntryId, b: EntryId): EntryId {
  return compareEntryIds(a, b) > 0 ? a : b;
}

/** The entry before the first one that the stream still has. */
async function trimmedTo(redis: Redis, key: string): Promise<EntryId> {
  const [first] = (await redis.callBuffer("XRANGE", key, "-", "+", "COUNT", 1)) as StreamReply[];
  try {
    return first === undefined ? START : readEntry(first[0].toString(), first[1] ?? []).previous;
  } catch (error) {
    if (error instanceof EntryError) return START; // it is told of where the log is read
    throw error;
  }
}

/** From when on the tables have their days. The retention may drop one at any moment, so what is missing is asked of anew. */
export class Kept {
  readonly #sql: postgres.Sql;
  #sinceMs: number;

  private constructor(sql: postgres.Sql, sinceMs: number) {
    this.#sql = sql;
    this.#sinceMs = sinceMs;
  }

  static async read(sql: postgres.Sql): Promise<Kept> {
    return new Kept(sql, await keptSince(sql));
  }

  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** Asks anew. What is missing from a day that is kept by then was missing when it was looked for. */
  async refresh(): Promise<number> {
    this.#sinceMs = await keptSince(this.#sql);
    return this.#sinceMs;
  }

  /** Whether rows of that moment were kept when it was last asked. */
  keeps(ms: number): boolean {
    return ms >= this.#sinceMs;
  }

  /** Whether they are now. */
  async has(ms: number): Promise<boolean> {
    return this.keeps(ms) && ms >= (await this.refresh());
  }
}

/** The tables of a system as a whole. */
export interface Tables {
  readonly sql: postgres.Sql;
  readonly scopes: readonly Pick<Scope, "partition" | "events">[];
  readonly kept: Kept;
}

/** Up to where the events of each partition are written, as rows behind FROM: settled (partition, until_ms, until_seq). */
export function settledEvents(sql: Tables["sql"], scopes: Tables["scopes"]) {
  return sql`
    unnest(${plainArray(scopes.map(({ partition }) => partition))}::smallint[],
           ${plainArray(scopes.map(({ events }) => events.settled.ms))}::bigint[],
           ${plainArray(scopes.map(({ events }) => events.settled.seq))}::bigint[])
      AS settled (partition, until_ms, until_seq)`;
}
