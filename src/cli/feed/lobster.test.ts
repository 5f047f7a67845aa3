import assert from "node:assert/strict";
import { test } from "node:test";

import { stepsOf } from "../../../test/support/steps.ts";
import { LobsterParser } from "./lobster.ts";

const parse = (executions: boolean, ...lines: string[]) =>
  stepsOf(new LobsterParser({ run: "r", symbol: "AAPL", executions }), lines);

test("lobster: orders, partial cancels as replaces with the smaller quantity, deletions", () => {
  const steps = parse(
    false,
    "34200.017459617,1,16113575,18,5853300,1",
    "34200.1896,1,16113584,100,5859100,-1",
    "34201.0,2,16113584,30,5859100,-1",
    "34202.123456789012,2,16113584,20,5859100,-1",
    "34203.5,3,16113584,50,5859100,-1",
    "34203.5,2,16113575,18,5853300,1",
  );
  assert.deepEqual(steps, [
    "1 buy r-16113575: 18 AAPL @ 585.33 at 34200017.46",
    "2 sell r-16113584: 100 AAPL @ 585.91 at 34200189.6",
    "3 replace r-L3 of r-16113584 AAPL: 70 @ - at 34201000",
    "4 replace r-L4 of r-16113584 AAPL: 50 @ - at 34202123.457",
    "5 cancel r-L5 of r-16113584 AAPL at 34203500",
    "6 cancel r-L6 of r-16113575 AAPL at 34203500",
  ]);
});

const SWEEP = [
  "1.0000,1,1,100,1000000,-1",
  "1.0000,1,2,50,1000100,-1",
  "1.0000,1,3,80,1000200,-1",
  "2.0000,4,1,100,1000000,-1",
  "2.0000,5,0,10,1000050,-1",
  "2.0000,4,99,7,1000100,-1",
  "2.0000,4,2,50,1000100,-1",
  "2.0000,4,3,30,1000200,-1",
  "2.0000,1,4,20,1000200,1",
  "2.5000,2,3,10,1000200,-1",
  "2.5000,3,1,10,1000000,-1",
];

test("lobster: with executions, those of one time and direction are one order, which takes what the known ones gave", () => {
  assert.deepEqual(parse(true, ...SWEEP).slice(3), [
    "4 fill r-1 sell 100",
    "5 skip hidden executions",
    "6 skip of an order from before the recording",
    "7 fill r-2 sell 50",
    "8 fill r-3 sell 30",
    "4 buy r-x4: 180 AAPL @ 100.02 ioc at 2000",
    "4 fill r-x4 buy 180",
    "9 buy r-4: 20 AAPL @ 100.02 at 2000",
    "10 replace r-L10 of r-3 AAPL: 70 @ - at 2500",
    "11 skip of an order from before the recording",
  ]);
});

test("lobster: without them they are skipped and counted", () => {
  assert.deepEqual(parse(false, ...SWEEP).slice(3, 8), [
    "4 fill r-1 sell 100",
    "4 skip executions: sent with --executions",
    "5 skip hidden executions",
    "6 skip of an order from before the recording",
    "7 fill r-2 sell 50",
  ]);
});

test("lobster: executions of another time or side are another order; the last one comes at the end", () => {
  const steps = parse(
    true,
    "1.0,1,1,100,1000000,-1",
    "1.0,1,2,100,990000,1",
    "1.0,1,3,100,980000,1",
    "2.0,4,1,10,1000000,-1",
    "2.1,4,1,20,1000000,-1",
    "2.1,4,2,100,990000,1",
    "2.1,4,3,1,980000,1",
  );
  assert.deepEqual(
    steps.filter((step) => step.includes("ioc")),
    [
      "4 buy r-x4: 10 AAPL @ 100 ioc at 2000",
      "5 buy r-x5: 20 AAPL @ 100 ioc at 2100",
      "6 sell r-x6: 101 AAPL @ 98 ioc at 2100",
    ],
  );
});

test("lobster: crosses and halts are skipped; what is no row is told; more columns are no fault", () => {
  const steps = parse(
    false,
    "1.0,6,-1,0,0,1",
    "1.0,6,0,500,1000000,1",
    "35413.4,7,0,0,-1,-1",
    "1.0,1,1,100,1000000,2",
    "1.0,1,1,0,1000000,1",
    "nonsense",
    "",
    "1.0,1,1,100,1000000,1,ABCD",
    "1.0,1,1,100,1000000,1",
  );
  assert.deepEqual(steps, [
    "1 fault not time,type,order id,size,price,direction",
    "2 skip crosses",
    "3 skip halts and resumptions: an admin's (penstock instruments)",
    "4 fault not time,type,order id,size,price,direction",
    "5 fault price and size must be positive",
    "6 fault not time,type,order id,size,price,direction",
    "8 buy r-1: 100 AAPL @ 100 at 1000",
    "9 fault order 1 is open already",
  ]);
});
