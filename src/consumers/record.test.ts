import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromBinary } from "@bufbuild/protobuf";

import { ACCOUNT, ORDER } from "../../test/support/hand-log.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { prepareCancel, prepareInstrument as instrumentCommand, prepareSubmit } from "../stream/prepared-command.ts";
import type { Delivered } from "../stream/group-reader.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { ORDER_ROWS } from "./order-rows.ts";
import { lostRecord, NewerVersionError, recordOf, UnknownSymbolError } from "./record.ts";

const DEFINITION = create(InstrumentSchema, { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001", version: 3 });
const OPTIONS = {
  partition: 5,
  instruments: new Map([["BTC-USD", prepareInstrument(DEFINITION)]]),
  instrumentsAreFresh: false,
};

function delivered(fields: Record<string, string | Buffer>, deliveries = 1): Delivered {
  return {
    id: "1792497600123-7",
    fields: Object.entries(fields)
      .flat()
      .map((part) => Buffer.from(part)),
    deliveries,
  };
}

const entry = (...elements: readonly Buffer[]) =>
  delivered({ d: Buffer.concat(elements), p: "1792497600120-0", e: "2", v: "1" });
const submit = (fields: Partial<typeof ORDER>) =>
  prepareSubmit(ACCOUNT, { ...ORDER, clientOrderId: "mine", ...fields }).element;

test("I3: an order's row has its place as its id, and its amounts as decimals", () => {
  const cancel = prepareCancel(ACCOUNT, "request", "BTC-USD", { case: "clientOrderId", value: "mine" }).element;
  const full = submit({
    ...{
      side: Side.SELL,
      type: OrderType.STOP_LIMIT,
      timeInForce: TimeInForce.GTD,
      quantity: 150_000_000,
      price: 10_025,
    },
    ...{ stopPrice: 1, displayQuantity: 100, expireTime: 1_800_000_000_000, postOnly: true },
    selfTradePrevention: SelfTradePrevention.DECREMENT,
  });
  const record = recordOf(
    ORDER_ROWS,
    entry(cancel, full, submit({ type: OrderType.MARKET, timeInForce: TimeInForce.IOC, price: 0 })),
    OPTIONS,
  );
  const { receipt, orders } = record;
  assert.deepEqual(
    { ...receipt, hash: receipt.hash.length, payload: receipt.payload?.length },
    {
      ...{ stream: 0, partition: 5, epoch: 2, ms: 1_792_497_600_123, seq: 7, prevMs: 1_792_497_600_120, prevSeq: 0 },
      ...{ version: 1, commands: 3, hash: 32, payload: receipt.payload?.length },
    },
  );
  const [first, second] = orders;
  const { clientKey, ...facts } = first!;
  assert.deepEqual(facts, {
    ...{ index: 1, orderId: "01a1592e-c67b-7005-8002-000000070001", account: ACCOUNT, clientOrderId: "mine" },
    ...{ symbol: "BTC-USD", side: "SELL", type: "STOP_LIMIT", timeInForce: "GTD", quantity: "1.5", price: "100.25" },
    ...{ stopPrice: "0.01", displayQuantity: "0.000001", expireTime: 1_800_000_000_000, postOnly: true },
    selfTradePrevention: "DECREMENT",
  });
  assert.equal(clientKey, second?.clientKey); // of account, symbol and client order id
  assert.deepEqual(
    [second?.index, second?.price, second?.expireTime, second?.selfTradePrevention],
    [2, null, null, null],
  );
  assert.deepEqual(record.deadLetters, []);
  assert.ok(record.raw(1).includes("mine"));
});

test("a definition of an instrument is kept as it was given", () => {
  const { instruments, orders } = recordOf(ORDER_ROWS, entry(instrumentCommand("root", DEFINITION).element), OPTIONS);
  assert.equal(orders.length, 0);
  const [row] = instruments;
  assert.deepEqual([row?.index, row?.symbol, row?.version], [0, "BTC-USD", 3]);
  assert.deepEqual(fromBinary(InstrumentSchema, row!.definition), DEFINITION);
});

test("an unknown symbol is asked for again before it makes a dead letter", () => {
  const unknown = entry(submit({}), submit({ symbol: "ETH-USD" }));
  assert.throws(() => recordOf(ORDER_ROWS, unknown, OPTIONS), UnknownSymbolError);
  const { orders, deadLetters } = recordOf(ORDER_ROWS, unknown, { ...OPTIONS, instrumentsAreFresh: true });
  assert.equal(orders.length, 1);
  assert.deepEqual(
    deadLetters.map(({ index, reason }) => [index, reason]),
    [[1, "the symbol is unknown"]],
  );
});

test("a newer version is refused even where the rest of the entry could be read", () => {
  assert.throws(
    () => recordOf(ORDER_ROWS, delivered({ d: submit({}), p: "0-0", e: "1", v: "2" }), OPTIONS),
    NewerVersionError,
  );
  assert.throws(
    () => recordOf(ORDER_ROWS, delivered({ v: "2", body: "of fields that are not known yet" }), OPTIONS),
    NewerVersionError,
  );
});

test("what is none of our entries stands at epoch 0, with its bytes and how often it came", () => {
  const record = recordOf(ORDER_ROWS, delivered({ some: "thing" }, 3), OPTIONS);
  assert.equal(record.receipt.epoch, 0);
  assert.equal(record.deliveries, 3);
  assert.deepEqual(record.deadLetters, [
    { index: -1, raw: Buffer.from("something"), sqlstate: null, reason: "the entry has no field d" },
  ]);
  const lost = lostRecord(ORDER_ROWS, "1792497600123-7", 5);
  assert.deepEqual([lost.receipt.epoch, lost.receipt.ms, lost.receipt.seq], [0, 1_792_497_600_123, 7]);
  assert.match(lost.deadLetters[0]!.reason, /^LOST/);
});
