import type { EngineEvent, EventBatch, LevelChange } from "./event-batch.ts";
import { orderIdTextAt } from "./position.ts";
import { BYTES, FIXED64, VARINT, WireError, WireReader } from "./wire.ts";

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
