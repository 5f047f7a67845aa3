import assert from "node:assert/strict";
import { test } from "node:test";

import { Engine } from "../matching/engine.ts";
import { Side } from "../matching/sets.ts";
import { type BookFrame, BookTrack } from "./book-track.ts";

/** The frame of entry `ms`: the bid at `price` has now so much. */
function bid(ms: number, price: number, quantityLow: number, events = 10): BookFrame {
  const level = { symbol: "A", version: ms, side: Side.BUY, price, quantityHigh: 0, quantityLow, orders: 1 };
  const place = { epoch: 1, ms, seq: 0 };
  return { ...place, version: ms, status: 1, lastPrice: 0, levels: [level], events: Buffer.alloc(events) };
}

const track = () => new BookTrack("A", new Engine(), { epoch: 0, ms: 0, seq: 0 });
const bidsOf = (of: BookTrack, ms: number) =>
  of.book(of.around({ ms, seq: 0 }).frame, 10).bids.map(({ price, quantityLow }) => [price, quantityLow]);

test("the book at each place between, before and behind the frames", () => {
  const of = track();
  assert.deepEqual(of.around({ ms: 5, seq: 0 }), { frame: undefined, previous: undefined, next: undefined });
  for (const frame of [bid(10, 100, 1), bid(20, 101, 2), bid(30, 100, 0), bid(40, 101, 5)]) of.push(frame);
  assert.deepEqual(bidsOf(of, 9), []);
  assert.deepEqual(bidsOf(of, 10), [[100, 1]]);
  assert.deepEqual(bidsOf(of, 29), [
    [101, 2],
    [100, 1],
  ]);
  assert.deepEqual(bidsOf(of, 30), [[101, 2]]);
  assert.deepEqual(bidsOf(of, 99), [[101, 5]]);
  const { frame, previous, next } = of.around({ ms: 25, seq: 7 });
  assert.deepEqual([previous?.ms, frame?.ms, next?.ms], [10, 20, 30]);
  assert.equal(of.around({ ms: 9, seq: 0 }).next?.ms, 10);
  assert.equal(of.hasPast, false);
});

test("beyond its bounds it begins later, with the same book", () => {
  const of = track();
  for (let ms = 1; ms <= 12_000; ms++) of.push(bid(ms, ms % 3, ms));
  assert.ok(of.hasPast && of.beginsWithFrame);
  assert.equal(of.begin.ms, 7_000);
  assert.equal(of.around({ ms: 7_001, seq: 0 }).previous, undefined);
  assert.deepEqual(bidsOf(of, 7_001), [
    [2, 7_001],
    [1, 7_000],
    [0, 6_999],
  ]);
  assert.equal(bidsOf(of, 12_000).length, 3);

  const large = track();
  for (let ms = 1; ms <= 20; ms++) large.push(bid(ms, 1, ms, 4 * 1024 * 1024));
  assert.equal(large.begin.ms, 12);
});
