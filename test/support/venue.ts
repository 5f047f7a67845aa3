import { once } from "node:events";
import { get as getClear } from "node:http";
import type { IncomingMessage } from "node:http";
import { get as getSecure } from "node:https";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";

import { OrderType, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import type { SubmitOrderRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { decodeBatch } from "../../src/stream/logged-command.ts";
import { readEntry } from "../../src/stream/entry.ts";
import type { StreamReply } from "../../src/stream/entry.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { Caller } from "./caller.ts";
import { defineInstrument, eventually, type Ingest, startIngest, tokenOf } from "./pipeline.ts";
import { Proxy } from "./proxy.ts";
import { createTestDatabase, startTestRedis, type TestRedis } from "./servers.ts";

const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };

/** A good order of BTC-USD, unless the fields make it another. */
export function order(clientOrderId: string, fields: MessageInitShape<typeof SubmitOrderRequestSchema> = {}) {
  return { ...ORDER, clientOrderId, ...fields };
}

/** An ingest with servers of its own, both behind proxies, and BTC-USD to trade. All ends with the test. */
export class Venue {
  readonly ingest: Ingest;
  readonly server: TestRedis;
  readonly databaseUrl: string;
  readonly redis: Redis;
  readonly toRedis: Proxy;
  readonly toPostgres: Proxy;
  readonly #t: TestContext;

  private constructor(
    t: TestContext,
    parts: Pick<Venue, "ingest" | "server" | "databaseUrl" | "redis" | "toRedis" | "toPostgres">,
  ) {
    this.#t = t;
    this.ingest = parts.ingest;
    this.server = parts.server;
    this.databaseUrl = parts.databaseUrl;
    this.redis = parts.redis;
    this.toRedis = parts.toRedis;
    this.toPostgres = parts.toPostgres;
  }

  static async open(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Venue> {
    const [server, { url }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
    const [toRedis, toPostgres] = await Promise.all([Proxy.start(t, server.url), Proxy.start(t, url)]);
    const ingest = await startIngest(t, { redisUrl: toRedis.url, databaseUrl: toPostgres.url, env });
    const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    t.after(() => redis.disconnect());
    return new Venue(t, { ingest, server, databaseUrl: url, redis, toRedis, toPostgres });
  }

  /** With BTC-USD: tick 0.01, lot 0.00000001, no bounds; for a door that speaks in clear. */
  static async trading(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Venue> {
    const venue = await Venue.open(t, env);
    await venue.define("BTC-USD");
    return venue;
  }

  async define(symbol: string): Promise<void> {
    await defineInstrument(this.ingest, symbol);
  }

  async caller(account = "demo", address = this.ingest.address): Promise<Caller> {
    const caller = new Caller(address, `Bearer ${await tokenOf(account)}`);
    this.#t.after(() => caller.close());
    return caller;
  }

  /** What stands in the log of a partition, in its order: orders by their client order id, others by kind and request id. */
  async logged(partition = 0): Promise<string[]> {
    const { orders } = new PartitionKeys(partition);
    const replies = (await this.redis.callBuffer("XRANGE", orders, "-", "+")) as StreamReply[];
    return replies
      .flatMap(([id, fields]) => decodeBatch(readEntry(id.toString(), fields ?? []).payload))
      .flatMap((command) => {
        if (command.kind === "submit") return command.submit.clientOrderId;
        if (command.kind === "undecodable") throw new Error(command.reason);
        const { kind } = command.command;
        return kind.value !== undefined && "clientRequestId" in kind.value ? kind.value.clientRequestId : [];
      });
  }

  /** What /metrics says; `ca` for a port that speaks TLS. */
  async scrape(ca?: Buffer): Promise<string> {
    const url = new URL("/metrics", this.ingest.http);
    url.hostname = "localhost";
    const asked = ca === undefined ? getClear(url) : getSecure(url, { ca });
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    return text(response);
  }

  /** The sum of a metric's samples, of those labels where given. */
  async metric(name: string, labels = ""): Promise<number> {
    return (await this.scrape())
      .split("\n")
      .filter((line) => line.startsWith(`penstock_${name}`) && /^[{ ]/.test(line.slice(9 + name.length)))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  /** Waits until so many commands wait for the log. */
  async waiting(commands: number): Promise<void> {
    await eventually(async () => (await this.metric("waiting_commands")) === commands, `${commands} waiting commands`);
  }
}
