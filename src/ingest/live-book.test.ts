import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { create, fromBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { EngineLevelSchema, GetEngineBookResponseSchema } from "../gen/penstock/v1/engine_service_pb.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { WatchBookResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import type { EngineEvent, LevelChange } from "../stream/event-batch.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { BookSide, type LevelSource } from "./book-side.ts";
import { bookOf, LiveBook, MAX_LEVELS } from "./live-book.ts";
import type { News } from "./symbol-news.ts";

const definition = { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.001", version: 1 };
const instrument = prepareInstrument(create(InstrumentSchema, definition));

const level = (price: number, quantityLow: number, orders = 1): LevelSource => ({
  price,
  quantityHigh: 0,
  quantityLow,
  orders,
});
const change = (version: number, side: Side, source: LevelSource): LevelChange => ({
  symbol: "BTC-USD",
  version,
  side,
  ...source,
});
let entries = 1_000;
/** Of the next entry, or of the one with this number. */
const news = (levels: LevelChange[], events: Partial<EngineEvent>[] = [], ms = ++entries): News => ({
  ...{ epoch: 1, ms, seq: 0 },
  levels,
  events: events as EngineEvent[],
});
/** As the engine has it behind an entry. */
const engineBook = (version: number, bids: LevelSource[], asks: LevelSource[], at = 1_000) => {
  const side = (levels: LevelSource[]) =>
    levels.map(({ price, quantityHigh, quantityLow, orders }) =>
      create(EngineLevelSchema, {
        price: BigInt(price),
        quantityHigh: BigInt(quantityHigh),
        quantityLow: BigInt(quantityLow),
        orders,
      }),
    );
  return create(GetEngineBookResponseSchema, {
    ...{ symbol: "BTC-USD", version: BigInt(version), tradingStatus: TradingStatus.OPEN, lastPrice: 103n },
    position: { epoch: 1, entryId: `${at}-0` },
    bids: side(bids),
    asks: side(asks),
  });
};
const decode = (answer: unknown) => {
  assert.ok(answer instanceof Uint8Array, String(answer));
  return fromBinary(WatchBookResponseSchema, answer).update;
};

test("a side is what a sorted list of all its levels would be", () => {
  const changes = fc.array(fc.record({ price: fc.integer({ min: 1, max: 40 }), quantity: fc.nat(3) }), {
    maxLength: 80,
  });
  fc.assert(
    fc.property(fc.boolean(), changes, fc.nat(12), (isBids, changes, count) => {
      const side = new BookSide(instrument, isBids, [], Infinity);
      const plain = new Map<number, number>();
      for (const { price, quantity } of changes) {
        assert.ok(side.set(level(price, quantity)));
        if (quantity === 0) plain.delete(price);
        else plain.set(price, quantity);
      }
      const sorted = [...plain].sort(([a], [b]) => (isBids ? b - a : a - b));
      assert.equal(side.count, sorted.length);
      assert.deepEqual(
        side.best(count).map(({ price, quantity }) => [Number(price), Number(quantity)]),
        sorted.slice(0, count).map(([price, quantity]) => [price / 100, quantity / 1_000]),
      );
    }),
  );
});

test("beyond the horizon nothing is kept; what passes 2^53 is exact", () => {
  const bids = new BookSide(instrument, true, [level(50, 1), level(40, 1), level(30, 1)], 3);
  assert.equal(bids.horizon, 30);
  assert.equal(bids.set(level(29, 5)), undefined);
  assert.equal(bids.set(level(30, 5))?.quantity, "0.005");
  assert.equal(bids.set(level(60, 5))?.price, "0.6");
  assert.equal(bids.count, 4);
  const asks = new BookSide(instrument, false, [level(10, 1), level(20, 1)], 2);
  assert.equal(asks.set(level(21, 5)), undefined);
  assert.ok(asks.set(level(20, 0)));
  assert.equal(asks.count, 1);
  assert.equal(new BookSide(instrument, false, [level(10, 1)], 2).horizon, undefined, "that is all");
  const large = asks.set({ price: 5, quantityHigh: 3, quantityLow: 7, orders: 2 });
  assert.equal(large?.quantity, "27021597764222.983", "3 × 2^53 + 7 thousandths");
});

test("each change gives the next version, the levels and the checksum; a gap and a command are told", () => {
  const book = new LiveBook(instrument, engineBook(7, [level(100, 5)], [level(110, 6)]));
  const [snapshot] = book.answers();
  const first = decode(snapshot);
  assert.ok(first.case === "snapshot");
  assert.deepEqual([first.value.version, first.value.tradingStatus, first.value.lastPrice], [7n, 1, "1.03"]);
  assert.equal(first.value.checksum, crc32("1:0.005:1|1.1:0.006:1|"));

  const second = decode(
    book.apply(news([change(8, Side.BUY, level(105, 2, 3)), change(8, Side.SELL, level(110, 0, 0))])),
  );
  assert.ok(second.case === "increment");
  assert.equal(second.value.version, 8n);
  assert.deepEqual(
    [...second.value.bids, ...second.value.asks].map(({ price, quantity, orders }) => [price, quantity, orders]),
    [
      ["1.05", "0.002", 3],
      ["1.1", "0", 0],
    ],
  );
  assert.equal(second.value.checksum, crc32("1.05:0.002:3|1:0.005:1|"));
  assert.equal(book.apply(news([change(8, Side.BUY, level(105, 9))], [], entries)), undefined, "it has that");
  assert.equal(
    book.apply(news([change(8, Side.BUY, level(105, 9))])),
    "gap",
    "a later entry with a version that it has",
  );
  assert.equal(book.apply(news([change(10, Side.BUY, level(105, 9))])), "gap");
  assert.equal(book.version, 8);
  assert.equal(book.apply(news([], [{ kind: 4, account: "", trade: 0 }])), "stale");
  assert.equal(book.apply(news([], [{ kind: 4, account: "alice", trade: 0 }])), undefined, "a mass cancel of nothing");
  assert.equal(book.apply(news([], [{ kind: 1, account: "alice", trade: 3, lastPrice: 104 }])), undefined);

  // Who comes now gets the old snapshot and what came behind it, until that is much.
  assert.equal(book.answers().length, 2);
  for (let version = 9; version < 109; version++) book.apply(news([change(version, Side.BUY, level(105, version))]));
  const [fresh, ...rest] = book.answers();
  assert.equal(rest.length, 0);
  const last = decode(fresh);
  assert.ok(last.case === "snapshot");
  assert.deepEqual([last.value.version, last.value.lastPrice], [108n, "1.04"]);
  const beat = decode(book.heartbeat(5));
  assert.ok(beat.case === "heartbeat");
  assert.deepEqual([beat.value.version, beat.value.checksum], [108n, last.value.checksum]);
});

test("what the engine's snapshot has already changes nothing, the last price neither", () => {
  const book = new LiveBook(instrument, engineBook(7, [level(100, 5)], [], 2_000));
  assert.equal(
    book.apply(news([change(7, Side.BUY, level(100, 5))], [{ kind: 1, trade: 1, lastPrice: 90 }], 2_000)),
    undefined,
  );
  assert.equal(book.apply(news([], [{ kind: 4, account: "", trade: 0 }], 1_999)), undefined, "an operator's command");
  const first = decode(book.answers()[0]);
  assert.ok(first.case === "snapshot");
  assert.equal(first.value.lastPrice, "1.03");
});

test("a book is worn when half of what is known of it has gone, or it has twice as much", () => {
  const full = Array.from({ length: MAX_LEVELS }, (_, i) => level(100_000 - i, 1));
  const book = new LiveBook(instrument, engineBook(0, full, []));
  let version = 0;
  for (let i = 0; i <= MAX_LEVELS / 2; i++) {
    assert.ok(!book.isWorn);
    book.apply(news([change(++version, Side.BUY, level(100_000 - i, 0))]));
  }
  assert.ok(book.isWorn);
  const small = new LiveBook(instrument, engineBook(0, full.slice(1), []));
  for (let i = 1; i <= MAX_LEVELS + 1; i++) {
    small.apply(news([change(i, Side.SELL, level(200_000 + i, 1)), change(i, Side.BUY, level(100_000 - i, 0))]));
    assert.equal(small.isWorn, false, "all of it is known");
  }
  for (let i = MAX_LEVELS + 2; i <= 2 * MAX_LEVELS; i++)
    small.apply(news([change(i, Side.SELL, level(200_000 + i, 1))]));
  assert.ok(!small.isWorn);
  small.apply(news([change(2 * MAX_LEVELS + 1, Side.SELL, level(300_000, 1))]));
  assert.ok(small.isWorn);
});

test("the best levels of an engine's book, with the checksum of ten", () => {
  const bids = Array.from({ length: 12 }, (_, i) => level(100 - i, i + 1));
  const book = bookOf(instrument, engineBook(3, bids, [level(101, 1)]), 2);
  assert.deepEqual(
    book.bids?.map(({ price }) => price),
    ["1", "0.99"],
  );
  const text = Array.from({ length: 10 }, (_, i) => `${i === 0 ? 1 : (100 - i) / 100}:${(i + 1) / 1_000}:1|`).join("");
  assert.equal(book.checksum, crc32(`${text}1.01:0.001:1|`));
});
