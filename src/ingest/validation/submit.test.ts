import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { create, fromBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../../gen/penstock/v1/instrument_pb.ts";
import { AckLevel, OrderType, SelfTradePrevention, Side, TimeInForce } from "../../gen/penstock/v1/order_pb.ts";
import { SubmitOrderRequestSchema } from "../../gen/penstock/v1/order_service_pb.ts";
import { prepareInstrument } from "../../stream/instrument.ts";
import { validateSubmit } from "./submit.ts";
import { isRefused } from "./violation.ts";

type Init = MessageInitShape<typeof SubmitOrderRequestSchema>;
type Numbered = Partial<Record<"side" | "type" | "timeInForce" | "selfTradePrevention" | "ackLevel", number>>;

const NOW = 1_800_000_000_123;
const { MARKET, LIMIT, STOP, STOP_LIMIT } = OrderType;
const { GTC, IOC, FOK, GTD } = TimeInForce;

const INSTRUMENTS = new Map(
  [
    { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001" },
    {
      symbol: "BAND",
      tickSize: "0.25",
      lotSize: "5",
      minQuantity: "10",
      maxQuantity: "1000",
      minPrice: "100",
      maxPrice: "200",
    },
    { symbol: "PLAIN", tickSize: "1", lotSize: "1", orderTypes: [LIMIT, MARKET], timesInForce: [GTC, IOC] },
    { symbol: "RESTING", tickSize: "1", lotSize: "1", timesInForce: [GTC] },
  ].map((definition) => [definition.symbol, prepareInstrument(create(InstrumentSchema, definition))]),
);

const ORDER: Init = { clientOrderId: "a-1", symbol: "BTC-USD", side: Side.BUY, quantity: "0.5" };
const LIMIT_ORDER: Init = { ...ORDER, type: LIMIT, price: "64000.01" };
const MARKET_ORDER: Init = { ...ORDER, type: MARKET };
const STOP_ORDER: Init = { ...ORDER, type: STOP, stopPrice: "60000" };
const STOP_LIMIT_ORDER: Init = { ...ORDER, type: STOP_LIMIT, price: "59000", stopPrice: "60000" };
const BAND_ORDER: Init = { ...ORDER, symbol: "BAND", type: LIMIT, quantity: "10", price: "150" };
const PLAIN_ORDER: Init = { ...ORDER, symbol: "PLAIN", type: LIMIT, quantity: "1", price: "1" };

function at(ms: number, nanos = 0) {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 + nanos };
}

function submit(init: Init, numbers: Numbered = {}) {
  return validateSubmit({ ...create(SubmitOrderRequestSchema, init), ...(numbers as object) }, INSTRUMENTS, NOW);
}

const ACCEPTED: [string, Init, object][] = [
  ["LIMIT", LIMIT_ORDER, { type: LIMIT, timeInForce: GTC, quantity: 50_000_000, price: 6_400_001, stopPrice: 0 }],
  ["LIMIT IOC", { ...LIMIT_ORDER, timeInForce: IOC }, { timeInForce: IOC }],
  ["LIMIT FOK", { ...LIMIT_ORDER, timeInForce: FOK }, { timeInForce: FOK }],
  [
    "LIMIT GTD",
    { ...LIMIT_ORDER, timeInForce: GTD, expireTime: at(NOW + 1) },
    { timeInForce: GTD, expireTime: NOW + 1 },
  ],
  ["SELL", { ...LIMIT_ORDER, side: Side.SELL }, { side: Side.SELL }],
  ["post only", { ...LIMIT_ORDER, postOnly: true }, { postOnly: true }],
  [
    "post only GTD",
    { ...LIMIT_ORDER, postOnly: true, timeInForce: GTD, expireTime: at(NOW + 60_000) },
    { postOnly: true, expireTime: NOW + 60_000 },
  ],
  ["iceberg", { ...LIMIT_ORDER, displayQuantity: "0.1" }, { displayQuantity: 10_000_000 }],
  ["iceberg that shows all", { ...LIMIT_ORDER, displayQuantity: "0.50" }, { displayQuantity: 50_000_000 }],
  ["MARKET", MARKET_ORDER, { type: MARKET, timeInForce: IOC, price: 0, stopPrice: 0, displayQuantity: 0 }],
  ["MARKET FOK", { ...MARKET_ORDER, timeInForce: FOK }, { timeInForce: FOK }],
  ["STOP", STOP_ORDER, { type: STOP, timeInForce: IOC, price: 0, stopPrice: 6_000_000 }],
  ["STOP FOK", { ...STOP_ORDER, timeInForce: FOK }, { timeInForce: FOK }],
  [
    "STOP_LIMIT",
    STOP_LIMIT_ORDER,
    { type: STOP_LIMIT, timeInForce: GTC, price: 5_900_000, stopPrice: 6_000_000, expireTime: 0 },
  ],
  ["STOP_LIMIT iceberg", { ...STOP_LIMIT_ORDER, displayQuantity: "0.1" }, { displayQuantity: 10_000_000 }],
  [
    "self-trade prevention",
    { ...LIMIT_ORDER, selfTradePrevention: SelfTradePrevention.DECREMENT },
    { selfTradePrevention: SelfTradePrevention.DECREMENT },
  ],
  ["MATCHED", { ...LIMIT_ORDER, ackLevel: AckLevel.MATCHED }, {}],
  ["64 characters of id", { ...LIMIT_ORDER, clientOrderId: "!~".repeat(32) }, { clientOrderId: "!~".repeat(32) }],
  ["the least of a band", { ...BAND_ORDER, quantity: "10", price: "100" }, { quantity: 2, price: 400 }],
  ["the most of a band", { ...BAND_ORDER, quantity: "1000", price: "200.00" }, { quantity: 200, price: 800 }],
  ["10 years ahead", { ...LIMIT_ORDER, timeInForce: GTD, expireTime: at(NOW + 3650 * 86_400_000) }, {}],
  [
    "the largest notional",
    { ...PLAIN_ORDER, quantity: "1317624576693539", price: "7000" },
    { quantity: 1_317_624_576_693_539, price: 7000 },
  ],
];

for (const [name, init, expected] of ACCEPTED) {
  test(`accepted: ${name}`, () => {
    const fields = submit(init);
    assert.ok(!isRefused(fields), inspect(fields));
    assert.equal(fields.instrument, INSTRUMENTS.get(fields.symbol));
    assert.deepEqual({ ...fields, ...expected }, fields);
  });
}

const DECIMAL = "must be a decimal such as 12.5, without sign, exponent or spaces";
const ID = "must be 1 to 64 printable ASCII characters without spaces";
const HIDDEN = "must be empty unless the order is LIMIT or STOP_LIMIT with GTC or GTD";
const POST_ONLY = "must be false unless the order is LIMIT with GTC or GTD";
const WHOLE_MS = "must be a time in whole milliseconds";

const GTD_ORDER: Init = { ...LIMIT_ORDER, timeInForce: GTD };

const REFUSED: [string, Init, Numbered, Record<string, string>][] = [
  ["an empty id", { ...LIMIT_ORDER, clientOrderId: "" }, {}, { client_order_id: "is required" }],
  ["a long id", { ...LIMIT_ORDER, clientOrderId: "a".repeat(65) }, {}, { client_order_id: ID }],
  ["an id of 1 MiB", { ...LIMIT_ORDER, clientOrderId: "a".repeat(2 ** 20) }, {}, { client_order_id: ID }],
  ["NUL in an id", { ...LIMIT_ORDER, clientOrderId: "a\0b" }, {}, { client_order_id: ID }],
  ["a control character in an id", { ...LIMIT_ORDER, clientOrderId: "a\x1b" }, {}, { client_order_id: ID }],
  ["a newline at an id's end", { ...LIMIT_ORDER, clientOrderId: "a\n" }, {}, { client_order_id: ID }],
  ["DEL in an id", { ...LIMIT_ORDER, clientOrderId: "a\x7f" }, {}, { client_order_id: ID }],
  ["a space in an id", { ...LIMIT_ORDER, clientOrderId: "a b" }, {}, { client_order_id: ID }],
  ["an id beyond ASCII", { ...LIMIT_ORDER, clientOrderId: "é" }, {}, { client_order_id: ID }],

  ["no symbol", { ...LIMIT_ORDER, symbol: "" }, {}, { symbol: "is required" }],
  ["an unknown symbol", { ...LIMIT_ORDER, symbol: "BTC-EUR" }, {}, { symbol: "no such instrument" }],
  ["a symbol of 1 MiB", { ...LIMIT_ORDER, symbol: "A".repeat(2 ** 20) }, {}, { symbol: "no such instrument" }],
  ["NUL in a symbol", { ...LIMIT_ORDER, symbol: "BTC-USD\0" }, {}, { symbol: "no such instrument" }],
  ["a symbol of an object's own", { ...LIMIT_ORDER, symbol: "__proto__" }, {}, { symbol: "no such instrument" }],

  ["no side", { ...LIMIT_ORDER, side: Side.UNSPECIFIED }, {}, { side: "is required: BUY or SELL" }],
  ["an unknown side", LIMIT_ORDER, { side: 3 }, { side: "unknown number 3: must be BUY or SELL" }],
  ["a negative side", LIMIT_ORDER, { side: -1 }, { side: "unknown number -1: must be BUY or SELL" }],
  ["a side that would wrap", LIMIT_ORDER, { side: 33 }, { side: "unknown number 33: must be BUY or SELL" }],
  ["no type", { ...LIMIT_ORDER, type: 0 }, {}, { type: "is required: MARKET, LIMIT, STOP or STOP_LIMIT" }],
  [
    "an unknown type",
    LIMIT_ORDER,
    { type: 2 ** 31 - 1 },
    { type: "unknown number 2147483647: must be MARKET, LIMIT, STOP or STOP_LIMIT" },
  ],
  [
    "an unknown time in force",
    LIMIT_ORDER,
    { timeInForce: 2 },
    { time_in_force: "unknown number 2: must be GTC, IOC, FOK or GTD" },
  ],
  [
    "an unknown self-trade prevention",
    LIMIT_ORDER,
    { selfTradePrevention: 5 },
    {
      self_trade_prevention: "unknown number 5: must be CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH or DECREMENT",
    },
  ],
  [
    "an unknown ack level",
    LIMIT_ORDER,
    { ackLevel: -7 },
    { ack_level: "unknown number -7: must be LOGGED or MATCHED" },
  ],

  ["no quantity", { ...LIMIT_ORDER, quantity: "" }, {}, { quantity: "is required" }],
  ...["1e9", "-1", "+1", " 1", "1 ", "1.", ".5", "01", "1\0", "NaN", "0x1", "1,0"].flatMap(
    (text): [string, Init, Numbered, Record<string, string>][] => [
      [`quantity ${JSON.stringify(text)}`, { ...LIMIT_ORDER, quantity: text }, {}, { quantity: DECIMAL }],
      [`price ${JSON.stringify(text)}`, { ...LIMIT_ORDER, price: text }, {}, { price: DECIMAL }],
      [`stop price ${JSON.stringify(text)}`, { ...STOP_ORDER, stopPrice: text }, {}, { stop_price: DECIMAL }],
      [`shown ${JSON.stringify(text)}`, { ...LIMIT_ORDER, displayQuantity: text }, {}, { display_quantity: DECIMAL }],
    ],
  ),
  ["quantity 0", { ...LIMIT_ORDER, quantity: "0" }, {}, { quantity: "must be more than 0" }],
  ["price 0", { ...LIMIT_ORDER, price: "0.00" }, {}, { price: "must be more than 0" }],
  ["stop price 0", { ...STOP_ORDER, stopPrice: "0" }, {}, { stop_price: "must be more than 0" }],
  ["40 digits", { ...LIMIT_ORDER, price: "1".repeat(40) }, {}, { price: "must be a decimal of at most 34 digits" }],
  [
    "a part of a lot",
    { ...LIMIT_ORDER, quantity: "0.000000001" },
    {},
    { quantity: "must be a multiple of the lot size 0.00000001" },
  ],
  ["a part of a tick", { ...LIMIT_ORDER, price: "1.001" }, {}, { price: "must be a multiple of the tick size 0.01" }],
  ["between ticks", { ...BAND_ORDER, price: "150.1" }, {}, { price: "must be a multiple of the tick size 0.25" }],
  [
    "a stop price between ticks",
    { ...STOP_ORDER, stopPrice: "1.005" },
    {},
    { stop_price: "must be a multiple of the tick size 0.01" },
  ],
  ["below the least quantity", { ...BAND_ORDER, quantity: "5" }, {}, { quantity: "must be at least 10" }],
  ["above the greatest quantity", { ...BAND_ORDER, quantity: "1005" }, {}, { quantity: "must be at most 1000" }],
  [
    "a quantity beyond numbers",
    { ...BAND_ORDER, quantity: "9".repeat(33) + "0" },
    {},
    { quantity: "must be at most 1000" },
  ],
  [
    "2^53 lots",
    { ...MARKET_ORDER, quantity: "90071992.54740992" },
    {},
    { quantity: "must be at most 90071992.54740991" },
  ],
  ["below the band", { ...BAND_ORDER, price: "99.75" }, {}, { price: "must be at least 100" }],
  ["above the band", { ...BAND_ORDER, price: "200.25" }, {}, { price: "must be at most 200" }],
  [
    "a stop price outside the band",
    { ...BAND_ORDER, type: STOP_LIMIT, stopPrice: "250" },
    {},
    { stop_price: "must be at most 200" },
  ],
  [
    "a notional beyond 2^63 - 1",
    { ...PLAIN_ORDER, quantity: "1317624576693540", price: "7000" },
    {},
    { quantity: "must be at most 1317624576693539 at this price" },
  ],

  ["LIMIT without a price", { ...LIMIT_ORDER, price: "" }, {}, { price: "is required for a LIMIT order" }],
  [
    "LIMIT with a stop price",
    { ...LIMIT_ORDER, stopPrice: "1" },
    {},
    { stop_price: "must be empty for a LIMIT order" },
  ],
  ["MARKET with a price", { ...MARKET_ORDER, price: "1" }, {}, { price: "must be empty for a MARKET order" }],
  [
    "MARKET with a stop price",
    { ...MARKET_ORDER, stopPrice: "1" },
    {},
    { stop_price: "must be empty for a MARKET order" },
  ],
  ["STOP with a price", { ...STOP_ORDER, price: "1" }, {}, { price: "must be empty for a STOP order" }],
  ["STOP without a stop price", { ...STOP_ORDER, stopPrice: "" }, {}, { stop_price: "is required for a STOP order" }],
  [
    "STOP_LIMIT with neither",
    { ...STOP_LIMIT_ORDER, price: "", stopPrice: "" },
    {},
    { price: "is required for a STOP_LIMIT order", stop_price: "is required for a STOP_LIMIT order" },
  ],

  ...[GTC, GTD].flatMap((timeInForce): [string, Init, Numbered, Record<string, string>][] => [
    [
      `MARKET with time in force ${timeInForce}`,
      { ...MARKET_ORDER, timeInForce },
      {},
      { time_in_force: "must be IOC or FOK for a MARKET order of this instrument" },
    ],
    [
      `STOP with time in force ${timeInForce}`,
      { ...STOP_ORDER, timeInForce },
      {},
      { time_in_force: "must be IOC or FOK for a STOP order of this instrument" },
    ],
  ]),
  [
    "a type that the instrument does not take",
    { ...PLAIN_ORDER, type: STOP, price: "", stopPrice: "1" },
    {},
    { type: "must be MARKET or LIMIT for this instrument" },
  ],
  [
    "a type for which the instrument has no time in force",
    { ...PLAIN_ORDER, symbol: "RESTING", type: MARKET, price: "" },
    {},
    { type: "must be LIMIT or STOP_LIMIT for this instrument" },
  ],
  [
    "a time in force that the instrument does not take",
    { ...PLAIN_ORDER, timeInForce: FOK },
    {},
    { time_in_force: "must be GTC or IOC for a LIMIT order of this instrument" },
  ],

  ["GTD without its time", GTD_ORDER, {}, { expire_time: "is required for a GTD order" }],
  ["GTD now", { ...GTD_ORDER, expireTime: at(NOW) }, {}, { expire_time: "must be in the future" }],
  [
    "GTD in the year 1",
    { ...GTD_ORDER, expireTime: { seconds: -62_135_596_800n } },
    {},
    { expire_time: "must be in the future" },
  ],
  [
    "GTD at the end of time",
    { ...GTD_ORDER, expireTime: { seconds: 2n ** 63n - 1n } },
    {},
    { expire_time: "must be at most 10 years ahead" },
  ],
  [
    "GTD more than 10 years ahead",
    { ...GTD_ORDER, expireTime: at(NOW + 3650 * 86_400_000 + 1) },
    {},
    { expire_time: "must be at most 10 years ahead" },
  ],
  [
    "negative nanos",
    { ...GTD_ORDER, expireTime: { seconds: 1_900_000_000n, nanos: -1 } },
    {},
    { expire_time: WHOLE_MS },
  ],
  [
    "a second of nanos",
    { ...GTD_ORDER, expireTime: { seconds: 1_900_000_000n, nanos: 1e9 } },
    {},
    { expire_time: WHOLE_MS },
  ],
  ["microseconds", { ...GTD_ORDER, expireTime: at(NOW + 1000, 1000) }, {}, { expire_time: WHOLE_MS }],
  [
    "a time without GTD",
    { ...LIMIT_ORDER, expireTime: at(NOW + 1000) },
    {},
    { expire_time: "must be absent unless the order is GTD" },
  ],

  ["post only IOC", { ...LIMIT_ORDER, postOnly: true, timeInForce: IOC }, {}, { post_only: POST_ONLY }],
  ["post only FOK", { ...LIMIT_ORDER, postOnly: true, timeInForce: FOK }, {}, { post_only: POST_ONLY }],
  ["post only MARKET", { ...MARKET_ORDER, postOnly: true }, {}, { post_only: POST_ONLY }],
  ["post only STOP", { ...STOP_ORDER, postOnly: true }, {}, { post_only: POST_ONLY }],
  ["post only STOP_LIMIT", { ...STOP_LIMIT_ORDER, postOnly: true }, {}, { post_only: POST_ONLY }],

  ["nothing shown", { ...LIMIT_ORDER, displayQuantity: "0" }, {}, { display_quantity: "must be more than 0" }],
  [
    "more shown than there is",
    { ...LIMIT_ORDER, displayQuantity: "0.50000001" },
    {},
    { display_quantity: "must be at most the quantity" },
  ],
  [
    "a part of a lot shown",
    { ...BAND_ORDER, displayQuantity: "7" },
    {},
    { display_quantity: "must be a multiple of the lot size 5" },
  ],
  ["an iceberg IOC", { ...LIMIT_ORDER, timeInForce: IOC, displayQuantity: "0.1" }, {}, { display_quantity: HIDDEN }],
  ["an iceberg MARKET", { ...MARKET_ORDER, displayQuantity: "0.1" }, {}, { display_quantity: HIDDEN }],
  ["an iceberg STOP", { ...STOP_ORDER, displayQuantity: "0.1" }, {}, { display_quantity: HIDDEN }],

  [
    "an empty request",
    {},
    {},
    {
      client_order_id: "is required",
      symbol: "is required",
      side: "is required: BUY or SELL",
      type: "is required: MARKET, LIMIT, STOP or STOP_LIMIT",
      quantity: "is required",
    },
  ],
  [
    "every field at once, for an unknown instrument",
    {
      clientOrderId: "\0",
      symbol: "NONE",
      type: MARKET,
      quantity: "1e9",
      price: "1",
      stopPrice: "1",
      displayQuantity: "1",
      expireTime: at(NOW + 1000),
      postOnly: true,
    },
    { side: 9, selfTradePrevention: 9, ackLevel: 9 },
    {
      client_order_id: ID,
      symbol: "no such instrument",
      side: "unknown number 9: must be BUY or SELL",
      quantity: DECIMAL,
      price: "must be empty for a MARKET order",
      stop_price: "must be empty for a MARKET order",
      display_quantity: HIDDEN,
      expire_time: "must be absent unless the order is GTD",
      post_only: POST_ONLY,
      self_trade_prevention: "unknown number 9: must be CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH or DECREMENT",
      ack_level: "unknown number 9: must be LOGGED or MATCHED",
    },
  ],
];

for (const [name, init, numbers, expected] of REFUSED) {
  test(`refused: ${name}`, () => {
    const refusal = submit(init, numbers);
    assert.ok(isRefused(refusal), inspect(refusal));
    const found = refusal.violations.map(({ field, description }): [string, string] => [field, description]);
    assert.deepEqual(Object.fromEntries(found), expected);
    assert.equal(found.length, Object.keys(expected).length, "one violation a field");
  });
}

test("nothing that decodes makes it throw, and no description repeats what was sent", () => {
  // xorshift32: a failure comes again from the seed.
  const seed = 0x1badf00d;
  let state = seed;
  const below = (limit: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  const texts = ["", "BTC-USD", "BAND", "0.5", "64000.01", "\0\u{1f4a5}", "<script>", "9".repeat(60), "a".repeat(5000)];
  const numbers = [0, 1, 2, 3, 4, 6, 7, 31, 32, 33, -1, 2 ** 31 - 1, -(2 ** 31)];
  const one = <T>(values: readonly T[]) => values[below(values.length)] as T;
  for (let i = 0; i < 20_000; i++) {
    const request = {
      ...create(SubmitOrderRequestSchema, {
        clientOrderId: one(texts),
        symbol: one(texts),
        quantity: one(texts),
        price: one(texts),
        stopPrice: one(texts),
        displayQuantity: one(texts),
        postOnly: below(2) === 1,
        ...(below(2) === 1 && {
          expireTime: { seconds: one([0n, 1_900_000_000n, -(2n ** 63n), 2n ** 63n - 1n]), nanos: one(numbers) },
        }),
      }),
      ...({ side: one(numbers), type: one(numbers), timeInForce: one(numbers) } as object),
      ...({ selfTradePrevention: one(numbers), ackLevel: one(numbers) } as object),
    };
    const result = validateSubmit(request, INSTRUMENTS, NOW);
    if (!isRefused(result)) continue;
    const fields = result.violations.map(({ field }) => field);
    assert.equal(new Set(fields).size, fields.length, `seed ${seed}, round ${i}: one violation a field`);
    for (const { description } of result.violations) {
      assert.match(description, /^[\x20-\x7e]{1,120}$/);
      assert.doesNotMatch(description, /script|aaaa/);
    }
  }
});

test("random bytes that decode are answered, not thrown", () => {
  let state = 0x6d2b79f5;
  for (let i = 0; i < 5000; i++) {
    const bytes = Uint8Array.from({ length: i % 60 }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    });
    let request;
    try {
      request = fromBinary(SubmitOrderRequestSchema, bytes);
    } catch {
      continue;
    }
    assert.ok(isRefused(validateSubmit(request, INSTRUMENTS, NOW)));
  }
});
