import type { EventSource, LevelChange } from "./event-batch.ts";
import { writeOrderId } from "./position.ts";
import { WireWriter } from "./wire.ts";

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
