import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";

import { TradeSchema } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { Candles } from "./candles.ts";
import { Tape } from "./tape.ts";

const trade = (number: number, price = String(100 + (number % 7))) =>
  create(TradeSchema, { trade: BigInt(number), price, quantity: "1", at: timestampFromMs(1_000_000 + number * 400) });

test("what comes twice is taken once, and what is missing is known", () => {
  const tape = new Tape();
  assert.ok(tape.add(trade(5)));
  assert.ok(!tape.add(trade(5)));
  assert.deepEqual(tape.holes, [{ from: 1n, to: 4n }]);
  assert.ok(tape.add(trade(8)));
  assert.ok(tape.add(trade(6)));
  assert.deepEqual(tape.holes, [
    { from: 1n, to: 4n },
    { from: 7n, to: 7n },
  ]);
  assert.ok(tape.add(trade(7)));
  tape.giveUpBefore(3n);
  assert.deepEqual(tape.holes, [{ from: 3n, to: 4n }]);
  assert.ok(!tape.add(trade(2)));
  assert.deepEqual(
    tape.trades.map(({ trade }) => Number(trade)),
    [8, 7, 6, 5],
  );
});

test("in whatever order trades come, the tape and the candles are the same", () => {
  const numbers = Array.from({ length: 30 }, (_, at) => at + 1);
  const expected = new Candles();
  for (const number of numbers) expected.add(trade(number));
  fc.assert(
    fc.property(fc.shuffledSubarray(numbers, { minLength: 30 }), (shuffled) => {
      const tape = new Tape();
      const candles = new Candles();
      for (const number of [...shuffled, ...shuffled]) if (tape.add(trade(number))) candles.add(trade(number));
      assert.deepEqual(
        tape.trades.map(({ trade }) => Number(trade)),
        numbers.toReversed(),
      );
      assert.deepEqual(tape.holes, []);
      for (const length of [1, 10]) assert.deepEqual(candles.of(length), expected.of(length));
    }),
  );
});

test("a candle has the first and the last price of its time, and the bounds", () => {
  const candles = new Candles();
  const prices = ["9.5", "10", "9", "9.75"];
  prices.forEach((price, at) => candles.add(trade(at + 1, price)));
  assert.equal(candles.takeChanges(), 1_000);
  assert.equal(candles.takeChanges(), Infinity);
  assert.deepEqual(candles.of(60), [{ time: 960, open: "9.5", high: "10", low: "9", close: "9.75" }]);
});
