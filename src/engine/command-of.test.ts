import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { assert as check, nat, property, uint8Array } from "fast-check";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import {
  prepareAccountLimits,
  prepareCancel,
  type PreparedCommand,
  prepareInstrument,
  prepareMassCancel,
  prepareReplace,
  prepareRules,
  prepareSubmit,
  prepareTradingStatus,
  prepareVoid,
} from "../stream/prepared-command.ts";
import { formatOrderId, orderIdBytes } from "../stream/position.ts";
import { commandsOf } from "./command-of.ts";
import { Engine } from "./matching/engine.ts";
import { EventKind, Reason } from "./matching/sets.ts";

const PARTITION = 3;
const PLACE = { epoch: 2, ms: 1_700_000_000_000, seq: 5, index: 7 };

function read(...prepared: readonly PreparedCommand[]) {
  return commandsOf(PARTITION, Buffer.concat(prepared.map(({ element }) => element)), false);
}

function byId(partition: number, place = PLACE) {
  return { case: "orderId", value: orderIdBytes(formatOrderId({ partition, ...place })) } as const;
}

function submit(clientOrderId: string, side = Side.BUY): PreparedCommand {
  return prepareSubmit("ann", {
    ...{ clientOrderId, symbol: "A-B", side, type: OrderType.LIMIT, timeInForce: TimeInForce.GTC },
    ...{ quantity: 5, price: 100, stopPrice: 0, displayQuantity: 0, expireTime: 0, postOnly: false },
    selfTradePrevention: SelfTradePrevention.UNSPECIFIED,
  });
}

const definition = create(InstrumentSchema, {
  ...{ symbol: "A-B", version: 1, tickSize: "0.010", lotSize: "0.1", minQuantity: "0.2", maxPrice: "9" },
  orderTypes: [OrderType.LIMIT],
});

test("each kind of command as the engine takes it: ticks and lots, places, keys", () => {
  const values = { quantity: 4, price: 0, stopPrice: 2 ** 53 - 1, displayQuantity: 1 };
  const { commands, requestIdOf } = read(
    submit("one"),
    prepareCancel("ann", "r1", "A-B", { case: "clientOrderId", value: "one" }),
    prepareReplace("ann", "r2", "A-B", byId(PARTITION), values),
    prepareMassCancel("ann", "r3", ""),
    prepareInstrument("root", definition),
    prepareTradingStatus("root", "r4", "A-B", TradingStatus.HALTED),
    prepareAccountLimits("root", "r5", { account: "bob", maxOpenOrders: 8, maxQuantity: 9 }),
    prepareRules("root", "r6", 2),
    prepareVoid("root", "r7", "1-1", "because"),
  );
  const [order, cancel, replace, ...others] = commands;
  assert.ok(order?.kind === "submit" && cancel?.kind === "cancel" && cancel.target.by === "client");
  const { keyHigh, keyLow } = order;
  assert.deepEqual(cancel.target, { by: "client", clientOrderId: "one", keyHigh, keyLow }, "the key of the submit");
  assert.deepEqual([order.account, order.submit.price, order.submit.symbol], ["ann", 100, "A-B"]);
  const aim = { account: "ann", symbol: "A-B", target: { by: "order", ...PLACE } };
  assert.deepEqual(replace, { kind: "replace", ...aim, ...values });
  assert.deepEqual(others, [
    { kind: "mass-cancel", account: "ann", symbol: "" },
    {
      ...{ kind: "instrument", symbol: "A-B", version: 1, tickSize: "0.01", lotSize: "0.1" },
      ...{ minQuantity: 2, maxQuantity: Number.MAX_SAFE_INTEGER, minPrice: 1, maxPrice: 900 },
      timesInForce: [0, 0, 0b1011010, 0, 0],
    },
    { kind: "status", symbol: "A-B", status: 3 },
    { kind: "limits", account: "bob", maxOpenOrders: 8, maxQuantity: 9 },
    { kind: "rules", rules: 2 },
    { kind: "idle" },
  ]);
  assert.deepEqual(
    commands.map((_, i) => requestIdOf(i)),
    ["", "r1", "r2", "r3", "", "", "", "", ""],
  );
});

test("a cancel finds its order by client order id; another partition's order, or no order id, is unknown", () => {
  const engine = new Engine();
  const { commands } = read(
    prepareInstrument("root", definition),
    submit("one"),
    submit("two"),
    prepareCancel("ann", "r1", "A-B", { case: "clientOrderId", value: "one" }),
    prepareCancel("ann", "r2", "A-B", byId(PARTITION + 1, { ...PLACE, index: 2 })),
    prepareCancel("ann", "r3", "A-B", { case: "orderId", value: Buffer.from("short") }),
    prepareCancel("ann", "r4", "A-B", { case: "orderId", value: Buffer.alloc(16) }),
    prepareCancel("ann", "r5", "A-B", byId(PARTITION, { ...PLACE, index: 2 })),
  );
  const { epoch, ms, seq } = PLACE;
  const events = engine.apply({ epoch, ms, seq, commands }).events.copy();
  assert.deepEqual(
    events.slice(3).map(({ kind, reason }) => [kind, reason]),
    [
      [EventKind.EXECUTION, Reason.REQUESTED],
      [EventKind.CANCEL_REJECT, Reason.UNKNOWN_ORDER],
      [EventKind.CANCEL_REJECT, Reason.UNKNOWN_ORDER],
      [EventKind.CANCEL_REJECT, Reason.UNKNOWN_ORDER],
      [EventKind.EXECUTION, Reason.REQUESTED],
    ],
  );
  assert.equal(events[4]!.ms, 0, "an id that is none of this partition is not shown as one");
});

test("an instrument that cannot be prepared is refused, and nothing throws", () => {
  for (const wrong of [{ tickSize: "x" }, { lotSize: "0" }, { minQuantity: "0.05" }, { maxPrice: "1e9" }]) {
    const { commands } = read(prepareInstrument("root", create(InstrumentSchema, { ...definition, ...wrong })));
    const { events } = new Engine().apply({ epoch: 1, ms: 1, seq: 0, commands });
    assert.deepEqual([events.at(0).kind, events.at(0).reason], [EventKind.COMMAND, Reason.MALFORMED]);
  }
});

test("of a voided entry each command that has an answer is refused", () => {
  const payload = Buffer.concat(
    [
      submit("one"),
      prepareCancel("ann", "r1", "A-B", byId(PARTITION)),
      prepareRules("root", "r2", 77),
      prepareTradingStatus("root", "r3", "A-B", TradingStatus.OPEN),
    ].map(({ element }) => element),
  );
  const { commands, requestIdOf } = commandsOf(PARTITION, payload, true);
  assert.deepEqual(
    commands.map(({ kind }) => kind),
    ["refused", "refused", "idle", "refused"],
  );
  assert.equal(requestIdOf(1), "r1");
  const { events } = new Engine().apply({ epoch: 1, ms: 1, seq: 0, commands });
  assert.ok(events.copy().every(({ reason }) => reason === Reason.VOIDED));
  assert.equal(events.count, 3);
});

test("I4: whatever bytes stand in the log, the engine goes on behind them", () => {
  const good = Buffer.concat(
    [
      submit("one"),
      prepareReplace("ann", "r2", "A-B", byId(PARTITION), { quantity: 4, price: 0, stopPrice: 0, displayQuantity: 0 }),
      prepareMassCancel("ann", "r3", "A-B"),
      prepareInstrument("root", definition),
    ].map(({ element }) => element),
  );
  const engine = new Engine();
  let ms = 0;
  const works = (payload: Buffer) => {
    const { commands } = commandsOf(PARTITION, payload, false);
    // Other rules than it knows are the one thing that an engine may not pass over.
    const known = commands.filter((command) => command.kind !== "rules");
    engine.apply({ epoch: 1, ms: ++ms, seq: 0, commands: known });
  };
  check(property(uint8Array({ maxLength: 200 }), (bytes) => works(Buffer.from(bytes))));
  check(
    property(nat({ max: good.length - 1 }), nat({ max: 255 }), (at, byte) => {
      const altered = Buffer.from(good);
      altered[at] = byte;
      works(altered);
    }),
    { numRuns: 2_000 },
  );
  works(Buffer.concat(Array.from({ length: 501 }, () => good.subarray(0, 0)).concat(good)));
  works(Buffer.concat(Array.from({ length: 501 }, () => prepareMassCancel("ann", "r", "").element)));
});
