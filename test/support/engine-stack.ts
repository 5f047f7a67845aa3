import type { TestContext } from "node:test";

import type { Redis } from "ioredis";
import type postgres from "postgres";

import type { ApiClient } from "../../src/cli/client.ts";
import { OrderType, type Side } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { settlePort } from "../../src/stack/ports.ts";
import { connect } from "../../src/store/connection.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import {
  defineInstrument,
  type EngineProcess,
  eventually,
  type Ingest,
  type Servers,
  startEngine,
  startIngest,
} from "./pipeline.ts";
import { createTestDatabase, startTestRedis } from "./servers.ts";

const BIND = "127.0.0.1";

export interface EngineStackOptions {
  /** Of all roles. */
  readonly env?: Readonly<Record<string, string>>;
  readonly redis?: readonly string[];
}

/** Redis, Postgres and an ingest with BTC-USD to trade, which asks one address for an engine. All ends with the test. */
export class EngineStack {
  readonly keys = new PartitionKeys(0);
  readonly servers: Servers;
  readonly ingest: Ingest;
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly client: ApiClient;
  readonly admin: ApiClient;
  readonly #t: TestContext;
  #orders = 0;

  private constructor(
    t: TestContext,
    servers: Servers,
    ingest: Ingest,
    { redis, sql }: { redis: Redis; sql: postgres.Sql },
    { client, admin }: { client: ApiClient; admin: ApiClient },
  ) {
    this.#t = t;
    this.servers = servers;
    this.ingest = ingest;
    this.redis = redis;
    this.sql = sql;
    this.client = client;
    this.admin = admin;
  }

  static async open(t: TestContext, { env, redis: args }: EngineStackOptions = {}): Promise<EngineStack> {
    const closing: (() => unknown)[] = [];
    // Before the servers' own, so that what uses them ends first.
    t.after(async () => {
      for (const close of closing) await close();
    });
    const [server, { url: databaseUrl }] = await Promise.all([startTestRedis(t, args), createTestDatabase(t)]);
    const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    closing.push(() => redis.disconnect());
    const sql = connect(databaseUrl, { max: 2 });
    closing.push(() => sql.end({ timeout: 1 }));
    const port = await settlePort(BIND, { port: 0, exact: false });
    const address = { PENSTOCK_ENGINE_URL: `http://${BIND}:${port}`, PENSTOCK_ENGINE_PORT: String(port) };
    const servers = { redisUrl: server.url, databaseUrl, env: { ...address, ...env } };
    const ingest = await startIngest(t, servers);
    await defineInstrument(ingest);
    const clients = { client: await ingest.client(), admin: await ingest.client("root", "admin") };
    return new EngineStack(t, servers, ingest, { redis, sql }, clients);
  }

  /** An engine as a process, at the address that ingest asks, or `beside` it at another one. */
  async engine({ beside = false } = {}): Promise<EngineProcess> {
    const env = { ...this.servers.env, ...(beside && { PENSTOCK_ENGINE_PORT: "0" }) };
    return await startEngine(this.#t, { ...this.servers, env });
  }

  /** So many limit orders of BTC-USD, each of 0.1, in one call. */
  async submit(count: number, side: Side, price: string): Promise<void> {
    const order = { symbol: "BTC-USD", type: OrderType.LIMIT, quantity: "0.1", side, price };
    const orders = Array.from({ length: count }, () => ({ ...order, clientOrderId: `order-${this.#orders++}` }));
    const { results } = await this.client.call(OrderService.method.submitOrders, { orders });
    for (const { result } of results) if (result.case !== "accepted") throw new Error("an order was not taken");
  }

  /** The IDs of a stream, in its order. */
  async idsOf(stream: string): Promise<string[]> {
    return (await this.redis.xrange(stream, "-", "+")).map(([id]) => id);
  }

  /** Waits until the events of all that is in the log stand. */
  async untilMatched(): Promise<void> {
    await eventually(async () => {
      const [logged] = await this.redis.xrevrange(this.keys.orders, "+", "-", "COUNT", 1);
      const [told] = await this.redis.xrevrange(this.keys.events, "+", "-", "COUNT", 1);
      return logged?.[0] === told?.[0];
    }, "the events of the whole log");
  }
}

/** What /metrics of a role says of one metric: the sum of its samples with those labels. */
export async function metricOf(http: string, name: string, labels = ""): Promise<number> {
  const text = await (await fetch(`${http}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`penstock_${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** What /readyz of a role says: "" where it is ready. */
export async function failingOf(http: string): Promise<string> {
  const { failing } = (await (await fetch(`${http}/readyz`)).json()) as { failing: Record<string, string> };
  return Object.values(failing).join("; ");
}
