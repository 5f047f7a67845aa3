import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import { MarketDataService } from "../../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { Caller } from "./caller.ts";
import { defineInstrument, type EngineProcess, eventually, type Ingest } from "./pipeline.ts";
import { startConsumers, startEngine, startIngest, tokenOf } from "./pipeline.ts";
import { Proxy } from "./proxy.ts";
import { createTestDatabase, startTestRedis, type TestRedis } from "./servers.ts";
import { GrpcWatch } from "./watch.ts";

/** The whole way of an order, with symbols to trade; ingest reaches the engine through a proxy. All ends with the test. */
export class Market {
  readonly #t: TestContext;
  readonly server: TestRedis;
  readonly databaseUrl: string;
  readonly redis: Redis;
  readonly engine: EngineProcess;
  readonly toEngine: Proxy;
  readonly symbols: readonly string[];
  ingest: Ingest;
  readonly #start: () => Promise<Ingest>;

  private constructor(
    t: TestContext,
    parts: Pick<Market, "server" | "databaseUrl" | "redis" | "engine" | "toEngine" | "symbols" | "ingest">,
    start: () => Promise<Ingest>,
  ) {
    this.#t = t;
    this.server = parts.server;
    this.databaseUrl = parts.databaseUrl;
    this.redis = parts.redis;
    this.engine = parts.engine;
    this.toEngine = parts.toEngine;
    this.symbols = parts.symbols;
    this.ingest = parts.ingest;
    this.#start = start;
  }

  static async open(
    t: TestContext,
    { symbols = ["BTC-USD"], env = {} }: { symbols?: string[]; env?: Record<string, string> } = {},
  ): Promise<Market> {
    const [server, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
    const servers = { redisUrl: server.url, databaseUrl, env };
    const engine = await startEngine(t, servers);
    const toEngine = await Proxy.start(t, engine.url);
    const ofIngest = { ...servers, env: { ...env, PENSTOCK_ENGINE_URL: toEngine.url } };
    const start = () => startIngest(t, ofIngest);
    const [ingest] = await Promise.all([start(), startConsumers(t, servers)]);
    const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    t.after(() => redis.disconnect());
    for (const symbol of symbols) await defineInstrument(ingest, symbol);
    const market = new Market(t, { server, databaseUrl, redis, engine, toEngine, symbols, ingest }, start);
    await market.settled();
    return market;
  }

  async caller(account = "alice", role: "trader" | "admin" = "trader"): Promise<Caller> {
    const caller = new Caller(this.ingest.address, `Bearer ${await tokenOf(account, role)}`);
    this.#t.after(() => caller.close());
    return caller;
  }

  /** The sum of a metric's samples at the ingest, of those labels where given. */
  async metric(name: string, labels = ""): Promise<number> {
    const text = await (await fetch(`${this.ingest.http}/metrics`)).text();
    const full = name.startsWith("process_") ? name : `penstock_${name}`;
    return text
      .split("\n")
      .filter((line) => line.startsWith(full) && /^[{ ]/.test(line.slice(full.length)))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  /** A new ingest in the place of the present one, on other ports. */
  async restartIngest(): Promise<void> {
    await this.ingest.stop();
    this.ingest = await this.#start();
  }

  /** Waits until the engine has come to the end of the log, in all partitions, and ingest to the end of the events. */
  async settled(): Promise<void> {
    await this.#matched();
    const caller = await this.caller("settled");
    await eventually(async () => {
      const watch = new GrpcWatch(caller, OrderService.method.watchOrders, {});
      // A Redis that has just come again may end it.
      const first = await watch.until(() => true).catch(() => undefined);
      watch.cancel();
      if (first?.update.case !== "heartbeat") return false;
      const places = first.update.value.highWater;
      const ends = places.map(({ partition }) =>
        this.redis.xrevrange(new PartitionKeys(partition).events, "+", "-", "COUNT", 1),
      );
      const ids = (await Promise.all(ends)).map(([last]) => last?.[0] ?? "0-0");
      return places.every(({ entryId }, i) => entryId === ids[i]);
    }, "ingest has followed the events");
    caller.close();
  }

  async #matched(): Promise<void> {
    for (let partition = 0; await this.redis.exists(new PartitionKeys(partition).head); partition++) {
      const { orders, events } = new PartitionKeys(partition);
      const last = async (key: string) => (await this.redis.xrevrange(key, "+", "-", "COUNT", 1))[0]?.[0];
      await eventually(async () => (await last(orders)) === (await last(events)), `events of partition ${partition}`);
    }
  }

  /** Waits until all events are written to Postgres, and then leaves only the last `left` entries in each stream. */
  async trim(left: number): Promise<void> {
    await this.settled();
    for (let partition = 0; await this.redis.exists(new PartitionKeys(partition).head); partition++) {
      const { events } = new PartitionKeys(partition);
      await eventually(async () => {
        const groups = (await this.redis.xinfo("GROUPS", events)) as unknown[][];
        const valueOf = (name: string) => groups[0]?.[groups[0].indexOf(name) + 1];
        return valueOf("lag") === 0 && valueOf("pending") === 0;
      }, "the rows of all events");
      await this.redis.xtrim(events, "MAXLEN", "=", left);
    }
  }
}

/** Numbers that look random, the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = (seed % 2_147_483_646) + 1;
  return (below) => (state = (state * 48_271) % 2_147_483_647) % below;
}

/**
 * Orders and cancels of an account around 100.00, of all kinds that have reports of their own: some trade, some rest, some are
 * refused by the engine.
 */
export async function trade(
  caller: Caller,
  symbols: readonly string[],
  { run, batches, size = 10, seed }: { run: string; batches: number; size?: number; seed: number },
): Promise<void> {
  const { submitOrders, cancelOrder, replaceOrder, cancelAllOrders } = OrderService.method;
  const below = randomOf(seed);
  const open: { readonly symbol: string; readonly clientOrderId: string }[] = [];
  for (let b = 0; b < batches; b++) {
    const orders = Array.from({ length: size }, (_, i) => {
      const isBid = below(2) === 0;
      const order = {
        clientOrderId: `${run}-${b}-${i}`,
        symbol: symbols[below(symbols.length)]!,
        side: isBid ? Side.BUY : Side.SELL,
        type: OrderType.LIMIT,
        quantity: `${1 + below(9)}.${below(10)}`,
        // Some of them cross.
        price: `${(isBid ? 86 : 99) + below(16)}.${10 + below(90)}`,
      };
      const kind = below(10);
      if (kind === 0) return { ...order, timeInForce: TimeInForce.IOC };
      if (kind === 1) return { ...order, postOnly: true };
      if (kind === 2) return { ...order, type: OrderType.STOP_LIMIT, stopPrice: order.price };
      if (kind === 3) return { ...order, displayQuantity: "0.5" };
      return { ...order, selfTradePrevention: SelfTradePrevention.CANCEL_OLDEST };
    });
    await caller.call(submitOrders, { orders });
    open.push(...orders.map(({ symbol, clientOrderId }) => ({ symbol, clientOrderId })));
    const target = open[below(open.length)]!;
    const clientRequestId = `${run}-${b}`;
    const kind = below(8);
    // What it names may be over: that is a report as well.
    if (kind < 4) await caller.call(cancelOrder, { clientRequestId, ...target });
    else if (kind < 7) await caller.call(replaceOrder, { clientRequestId, ...target, quantity: `${1 + below(9)}` });
    else if (b % 10 === 9) await caller.call(cancelAllOrders, { clientRequestId });
  }
}

/** The whole book as GetBook has it. */
export async function bookOf(caller: Caller, symbol: string) {
  const { book } = await caller.call(MarketDataService.method.getBook, { symbol, depth: 1_000 });
  return book!;
}
