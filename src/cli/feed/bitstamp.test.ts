import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { stepsOf } from "../../../test/support/steps.ts";
import { BITSTAMP_HEADER, BitstampParser } from "./bitstamp.ts";
import { Recording } from "./recording.ts";

const parser = () => new BitstampParser({ run: "r", symbol: "BTC-USD", executions: false });

test("bitstamp: new orders are submitted, open ones that are deleted are canceled, and what goes down was executed", () => {
  const steps = stepsOf(parser(), [
    BITSTAMP_HEADER,
    "10,1000,0,236.47,200000000,created,bid",
    "11,1001,0,236.40,1,created,ask",
    "10,1002,0,236.47,178855669,changed,bid",
    "11,1002,0,236.40,0,deleted,ask",
    "10,1003,0,236.47,178855669,deleted,bid",
  ]);
  assert.deepEqual(steps, [
    "2 buy r-10: 2 BTC-USD @ 236.47 at 1000",
    "3 sell r-11: 0.00000001 BTC-USD @ 236.40 at 1001",
    "4 fill r-10 buy 21144331",
    "4 skip executions: matching makes them",
    "5 fill r-11 sell 1",
    "5 skip executions: matching makes them",
    "6 cancel r-L6 of r-10 BTC-USD at 1003",
  ]);
});

test("bitstamp: an order whose price moves is replaced, with what is left of its money", () => {
  const steps = stepsOf(parser(), [
    "10,1000,0,235.38,5,created,ask",
    "10,1001,0,235.02,5,changed,ask",
    "10,1002,0,235.01,4,changed,ask",
    "10,1003,0,235.01,4,changed,ask",
    "10,1004,0,235.00,0,deleted,ask",
  ]);
  assert.deepEqual(steps, [
    "1 sell r-10: 0.00000005 BTC-USD @ 235.38 at 1000",
    "2 replace r-L2 of r-10 BTC-USD: - @ 235.02 at 1001",
    "3 replace r-L3 of r-10 BTC-USD: 0.00000004 @ 235.01 at 1002",
    "4 skip changes of nothing",
    "5 fill r-10 sell 4",
    "5 skip executions: matching makes them",
  ]);
});

test("bitstamp: what cannot be followed is told", () => {
  const steps = stepsOf(parser(), [
    "9,1000,0,235.38,5,deleted,ask",
    "10,1000,0,235.38,5,created,ask",
    "8,1000,0,235.38,0,deleted,bid",
    "10,1000,0,235.38,5,deleted,ask",
    "10,1000,0,235.38,5,deleted,ask",
    "11,1000,0,235.38,5,created,bid",
    "11,1000,0,235.38,5,created,bid",
    "",
    "12,1000,0,235.38,5,born,bid",
    "12,1000,0,-1,5,created,bid",
  ]);
  assert.deepEqual(steps, [
    "1 skip of an order from before the recording",
    "2 sell r-10: 0.00000005 BTC-USD @ 235.38 at 1000",
    "3 fill r-8 buy ?",
    "3 skip of an order from before the recording",
    "4 cancel r-L4 of r-10 BTC-USD at 1000",
    "5 skip of an order that has ended, or from before the recording",
    "6 buy r-11: 0.00000005 BTC-USD @ 235.38 at 1000",
    "7 fault order 11 is open already",
    `9 fault not ${BITSTAMP_HEADER}`,
    `10 fault not ${BITSTAMP_HEADER}`,
  ]);
});

const data = process.env["PENSTOCK_TEST_DATA"];

test(
  "bitstamp: five hours of 2015-05-01, whole",
  {
    skip:
      data === undefined && "PENSTOCK_TEST_DATA does not name the folder of bitstamp-btcusd-2015-05-01-orders.csv.xz",
  },
  async () => {
    const recording = await Recording.open(join(data!, "bitstamp-btcusd-2015-05-01-orders.csv.xz"));
    const whole = parser();
    const counts = new Map<string, number>();
    const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);
    let line = 0;
    for await (const lines of recording.lines()) {
      for (const text of lines) {
        for (const step of whole.read(text, ++line)) count(step.kind === "send" ? step.command.case : step.kind);
      }
    }
    assert.equal(line, 50_415);
    assert.deepEqual(Object.fromEntries(counts), {
      submit: 24_894,
      fill: 1_146,
      skip: 1_331,
      cancel: 24_153,
      replace: 36,
    });
  },
);
