/**
 * Places in the log, and the ids that are made from them.
 *
 * An entry is named by its partition, epoch and Redis entry ID ("<milliseconds>-<sequence>"); a command by its entry
 * and its index there. An order's id is that place written as a UUID of version 7 layout (RFC 9562), so it finds its
 * partition and entry with no look-up, sorts by time, and fits Postgres' `uuid`:
 *
 *     48 bits milliseconds | 4 bits version = 7 | 12 bits partition | 2 bits variant = 2 | 14 bits epoch |
 *     32 bits sequence | 16 bits index
 */

export const MAX_PARTITIONS = 4096; // 12 bits
export const MAX_EPOCH = 0x3fff; // 14 bits
const MAX_SEQUENCE = 0xffff_ffff;
const MAX_MS = 2 ** 48 - 1;

/** A Redis stream entry ID as numbers. */
export interface EntryId {
  readonly ms: number;
  readonly seq: number;
}

/** The place of an entry. Compared as numbers: epoch, ms, seq. */
export interface EntryPosition extends EntryId {
  readonly epoch: number;
}

/** The place of a command. */
export interface Place extends EntryPosition {
  readonly partition: number;
  readonly index: number;
}

/** Before every entry: the predecessor of a partition's first one. */
export const START: EntryId = { ms: 0, seq: 0 };

const ENTRY_ID = /^(\d{1,15})-(\d{1,10})$/;

/** Reads "<ms>-<seq>". Throws a RangeError on anything else, and beyond 48 and 32 bits. */
export function parseEntryId(text: string): EntryId {
  const match = ENTRY_ID.exec(text);
  const ms = Number(match?.[1]);
  const seq = Number(match?.[2]);
  if (match === null || ms > MAX_MS || seq > MAX_SEQUENCE) throw new RangeError(`not an entry ID: ${text}`);
  return { ms, seq };
}

export function formatEntryId(id: EntryId): string {
  return `${id.ms}-${id.seq}`;
}

/** Negative where a comes before b, within one epoch. */
export function compareEntryIds(a: EntryId, b: EntryId): number {
  return a.ms - b.ms || a.seq - b.seq;
}

/** Negative where a comes before b. */
export function compareEntries(a: EntryPosition, b: EntryPosition): number {
  return a.epoch - b.epoch || compareEntryIds(a, b);
}

/** What the ids of all commands of one entry begin with; `orderIdAt` adds the index. */
export function orderIdPrefix(partition: number, entry: EntryPosition): string {
  const ms = hex(entry.ms, 12);
  const seq = hex(entry.seq, 8);
  const epoch = hex(0x8000 | entry.epoch, 4);
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7${hex(partition, 3)}-${epoch}-${seq}`;
}

export function orderIdAt(prefix: string, index: number): string {
  return prefix + hex(index, 4);
}

export function formatOrderId(place: Place): string {
  return orderIdAt(orderIdPrefix(place.partition, place), place.index);
}

const ORDER_ID = /^([0-9a-f]{8})-([0-9a-f]{4})-7([0-9a-f]{3})-([89ab][0-9a-f]{3})-([0-9a-f]{8})([0-9a-f]{4})$/i;

/** The place that an order id names, or undefined where the text is no order id. */
export function parseOrderId(text: string): Place | undefined {
  const match = ORDER_ID.exec(text);
  if (match === null) return undefined;
  const [, msHigh, msLow, partition, epoch, seq, index] = match as unknown as readonly string[];
  return {
    partition: parseInt(partition!, 16),
    epoch: parseInt(epoch!, 16) & MAX_EPOCH,
    ms: parseInt(msHigh! + msLow!, 16),
    seq: parseInt(seq!, 16),
    index: parseInt(index!, 16),
  };
}

/** The 16 bytes of an order id, as commands carry it. The text must be one (`parseOrderId`). */
export function orderIdBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll("-", ""), "hex");
}

/** Writes the 16 bytes of an order id; returns where they end. The path of every event: no object, no text. */
export function writeOrderId(
  buffer: Buffer,
  start: number,
  partition: number,
  epoch: number,
  ms: number,
  seq: number,
  index: number,
): number {
  let at = buffer.writeUIntBE(ms, start, 6);
  at = buffer.writeUInt16BE(0x7000 | partition, at);
  at = buffer.writeUInt16BE(0x8000 | epoch, at);
  at = buffer.writeUInt32BE(seq, at);
  return buffer.writeUInt16BE(index, at);
}

/** The place that an order id's 16 bytes name, or undefined where the bytes are no order id. */
export function readOrderId(bytes: Uint8Array): Place | undefined {
  if (bytes.length !== 16) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const partition = view.readUInt16BE(6);
  const epoch = view.readUInt16BE(8);
  if (partition >> 12 !== 7 || epoch >> 14 !== 2) return undefined;
  return {
    partition: partition & 0xfff,
    epoch: epoch & MAX_EPOCH,
    ms: view.readUIntBE(0, 6),
    seq: view.readUInt32BE(10),
    index: view.readUInt16BE(14),
  };
}

/** The text of an order id's 16 bytes. */
export function orderIdText(bytes: Uint8Array): string {
  return orderIdTextAt(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
}

/** The text of the order id that begins there in a buffer. */
export function orderIdTextAt(buffer: Buffer, start: number): string {
  const text = buffer.toString("hex", start, start + 16);
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
