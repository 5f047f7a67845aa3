import type { Redis } from "ioredis";
import { MAX_ENTRY_COMMANDS } from "./command.ts";
import { decodeEventBatch, type EngineEvent, type EventSource } from "./event-batch.ts";
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

/** The newest event of an order, and where it stands. */
export interface OrderStatusEvent extends EntryPosition {
  /** Its index among the events of its entry. */
  readonly index: number;
  readonly event: EngineEvent;
}

/** Each means that the generation turned in between, which takes minutes. */
const TRIES = 3;

/**
 * The newest event of an order, or undefined where Redis does not know it: the engine has not come to it, or the order was
 * touched so long ago that its place was dropped, or the event entry was trimmed.
 */
export async function findStatus(
  redis: Redis,
  keys: PartitionKeys,
  orderId: string,
): Promise<OrderStatusEvent | undefined> {
  if (parseOrderId(orderId) === undefined) return undefined;
  const value = await findPlace(redis, keys, orderIdBytes(orderId));
  if (value === undefined) return undefined;
  const entry = await findEventEntry(redis, keys, { ms: value.readUIntBE(0, 6), seq: value.readUInt32BE(6) });
  if (entry === undefined) return undefined;
  const index = value.readUInt16BE(10);
  const event = decodeEventBatch(entry.payload).events[index];
  const { epoch, ms, seq } = entry;
  return event && { epoch, ms, seq, index, event };
}

async function findPlace(redis: Redis, keys: PartitionKeys, field: Buffer): Promise<Buffer | undefined> {
  for (let i = 0; i < TRIES; i++) {
    const generation = Number((await redis.hget(keys.engine, "generation")) ?? 1);
    const value =
      (await redis.hgetBuffer(keys.status(generation), field)) ??
      (await redis.hgetBuffer(keys.status(generation - 1), field));
    if (value !== null) return value;
    if (Number((await redis.hget(keys.engine, "generation")) ?? 1) === generation) return undefined;
  }
  return undefined;
}

/** The event entry of that ID, or undefined where it is not, or no longer, there. */
export async function findEventEntry(redis: Redis, keys: PartitionKeys, at: EntryId): Promise<Entry | undefined> {
  const id = formatEntryId(at);
  const [reply] = (await redis.callBuffer("XRANGE", keys.events, id, id)) as StreamReply[];
  return reply?.[1] ? readEntry(id, reply[1]) : undefined;
}
