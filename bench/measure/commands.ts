import { fromBinary } from "@bufbuild/protobuf";
import { SubmitOrdersRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { validateSubmit } from "../../src/ingest/validation/submit.ts";
import type { SubmitFields } from "../../src/ingest/validation/submit.ts";
import { isRefused } from "../../src/ingest/validation/violation.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import { benchInstrument } from "../instrument.ts";
import { OrderBodies } from "../load/orders.ts";

/** The generator's orders as the door hands them on: `count` of them, 1 to 1,000, beginning with the n-th of a run. */
export function submitFields(count: number, first = 0): SubmitFields[] {
  const instrument = prepareInstrument(benchInstrument);
  const instruments = new Map([[instrument.symbol, instrument]]);
  const bodies = new OrderBodies({ run: "inner", symbol: instrument.symbol, batch: count });
  const { orders } = fromBinary(SubmitOrdersRequestSchema, bodies.body(first).subarray(5));
  return orders.map((order) => {
    const fields = validateSubmit(order, instruments, 0);
    if (isRefused(fields)) throw new Error(`the bench's order is refused: ${JSON.stringify(fields)}`);
    return fields;
  });
}
