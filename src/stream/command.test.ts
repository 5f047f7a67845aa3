import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { CommandBatchSchema, CommandSchema, SubmitCommandSchema } from "../gen/penstock/v1/log_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { clientKeyOf, idempotencyKey, orderKeyOf } from "./command.ts";
import { decodeBatch, keyOfLogged } from "./logged-command.ts";
import {
  prepareAccountLimits,
  prepareRules,
  prepareTradingStatus,
  prepareVoid,
  prepareCancel,
  prepareInstrument,
  prepareMassCancel,
  prepareReplace,
  prepareSubmit,
} from "./prepared-command.ts";
import type { SubmitFields } from "./command.ts";
import type { PreparedCommand } from "./prepared-command.ts";
import { BYTES, WireError, WireReader, WireWriter } from "./wire.ts";

const SEED = 20_261_122;

/** Mulberry32: every failure comes again with the seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = randomOf(SEED);
const below = (limit: number) => Math.floor(random() * limit);
const pick = <T>(values: readonly T[]): T => values[below(values.length)]!;
const text = (most: number) =>
  Array.from({ length: 1 + below(most) }, () => String.fromCharCode(0x21 + below(94))).join("");
/** Of every length in bytes. */
const number = () => (below(4) === 0 ? 0 : Math.floor(random() * 2 ** below(54)));

function someFields(): SubmitFields {
  return {
    clientOrderId: text(64),
    symbol: pick(["BTC-USD", "A", "ETH/EUR", text(32)]),
    side: pick([Side.BUY, Side.SELL]),
    type: pick([OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT]),
    timeInForce: pick([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD]),
    quantity: pick([number(), Number.MAX_SAFE_INTEGER]),
    price: number(),
    stopPrice: number(),
    displayQuantity: number(),
    expireTime: number(),
    postOnly: below(2) === 1,
    selfTradePrevention: pick([SelfTradePrevention.UNSPECIFIED, SelfTradePrevention.DECREMENT]),
  };
}

function generated(fields: SubmitFields) {
  const { quantity, price, stopPrice, displayQuantity, expireTime, ...rest } = fields;
  return {
    ...rest,
    quantity: BigInt(quantity),
    price: BigInt(price),
    stopPrice: BigInt(stopPrice),
    displayQuantity: BigInt(displayQuantity),
    expireTime: BigInt(expireTime),
  };
}

/** The command in an element of a batch: the bytes behind its tag and length. */
function commandOf({ element }: PreparedCommand): Buffer {
  const reader = new WireReader(element);
  assert.equal(reader.varint(), (1 << 3) | BYTES);
  const start = reader.bytes();
  assert.equal(reader.position, element.length);
  return element.subarray(start);
}

function sha256(data: string | Uint8Array): Buffer {
  return createHash("sha256").update(data).digest();
}

test("a submit is written as the generated code would write it, and read back by both", () => {
  for (let i = 0; i < 2_000; i++) {
    const fields = someFields();
    const account = text(32);
    const prepared = prepareSubmit(account, fields);
    const value = create(SubmitCommandSchema, generated(fields));
    const payload = toBinary(SubmitCommandSchema, value);
    const hash = sha256(payload).subarray(0, 8);
    const key = sha256(["submit", account, fields.symbol, fields.clientOrderId].join("\0"));
    const message = create(CommandSchema, {
      account,
      payloadHash: hash.readBigUInt64LE(),
      clientKey: key.readBigUInt64LE(),
      kind: { case: "submit", value },
    });
    assert.deepEqual(commandOf(prepared), Buffer.from(toBinary(CommandSchema, message)), `seed ${SEED}, round ${i}`);
    assert.equal(prepared.identity, Buffer.concat([key.subarray(0, 16), hash]).toString("latin1"));

    const [logged] = decodeBatch(prepared.element);
    assert.equal(logged?.kind, "submit");
    assert.deepEqual(logged.submit, fields, `seed ${SEED}, round ${i}`);
    assert.equal(logged.account, account);
    assert.equal(logged.payloadHash, hash.toString("latin1"));
    assert.equal(logged.clientKey, key.readBigInt64LE());
    const { keyHigh, keyLow } = logged;
    assert.deepEqual({ keyHigh, keyLow }, { keyHigh: key.readInt32LE(4), keyLow: key.readInt32LE(0) });
    assert.deepEqual({ keyHigh, keyLow }, orderKeyOf(account, fields.symbol, fields.clientOrderId));
    assert.equal(logged.clientKey.toString(), clientKeyOf(prepared.identity.slice(0, 16)));
    assert.equal(keyOfLogged(logged), prepared.identity.slice(0, 16));
  }
});

test("strings beyond ASCII, and long ones, are UTF-8", () => {
  for (const id of ["ö", "€uro", "𝄞", "a".repeat(39), "a".repeat(40), "ä".repeat(60), `${"x".repeat(63)}é`]) {
    const prepared = prepareSubmit("konto-ß", { ...someFields(), clientOrderId: id });
    const { account, kind } = fromBinary(CommandSchema, commandOf(prepared));
    assert.equal(account, "konto-ß");
    assert.equal(kind.case === "submit" && kind.value.clientOrderId, id);
    const [logged] = decodeBatch(prepared.element);
    assert.equal(logged?.kind === "submit" && logged.submit.clientOrderId, id);
  }
});

const ORDER_ID = Buffer.from("019aab6f767b71238005000000070001", "hex");
const OTHERS: readonly [string, PreparedCommand, string][] = [
  [
    "cancel",
    prepareCancel("demo", "c1", "BTC-USD", { case: "orderId", value: ORDER_ID }),
    idempotencyKey("cancel", "demo", "BTC-USD", "c1"),
  ],
  [
    "replace",
    prepareReplace(
      "demo",
      "r1",
      "BTC-USD",
      { case: "clientOrderId", value: "o1" },
      {
        ...{ quantity: Number.MAX_SAFE_INTEGER, price: 1 },
        ...{ stopPrice: 0, displayQuantity: 0 },
      },
    ),
    idempotencyKey("replace", "demo", "BTC-USD", "r1"),
  ],
  ["massCancel", prepareMassCancel("demo", "m1", ""), idempotencyKey("mass_cancel", "demo", "", "m1")],
  [
    "instrument",
    prepareInstrument(
      "root",
      create(InstrumentSchema, { symbol: "BTC-USD", tickSize: "0.01", lotSize: "1", version: 3 }),
    ),
    idempotencyKey("instrument", "", "BTC-USD", "3"),
  ],
  [
    "tradingStatus",
    prepareTradingStatus("root", "t1", "BTC-USD", TradingStatus.HALTED),
    idempotencyKey("trading_status", "root", "BTC-USD", "t1"),
  ],
  [
    "accountLimits",
    prepareAccountLimits("root", "l1", { account: "demo", maxOpenOrders: 5, maxQuantity: Number.MAX_SAFE_INTEGER }),
    idempotencyKey("account_limits", "root", "demo", "l1"),
  ],
  ["void", prepareVoid("root", "v1", "12-3", "it throws"), idempotencyKey("void", "root", "12-3", "v1")],
  ["rules", prepareRules("root", "r1", 2), idempotencyKey("rules", "root", "", "r1")],
];

test("the other kinds are read back, and their idempotency keys can be rebuilt from the log (I2)", () => {
  for (const [kind, prepared, key] of OTHERS) {
    const [logged] = decodeBatch(prepared.element);
    assert.equal(logged?.kind, "other");
    assert.equal(logged.command.kind.case, kind);
    assert.equal(logged.payloadHash, prepared.identity.slice(16));
    assert.equal(keyOfLogged(logged), key);
    assert.equal(prepared.identity.slice(0, 16), key);
  }
});

test("what is no client's id of the same kind, account and symbol has another key", () => {
  const keys = [
    idempotencyKey("submit", "demo", "A", "1"),
    idempotencyKey("cancel", "demo", "A", "1"),
    idempotencyKey("submit", "demo2", "A", "1"),
    idempotencyKey("submit", "demo", "A1", ""),
    idempotencyKey("submit", "demo", "A", "2"),
  ];
  assert.equal(new Set(keys).size, keys.length);
  for (const key of keys) assert.equal(key.length, 16);
});

test("elements one behind the other are a batch; a bad one keeps its place", () => {
  const good = [prepareSubmit("a", someFields()), OTHERS[0]![1], prepareSubmit("b", someFields())];
  const batch = Buffer.concat(good.map(({ element }) => element));
  assert.equal(fromBinary(CommandBatchSchema, batch).commands.length, 3);
  assert.deepEqual(
    decodeBatch(batch).map(({ kind }) => kind),
    ["submit", "other", "submit"],
  );

  const bad = Buffer.from([(1 << 3) | BYTES, 2, (1 << 3) | BYTES, 9]); // a string longer than its command
  const unknown = Buffer.from([(1 << 3) | BYTES, 3, 0x82, 0x01, 0x00]); // field 16 alone: no kind that we know
  const mixed = decodeBatch(Buffer.concat([good[0]!.element, bad, unknown, good[2]!.element]));
  assert.deepEqual(
    mixed.map(({ kind }) => kind),
    ["submit", "undecodable", "undecodable", "submit"],
  );
  assert.deepEqual(mixed[1]?.raw, bad.subarray(2));
});

test("fields that are not known are skipped, of whatever wire type", () => {
  const fields = someFields();
  const payload = Buffer.from(toBinary(SubmitCommandSchema, create(SubmitCommandSchema, generated(fields))));
  const unknown = Buffer.from([
    ...[0xf8, 0x07, 0x96, 0x01], // field 127: varint
    ...[0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8], // fixed64
    ...[0xfa, 0x07, 2, 0xff, 0xff], // bytes
    ...[0xfd, 0x07, 1, 2, 3, 4], // fixed32
  ]);
  const writer = new WireWriter(8_192);
  writer.string(1, "demo");
  unknown.copy(writer.buffer, writer.length);
  writer.length += unknown.length;
  writer.buffer[writer.length++] = (4 << 3) | BYTES;
  writer.varint(payload.length + unknown.length);
  const command = Buffer.concat([writer.buffer.subarray(0, writer.length), unknown, payload]);
  const length = new WireWriter(8);
  length.varint(command.length);
  const element = Buffer.concat([Buffer.from([(1 << 3) | BYTES]), length.buffer.subarray(0, length.length), command]);
  const [logged] = decodeBatch(element);
  assert.equal(logged?.kind, "submit");
  assert.deepEqual(logged.submit, fields);
});

test("I4: truncated and altered bytes never throw anything but a WireError", () => {
  const elements = [prepareSubmit("demo", someFields()), ...OTHERS.map(([, prepared]) => prepared)].map(
    ({ element }) => element,
  );
  const batch = Buffer.concat(elements);
  const ends = new Set([0]);
  let end = 0;
  for (const element of elements) ends.add((end += element.length));
  for (let length = 0; length <= batch.length; length++) {
    if (ends.has(length)) assert.doesNotThrow(() => decodeBatch(batch.subarray(0, length)));
    else assert.throws(() => decodeBatch(batch.subarray(0, length)), WireError);
  }
  for (let round = 0; round < 5_000; round++) {
    const altered = Buffer.from(batch);
    for (let i = 0; i <= below(4); i++) altered[below(altered.length)] = below(256);
    try {
      for (const command of decodeBatch(altered)) if (command.kind !== "undecodable") keyOfLogged(command);
    } catch (error) {
      assert.ok(error instanceof WireError, `seed ${SEED}, round ${round}: ${String(error)}`);
    }
  }
});

test("numbers keep their value up to 2^53 - 1; beyond it they are refused", () => {
  for (const value of [0, 1, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 49, Number.MAX_SAFE_INTEGER]) {
    const writer = new WireWriter(16);
    writer.varint(value);
    assert.equal(new WireReader(writer.buffer, 0, writer.length).varint(), value);
  }
  const tooMany = Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]); // 2^53
  const endless = Buffer.alloc(11, 0xff);
  for (const bytes of [tooMany, endless, Buffer.from([0x80])])
    assert.throws(() => new WireReader(bytes).varint(), WireError);
});
