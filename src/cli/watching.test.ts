import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { crc32 } from "node:zlib";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import type { sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";

import { Command } from "../../test/support/command.ts";
import { startScriptedServer } from "../../test/support/scripted-server.ts";
import type { Answers } from "../../test/support/scripted-server.ts";
import { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import type {
  GetBookResponseSchema,
  ListTradesResponseSchema,
  WatchBookRequestSchema,
  WatchBookResponseSchema,
  WatchTradesRequestSchema,
  WatchTradesResponseSchema,
} from "../gen/penstock/v1/market_data_service_pb.ts";
import type { GetBookRequest, ListTradesRequest } from "../gen/penstock/v1/market_data_service_pb.ts";
import { ExecType, OrderStatus, Side, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import type { WatchOrdersRequestSchema, WatchOrdersResponseSchema } from "../gen/penstock/v1/order_service_pb.ts";

/** `penstock watch`, `book` and `trades` as processes, against servers that do what each test says. */

type OrderAnswers = Answers<typeof WatchOrdersRequestSchema, typeof WatchOrdersResponseSchema>;
type BookAnswers = Answers<typeof WatchBookRequestSchema, typeof WatchBookResponseSchema>;
type TradeAnswers = Answers<typeof WatchTradesRequestSchema, typeof WatchTradesResponseSchema>;

function fail(answers: { emit(name: "error", error: Error): boolean }, code: number, details: string): void {
  answers.emit("error", Object.assign(new Error(details), { code, details }));
}

const position = (entryId: string, index = 0) => ({ partition: 0, epoch: 1, entryId, index });

const report = (clientOrderId: string, entryId: string) =>
  ({
    update: {
      case: "execution",
      value: {
        position: position(entryId, 2),
        execType: ExecType.TRADE,
        order: {
          clientOrderId,
          account: "ann",
          symbol: "X",
          side: Side.BUY,
          quantity: "0.5",
          cumQuantity: "0.1",
          status: OrderStatus.PARTIALLY_FILLED,
        },
        lastQuantity: "0.1",
        lastPrice: "100.25",
        createdAt: { seconds: 1_735_689_600n, nanos: 0 },
      },
    },
  }) satisfies MessageInitShape<typeof WatchOrdersResponseSchema>;

const heartbeat = (entryId: string) =>
  ({ update: { case: "heartbeat", value: { highWater: [position(entryId)] } } }) satisfies MessageInitShape<
    typeof WatchOrdersResponseSchema
  >;

suite("watching", { concurrency: true }, () => {
  test("watch goes on behind the last report after a cut, and behind the heartbeat where that is later", async (t) => {
    const asked: string[] = [];
    const url = await startScriptedServer(t, {
      service: OrderService,
      methods: {
        watchOrders: (call: OrderAnswers) => {
          const { after, symbol, allAccounts } = call.request;
          asked.push(
            `${after.map(({ epoch, entryId, index }) => `${epoch}:${entryId}:${index}`).join()} ${symbol} ${allAccounts}`,
          );
          if (asked.length === 1) {
            call.write(report("a", "5-0"));
            fail(call, status.UNAVAILABLE, "draining");
          } else if (asked.length === 2) {
            call.write(report("b", "6-0"));
            call.write(heartbeat("9-0"));
            fail(call, status.RESOURCE_EXHAUSTED, "too slow");
          } else if (asked.length === 3) call.write(report("c", "10-0"));
        },
      },
    });
    const watch = new Command(t, ["watch", "--url", url, "--symbol", "X"]);
    const line = (id: string) =>
      `2025-01-01T00:00:00.000Z  X  ${id}  BUY  TRADE 0.1 @ 100.25  0.1 of 0.5  PARTIALLY_FILLED`;
    assert.deepEqual(await watch.lines(3), [line("a"), line("b"), line("c")]);
    const { code, stderr } = await watch.interrupt();
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^penstock: cut off, going on behind 0:1:5-0:2: UNAVAILABLE: draining\npenstock: .*0:1:9-0:0: /,
    );
    assert.deepEqual(asked, [" X false", "1:5-0:2 X false", "1:9-0:0 X false"]);
  });

  test("watch --from start learns the partitions first; JSON lines say where to go on", async (t) => {
    const asked: object[] = [];
    const url = await startScriptedServer(t, {
      service: OrderService,
      methods: {
        watchOrders: (call: OrderAnswers) => {
          const { after, allAccounts } = call.request;
          asked.push([allAccounts, ...after.map(({ partition, epoch, entryId }) => [partition, epoch, entryId])]);
          if (after.length === 0) {
            call.write({
              update: {
                case: "heartbeat",
                value: { highWater: [position("9-0"), { ...position("7-0"), partition: 1 }] },
              },
            });
          } else call.write(report("a", "5-0"));
        },
      },
    });
    const watch = new Command(t, ["watch", "--url", url, "--from", "start", "--all", "--json"]);
    const [line = ""] = await watch.lines(1);
    const { order, from } = JSON.parse(line) as { order: { account: string }; from: string };
    assert.deepEqual([order.account, from], ["ann", "0:1:5-0:2,1:0:0-0:0"]);
    assert.equal((await watch.interrupt()).code, 0);
    assert.deepEqual(asked, [[false], [true, [0, 0, "0-0"], [1, 0, "0-0"]]]);
    const resumed = new Command(t, ["watch", "--url", url, "--from", from]);
    await resumed.lines(1);
    await resumed.interrupt();
    assert.deepEqual(asked[2], [false, [0, 1, "5-0"], [1, 0, "0-0"]]);
  });

  test("watch ends where the server refuses it, or is not there, or the position is none", async (t) => {
    const url = await startScriptedServer(t, {
      service: OrderService,
      methods: { watchOrders: (call: OrderAnswers) => fail(call, status.OUT_OF_RANGE, "older than what is kept") },
    });
    const cases: [string[], number, RegExp][] = [
      [["--url", url], 1, /^penstock: OUT_OF_RANGE: older than what is kept\n$/],
      [["--url", "127.0.0.1:1"], 1, /^penstock: UNAVAILABLE: .*ECONNREFUSED/],
      [["--url", url, "--from", "yesterday"], 2, /not a position such as 0:1:1735689600000-0:2/],
      [["--url", url, "--from", "4096:1:5-0:2"], 2, /not a position/],
    ];
    for (const [args, expected, message] of cases) {
      const { code, stderr } = await new Command(t, ["watch", ...args]).end();
      assert.equal(code, expected, stderr);
      assert.match(stderr, message);
    }
  });

  test("book shows a ladder; followed, it draws what is proven, and asks for another snapshot where it is not", async (t) => {
    const book = {
      symbol: "X",
      version: 3n,
      bids: [{ price: "9", quantity: "1", orders: 2 }],
      lastPrice: "9.5",
      tradingStatus: TradingStatus.OPEN,
    };
    let streams = 0;
    const url = await startScriptedServer(t, {
      service: MarketDataService,
      methods: {
        getBook: (
          { request: { depth } }: ServerUnaryCall<GetBookRequest, object>,
          answer: sendUnaryData<MessageInitShape<typeof GetBookResponseSchema>>,
        ) => {
          answer(null, { book: { ...book, asks: [{ price: String(depth), quantity: "4", orders: 1 }] } });
        },
        watchBook: (call: BookAnswers) => {
          streams++;
          call.write({ update: { case: "snapshot", value: { ...book, checksum: crc32("9:1:2|") } } });
          const bids = [{ price: "9", quantity: String(streams), orders: 1 }];
          const checksum = streams === 1 ? 0 : crc32(`9:${streams}:1|`);
          call.write({ update: { case: "increment", value: { version: 4n, bids, checksum } } });
        },
      },
    });
    const shown = await new Command(t, ["book", "X", "--depth", "12", "--url", url]).lines(4);
    assert.deepEqual(shown, [
      "X  OPEN  last 9.5  version 3",
      "orders  bid  price  ask  orders",
      "                12    4       1",
      "     2    1      9",
    ]);
    const followed = new Command(t, ["book", "X", "--follow", "--json", "--url", url]);
    const updates = (await followed.lines(3)).map((line) => Object.keys(JSON.parse(line) as object)[0]);
    assert.deepEqual(updates, ["snapshot", "snapshot", "increment"]);
    const { code, stderr } = await followed.interrupt();
    assert.equal(code, 0);
    assert.equal(
      stderr,
      "penstock: a new snapshot follows: DATA_LOSS: the checksum of version 4 is not that of the book here\n",
    );
    const drawn = new Command(t, ["book", "X", "--follow", "--url", url]);
    assert.equal((await drawn.lines(1))[0], "X  OPEN  last 9.5  version 3");
    const ended = await drawn.interrupt();
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(ended.stdout, /X  OPEN  last 9.5  version 4\n/, "the newest at the end");
  });

  test("trades: the newest in their order; followed, what the stream did not tell is read", async (t) => {
    const trade = (n: number) => ({
      trade: BigInt(n),
      price: "100.25",
      quantity: "0.1",
      aggressorSide: Side.SELL,
      at: { seconds: 1_735_689_600n, nanos: 0 },
    });
    let written = 5;
    let streams = 0;
    const url = await startScriptedServer(t, {
      service: MarketDataService,
      methods: {
        listTrades: (
          { request: { pageSize, pageToken } }: ServerUnaryCall<ListTradesRequest, object>,
          answer: sendUnaryData<MessageInitShape<typeof ListTradesResponseSchema>>,
        ) => {
          // At most two a page, newest first.
          const newest = pageToken === "" ? written : Number(pageToken);
          const count = Math.min(pageSize, 2, newest);
          const trades = Array.from({ length: count }, (_, i) => trade(newest - i));
          answer(null, { trades, nextPageToken: newest > count ? String(newest - count) : "" });
          if (streams > 0 && written < 12) written++;
        },
        watchTrades: (call: TradeAnswers) => {
          streams++;
          call.write({ trades: [] });
          if (streams === 1) {
            call.write({ trades: [trade(4), trade(5), trade(6)] });
            fail(call, status.UNAVAILABLE, "draining");
          } else call.write({ trades: [trade(10), trade(11)] });
        },
      },
    });
    const followed = new Command(t, ["trades", "X", "--limit", "3", "--follow", "--url", url]);
    const lines = await followed.lines(9);
    assert.deepEqual(
      lines,
      [3, 4, 5, 6, 7, 8, 9, 10, 11].map((n) => `2025-01-01T00:00:00.000Z  ${n}  SELL  0.1 @ 100.25`),
    );
    const { code, stderr } = await followed.interrupt();
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^penstock: cut off, going on: UNAVAILABLE: draining\n$/);
    const json = await new Command(t, ["trades", "X", "--limit", "1", "--json", "--url", url]).lines(1);
    assert.equal((JSON.parse(json[0]!) as { price: string }).price, "100.25");
  });
});
