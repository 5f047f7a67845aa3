import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { OrderStatus, type OrderType, type Side } from "../gen/penstock/v1/order_pb.ts";
import {
  type SubmitOrderRequest,
  SubmitOrderRequestSchema,
  SubmitOrderResponseSchema,
  SubmitOrdersRequestSchema,
  SubmitOrdersResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { decodeSubmitOrder, decodeSubmitOrders, encodeSubmitted, encodeSubmittedAll } from "./submit-codec.ts";

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
});

test("bytes that are no request throw, as in the generated code", () => {
  const bytes = encode(REQUESTS[3]!);
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    const wanted = attempt(() => fromBinary(SubmitOrderRequestSchema, cut));
    assert.deepEqual(
      attempt(() => decodeSubmitOrder(cut)),
      wanted,
      `cut at ${length}`,
    );
  }
});

function attempt(decode: () => SubmitOrderRequest): object | string {
  try {
    return fieldsOf(decode());
  } catch {
    return "refused";
  }
}

test("answers are written as the generated code reads them", () => {
  const submitted = {
    orderId: "01a20339-6d00-7000-8001-000000000000",
    clientOrderId: "c".repeat(64),
    status: OrderStatus.PENDING_NEW,
    createdAt: timestampFromMs(1_795_350_424_832),
    duplicate: true,
  };
  const wanted = create(SubmitOrderResponseSchema, submitted);
  assert.deepEqual(fromBinary(SubmitOrderResponseSchema, encodeSubmitted(submitted)), wanted);

  const results = Array.from({ length: 1000 }, (_, i) => ({
    result:
      i % 3 === 0
        ? ({ case: "refused", value: create(StatusSchema, { code: 3, message: "m".repeat(i) }) } as const)
        : ({ case: "accepted", value: { ...submitted, duplicate: i % 2 === 0 } } as const),
  }));
  const all = fromBinary(SubmitOrdersResponseSchema, encodeSubmittedAll({ results }));
  assert.deepEqual(all, create(SubmitOrdersResponseSchema, { results: results as never }));
});
