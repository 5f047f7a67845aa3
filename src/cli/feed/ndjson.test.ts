import assert from "node:assert/strict";
import { test } from "node:test";

import { stepsOf } from "../../../test/support/steps.ts";
import { detectFormat } from "./format.ts";
import { NdjsonParser } from "./ndjson.ts";

const LINES = [
  '{"submit": {"clientOrderId": "a", "symbol": "X", "side": "SIDE_BUY", "quantity": "1", "price": "2"}, "at": 5.5}',
  '{"at": 6, "sequence": "7", "replace": {"clientRequestId": "b", "clientOrderId": "a", "symbol": "X", "quantity": "3"}}',
  '{"cancel": {"orderId": "0191-7"}}',
  '{"submit": {"side": "SIDE_SELL", "quantity": "1", "price": "2"}}',
  '{"cancelAll": {}}',
];

test("ndjson: commands as StreamOrders takes them; ids and symbols only where there are none", () => {
  assert.deepEqual(stepsOf(new NdjsonParser({ prefix: "", run: "r", symbol: "Y" }), LINES), [
    "1 buy a: 1 X @ 2 at 5.5",
    "2 replace b of a X: 3 @ - at 6",
    "3 cancel r-L3 of 0191-7",
    "4 sell r-L4: 1 Y @ 2",
    "5 cancelAll r-L5 of all",
  ]);
});

test("ndjson: a prefix stands before the file's own ids", () => {
  assert.deepEqual(stepsOf(new NdjsonParser({ prefix: "p-", run: "p", symbol: "" }), LINES).slice(0, 4), [
    "1 buy p-a: 1 X @ 2 at 5.5",
    "2 replace p-b of p-a X: 3 @ - at 6",
    "3 cancel p-L3 of 0191-7",
    "4 sell p-L4: 1  @ 2",
  ]);
});

test("ndjson: what is no command is told with its line", () => {
  const steps = stepsOf(new NdjsonParser({ prefix: "", run: "r", symbol: "" }), [
    "{",
    " ",
    "[]",
    '{"at": "soon", "cancelAll": {}}',
    '{"at": 1}',
    '{"sell": {}}',
    '{"submit": {"side": "UP"}}',
    '{"cancelAll": {}, "cancelOnDisconnect": true}',
  ]);
  const expected = [
    /^1 fault .*JSON/,
    /^3 fault not a JSON object/,
    /^4 fault at: must be a number/,
    /^5 fault none of submit, cancel, replace, cancelAll/,
    /^6 fault .*sell/,
    /^7 fault .*UP/,
    /^8 fault cancelOnDisconnect/,
  ];
  assert.equal(steps.length, expected.length);
  for (const [i, pattern] of expected.entries()) assert.match(steps[i]!, pattern);
});

test("a file shows its format by its first line", () => {
  assert.equal(detectFormat('  {"cancelAll": {}}'), "ndjson");
  assert.equal(detectFormat("id,timestamp,exchange.timestamp,price,volume,action,direction"), "bitstamp");
  assert.equal(detectFormat("34200.017459617,1,16113575,18,5853300,1"), "lobster");
  assert.equal(detectFormat("time,price"), undefined);
});
