import { create, toBinary } from "@bufbuild/protobuf";
import { SubmitOrderRequestSchema, SubmitOrdersRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { AckLevel, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";

// Different orders in rotation: enough that prices and sides vary, few enough to stay in the processor's cache.
const VARIANTS = 64;
const DIGITS = 9;
/** Orders of one run: what the digits of an id can count. */
export const ORDERS_LIMIT = 10 ** DIGITS;

interface Template {
  readonly bytes: Buffer;
  // Where the digits of each order's id are.
  readonly places: readonly number[];
}

/** The client_order_id of the n-th order of a run. */
export function clientOrderId(run: string, order: number): string {
  return `${run}-${String(order).padStart(DIGITS, "0")}`;
}

/** The bodies of gRPC requests, encoded once; only the ids change from call to call. */
export class OrderBodies {
  readonly #templates: readonly Template[];
  readonly #batch: number;

  /** `batch` 0 makes SubmitOrder requests, 1 to 1,000 SubmitOrders with so many orders. */
  constructor(options: { run: string; symbol: string; batch: number; matched?: boolean }) {
    this.#batch = options.batch;
    const perBody = Math.max(1, options.batch);
    // The last one ends with a rotation.
    const count = VARIANTS / greatestCommonDivisor(VARIANTS, perBody);
    this.#templates = Array.from({ length: count }, (_, body) => {
      const orders = Array.from({ length: perBody }, (_, at) =>
        create(SubmitOrderRequestSchema, {
          ...order(clientOrderId(options.run, at), options.symbol, body * perBody + at),
          ackLevel: options.matched === true ? AckLevel.MATCHED : AckLevel.UNSPECIFIED,
        }),
      );
      const [first] = orders;
      if (first === undefined) throw new Error("a body needs an order");
      const message =
        options.batch === 0
          ? toBinary(SubmitOrderRequestSchema, first)
          : toBinary(SubmitOrdersRequestSchema, create(SubmitOrdersRequestSchema, { orders }));
      const bytes = Buffer.alloc(5 + message.length);
      bytes.writeUInt32BE(message.length, 1);
      bytes.set(message, 5);
      const places = orders.map(({ clientOrderId: id }) => bytes.indexOf(id) + id.length - DIGITS);
      return { bytes, places };
    });
  }

  /** The body whose first order is the n-th of the run; it is the caller's until the next call. */
  body(order: number): Buffer {
    const call = order / Math.max(1, this.#batch);
    const template = this.#templates[call % this.#templates.length];
    if (template === undefined) throw new Error(`no body begins with order ${order}`);
    let number = order;
    for (const place of template.places) writeDigits(template.bytes, place, number++);
    return template.bytes;
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function writeDigits(bytes: Buffer, place: number, number: number): void {
  let rest = number;
  for (let at = place + DIGITS - 1; at >= place; at--) {
    const tenth = (rest / 10) | 0;
    bytes[at] = 48 + rest - tenth * 10;
    rest = tenth;
  }
}

// A rotation makes a book around 50,000.00, sixteen orders deep on each side, and then takes it: each order trades once, and none
// of them is refused because its account has too many open. What is left over where calls fail meets the next rotation.
function order(id: string, symbol: string, variant: number) {
  const buys = variant % 2 === 0;
  const place = variant % VARIANTS;
  const away = place < VARIANTS / 2 ? 1 + (place >> 1) : -VARIANTS;
  const ticks = 5_000_000 + (buys ? -away : away);
  return {
    clientOrderId: id,
    symbol,
    side: buys ? Side.BUY : Side.SELL,
    type: OrderType.LIMIT,
    timeInForce: TimeInForce.GTC,
    quantity: "0.01",
    price: (ticks / 100).toFixed(2),
  };
}
