import type { Redis } from "ioredis";
import { type Entry, readEntry } from "./entry.ts";
import type { PartitionKeys } from "./keys.ts";
import { compareEntryIds, type EntryId, type EntryPosition, formatEntryId } from "./position.ts";
import { decodeSeen, type Seen } from "./seen.ts";

/** Each means that the generation turned in between, which takes minutes. */
const TRIES = 3;

/** Where the command of an idempotency key (16 characters of latin1) stands, or undefined beyond the horizon. */
export async function findSeen(redis: Redis, keys: PartitionKeys, key: string): Promise<Seen | undefined> {
  const field = Buffer.from(key, "latin1");
  for (let i = 0; i < TRIES; i++) {
    const generation = Number((await redis.hget(keys.head, "generation")) ?? 1);
    const value =
      (await redis.hgetBuffer(keys.seen(generation), field)) ??
      (await redis.hgetBuffer(keys.seen(generation - 1), field));
    if (value !== null) return decodeSeen(value);
    if (Number((await redis.hget(keys.head, "generation")) ?? 1) === generation) return undefined;
  }
  return undefined;
}

/** The entry at a place of the orders stream, or undefined where it is not, or no longer, there. */
export async function findEntry(redis: Redis, keys: PartitionKeys, at: EntryPosition): Promise<Entry | undefined> {
  const id = formatEntryId(at);
  const reply = (await redis.callBuffer("XRANGE", keys.orders, id, id)) as [Buffer, Buffer[]][];
  const fields = reply[0]?.[1];
  if (fields === undefined) return undefined;
  const entry = readEntry(id, fields);
  return entry.epoch === at.epoch ? entry : undefined;
}

/** The entry of the orders stream that follows another one, or undefined where it does not, or no longer, have it. */
export async function findNext(redis: Redis, keys: PartitionKeys, after: EntryId): Promise<Entry | undefined> {
  const reply = await redis.callBuffer("XRANGE", keys.orders, `(${formatEntryId(after)}`, "+", "COUNT", 1);
  const [next] = reply as [Buffer, Buffer[]][];
  const entry = next && readEntry(next[0].toString(), next[1]);
  return entry !== undefined && compareEntryIds(entry.previous, after) === 0 ? entry : undefined;
}

/** The newest entry of the orders stream up to an ID, or undefined where it has none. */
export async function findNewest(redis: Redis, keys: PartitionKeys, upTo: EntryId): Promise<Entry | undefined> {
  const reply = await redis.callBuffer("XREVRANGE", keys.orders, formatEntryId(upTo), "-", "COUNT", 1);
  const [newest] = reply as [Buffer, Buffer[]][];
  return newest && readEntry(newest[0].toString(), newest[1]);
}
