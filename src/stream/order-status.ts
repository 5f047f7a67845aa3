import type { Redis } from "ioredis";
import { MAX_ENTRY_COMMANDS } from "./command.ts";
import { type EngineEvent, EVENTS_VERSION, type EventSource } from "./event-batch.ts";
import { decodeEvent } from "./event-decoder.ts";
import { type Entry, readEntry, type StreamReply } from "./entry.ts";
import type { PartitionKeys } from "./keys.ts";
import {
  type EntryId,
  type EntryPosition,
  formatEntryId,
  orderIdBytes,
  parseOrderId,
  writeOrderId,
} from "./position.ts";

/**
 * Where the newest event of an order stands: a hash in Redis for each of two generations, 16 bytes of order id → 12 bytes
 * of place (milliseconds 6, sequence 4, index of the event 2, big-endian). `scripts/append_events.lua` writes it.
 */

const RECORD_BYTES = 28;

/** An execution report, as src/engine/matching numbers its kinds: the only one that tells the whole state of its order. */
const EXECUTION = 1;

interface EventList {
  readonly count: number;
  at(position: number): Pick<EventSource, "kind" | "epoch" | "ms" | "seq" | "index">;
}

/** Where the record of an order lies that came to be in the entry, plus one, by its index there. */
const own = new Int32Array(MAX_ENTRY_COMMANDS);

/** The records of the orders that the events of an entry tell of. One may come more than once; its last record counts. */
export function touchedOrders(partition: number, entry: EntryPosition, events: EventList): Buffer {
  const records = Buffer.allocUnsafe(events.count * RECORD_BYTES);
  own.fill(0);
  let length = 0;
  for (let i = 0; i < events.count; i++) {
    const { kind, epoch, ms, seq, index } = events.at(i);
    if (kind !== EXECUTION || ms === 0) continue;
    // An order that comes in has an event for each fill: one record is enough.
    const isOwn = ms === entry.ms && seq === entry.seq && epoch === entry.epoch && index < own.length;
    const known = isOwn ? own[index]! : 0;
    if (known > 0) {
      records.writeUInt16BE(i, known - 1 + RECORD_BYTES - 2);
      continue;
    }
    if (isOwn) own[index] = length + 1;
    let at = writeOrderId(records, length, partition, epoch, ms, seq, index);
    at = records.writeUIntBE(entry.ms, at, 6);
    at = records.writeUInt32BE(entry.seq, at);
    length = records.writeUInt16BE(i, at);
  }
  return records.subarray(0, length);
}

/** Where the newest event of an order stands. */
export interface StatusPlace extends EntryId {
  /** Its index among the events of its entry. */
  readonly index: number;
}

/** An event and its place. */
export interface PlacedEvent extends StatusPlace, EntryPosition {
  readonly event: EngineEvent;
}

/** Each means that the generation turned in between, which takes minutes. */
const TRIES = 3;

/**
 * For each order of a partition where its newest event stands; undefined where Redis does not know it: the engine has not come
 * to it, or the order was touched so long ago that its place was dropped.
 */
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
      return value ? placeOf(value) : undefined;
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

function placeOf(value: Buffer): StatusPlace {
  return { ms: value.readUIntBE(0, 6), seq: value.readUInt32BE(6), index: value.readUInt16BE(10) };
}

/** The event entry of that ID, or undefined where it is not, or no longer, there. */
export async function findEventEntry(redis: Redis, keys: PartitionKeys, at: EntryId): Promise<Entry | undefined> {
  const id = formatEntryId(at);
  const [reply] = (await redis.callBuffer("XRANGE", keys.events, id, id)) as StreamReply[];
  return reply?.[1] ? readEntry(id, reply[1]) : undefined;
}

/** The event at a place, or undefined where it is not, or no longer, there, or is newer than this code. */
export async function findEvent(
  redis: Redis,
  keys: PartitionKeys,
  { ms, seq, index }: StatusPlace,
): Promise<PlacedEvent | undefined> {
  const entry = await findEventEntry(redis, keys, { ms, seq });
  if (entry === undefined || entry.version > EVENTS_VERSION) return undefined;
  const event = decodeEvent(entry.payload, index);
  return event && { epoch: entry.epoch, ms, seq, index, event };
}

/** The newest event of one order, where Redis has it. */
export async function findStatus(redis: Redis, keys: PartitionKeys, orderId: string): Promise<PlacedEvent | undefined> {
  if (parseOrderId(orderId) === undefined) return undefined;
  const [place] = await findStatuses(redis, keys, [orderId]);
  return place && findEvent(redis, keys, place);
}
