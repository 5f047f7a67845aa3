import { createSecretKey } from "node:crypto";
import type { TestContext } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type postgres from "postgres";

import { AdminService } from "../../src/gen/penstock/v1/admin_service_pb.ts";
import { OrderType, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import type { SubmitOrderRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { TokenService } from "../../src/ingest/auth/tokens.ts";
import { connect } from "../../src/store/connection.ts";
import { readEntry, type StreamReply } from "../../src/stream/entry.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { decodeBatch } from "../../src/stream/logged-command.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { Caller } from "./caller.ts";
import { type Ingest, startIngest } from "./pipeline.ts";
import { Proxy } from "./proxy.ts";
import { createTestDatabase, startTestRedis, type TestRedis } from "./servers.ts";
import { TestWorker } from "./worker.ts";

const { upsertInstrument } = AdminService.method;

export const KEYS = new PartitionKeys(0);
export const SIGNING_KEY = "a key for tests, of at least 32 bytes";
export const tokens = (ttlS: number) => new TokenService({ key: createSecretKey(SIGNING_KEY, "utf8"), ttlS });

type SubmitInit = MessageInitShape<typeof SubmitOrderRequestSchema>;
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
export const order = (clientOrderId: string, fields: SubmitInit = {}) => ({ ...ORDER, clientOrderId, ...fields });

interface DoorOptions {
  readonly env?: Record<string, string>;
  /** Arguments of the redis-server. */
  readonly redis?: readonly string[];
}

/** An ingest with servers of its own, and what a test looks at them with. */
export class Door {
  readonly server: TestRedis;
  readonly databaseUrl: string;
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  /** The ways from the ingest to its servers. */
  readonly toRedis: Proxy;
  readonly toPostgres: Proxy;
  readonly #t: TestContext;
  readonly #closing: (() => unknown)[];
  ingest!: Ingest;

  private constructor(
    t: TestContext,
    server: TestRedis,
    databaseUrl: string,
    proxies: [Proxy, Proxy],
    closing: (() => unknown)[],
  ) {
    this.#t = t;
    this.#closing = closing;
    this.server = server;
    this.databaseUrl = databaseUrl;
    [this.toRedis, this.toPostgres] = proxies;
    this.redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    this.sql = connect(databaseUrl, { max: 2 });
    closing.push(
      () => this.redis.disconnect(),
      () => this.sql.end({ timeout: 1 }),
    );
  }

  /** With BTC-USD defined: tick 0.01, lot 0.00000001, no bounds. */
  static async open(t: TestContext, { env, redis = [] }: DoorOptions = {}): Promise<Door> {
    const closing: (() => unknown)[] = [];
    t.after(async () => {
      for (const close of closing.toReversed()) await close();
    });
    const [server, { url }] = await Promise.all([startTestRedis(t, redis), createTestDatabase(t)]);
    const proxies = await Promise.all([Proxy.start(t, server.url), Proxy.start(t, url)]);
    const door = new Door(t, server, url, proxies, closing);
    door.ingest = await door.start(env);
    await door.define("BTC-USD");
    return door;
  }

  async start(env: Record<string, string> = {}): Promise<Ingest> {
    const servers = { redisUrl: this.toRedis.url, databaseUrl: this.toPostgres.url };
    return startIngest(this.#t, { ...servers, env: { PENSTOCK_SIGNING_KEY: SIGNING_KEY, ...env } });
  }

  async define(symbol: string, fields: { version?: number } = {}): Promise<void> {
    const admin = await this.client("root", "admin");
    await admin.call(upsertInstrument, { instrument: { symbol, tickSize: "0.01", lotSize: "0.00000001", ...fields } });
  }

  async client(account = "demo", role: "trader" | "admin" = "trader", address = this.ingest.address): Promise<Caller> {
    return this.anyone(`Bearer ${(await tokens(3_600).issue(account, role)).token}`, address);
  }

  anyone(authorization?: string, address = this.ingest.address): Caller {
    const caller = new Caller(address, authorization);
    this.#closing.push(() => caller.close());
    return caller;
  }

  /** What stands in the log, in its order: orders by their client order id, others by their kind. */
  async logged(): Promise<string[]> {
    const replies = (await this.redis.callBuffer("XRANGE", KEYS.orders, "-", "+")) as StreamReply[];
    return replies.flatMap(([id, fields]) =>
      decodeBatch(readEntry(id.toString(), fields ?? []).payload).map((command) => {
        if (command.kind === "submit") return command.submit.clientOrderId;
        return command.kind === "other" ? String(command.command.kind.case) : "undecodable";
      }),
    );
  }

  /** A worker in this process. */
  async work(): Promise<TestWorker> {
    const worker = new TestWorker({ redisUrl: this.server.url, databaseUrl: this.databaseUrl });
    this.#closing.push(() => worker.stop());
    await worker.worker.start();
    return worker;
  }
}
