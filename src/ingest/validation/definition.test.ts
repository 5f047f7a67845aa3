import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";

import { UpsertInstrumentRequestSchema } from "../../gen/penstock/v1/admin_service_pb.ts";
import { InstrumentSchema } from "../../gen/penstock/v1/instrument_pb.ts";
import { OrderType, TimeInForce } from "../../gen/penstock/v1/order_pb.ts";
import { prepareInstrument } from "../../stream/instrument.ts";
import { validateUpsertInstrument } from "./definition.ts";
import { isRefused } from "./violation.ts";

type Init = MessageInitShape<typeof InstrumentSchema>;

const LEAST = { symbol: "NEW-1", tickSize: "0.01", lotSize: "0.001" };
const PRESENT = create(InstrumentSchema, { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.001", version: 4 });
const INSTRUMENTS = new Map([[PRESENT.symbol, prepareInstrument(PRESENT)]]);

function upsert(instrument: Init, lists: { orderTypes?: number[]; timesInForce?: number[] } = {}) {
  const definition = { ...create(InstrumentSchema, instrument), ...(lists as object) };
  return validateUpsertInstrument({ ...create(UpsertInstrumentRequestSchema), instrument: definition }, INSTRUMENTS);
}

const ACCEPTED: [string, Init, Init][] = [
  ["the least there is", LEAST, { ...LEAST, version: 1 }],
  [
    "every field, in its shortest form",
    {
      symbol: "A.b-C_9/Z".toUpperCase(),
      tickSize: "0.250",
      lotSize: "5.0",
      minQuantity: "10.00",
      maxQuantity: "1000",
      minPrice: "0.250",
      maxPrice: "99.50",
      orderTypes: [OrderType.LIMIT, OrderType.MARKET, OrderType.LIMIT],
      timesInForce: [TimeInForce.FOK, TimeInForce.GTC],
    },
    {
      symbol: "A.B-C_9/Z",
      tickSize: "0.25",
      lotSize: "5",
      minQuantity: "10",
      maxQuantity: "1000",
      minPrice: "0.25",
      maxPrice: "99.5",
      orderTypes: [OrderType.MARKET, OrderType.LIMIT],
      timesInForce: [TimeInForce.GTC, TimeInForce.FOK],
      version: 1,
    },
  ],
  [
    "18 digits",
    { ...LEAST, tickSize: `0.${"0".repeat(17)}1` },
    { ...LEAST, tickSize: `0.${"0".repeat(17)}1`, version: 1 },
  ],
  [
    "new limits of one that stands, its tick written otherwise",
    { ...LEAST, symbol: "BTC-USD", tickSize: "0.010", minPrice: "1", version: 4 },
    { ...LEAST, symbol: "BTC-USD", minPrice: "1", version: 5 },
  ],
  [
    "only what rests",
    { ...LEAST, timesInForce: [TimeInForce.GTC] },
    { ...LEAST, timesInForce: [TimeInForce.GTC], version: 1 },
  ],
];

for (const [name, init, expected] of ACCEPTED) {
  test(`accepted: ${name}`, () => {
    const definition = upsert(init);
    assert.ok(!isRefused(definition), inspect(definition));
    assert.deepEqual(definition, create(InstrumentSchema, expected));
    prepareInstrument(definition);
  });
}

const SYMBOL = "must be 1 to 32 characters of A-Z, 0-9, '.', '-', '_' and '/'";
const SIZE = "must be a decimal more than 0 of at most 18 digits, such as 0.01";

const REFUSED: [string, Init, { orderTypes?: number[]; timesInForce?: number[] }, Record<string, string>][] = [
  ...["btc", "BTC USD", "A".repeat(33), "A\0", "A\n", "É", "{A}"].map(
    (symbol): [string, Init, object, Record<string, string>] => [
      `symbol ${JSON.stringify(symbol)}`,
      { ...LEAST, symbol },
      {},
      { "instrument.symbol": SYMBOL },
    ],
  ),
  ["no symbol", { ...LEAST, symbol: "" }, {}, { "instrument.symbol": "is required" }],
  ...["0", "-1", "1e-2", " 1", ".1", "1.", "01", "1".repeat(19), `0.${"0".repeat(18)}1`, "1".repeat(40), "0.0"].flatMap(
    (size): [string, Init, object, Record<string, string>][] => [
      [`tick ${size}`, { ...LEAST, tickSize: size }, {}, { "instrument.tick_size": SIZE }],
      [`lot ${size}`, { ...LEAST, lotSize: size }, {}, { "instrument.lot_size": SIZE }],
    ],
  ),
  [
    "neither tick nor lot",
    { symbol: "NEW-1" },
    {},
    { "instrument.tick_size": "is required", "instrument.lot_size": "is required" },
  ],
  [
    "another tick",
    { ...LEAST, symbol: "BTC-USD", tickSize: "0.001" },
    {},
    { "instrument.tick_size": "never changes, and is 0.01: define a new symbol instead" },
  ],
  [
    "another lot",
    { ...LEAST, symbol: "BTC-USD", lotSize: "1" },
    {},
    { "instrument.lot_size": "never changes, and is 0.001: define a new symbol instead" },
  ],
  [
    "limits that are no multiples",
    { ...LEAST, minQuantity: "0.0001", maxQuantity: "1.0001", minPrice: "0.001", maxPrice: "1.001" },
    {},
    {
      "instrument.min_quantity": "must be a multiple of the lot size 0.001",
      "instrument.max_quantity": "must be a multiple of the lot size 0.001",
      "instrument.min_price": "must be a multiple of the tick size 0.01",
      "instrument.max_price": "must be a multiple of the tick size 0.01",
    },
  ],
  [
    "limits that are no decimals",
    { ...LEAST, minQuantity: "1e9", maxQuantity: "0", maxPrice: "9".repeat(34) },
    {},
    {
      "instrument.min_quantity": "must be a decimal such as 12.5, without sign, exponent or spaces",
      "instrument.max_quantity": "must be more than 0",
      "instrument.max_price": "must be at most 90071992547409.91",
    },
  ],
  [
    "limits that are no decimals beside a wrong tick",
    { ...LEAST, tickSize: "x", minPrice: "1e9", maxPrice: "5" },
    {},
    {
      "instrument.tick_size": SIZE,
      "instrument.min_price": "must be a decimal such as 12.5, without sign, exponent or spaces",
    },
  ],
  [
    "limits the wrong way round",
    { ...LEAST, minQuantity: "2", maxQuantity: "1.999", minPrice: "5", maxPrice: "4.99" },
    {},
    {
      "instrument.max_quantity": "must be at least min_quantity",
      "instrument.max_price": "must be at least min_price",
    },
  ],
  [
    "unknown enum numbers",
    LEAST,
    { orderTypes: [2, 0, 9], timesInForce: [-1] },
    {
      "instrument.order_types[1]": "is required: MARKET, LIMIT, STOP or STOP_LIMIT",
      "instrument.order_types[2]": "unknown number 9: must be MARKET, LIMIT, STOP or STOP_LIMIT",
      "instrument.times_in_force[0]": "unknown number -1: must be GTC, IOC, FOK or GTD",
    },
  ],
  [
    "lists without end",
    LEAST,
    { orderTypes: Array<number>(100_000).fill(99), timesInForce: Array<number>(5).fill(1) },
    {
      "instrument.order_types": "must have at most 4 entries",
      "instrument.times_in_force": "must have at most 4 entries",
    },
  ],
  [
    "an order type with no time in force",
    LEAST,
    { orderTypes: [OrderType.LIMIT, OrderType.MARKET], timesInForce: [TimeInForce.GTC] },
    { "instrument.times_in_force": "must hold IOC or FOK for MARKET orders" },
  ],
  ["the last version", { ...LEAST, version: 2 ** 32 - 1 }, {}, { "instrument.version": "must be at most 4294967294" }],
];

for (const [name, init, lists, expected] of REFUSED) {
  test(`refused: ${name}`, () => {
    const refusal = upsert(init, lists);
    assert.ok(isRefused(refusal), inspect(refusal));
    const found = refusal.violations.map(({ field, description }): [string, string] => [field, description]);
    assert.deepEqual(Object.fromEntries(found), expected);
    assert.equal(found.length, Object.keys(expected).length, "one violation a field");
  });
}

test("refused: no instrument", () => {
  const refusal = validateUpsertInstrument(create(UpsertInstrumentRequestSchema), INSTRUMENTS);
  assert.deepEqual(refusal, { violations: [{ field: "instrument", description: "is required" }] });
});
