/**
 * GetBook, WatchBook, WatchTrades and ListTrades over real sockets: the whole way of an order as processes, clients here.
 */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";

import type { MessageInitShape } from "@bufbuild/protobuf";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import {
  type Book,
  MarketDataService,
  type PriceLevel,
  type Trade,
  type WatchBookRequestSchema,
  type WatchBookResponse,
  type WatchBookResponseSchema,
  type WatchTradesResponseSchema,
} from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { Side, TradingStatus } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { type Caller, refusalOf } from "./support/caller.ts";
import { HttpCaller, WAYS } from "./support/http-caller.ts";
import { bookOf, Market, randomOf, trade } from "./support/market.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { order } from "./support/venue.ts";
import { GrpcWatch, HttpWatch, type Watched, type WatchOptions } from "./support/watch.ts";

const { getBook, watchBook, watchTrades, listTrades } = MarketDataService.method;
const { submitOrder, cancelAllOrders } = OrderService.method;
const SYMBOL = "BTC-USD";

function bookWatch(
  t: TestContext,
  caller: Caller,
  request: MessageInitShape<typeof WatchBookRequestSchema> = { symbol: SYMBOL },
  options: WatchOptions = {},
): Watched<typeof WatchBookResponseSchema> {
  const watch = new GrpcWatch(caller, watchBook, request, options);
  t.after(() => watch.cancel());
  return watch;
}

/** A book as a client keeps it. Throws where what it is told does not fit together. */
class ClientBook {
  version = 0n;
  snapshots = 0;
  increments = 0;
  status: TradingStatus = TradingStatus.UNSPECIFIED;
  readonly #bids = new Map<string, PriceLevel>();
  readonly #asks = new Map<string, PriceLevel>();

  take({ update }: WatchBookResponse): void {
    assert.ok(update.case !== undefined);
    if (update.case === "snapshot") {
      this.snapshots++;
      this.status = update.value.tradingStatus;
      this.#bids.clear();
      this.#asks.clear();
      for (const level of update.value.bids) this.#bids.set(level.price, level);
      for (const level of update.value.asks) this.#asks.set(level.price, level);
    } else if (update.case === "increment") {
      this.increments++;
      assert.equal(update.value.version, this.version + 1n, "each version is one more than the one before");
      this.#change(this.#bids, update.value.bids);
      this.#change(this.#asks, update.value.asks);
    } else assert.equal(update.value.version, this.version);
    this.version = update.value.version;
    const [bids, asks] = [this.side("bids").slice(0, 10), this.side("asks").slice(0, 10)];
    const text = [...bids, ...asks].map(({ price, quantity, orders }) => `${price}:${quantity}:${orders}|`).join("");
    assert.equal(crc32(text), update.value.checksum, `the checksum at version ${this.version}`);
    const crossed = bids[0] && asks[0] && Number(bids[0].price) >= Number(asks[0].price);
    assert.ok(!crossed, `crossed at version ${this.version}`);
  }

  /** Best first. */
  side(side: "bids" | "asks"): PriceLevel[] {
    const levels = [...(side === "bids" ? this.#bids : this.#asks).values()];
    return levels.sort((a, b) => (side === "bids" ? -1 : 1) * (Number(a.price) - Number(b.price)));
  }

  #change(side: Map<string, PriceLevel>, levels: readonly PriceLevel[]): void {
    for (const level of levels) {
      if (level.quantity === "0") assert.ok(side.delete(level.price) || level.orders === 0);
      else side.set(level.price, level);
    }
  }
}

/** The book that all answers until now make. */
function bookFrom(watch: Watched<typeof WatchBookResponseSchema>): ClientBook {
  const book = new ClientBook();
  for (const answer of watch.answers) book.take(answer);
  return book;
}

function assertSameBook(book: ClientBook, engines: Book): void {
  assert.equal(book.version, engines.version);
  assert.deepEqual(book.side("bids"), engines.bids);
  assert.deepEqual(book.side("asks"), engines.asks);
}

async function caughtUp(watch: Watched<typeof WatchBookResponseSchema>, version: bigint): Promise<ClientBook> {
  await watch.until(
    ({ update }) => update.value !== undefined && update.value.version >= version,
    `version ${version}`,
  );
  return bookFrom(watch);
}

suite("market data", { concurrency: true }, () => {
  test("one market", async (t) => {
    const market = await Market.open(t, { symbols: [SYMBOL, "ETH-USD", "SOL-USD"] });

    await t.test("what they refuse", async (t) => {
      const alice = await market.caller();
      const fields = async (call: Promise<unknown>) => {
        const { code, fields } = await refusalOf(call);
        return [code, ...fields];
      };
      assert.deepEqual(await fields(alice.call(getBook, { symbol: "NONE" })), ["INVALID_ARGUMENT", "symbol"]);
      assert.deepEqual(await fields(alice.call(getBook, { depth: 1_001 })), ["INVALID_ARGUMENT", "depth", "symbol"]);
      const page = { symbol: "", pageSize: 1_001, pageToken: "x" };
      const wrong = ["INVALID_ARGUMENT", "page_size", "page_token", "symbol"];
      assert.deepEqual(await fields(alice.call(listTrades, page)), wrong);
      const book = (options: WatchOptions, symbol = SYMBOL) =>
        new GrpcWatch(alice, watchBook, { symbol }, options).ended;
      const trades = (options: WatchOptions, symbol = SYMBOL) =>
        new GrpcWatch(alice, watchTrades, { symbol }, options).ended;
      for (const watch of [book, trades]) {
        assert.deepEqual((await watch({}, "NONE"))?.fields, ["symbol"]);
        assert.deepEqual((await watch({}, ""))?.fields, ["symbol"]);
        assert.equal((await watch({ token: "nonsense" }))?.code, "UNAUTHENTICATED");
        assert.equal((await watch({ bytes: Buffer.from("no message") }))?.code, "INVALID_ARGUMENT");
      }
      const http = new HttpCaller(t, market.ingest.http, { way: "fetch", token: await tokenOf("alice") });
      assert.deepEqual((await new HttpWatch(http, watchBook, { symbol: "NONE" }).ended)?.fields, ["symbol"]);
    });

    await t.test(
      "through thousands of changes every watcher's book is the engine's, by its checksums (I9)",
      async (t) => {
        const seed = Math.floor(Math.random() * 2 ** 31);
        t.diagnostic(`seed ${seed}`);
        const alice = await market.caller();
        const bob = await market.caller("bob");
        const empty = await bookOf(alice, SYMBOL);
        assert.deepEqual([empty.bids, empty.asks, empty.version, empty.lastPrice], [[], [], 0n, ""]);
        assert.equal(empty.checksum, 0, "of no text");

        const watches = [bookWatch(t, alice)];
        const token = await tokenOf("alice");
        for (const way of WAYS) {
          const http = new HttpCaller(t, market.ingest.http, { way, token });
          const watch = new HttpWatch(http, watchBook, { symbol: SYMBOL });
          t.after(() => watch.cancel());
          watches.push(watch);
        }
        for (const watch of watches) await watch.until(({ update }) => update.case === "snapshot");

        const flows = [
          trade(alice, [SYMBOL], { run: "a", batches: 40, size: 40, seed }),
          trade(bob, [SYMBOL], { run: "b", batches: 40, size: 40, seed: seed + 1 }),
        ];
        let isOver = false;
        const flow = Promise.all(flows).finally(() => (isOver = true));
        // Some come in the middle.
        const below = randomOf(seed);
        while (!isOver && watches.length < 12) {
          await new Promise((resolve) => setTimeout(resolve, below(50)));
          watches.push(bookWatch(t, alice));
        }
        await flow;
        await market.settled();
        const engines = await bookOf(alice, SYMBOL);
        assert.ok(
          engines.bids.length + engines.asks.length > 50,
          `${engines.bids.length}, ${engines.asks.length} levels`,
        );
        for (const watch of watches) {
          const book = await caughtUp(watch, engines.version);
          assertSameBook(book, engines);
          assert.equal(book.snapshots, 1, "nothing was lost");
        }
        assert.ok(bookFrom(watches[0]!).increments >= 80);
        const [top] = (await alice.call(getBook, { symbol: SYMBOL, depth: 1 })).book!.bids;
        assert.deepEqual(top, engines.bids[0]);
        const ten = (await alice.call(getBook, { symbol: SYMBOL })).book!;
        assert.deepEqual([ten.bids.length, ten.checksum], [Math.min(10, engines.bids.length), engines.checksum]);
        const one = (await alice.call(getBook, { symbol: SYMBOL, depth: 1 })).book!;
        assert.equal(one.checksum, engines.checksum, "of the whole book");

        await alice.call(cancelAllOrders, { clientRequestId: "all-a" });
        await bob.call(cancelAllOrders, { clientRequestId: "all-b" });
        await market.settled();
        const { version } = await bookOf(alice, SYMBOL);
        for (const watch of watches) {
          const book = await caughtUp(watch, version);
          assert.deepEqual([book.side("bids"), book.side("asks")], [[], []]);
        }
      },
    );

    await t.test("trades are told as they happen, each once, and are listed when they are written", async (t) => {
      const alice = await market.caller();
      const token = await tokenOf("alice");
      const watches: Watched<typeof WatchTradesResponseSchema>[] = [
        new GrpcWatch(alice, watchTrades, { symbol: "SOL-USD" }),
      ];
      for (const way of WAYS) {
        watches.push(
          new HttpWatch(new HttpCaller(t, market.ingest.http, { way, token }), watchTrades, { symbol: "SOL-USD" }),
        );
      }
      t.after(() => {
        for (const watch of watches) watch.cancel();
      });
      const tradesOf = ({ answers }: (typeof watches)[number]): Trade[] => answers.flatMap(({ trades }) => trades);
      for (const watch of watches) await watch.until(({ trades }) => trades.length === 0, "the first heartbeat");
      const bob = await market.caller("bob");
      await alice.call(submitOrder, order("bid", { symbol: "SOL-USD", quantity: "3", price: "100" }));
      await bob.call(
        submitOrder,
        order("offer", { symbol: "SOL-USD", side: Side.SELL, quantity: "1.5", price: "99.5" }),
      );
      await Promise.all([
        trade(alice, ["SOL-USD"], { run: "t-a", batches: 30, seed: 5 }),
        trade(bob, ["SOL-USD"], { run: "t-b", batches: 30, seed: 6 }),
      ]);
      await market.settled();

      const listed: Trade[] = [];
      await eventually(async () => {
        listed.length = 0;
        for (let pageToken = ""; ;) {
          const page = await alice.call(listTrades, { symbol: "SOL-USD", pageSize: 7, pageToken });
          listed.unshift(...page.trades.toReversed());
          pageToken = page.nextPageToken;
          if (pageToken === "") break;
        }
        return listed.length > 20 && listed.length >= tradesOf(watches[0]!).length;
      }, "the rows of the trades");
      assert.deepEqual(
        listed.map((trade) => trade.trade),
        listed.map((_, i) => BigInt(i + 1)),
      );
      const [first] = listed;
      assert.deepEqual([first?.price, first?.quantity, first?.aggressorSide], ["100", "1.5", Side.SELL]);
      for (const watch of watches) {
        await eventually(async () => tradesOf(watch).length >= listed.length, "the trades");
        assert.deepEqual(tradesOf(watch), listed);
      }
      const last = listed.at(-1)!;
      await eventually(async () => (await bookOf(alice, "SOL-USD")).lastPrice === last.price, "the last price");
    });

    await t.test(
      "an operator halts a symbol: its watchers get a new snapshot, and the book goes on behind it",
      async (t) => {
        const [alice, admin] = [await market.caller(), await market.caller("root", "admin")];
        const watch = bookWatch(t, alice, { symbol: "ETH-USD" });
        await watch.until(({ update }) => update.case === "snapshot");
        await alice.call(submitOrder, order("one", { symbol: "ETH-USD" }));
        const { setTradingStatus } = AdminService.method;
        await admin.call(setTradingStatus, { requestId: "halt", symbol: "ETH-USD", status: TradingStatus.HALTED });
        const isHalted = ({ update }: WatchBookResponse) =>
          update.case === "snapshot" && update.value.tradingStatus === TradingStatus.HALTED;
        await watch.until(isHalted, "a snapshot that says so");
        await admin.call(setTradingStatus, { requestId: "open", symbol: "ETH-USD", status: TradingStatus.OPEN });
        await alice.call(submitOrder, order("two", { symbol: "ETH-USD" }));
        const engines = await eventually(async () => {
          const book = await bookOf(alice, "ETH-USD");
          return book.version === 2n && book;
        }, "the second order");
        assertSameBook(await caughtUp(watch, 2n), engines);
        await eventually(async () => bookFrom(watch).status === TradingStatus.OPEN, "the last snapshot");
      },
    );
  });

  test("without an engine: UNAVAILABLE; a Redis that comes again does not end a watch (I11)", async (t) => {
    const market = await Market.open(t);
    const alice = await market.caller();
    await alice.call(submitOrder, order("one"));
    await market.settled();
    const watch = bookWatch(t, alice);
    await caughtUp(watch, 1n);
    market.toEngine.closed = true;
    const unavailable = await refusalOf(alice.call(getBook, { symbol: SYMBOL }));
    assert.equal(unavailable.code, "UNAVAILABLE");
    assert.ok(unavailable.retryAfterMs! > 0);
    // What it has it has from the log: the engine's port is asked for the snapshot only.
    await market.server.restart();
    await eventually(async () => alice.call(submitOrder, order("two")).catch(() => false as const), "the next order");
    const book = await caughtUp(watch, 2n);
    assert.equal(book.side("bids")[0]?.orders, 2);
    const late = bookWatch(t, alice);
    assert.deepEqual([...(await caughtUp(late, 2n)).side("bids")], book.side("bids"), "one book for all watchers");
    const other = await market.caller("root", "admin");
    await other.call(AdminService.method.upsertInstrument, {
      instrument: { symbol: "ETH-USD", tickSize: "0.01", lotSize: "0.01" },
    });
    assert.equal((await bookWatch(t, alice, { symbol: "ETH-USD" }).ended)?.code, "UNAVAILABLE");
  });
});
