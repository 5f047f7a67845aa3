import { create } from "@bufbuild/protobuf";
import { InstrumentSchema } from "../src/gen/penstock/v1/instrument_pb.ts";

/** What the bench trades: as `penstock up` defines it. */
export const benchInstrument = create(InstrumentSchema, {
  symbol: "BTC-USD",
  tickSize: "0.01",
  lotSize: "0.00000001",
  version: 1,
});
