import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { OrderType, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { MAX_UNITS } from "./decimal.ts";
import { prepareInstrument, TIMES_IN_FORCE } from "./instrument.ts";

const LEAST = { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001", version: 3 };

test("empty limits are the widest there are", () => {
  const instrument = prepareInstrument(create(InstrumentSchema, LEAST));
  assert.equal(instrument.symbol, "BTC-USD");
  assert.equal(instrument.version, 3);
  assert.equal(instrument.tick.text, "0.01");
  assert.equal(instrument.lot.text, "0.00000001");
  assert.deepEqual([instrument.minQuantity, instrument.maxQuantity], [1, MAX_UNITS]);
  assert.deepEqual([instrument.minPrice, instrument.maxPrice], [1, MAX_UNITS]);
  assert.deepEqual(instrument.timesInForce, TIMES_IN_FORCE);
});

test("limits are in lots and ticks", () => {
  const limits = { minQuantity: "0.001", maxQuantity: "10", minPrice: "100", maxPrice: "999.99" };
  const instrument = prepareInstrument(create(InstrumentSchema, { ...LEAST, ...limits }));
  assert.deepEqual([instrument.minQuantity, instrument.maxQuantity], [100_000, 1_000_000_000]);
  assert.deepEqual([instrument.minPrice, instrument.maxPrice], [10_000, 99_999]);
});

test("an order type has the times in force that it and the instrument allow", () => {
  const { timesInForce } = prepareInstrument(
    create(InstrumentSchema, {
      ...LEAST,
      orderTypes: [OrderType.LIMIT, OrderType.MARKET],
      timesInForce: [TimeInForce.GTC, TimeInForce.IOC],
    }),
  );
  assert.equal(timesInForce[OrderType.LIMIT], (1 << TimeInForce.GTC) | (1 << TimeInForce.IOC));
  assert.equal(timesInForce[OrderType.MARKET], 1 << TimeInForce.IOC);
  assert.equal(timesInForce[OrderType.STOP], 0);
  assert.equal(timesInForce[OrderType.STOP_LIMIT], 0);
});

test("it cannot be changed", () => {
  const instrument = prepareInstrument(create(InstrumentSchema, LEAST));
  assert.ok(
    Object.isFrozen(instrument) && Object.isFrozen(instrument.tick) && Object.isFrozen(instrument.timesInForce),
  );
});

test("a definition that validation would refuse is refused", () => {
  for (const wrong of [{ tickSize: "" }, { lotSize: "0" }, { minQuantity: "0.000000001" }, { maxPrice: "1e9" }]) {
    assert.throws(() => prepareInstrument(create(InstrumentSchema, { ...LEAST, ...wrong })), RangeError);
  }
});
