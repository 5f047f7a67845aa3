import { fromBinary } from "@bufbuild/protobuf";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";

const ORDER_ID_BYTES = 36;

/** What becomes of the orders of a call, in the order of the request. */
export interface AnswerVisitor {
  /** The order's id is the 36 bytes of `bytes` at `orderId`. */
  accepted(order: number, bytes: Buffer, orderId: number, duplicate: boolean): void;
  refused(order: number, reason: string): void;
}

// Decoding only what is needed, in place: an answer takes 0.05 µs of CPU so, and 1.1 µs with the generated decoder.
class Fields {
  readonly #bytes: Buffer;
  readonly #end: number;
  #next: number;
  field = 0;
  /** Of a length-delimited field, where it begins and ends; of a number, its low 32 bits. */
  start = 0;
  end = 0;
  number = 0;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#next = start;
    this.#end = end;
  }

  /** Goes to the next field; false at the end. Throws where the bytes are no message. */
  next(): boolean {
    if (this.#next >= this.#end) return false;
    const tag = this.#varint();
    this.field = tag >>> 3;
    const wireType = tag & 7;
    this.start = this.#next;
    if (wireType === 2) {
      const length = this.#varint();
      this.start = this.#next;
      this.#next += length;
    } else if (wireType === 0) {
      this.number = this.#varint();
    } else if (wireType === 1 || wireType === 5) {
      this.#next += wireType === 1 ? 8 : 4;
    } else {
      throw new Error(`an answer with wire type ${wireType}`);
    }
    this.end = this.#next;
    if (this.end > this.#end) throw new Error("an answer that ends too early");
    return true;
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.#next++] ?? 0;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new Error("an answer with an endless number");
  }
}

/** Reads a SubmitOrderResponse. */
export function readAnswer(bytes: Buffer, visitor: AnswerVisitor): void {
  readAccepted(bytes, 0, bytes.length, 0, visitor);
}

/** Reads a SubmitOrdersResponse. Throws where it has not a result for each of `orders`. */
export function readBatchAnswer(bytes: Buffer, orders: number, visitor: AnswerVisitor): void {
  const results = new Fields(bytes, 0, bytes.length);
  let order = 0;
  while (results.next()) {
    if (results.field !== 1) continue;
    const result = new Fields(bytes, results.start, results.end);
    if (!result.next()) visitor.refused(order, "an empty result");
    else if (result.field === 1) readAccepted(bytes, result.start, result.end, order, visitor);
    else visitor.refused(order, fromBinary(StatusSchema, bytes.subarray(result.start, result.end)).message);
    order++;
  }
  if (order !== orders) throw new Error(`${order} results for ${orders} orders`);
}

function readAccepted(bytes: Buffer, start: number, end: number, order: number, visitor: AnswerVisitor): void {
  const answer = new Fields(bytes, start, end);
  let orderId = -1;
  let duplicate = false;
  while (answer.next()) {
    if (answer.field === 1 && answer.end - answer.start === ORDER_ID_BYTES) orderId = answer.start;
    else if (answer.field === 5) duplicate = answer.number !== 0;
  }
  if (orderId < 0) visitor.refused(order, "accepted without an order id");
  else visitor.accepted(order, bytes, orderId, duplicate);
}
