import type { Redis } from "ioredis";
import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM, type StreamNumber } from "../store/entry-record.ts";
import { epochBegins, journalEnd } from "../store/journal.ts";
import { keptSince } from "../store/partitions.ts";
import { EntryError, readEntry, type StreamReply } from "../stream/entry.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { type Head, readHead } from "../stream/head.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { compareEntryIds, type EntryId, type EntryPosition, parseEntryId, START } from "../stream/position.ts";
import { readGroups } from "../stream/status.ts";

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
  if (redis === undefined) return { key, stream, settled: journaled, delivered: journaled, newest: journaled };
  const group = (await readGroups(redis, key)).find((state) => state.group === PERSIST_GROUP);
  const [last] = await redis.xrevrange(key, "+", "-", "COUNT", 1);
  const logged = last === undefined ? START : parseEntryId(last[0]);
  // What was trimmed is written, also where the group was lost and begins anew.
  const trimmed = await trimmedTo(redis, key);
  const finished = parseEntryId(group?.finished ?? "0-0");
  return {
    key,
    stream,
    settled: later(finished, trimmed),
    delivered: parseEntryId(group?.delivered ?? "0-0"),
    // Redis may have lost what the journal has.
    newest: later(logged, journaled),
  };
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

/** The retention drops a day an hour at most; much may be missing. */
const FRESH_MS = 1_000;

/** From when on the tables have their days; the retention may drop one while the audit runs. */
export class Kept {
  readonly #sql: postgres.Sql;
  #sinceMs: number;
  #readAt = performance.now();

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

  /** Whether rows of that moment were still there a second ago. Asked of what is missing. */
  async has(ms: number): Promise<boolean> {
    if (ms >= this.#sinceMs && performance.now() - this.#readAt > FRESH_MS) {
      this.#sinceMs = await keptSince(this.#sql);
      this.#readAt = performance.now();
    }
    return ms >= this.#sinceMs;
  }
}
