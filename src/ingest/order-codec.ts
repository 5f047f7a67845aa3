import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { WireWriter } from "../stream/wire.ts";
import type { OrderInit } from "./execution-reports.ts";

/** Tags, lengths, numbers and times of an order; its texts come on top. */
const ROOM = 160;

const body = new WireWriter(1024);
const time = new WireWriter(32);

/** An order on the wire, by hand, as every MATCHED answer carries one. Good until the next one is encoded. */
export function encodeOrder(order: OrderInit): Buffer {
  body.length = 0;
  body.reserve(ROOM);
  text(1, order.orderId);
  text(2, order.clientOrderId);
  text(3, order.account);
  text(4, order.symbol);
  body.uint(5, order.side ?? 0);
  body.uint(6, order.type ?? 0);
  body.uint(7, order.timeInForce ?? 0);
  text(8, order.quantity);
  text(9, order.price);
  text(10, order.stopPrice);
  text(11, order.displayQuantity);
  instant(12, order.expireTime);
  body.uint(13, order.postOnly === true ? 1 : 0);
  body.uint(14, order.selfTradePrevention ?? 0);
  body.uint(15, order.status ?? 0);
  text(16, order.cumQuantity);
  text(17, order.leavesQuantity);
  text(18, order.averagePrice);
  text(19, order.reason);
  instant(20, order.createdAt);
  instant(21, order.updatedAt);
  return body.bytes();
}

function text(field: number, value = ""): void {
  // What is not ASCII takes up to three bytes a character.
  body.reserve(ROOM + 3 * value.length);
  body.string(field, value);
}

function instant(field: number, at: MessageInitShape<typeof TimestampSchema> | undefined): void {
  if (at === undefined) return;
  time.length = 0;
  time.uint(1, Number(at.seconds ?? 0n));
  time.uint(2, at.nanos ?? 0);
  body.field(field, time.bytes());
}
