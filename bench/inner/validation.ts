import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { SubmitOrderRequestSchema, SubmitOrdersRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { decodeSubmitOrder } from "../../src/ingest/submit-codec.ts";
import { validateSubmit } from "../../src/ingest/validation/submit.ts";
import { isRefused } from "../../src/ingest/validation/violation.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import { benchInstrument } from "../instrument.ts";
import { OrderBodies } from "../load/orders.ts";
import { printLoops } from "../measure/loop.ts";

const ORDERS = 1000;

const instrument = prepareInstrument(benchInstrument);
const instruments = new Map([[instrument.symbol, instrument]]);
const bodies = new OrderBodies({ run: "inner", symbol: instrument.symbol, batch: ORDERS });
const batch = Buffer.from(bodies.body(0).subarray(5));
const encoded = fromBinary(SubmitOrdersRequestSchema, batch).orders.map((order) =>
  Buffer.from(toBinary(SubmitOrderRequestSchema, order)),
);
// As at the door, every order is validated once, on strings that were never looked at before.
let orders = fromBinary(SubmitOrdersRequestSchema, batch).orders;

await printLoops([
  {
    name: "a SubmitOrder request decoded by generated code",
    operations: ORDERS,
    pass: () => {
      orders = encoded.map((bytes) => fromBinary(SubmitOrderRequestSchema, bytes));
    },
  },
  {
    name: "a SubmitOrder request decoded by hand, as the doors do",
    operations: ORDERS,
    pass: () => {
      orders = encoded.map((bytes) => decodeSubmitOrder(bytes));
    },
  },
  {
    name: "an order validated",
    operations: ORDERS,
    pass: () => {
      for (const order of orders) if (isRefused(validateSubmit(order, instruments, 0))) throw new Error("refused");
    },
  },
]);
