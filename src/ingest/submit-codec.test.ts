import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { OrderSchema, OrderStatus, type OrderType, type Side } from "../gen/penstock/v1/order_pb.ts";
import {
  type StreamOrdersRequest,
  StreamOrdersRequestSchema,
  StreamOrdersResponseSchema,
  type SubmitOrderRequest,
  SubmitOrderRequestSchema,
  SubmitOrderResponseSchema,
  SubmitOrdersRequestSchema,
  SubmitOrdersResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { encodeOrder } from "./order-codec.ts";
import {
  decodeStreamOrders,
  decodeSubmitOrder,
  decodeSubmitOrders,
  encodeStreamed,
  encodeSubmitted,
  encodeSubmittedAll,
  type Streamed,
} from "./submit-codec.ts";

type Init = MessageInitShape<typeof SubmitOrderRequestSchema>;

const PLAIN = { clientOrderId: "c-1", symbol: "BTC-USD", side: 1, type: 2, quantity: "0.1", price: "100.25" } as const;
const REQUESTS: readonly Init[] = [
  PLAIN,
  {},
  { ...PLAIN, timeInForce: 6, expireTime: { seconds: 1_800_000_000n, nanos: 5_000_000 } },
  {
    ...PLAIN,
    side: -1 as Side,
    type: 7 as OrderType,
    stopPrice: "9",
    displayQuantity: "1",
    postOnly: true,
    selfTradePrevention: 4,
    ackLevel: 2,
  },
  { ...PLAIN, clientOrderId: "ünïcode \0 and more than forty characters of it, which takes the other way" },
];

function encode(request: Init): Buffer {
  return Buffer.from(toBinary(SubmitOrderRequestSchema, create(SubmitOrderRequestSchema, request)));
}

/** Without what the generated code keeps beside the fields. */
function fieldsOf(request: SubmitOrderRequest): object {
  const { $unknown, ...fields } = request;
  return $unknown === undefined ? request : fields;
}

test("requests are read as the generated code reads them", () => {
  for (const request of REQUESTS) {
    const bytes = encode(request);
    assert.deepEqual(fieldsOf(decodeSubmitOrder(bytes)), fieldsOf(fromBinary(SubmitOrderRequestSchema, bytes)));
    const unknown = Buffer.concat([bytes, Buffer.from([0xf8, 0x01, 0x05])]); // field 31
    assert.deepEqual(fieldsOf(decodeSubmitOrder(unknown)), fieldsOf(fromBinary(SubmitOrderRequestSchema, unknown)));
  }
  const batch = create(SubmitOrdersRequestSchema, {
    orders: REQUESTS.map((request) => create(SubmitOrderRequestSchema, request)),
  });
  const decoded = decodeSubmitOrders(Buffer.from(toBinary(SubmitOrdersRequestSchema, batch)));
  assert.deepEqual(decoded.orders.map(fieldsOf), batch.orders.map(fieldsOf));

  const endless = Buffer.from("0a00".repeat(500_000), "hex");
  assert.equal(decodeSubmitOrders(endless).orders.length, 1_001);
});

test("bytes that are no request throw, as in the generated code", () => {
  const bytes = encode(REQUESTS[3]!);
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    const wanted = attempt(() => fieldsOf(fromBinary(SubmitOrderRequestSchema, cut)));
    assert.deepEqual(
      attempt(() => fieldsOf(decodeSubmitOrder(cut))),
      wanted,
      `cut at ${length}`,
    );
  }
});

function attempt(decode: () => object): object | string {
  try {
    return decode();
  } catch {
    return "refused";
  }
}

test("fields that nobody knows are not kept, on no way", () => {
  const expiring = encode({ ...PLAIN, expireTime: { seconds: 1_800_000_000n } });
  const unknown = Buffer.from([0x78, 0x00]);
  for (const request of [encode(PLAIN), expiring]) {
    const order = Buffer.concat([request, unknown]);
    assert.equal(decodeSubmitOrder(order).$unknown, undefined);
    const batch = Buffer.concat([Buffer.from([0x0a, order.length]), order, unknown]);
    const { orders, $unknown } = decodeSubmitOrders(batch);
    assert.deepEqual([orders.length, orders[0]?.$unknown, $unknown], [1, undefined, undefined]);
    const streamed = Buffer.concat([Buffer.from([0x12, order.length]), order, unknown]);
    const { command, $unknown: beside } = decodeStreamOrders(streamed);
    assert.deepEqual([command.case, command.value?.$unknown, beside], ["submit", undefined, undefined]);
  }
});

const ORDER = {
  orderId: "01a20339-6d00-7000-8001-000000000000",
  clientOrderId: "ünïcode and more than forty characters of it, which takes the other way",
  account: "demo",
  symbol: "BTC-USD",
  side: 2,
  type: 4,
  timeInForce: 6,
  quantity: "0.1",
  price: "100.25",
  stopPrice: "99",
  displayQuantity: "0.05",
  expireTime: timestampFromMs(1_795_350_424_001),
  postOnly: true,
  selfTradePrevention: 4,
  status: OrderStatus.FILLED,
  cumQuantity: "0.1",
  leavesQuantity: "0",
  averagePrice: "100.2500000001",
  reason: "SELF_TRADE",
  createdAt: timestampFromMs(1_795_350_424_832),
  updatedAt: timestampFromMs(1_795_350_425_000),
} as const;

test("an order is written as the generated code reads it, each field of it", () => {
  for (const order of [ORDER, {}, { ...ORDER, clientOrderId: "ü".repeat(5_000) }]) {
    assert.deepEqual(fromBinary(OrderSchema, encodeOrder(order)), create(OrderSchema, order));
  }
  assert.equal(Object.keys(ORDER).length, OrderSchema.fields.length);
});

test("answers are written as the generated code reads them", () => {
  const submitted = {
    orderId: "01a20339-6d00-7000-8001-000000000000",
    clientOrderId: "c".repeat(64),
    status: OrderStatus.PENDING_NEW,
    createdAt: timestampFromMs(1_795_350_424_832),
    duplicate: true,
  };
  for (const value of [submitted, { ...submitted, order: ORDER }, { ...submitted, order: undefined }]) {
    const wanted = create(SubmitOrderResponseSchema, value);
    assert.deepEqual(fromBinary(SubmitOrderResponseSchema, encodeSubmitted(value)), wanted);
  }

  const results = Array.from({ length: 1000 }, (_, i) => ({
    result:
      i % 3 === 0
        ? ({ case: "refused", value: create(StatusSchema, { code: 3, message: "m".repeat(i) }) } as const)
        : ({
            case: "accepted",
            value: { ...submitted, duplicate: i % 2 === 0, ...(i % 5 === 0 ? { order: ORDER } : {}) },
          } as const),
  }));
  const all = fromBinary(SubmitOrdersResponseSchema, encodeSubmittedAll({ results }));
  assert.deepEqual(all, create(SubmitOrdersResponseSchema, { results: results as never }));
});

/** Without what the generated code keeps beside the fields, in the command too. */
function streamedFieldsOf({ sequence, command, cancelOnDisconnect }: StreamOrdersRequest): object {
  const value = command.case === "submit" ? fieldsOf(command.value) : command.value;
  return { sequence, case: command.case, value, cancelOnDisconnect };
}

test("commands of a stream are read as the generated code reads them", () => {
  const cancel = { case: "cancel", value: { clientRequestId: "c", orderId: "o" } } as const;
  const requests: MessageInitShape<typeof StreamOrdersRequestSchema>[] = [
    {},
    { sequence: 7n },
    { sequence: 2n ** 64n - 1n, command: { case: "submit", value: PLAIN } },
    { sequence: 8n, command: cancel },
    { sequence: 9n, command: { case: "cancelAll", value: {} }, cancelOnDisconnect: true },
    ...REQUESTS.map((value, i) => ({
      sequence: BigInt(i),
      command: { case: "submit", value } as const,
      cancelOnDisconnect: i % 2 === 0,
    })),
  ];
  const encoded = requests.map((request) =>
    Buffer.from(toBinary(StreamOrdersRequestSchema, create(StreamOrdersRequestSchema, request))),
  );
  const [submit, another, other] = [encoded[5]!, encoded.at(-1)!, encoded[3]!];
  // Of a oneof the last one counts, and the same one twice is merged.
  encoded.push(Buffer.concat([submit, other]), Buffer.concat([other, submit]), Buffer.concat([submit, another]));
  for (const bytes of encoded) {
    for (let length = 0; length <= bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      assert.deepEqual(
        attempt(() => streamedFieldsOf(decodeStreamOrders(cut))),
        attempt(() => streamedFieldsOf(fromBinary(StreamOrdersRequestSchema, cut))),
        `${bytes.toString("hex")} cut at ${length}`,
      );
    }
  }
});

test("answers of a stream are written as the generated code reads them", () => {
  const value = {
    orderId: "01a20339-6d00-7000-8001-000000000000",
    clientOrderId: "c".repeat(64),
    status: OrderStatus.PENDING_NEW,
    createdAt: timestampFromMs(1_795_350_424_832),
    duplicate: true,
  };
  const answers: Streamed[] = [
    { sequence: 1n, result: { case: "submit", value } },
    { sequence: 2n ** 53n - 1n, result: { case: "submit", value: { ...value, clientOrderId: "", duplicate: false } } },
    { sequence: 2n ** 64n - 1n, result: { case: "submit", value } },
    { sequence: 2n ** 40n, result: { case: "submit", value: { ...value, order: ORDER } } },
    { sequence: 300n, result: { case: "refused", value: { code: 3, message: "m".repeat(1_000) } } },
    { sequence: 300n, result: { case: "cancelAll", value: { commandIds: ["a", "b"] } } },
  ];
  for (const answer of answers) {
    const wanted = create(StreamOrdersResponseSchema, answer);
    assert.deepEqual(fromBinary(StreamOrdersResponseSchema, encodeStreamed(answer)), wanted);
  }
});
