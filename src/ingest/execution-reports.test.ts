import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { ExecType, OrderStatus, OrderType, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { EVENT_KIND } from "../stream/event-names.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { executionReportOf, orderOf, storedAveragePrice } from "./execution-reports.ts";

const BTC = prepareInstrument(
  create(InstrumentSchema, { symbol: "BTC-USD", version: 1, tickSize: "0.01", lotSize: "0.00000001" }),
);
const ORDER_ID = "01a20339-6d00-7001-8001-000000020003";
const CREATED_MS = 0x01a203396d00;
const ENTRY = { id: `${CREATED_MS + 5}-4`, epoch: 3, ms: CREATED_MS + 5, seq: 4 };

/** A buy of 3 lots that was filled with 2 and 1 of them, at 100.01 and 100.02. */
const FILLED: EngineEvent = {
  kind: EVENT_KIND.EXECUTION,
  command: 0,
  account: "demo",
  sequence: 12,
  reason: 0,
  symbol: "BTC-USD",
  execType: 2,
  status: 4,
  orderId: ORDER_ID,
  clientOrderId: "mine",
  side: 1,
  type: 2,
  timeInForce: 6,
  selfTradePrevention: 4,
  postOnly: false,
  triggered: false,
  quantity: 3,
  price: 10_005,
  stopPrice: 0,
  displayQuantity: 2,
  expireTime: CREATED_MS + 1_000,
  cumQuantity: 3,
  leavesQuantity: 0,
  valueHigh: 0,
  valueLow: 2 * 10_001 + 10_002,
  lastQuantity: 1,
  lastPrice: 10_002,
  trade: 8,
  aggressor: true,
  otherOrderId: "01a20339-6d00-7001-8001-000000020001",
  clientRequestId: "",
  affected: 0,
  remaining: 0,
};

const ORDER = {
  orderId: ORDER_ID,
  clientOrderId: "mine",
  account: "demo",
  symbol: "BTC-USD",
  side: Side.BUY,
  type: OrderType.LIMIT,
  timeInForce: TimeInForce.GTD,
  quantity: "0.00000003",
  price: "100.05",
  stopPrice: "",
  displayQuantity: "0.00000002",
  expireTime: timestampFromMs(CREATED_MS + 1_000),
  postOnly: false,
  selfTradePrevention: 4,
  status: OrderStatus.FILLED,
  cumQuantity: "0.00000003",
  leavesQuantity: "0",
  averagePrice: "100.0133333333",
  reason: "",
  createdAt: timestampFromMs(CREATED_MS),
  updatedAt: timestampFromMs(ENTRY.ms),
};

test("a trade, as its account sees it", () => {
  assert.deepEqual(executionReportOf(FILLED, 6, ENTRY, 1, BTC), {
    position: { partition: 1, epoch: 3, entryId: ENTRY.id, index: 6 },
    sequence: 12n,
    execType: ExecType.TRADE,
    order: ORDER,
    reason: "",
    lastQuantity: "0.00000001",
    lastPrice: "100.02",
    trade: 8n,
    aggressor: true,
    clientRequestId: "",
    affected: 0,
    remaining: 0,
    createdAt: timestampFromMs(ENTRY.ms),
  });
});

test("a refused cancel: its reason is not the order's, which was not touched", () => {
  const { lastQuantity: _1, lastPrice: _2, trade: _3, ...open } = FILLED;
  const event: EngineEvent = {
    ...open,
    ...{ kind: EVENT_KIND.CANCEL_REJECT, execType: 0, status: 3, reason: 10, clientRequestId: "c-1" },
    ...{ lastQuantity: 0, lastPrice: 0, trade: 0, aggressor: false, quantity: 5, leavesQuantity: 2 },
  };
  const report = executionReportOf(event, 0, ENTRY, 1, BTC);
  assert.deepEqual(
    [report?.execType, report?.reason, report?.order?.reason, report?.order?.status, report?.lastPrice],
    [ExecType.CANCEL_REJECTED, "TRADING_STATUS", "", OrderStatus.PARTIALLY_FILLED, ""],
  );
  assert.equal(report?.order?.updatedAt, undefined);
  assert.equal(report?.order?.leavesQuantity, "0.00000002");
});

test("where no order is known only what was named is said; a mass cancel says how many", () => {
  const nothing = { ...FILLED, execType: 0, status: 0, orderId: "", quantity: 0, price: 0, cumQuantity: 0 };
  const rejected: EngineEvent = { ...nothing, kind: EVENT_KIND.REPLACE_REJECT, reason: 2, symbol: "GONE" };
  const { order, execType, reason } = executionReportOf(rejected, 0, ENTRY, 1, undefined)!;
  assert.deepEqual([execType, reason], [ExecType.REPLACE_REJECTED, "UNKNOWN_SYMBOL"]);
  const { quantity, cumQuantity, leavesQuantity, averagePrice, createdAt, clientOrderId, symbol } = order!;
  assert.deepEqual([quantity, cumQuantity, leavesQuantity, averagePrice, createdAt], ["", "", "", "", undefined]);
  assert.deepEqual([clientOrderId, symbol], ["mine", "GONE"]);

  const mass: EngineEvent = { ...nothing, kind: EVENT_KIND.COMMAND, symbol: "", affected: 4, remaining: 1, reason: 1 };
  const report = executionReportOf(mass, 0, ENTRY, 1, undefined)!;
  assert.deepEqual(
    [report.execType, report.affected, report.remaining, report.reason],
    [ExecType.MASS_CANCEL_REPORT, 4, 1, "BUSY"],
  );
  const defined: EngineEvent = { ...mass, account: "", sequence: 0 };
  assert.equal(executionReportOf(defined, 0, ENTRY, 1, undefined), undefined, "an instrument's is nobody's report");
});

test("an average price is exact beyond 2^53, and the same from what Postgres has", () => {
  const times = { createdMs: CREATED_MS, updatedMs: ENTRY.ms };
  for (const [lots, ticks] of [
    [3n, 30_004n],
    [7n, 7n * (2n ** 53n - 1n) - 1n],
    [2n ** 53n - 1n, 2n ** 62n + 12_345n],
    [1n, 1n],
  ] as const) {
    const event = {
      ...FILLED,
      cumQuantity: Number(lots),
      valueHigh: Number(ticks >> 53n),
      valueLow: Number(ticks & (2n ** 53n - 1n)),
    };
    const { averagePrice, cumQuantity } = orderOf(event, BTC, times);
    // 10 digits behind the point: ticks × 10^8 by lots, rounded.
    const scaled = (2n * ticks * 10n ** 8n + lots) / (2n * lots);
    const digits = scaled.toString().padStart(11, "0");
    assert.equal(averagePrice, `${digits.slice(0, -10)}.${digits.slice(-10)}`.replace(/\.?0+$/, ""));
    // Ticks of 0.01 by lots of 0.00000001.
    const value = ticks.toString().padStart(11, "0");
    const tradedValue = `${value.slice(0, -10)}.${value.slice(-10)}`;
    assert.equal(storedAveragePrice(tradedValue, cumQuantity!, BTC.tick), averagePrice);
  }
});
