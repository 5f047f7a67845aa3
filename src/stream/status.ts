import type { Redis } from "ioredis";
import { parseInfo } from "./durability.ts";
import { type Head, readHead } from "./head.ts";
import type { PartitionKeys } from "./keys.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseEntryId, START } from "./position.ts";
import { earlierClock } from "./redis.ts";

/** What a group still has to do on a stream. Ages in ms, 0 where there is nothing. */
export interface GroupState {
  readonly group: string;
  readonly consumers: number;
  /** Delivered and not acknowledged. */
  readonly pending: number;
  /** Not yet delivered; -1 where Redis cannot tell (after a trim into it). */
  readonly lag: number;
  readonly oldestPendingMs: number;
  readonly oldestUndeliveredMs: number;
  /** ID of the newest entry that was handed to a worker. */
  readonly delivered: string;
  /** ID up to which the group has finished everything. */
  readonly finished: string;
}

export interface StreamState {
  readonly head: Head;
  readonly firstEntryId: string;
  readonly entries: number;
  readonly groups: readonly GroupState[];
}

/** What the engine made of a partition's log, and what it has still to do. Ages in ms. */
export interface EventsState {
  readonly entries: number;
  readonly groups: readonly GroupState[];
  /** Of the oldest entry of the log that has no events yet; 0 where there is none. */
  readonly oldestUnmatchedMs: number;
}

export interface MemoryState {
  readonly usedBytes: number;
  readonly maxBytes: number;
}

export async function readMemory(redis: Redis): Promise<MemoryState> {
  const info = parseInfo(await redis.info("memory"));
  return { usedBytes: Number(info.get("used_memory")), maxBytes: Number(info.get("maxmemory")) };
}

/** The state of a partition's orders stream and of its groups. */
export async function readStreamState(redis: Redis, keys: PartitionKeys): Promise<StreamState> {
  const head = await readHead(redis, keys);
  const [first] = await redis.xrange(keys.orders, "-", "+", "COUNT", 1);
  const entries = await redis.xlen(keys.orders);
  const groups = await readGroups(redis, keys.orders);
  return { head, firstEntryId: first?.[0] ?? formatEntryId({ ms: 0, seq: 0 }), entries, groups };
}

/** The state of a partition's events stream, or undefined where no engine was ever part of the deployment. */
export async function readEventsState(redis: Redis, keys: PartitionKeys): Promise<EventsState | undefined> {
  if ((await redis.exists(keys.engine)) === 0) return undefined;
  const [newest] = await redis.xrevrange(keys.events, "+", "-", "COUNT", 1);
  const snapshot = await redis.hget(keys.engine, "snapshot");
  const events = newest === undefined ? START : parseEntryId(newest[0]);
  const begun = snapshot === null ? START : parseEntryId(snapshot);
  return {
    entries: await redis.xlen(keys.events),
    groups: await readGroups(redis, keys.events),
    // The events of an entry have its ID. So the first entry of the log behind the newest of them has none yet. Where Redis has lost
    // events that are in Postgres, none are made again for what is before the snapshot from which the engine began.
    oldestUnmatchedMs: await readAgeBehind(redis, keys.orders, compareEntryIds(events, begun) < 0 ? begun : events),
  };
}

/** The age in ms of the first entry of a stream behind `id`, or of its very first; 0 where there is none. */
export async function readAgeBehind(redis: Redis, stream: string, id: EntryId | undefined): Promise<number> {
  const [oldest] = await redis.xrange(stream, id === undefined ? "-" : `(${formatEntryId(id)}`, "+", "COUNT", 1);
  return oldest === undefined ? 0 : age(await earlierClock(redis), oldest[0]);
}

/** The groups of a stream; none where there is no such stream. */
export async function readGroups(redis: Redis, stream: string): Promise<GroupState[]> {
  const groups: GroupState[] = [];
  if ((await redis.exists(stream)) === 1) {
    for (const group of (await redis.xinfo("GROUPS", stream)) as (string | number | null)[][]) {
      groups.push(await readGroup(redis, stream, group));
    }
  }
  return groups;
}

async function readGroup(redis: Redis, stream: string, reply: (string | number | null)[]): Promise<GroupState> {
  const info = new Map<string, string | number | null>();
  for (let i = 0; i + 1 < reply.length; i += 2) info.set(String(reply[i]), reply[i + 1] ?? null);
  const group = String(info.get("name"));
  const delivered = String(info.get("last-delivered-id"));
  const [pending, oldestPending] = (await redis.xpending(stream, group)) as [number, string | null];
  // The lag alone may be nil or wrong after a trim, so the oldest entry itself is looked at as well.
  const [undelivered] = await redis.xrange(stream, `(${delivered}`, "+", "COUNT", 1);
  const lag = info.get("lag");
  const now = await earlierClock(redis);
  return {
    group,
    consumers: Number(info.get("consumers")),
    pending,
    lag: undelivered === undefined ? 0 : typeof lag === "number" ? lag : -1,
    oldestPendingMs: age(now, oldestPending ?? undefined),
    oldestUndeliveredMs: age(now, undelivered?.[0]),
    delivered,
    finished: oldestPending === null ? delivered : before(oldestPending),
  };
}

function age(now: number, id: string | undefined): number {
  return id === undefined ? 0 : Math.max(0, now - parseEntryId(id).ms);
}

/** The ID just below another one. */
function before(id: string): string {
  const { ms, seq } = parseEntryId(id);
  return formatEntryId(seq > 0 ? { ms, seq: seq - 1 } : { ms: ms - 1, seq: 0xffff_ffff });
}
