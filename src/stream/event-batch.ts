import { orderIdTextAt, writeOrderId } from "./position.ts";
import { BYTES, FIXED64, VARINT, WireError, WireReader, WireWriter } from "./wire.ts";

/**
 * The one codec of what entries of the events stream hold (proto/penstock/v1/event_log.proto), written by hand because an
 * order makes one to three events.
 */

/** The version of the schema that this code writes, and the newest that it reads. */
export const EVENTS_VERSION = 1;

/** What the engine tells of an event, as src/engine/matching has it. */
export interface EventSource {
  readonly kind: number;
  readonly command: number;
  readonly account: string;
  readonly sequence: number;
  readonly reason: number;
  readonly symbol: string;
  readonly execType: number;
  readonly status: number;
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly index: number;
  readonly clientOrderId: string;
  readonly side: number;
  readonly type: number;
  readonly timeInForce: number;
  readonly selfTradePrevention: number;
  readonly postOnly: boolean;
  readonly triggered: boolean;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  readonly expireTime: number;
  readonly cumQuantity: number;
  readonly leavesQuantity: number;
  readonly valueHigh: number;
  readonly valueLow: number;
  readonly lastQuantity: number;
  readonly lastPrice: number;
  readonly trade: number;
  readonly aggressor: boolean;
  readonly otherEpoch: number;
  readonly otherMs: number;
  readonly otherSeq: number;
  readonly otherIndex: number;
  readonly affected: number;
  readonly remaining: number;
}

/** A level of the book that an entry touched, as it is after it. */
export interface LevelChange {
  readonly symbol: string;
  readonly version: number;
  readonly side: number;
  readonly price: number;
  /** quantityHigh × 2^53 + quantityLow; 0 where the level is gone. */
  readonly quantityHigh: number;
  readonly quantityLow: number;
  readonly orders: number;
}

interface ListOf<Item> {
  readonly count: number;
  at(position: number): Item;
}

export interface EventBatchSource {
  readonly stateHash: bigint;
  readonly rules: number;
  readonly events: ListOf<EventSource>;
  readonly levels: ListOf<LevelChange>;
}

/** An event as it is read. Numbers of closed sets are those of src/engine/matching; ticks and lots; 0 and "" for absent. */
export interface EngineEvent extends Omit<
  EventSource,
  "epoch" | "ms" | "seq" | "index" | "otherEpoch" | "otherMs" | "otherSeq" | "otherIndex"
> {
  /** The text of an order id; "" where no order is known. */
  readonly orderId: string;
  readonly otherOrderId: string;
  readonly clientRequestId: string;
}

export interface EventBatch {
  readonly stateHash: bigint;
  readonly rules: number;
  readonly events: readonly EngineEvent[];
  readonly levels: readonly LevelChange[];
}

/** Tags, lengths and numbers of one event at most; its texts come on top. */
const EVENT_ROOM = 512;
const LEVEL_ROOM = 64;

const batch = new WireWriter(64 * 1024);
const body = new WireWriter(4096);

/** `requestIdOf` gives the client's id of a cancel, replace or mass cancel by its index, and "" for the other commands. */
export function encodeEventBatch(
  partition: number,
  source: EventBatchSource,
  requestIdOf: (command: number) => string,
): Buffer {
  batch.length = 0;
  batch.reserve(32);
  batch.fixed64Number(1, source.stateHash);
  batch.uint(2, source.rules);
  for (let i = 0; i < source.events.count; i++) {
    const event = source.events.at(i);
    writeEvent(partition, event, event.command < 0 ? "" : requestIdOf(event.command));
    batch.reserve(body.length + 8);
    batch.field(3, body.bytes());
  }
  for (let i = 0; i < source.levels.count; i++) {
    writeLevel(source.levels.at(i));
    batch.reserve(body.length + 8);
    batch.field(4, body.bytes());
  }
  return Buffer.from(batch.bytes());
}

function writeEvent(partition: number, event: EventSource, requestId: string): void {
  const { account, symbol, clientOrderId } = event;
  body.length = 0;
  body.reserve(EVENT_ROOM + 3 * (account.length + symbol.length + clientOrderId.length + requestId.length));
  body.uint(1, event.kind);
  body.uint(2, event.command + 1);
  body.string(3, account);
  body.uint(4, event.sequence);
  body.string(5, symbol);
  body.uint(6, event.execType);
  body.uint(7, event.status);
  if (event.ms > 0) orderId(8, partition, event.epoch, event.ms, event.seq, event.index);
  body.string(9, clientOrderId);
  body.uint(10, event.side);
  body.uint(11, event.quantity);
  body.uint(12, event.price);
  body.uint(13, event.cumQuantity);
  body.uint(14, event.leavesQuantity);
  body.uint(15, event.valueLow);
  body.uint(16, event.type);
  body.uint(17, event.timeInForce);
  body.uint(18, event.reason);
  body.uint(19, event.lastQuantity);
  body.uint(20, event.lastPrice);
  body.uint(21, event.trade);
  body.uint(22, event.aggressor ? 1 : 0);
  if (event.otherMs > 0) {
    orderId(23, partition, event.otherEpoch, event.otherMs, event.otherSeq, event.otherIndex);
  }
  body.uint(24, event.stopPrice);
  body.uint(25, event.displayQuantity);
  body.uint(26, event.expireTime);
  body.uint(27, event.postOnly ? 1 : 0);
  body.uint(28, event.selfTradePrevention);
  body.uint(29, event.triggered ? 1 : 0);
  body.uint(30, event.valueHigh);
  body.string(31, requestId);
  body.uint(32, event.affected);
  body.uint(33, event.remaining);
}

function orderId(field: number, partition: number, epoch: number, ms: number, seq: number, index: number): void {
  body.header(field, 16);
  body.length = writeOrderId(body.buffer, body.length, partition, epoch, ms, seq, index);
}

function writeLevel(level: LevelChange): void {
  body.length = 0;
  body.reserve(LEVEL_ROOM + 3 * level.symbol.length);
  body.string(1, level.symbol);
  body.uint(2, level.version);
  body.uint(3, level.side);
  body.uint(4, level.price);
  body.uint(5, level.quantityLow);
  body.uint(6, level.quantityHigh);
  body.uint(7, level.orders);
}

/** Throws a WireError where the bytes are none. */
export function decodeEventBatch(payload: Buffer): EventBatch {
  return decode(payload, true);
}

/** The events alone, for those who have no use for the levels, which may be as many. Throws a WireError. */
export function decodeEvents(payload: Buffer): readonly EngineEvent[] {
  return decode(payload, false).events;
}

function decode(payload: Buffer, withLevels: boolean): EventBatch {
  const reader = new WireReader(payload);
  const events: EngineEvent[] = [];
  const levels: LevelChange[] = [];
  let stateHash = 0n;
  let rules = 0;
  while (reader.position < reader.end) {
    const tag = reader.varint();
    if (tag === ((1 << 3) | FIXED64)) stateHash = payload.readBigUInt64LE(reader.fixed64());
    else if (tag === ((2 << 3) | VARINT)) rules = reader.varint();
    else if (tag === ((3 << 3) | BYTES)) {
      const start = reader.bytes();
      events.push(readEvent(new WireReader(payload, start, reader.position)));
    } else if (tag === ((4 << 3) | BYTES) && withLevels) {
      const start = reader.bytes();
      levels.push(readLevel(new WireReader(payload, start, reader.position)));
    } else reader.skip(tag & 7);
  }
  return { stateHash, rules, events, levels };
}

/** The bytes of one event of a batch, by its place; undefined where there is none. Throws a WireError. */
export function rawEvent(payload: Buffer, index: number): Buffer | undefined {
  const reader = new WireReader(payload);
  for (let next = 0; reader.position < reader.end;) {
    const tag = reader.varint();
    if (tag !== ((3 << 3) | BYTES)) reader.skip(tag & 7);
    else {
      const start = reader.bytes();
      if (next++ === index) return payload.subarray(start, reader.position);
    }
  }
  return undefined;
}

/** One event of a batch, by its place, and nothing else decoded; undefined where there is none. Throws a WireError. */
export function decodeEvent(payload: Buffer, index: number): EngineEvent | undefined {
  const raw = rawEvent(payload, index);
  return raw && decodeRawEvent(raw);
}

/** One event by its bytes, as `rawEvent` gives them. Throws a WireError. */
export function decodeRawEvent(raw: Buffer): EngineEvent {
  return readEvent(new WireReader(raw));
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function readEvent(reader: WireReader): EngineEvent {
  const event: Writable<EngineEvent> = {
    kind: 0,
    command: -1,
    account: "",
    sequence: 0,
    reason: 0,
    symbol: "",
    execType: 0,
    status: 0,
    orderId: "",
    clientOrderId: "",
    side: 0,
    type: 0,
    timeInForce: 0,
    selfTradePrevention: 0,
    postOnly: false,
    triggered: false,
    quantity: 0,
    price: 0,
    stopPrice: 0,
    displayQuantity: 0,
    expireTime: 0,
    cumQuantity: 0,
    leavesQuantity: 0,
    valueHigh: 0,
    valueLow: 0,
    lastQuantity: 0,
    lastPrice: 0,
    trade: 0,
    aggressor: false,
    otherOrderId: "",
    clientRequestId: "",
    affected: 0,
    remaining: 0,
  };
  while (reader.position < reader.end) {
    const tag = reader.varint();
    const field = tag >>> 3;
    if ((tag & 7) === VARINT) setNumber(event, field, reader.varint());
    else if ((tag & 7) === BYTES) setText(event, field, reader);
    else reader.skip(tag & 7);
  }
  return event;
}

function setNumber(event: Writable<EngineEvent>, field: number, value: number): void {
  switch (field) {
    case 1:
      event.kind = value;
      break;
    case 2:
      event.command = value - 1;
      break;
    case 4:
      event.sequence = value;
      break;
    case 6:
      event.execType = value;
      break;
    case 7:
      event.status = value;
      break;
    case 10:
      event.side = value;
      break;
    case 11:
      event.quantity = value;
      break;
    case 12:
      event.price = value;
      break;
    case 13:
      event.cumQuantity = value;
      break;
    case 14:
      event.leavesQuantity = value;
      break;
    case 15:
      event.valueLow = value;
      break;
    case 16:
      event.type = value;
      break;
    case 17:
      event.timeInForce = value;
      break;
    case 18:
      event.reason = value;
      break;
    case 19:
      event.lastQuantity = value;
      break;
    case 20:
      event.lastPrice = value;
      break;
    case 21:
      event.trade = value;
      break;
    case 22:
      event.aggressor = value !== 0;
      break;
    case 24:
      event.stopPrice = value;
      break;
    case 25:
      event.displayQuantity = value;
      break;
    case 26:
      event.expireTime = value;
      break;
    case 27:
      event.postOnly = value !== 0;
      break;
    case 28:
      event.selfTradePrevention = value;
      break;
    case 29:
      event.triggered = value !== 0;
      break;
    case 30:
      event.valueHigh = value;
      break;
    case 32:
      event.affected = value;
      break;
    case 33:
      event.remaining = value;
      break;
  }
}

function setText(event: Writable<EngineEvent>, field: number, reader: WireReader): void {
  switch (field) {
    case 3:
      event.account = reader.string();
      break;
    case 5:
      event.symbol = reader.string();
      break;
    case 8:
      event.orderId = readOrderId(reader);
      break;
    case 9:
      event.clientOrderId = reader.string();
      break;
    case 23:
      event.otherOrderId = readOrderId(reader);
      break;
    case 31:
      event.clientRequestId = reader.string();
      break;
    default:
      reader.bytes();
  }
}

function readOrderId(reader: WireReader): string {
  const start = reader.bytes();
  if (reader.position - start !== 16) throw new WireError("an order id has 16 bytes");
  return orderIdTextAt(reader.buffer, start);
}

function readLevel(reader: WireReader): LevelChange {
  const level: Writable<LevelChange> = {
    symbol: "",
    version: 0,
    side: 0,
    price: 0,
    quantityHigh: 0,
    quantityLow: 0,
    orders: 0,
  };
  while (reader.position < reader.end) {
    const tag = reader.varint();
    switch (tag) {
      case (1 << 3) | BYTES:
        level.symbol = reader.string();
        break;
      case (2 << 3) | VARINT:
        level.version = reader.varint();
        break;
      case (3 << 3) | VARINT:
        level.side = reader.varint();
        break;
      case (4 << 3) | VARINT:
        level.price = reader.varint();
        break;
      case (5 << 3) | VARINT:
        level.quantityLow = reader.varint();
        break;
      case (6 << 3) | VARINT:
        level.quantityHigh = reader.varint();
        break;
      case (7 << 3) | VARINT:
        level.orders = reader.varint();
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  return level;
}
