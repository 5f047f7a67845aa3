import assert from "node:assert/strict";
import { test } from "node:test";
import { create, equals, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { WatchOrdersResponseSchema } from "../gen/penstock/v1/order_service_pb.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { orderIdAt, orderIdPrefix } from "../stream/position.ts";
import { executionReportOf } from "./execution-reports.ts";
import { reportOf } from "./reports.ts";

const definition = { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001", version: 1 };
const instrument = prepareInstrument(create(InstrumentSchema, definition));
const instruments = { get: (symbol: string) => (symbol === "BTC-USD" ? instrument : undefined) };

const units = fc.maxSafeNat();
const text = fc.oneof(fc.string({ maxLength: 64 }), fc.string({ unit: "grapheme", maxLength: 20 }));
const orderId = fc.oneof(
  fc.constant(""),
  fc
    .record({ ms: fc.nat(2 ** 31), seq: fc.nat(9), epoch: fc.nat(9) })
    .map((entry) => orderIdAt(orderIdPrefix(0, entry), 3)),
);
const event: fc.Arbitrary<EngineEvent> = fc.record({
  kind: fc.integer({ min: 1, max: 4 }),
  command: fc.nat(500),
  account: fc.constantFrom("", "alice", "a-rather-long-name-of-an-account"),
  sequence: units,
  reason: fc.nat(60),
  symbol: fc.constantFrom("", "BTC-USD", "UNKNOWN"),
  execType: fc.integer({ min: 1, max: 8 }),
  status: fc.constantFrom(0, 2, 3, 4, 5, 6, 7),
  clientOrderId: text,
  side: fc.nat(2),
  type: fc.nat(4),
  timeInForce: fc.nat(6),
  selfTradePrevention: fc.nat(4),
  postOnly: fc.boolean(),
  triggered: fc.boolean(),
  quantity: units,
  price: units,
  stopPrice: units,
  displayQuantity: units,
  expireTime: fc.nat(2 ** 31),
  cumQuantity: units,
  leavesQuantity: units,
  valueHigh: fc.nat(9),
  valueLow: units,
  lastQuantity: units,
  lastPrice: units,
  trade: units,
  aggressor: fc.boolean(),
  affected: fc.nat(),
  remaining: fc.nat(),
  orderId,
  otherOrderId: orderId,
  clientRequestId: text,
});

test("a report is on the wire what the generated code would make of it", () => {
  fc.assert(
    fc.property(event, fc.nat(0xffff), fc.nat(2 ** 31), (event, index, ms) => {
      const entry = { epoch: 3, ms, seq: 7, id: `${ms}-7` };
      const report = reportOf(event, index, entry, 5, instruments);
      const value = executionReportOf(event, index, entry, 5, instruments.get(event.symbol));
      if (value === undefined) return assert.equal(report, undefined);
      const expected = create(WatchOrdersResponseSchema, { update: { case: "execution", value } });
      const decoded = fromBinary(WatchOrdersResponseSchema, report!.bytes);
      assert.ok(equals(WatchOrdersResponseSchema, decoded, expected));
      assert.deepEqual(Buffer.from(report!.bytes), Buffer.from(toBinary(WatchOrdersResponseSchema, expected)));
      assert.deepEqual([report!.account, report!.sequence, report!.index], [event.account, event.sequence, index]);
    }),
    { numRuns: 1_000 },
  );
});
