import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 as zlibCrc32 } from "node:zlib";

import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";

import {
  BookHeartbeatSchema,
  BookIncrementSchema,
  BookSchema,
  type PriceLevel,
  PriceLevelSchema,
} from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { BookLost, BookMirror, checksumOf } from "./book-mirror.ts";
import { crc32 } from "./crc32.ts";

const level = (price: string, quantity: string, orders = 1): PriceLevel =>
  create(PriceLevelSchema, { price, quantity, orders });

function snapshot(bids: PriceLevel[], asks: PriceLevel[], version = 1n) {
  const book = create(BookSchema, { symbol: "X", version, bids, asks, checksum: checksumOf({ bids, asks }) });
  return { case: "snapshot", value: book } as const;
}

test("the checksum is zlib's", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme-ascii" }), (text) => assert.equal(crc32(text), zlibCrc32(text))));
});

test("levels are changed, put in their places, and taken away", () => {
  const mirror = new BookMirror();
  mirror.apply(snapshot([level("100", "1"), level("99.5", "2")], [level("101", "1")]));
  const bids = [level("100", "3"), level("99.75", "1"), level("99.5", "2")];
  const asks = [level("100.5", "4")];
  mirror.apply({
    case: "increment",
    value: create(BookIncrementSchema, {
      version: 2n,
      bids: [level("100", "3"), level("99.75", "1")],
      asks: [level("101", "0", 0), level("100.5", "4")],
      checksum: checksumOf({ bids, asks }),
    }),
  });
  assert.deepEqual(mirror.book?.bids, bids);
  assert.deepEqual(mirror.book?.asks, asks);
});

test("whatever changes come, the book is sorted as the server's is", () => {
  const change = fc.record({
    price: fc.integer({ min: 1, max: 40 }).map((ticks) => String(ticks / 4)),
    quantity: fc.constantFrom("0", "1", "2.5"),
  });
  fc.assert(
    fc.property(fc.array(change), (changes) => {
      const mirror = new BookMirror();
      mirror.apply(snapshot([], []));
      const levels = new Map<string, string>();
      changes.forEach(({ price, quantity }, at) => {
        if (quantity === "0") levels.delete(price);
        else levels.set(price, quantity);
        const bids = [...levels].map(([p, q]) => level(p, q)).sort((a, b) => Number(b.price) - Number(a.price));
        const value = {
          version: BigInt(at + 2),
          bids: [level(price, quantity)],
          checksum: checksumOf({ bids, asks: [] }),
        };
        mirror.apply({ case: "increment", value: create(BookIncrementSchema, value) });
        assert.deepEqual(mirror.book?.bids, bids);
      });
    }),
  );
});

test("a version that is missing and a book that differs are told", () => {
  const mirror = new BookMirror();
  mirror.apply(snapshot([level("1", "1")], []));
  const late = create(BookIncrementSchema, { version: 3n });
  assert.throws(() => mirror.apply({ case: "increment", value: late }), BookLost);
  mirror.apply(snapshot([level("1", "1")], []));
  const other = create(BookHeartbeatSchema, { version: 1n, checksum: 1 });
  assert.throws(() => mirror.apply({ case: "heartbeat", value: other }), BookLost);
});
