import type { Redis } from "ioredis";
import { type Entry, readEntry, type StreamReply } from "./entry.ts";
import { decodeEvent, type EngineEvent, EVENTS_VERSION } from "./event-batch.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, type EntryPosition, formatEntryId, orderIdBytes } from "./position.ts";

/** Where the newest event of an order stands, as the engine writes it: ms 6 bytes, sequence 4, index 2, big-endian. */
export interface StatusPlace extends EntryId {
  readonly index: number;
}

const LENGTH = 12;
/** Each means that the generation turned in between, which takes minutes. */
const TRIES = 3;

export function encodeStatus({ ms, seq, index }: StatusPlace): Buffer {
  const value = Buffer.allocUnsafe(LENGTH);
  value.writeUIntBE(ms, 0, 6);
  value.writeUInt32BE(seq, 6);
  value.writeUInt16BE(index, 10);
  return value;
}

function decodeStatus(value: Buffer): StatusPlace {
  return { ms: value.readUIntBE(0, 6), seq: value.readUInt32BE(6), index: value.readUInt16BE(10) };
}

/** For each order of a partition where its newest event stands; undefined where no event of it was written, or lately. */
export async function findStatuses(
  redis: Redis,
  keys: PartitionKeys,
  orderIds: readonly string[],
): Promise<(StatusPlace | undefined)[]> {
  if (orderIds.length === 0) return [];
  const fields = orderIds.map(orderIdBytes);
  let found: (StatusPlace | undefined)[] = [];
  for (let i = 0; i < TRIES; i++) {
    const generation = await generationOf(redis, keys);
    if (generation === undefined) return orderIds.map(() => undefined);
    const [current, previous] = await Promise.all([
      redis.hmgetBuffer(keys.status(generation), ...fields),
      redis.hmgetBuffer(keys.status(generation - 1), ...fields),
    ]);
    found = orderIds.map((_, k) => {
      const value = current[k] ?? previous[k];
      return value ? decodeStatus(value) : undefined;
    });
    if (!found.includes(undefined) || (await generationOf(redis, keys)) === generation) return found;
  }
  return found;
}

/** Undefined where no engine ever ran. */
async function generationOf(redis: Redis, keys: PartitionKeys): Promise<number | undefined> {
  const generation = await redis.hget(keys.engine, "generation");
  return generation === null ? undefined : Number(generation);
}

/** The entry of the events stream with that ID, or undefined where it is not, or no longer, there, or newer than this code. */
export async function findEventEntry(redis: Redis, keys: PartitionKeys, id: EntryId): Promise<Entry | undefined> {
  const text = formatEntryId(id);
  const [reply] = (await redis.callBuffer("XRANGE", keys.events, text, text)) as StreamReply[];
  const entry = reply?.[1] ? readEntry(text, reply[1]) : undefined;
  return entry !== undefined && entry.version <= EVENTS_VERSION ? entry : undefined;
}

/** An event and its place. */
export interface PlacedEvent extends EntryPosition {
  readonly index: number;
  readonly event: EngineEvent;
}

/** The event at a place of the events stream, or undefined where it is not, or no longer, there. */
export async function findEvent(
  redis: Redis,
  keys: PartitionKeys,
  place: StatusPlace,
): Promise<PlacedEvent | undefined> {
  const entry = await findEventEntry(redis, keys, place);
  const event = entry && decodeEvent(entry.payload, place.index);
  return event && { epoch: entry.epoch, ms: place.ms, seq: place.seq, index: place.index, event };
}
