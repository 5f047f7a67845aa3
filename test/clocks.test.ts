/**
 * Clocks that jump: of Redis, of a role, of both, of Postgres; by ten seconds and by an hour, ahead and back.
 *
 * - I3 IDs never go back
 * - I10 a clock that is ahead trims nothing that is still wanted
 * - I11 what is refused by it is refused at once, clearly, and taken again when the clock is right
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Redis } from "ioredis";

import type { Order, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderStatus, OrderType, TimeInForce } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { compareEntries, parseOrderId } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { Caller, type Refusal, refusalOf } from "./support/caller.ts";
import { failingOf } from "./support/engine-stack.ts";
import {
  defineInstrument,
  type EngineProcess,
  eventually,
  type Ingest,
  startConsumers,
  startEngine,
  startIngest,
  tokenOf,
} from "./support/pipeline.ts";
import { createTestDatabase, startTestPostgres, startTestRedis } from "./support/servers.ts";
import { ShiftedClock } from "./support/shifted-clock.ts";

const HOUR_MS = 3_600_000;
const KEYS = new PartitionKeys(0);
const skip = ShiftedClock.hindrance() ?? false;
const { submitOrder, getOrder } = OrderService.method;
const ORDER = { symbol: "BTC-USD", side: 1 as Side, type: OrderType.LIMIT, quantity: "0.1", price: "100" };
const QUICK = {
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_TRIM_INTERVAL_MS: "100",
  PENSTOCK_REPLAY_HORIZON_MS: "60000",
  PENSTOCK_SNAPSHOT_COMMANDS: "1000",
};

type Who = "redis" | "postgres" | "ingest" | "worker" | "engine";

/** A venue in which each has a clock of its own. */
class Venue {
  readonly clocks: Readonly<Record<Who, ShiftedClock>>;
  readonly ingest: Ingest;
  readonly engine: EngineProcess;
  readonly redis: Redis;
  readonly caller: Caller;
  readonly #rows: () => Promise<number>;
  /** Of the orders that were acknowledged, in their order. */
  readonly ids: string[] = [];
  #count = 0;

  private constructor(
    clocks: Venue["clocks"],
    roles: { ingest: Ingest; engine: EngineProcess },
    clients: { redis: Redis; caller: Caller; rows: () => Promise<number> },
  ) {
    this.clocks = clocks;
    this.ingest = roles.ingest;
    this.engine = roles.engine;
    this.redis = clients.redis;
    this.caller = clients.caller;
    this.#rows = clients.rows;
  }

  static async open(t: TestContext): Promise<Venue> {
    const closing: (() => unknown)[] = [];
    t.after(async () => {
      for (const close of closing) await close();
    });
    const made = (["redis", "postgres", "ingest", "worker", "engine"] as const).map(
      (who) => [who, ShiftedClock.make()] as const,
    );
    const clocks = Object.fromEntries(made) as Venue["clocks"];
    const [redisServer, postgresServer] = await Promise.all([
      startTestRedis(t, ["--stream-node-max-entries", "1"], { wrap: clocks.redis.wrap }),
      startTestPostgres(t, { wrap: clocks.postgres.wrap }),
    ]);
    const { url: databaseUrl } = await createTestDatabase(t, postgresServer);
    const servers = (who: Who) => ({
      redisUrl: redisServer.url,
      databaseUrl,
      env: { ...QUICK, PENSTOCK_CONSUMER_NAME: "worker", ...clocks[who].env },
    });
    const ingest = await startIngest(t, servers("ingest"));
    await defineInstrument(ingest);
    const engine = await startEngine(t, servers("engine"));
    await startConsumers(t, servers("worker"));
    t.after(() => {
      for (const [, clock] of made) clock.remove();
    });
    const redis = connectRedis(redisServer.url, { name: "test", socketTimeoutMs: 10_000 });
    const sql = connect(databaseUrl, { max: 1 });
    const token = await tokenOf("demo", "trader", { ttlS: 86_400 });
    const caller = new Caller(ingest.address, `Bearer ${token}`);
    closing.push(
      () => redis.disconnect(),
      () => sql.end({ timeout: 1 }),
      () => caller.close(),
    );
    const rows = async () => Number((await sql`SELECT count(*)::int AS count FROM orders`)[0]!["count"]);
    return new Venue(clocks, { ingest, engine }, { redis, caller, rows });
  }

  shift(ms: number, ...who: readonly Who[]): void {
    for (const name of who) this.clocks[name].shift(ms);
  }

  async submit(fields: { timeInForce?: TimeInForce; expireTime?: { seconds: bigint; nanos: number } } = {}) {
    const order = { ...ORDER, clientOrderId: `order-${this.#count++}`, ...fields };
    const { orderId } = await this.caller.call(submitOrder, order);
    this.ids.push(orderId);
    return orderId;
  }

  /** The time of an order's entry minus the machine's. */
  async aheadOf(orderId: Promise<string>): Promise<number> {
    return parseOrderId(await orderId)!.ms - Date.now();
  }

  async refused(): Promise<Refusal> {
    const since = performance.now();
    const refusal = await refusalOf(this.submit());
    this.#count--;
    assert.ok(performance.now() - since < 3_000, "it is refused, and not left to wait");
    return refusal;
  }

  async orderOf(orderId: string): Promise<Order | undefined> {
    return (await this.caller.call(getOrder, { orderId })).order;
  }

  /** Every order is a row and was matched, IDs never went back, and everybody is well. */
  async isWhole(): Promise<void> {
    const places = this.ids.map((id) => parseOrderId(id)!);
    for (const [i, place] of places.entries())
      if (i > 0) assert.ok(compareEntries(places[i - 1]!, place) < 0, `${this.ids[i]} follows ${this.ids[i - 1]}`);
    await eventually(async () => (await this.#rows()) === this.ids.length, "a row of each");
    await eventually(async () => {
      const [logged] = await this.redis.xrevrange(KEYS.orders, "+", "-", "COUNT", 1);
      const [told] = await this.redis.xrevrange(KEYS.events, "+", "-", "COUNT", 1);
      return logged?.[0] === told?.[0];
    }, "the events of all");
    for (const { http } of [this.ingest, this.engine])
      await eventually(async () => (await failingOf(http)) === "", "all to be ready");
  }
}

test("clocks that jump", { skip }, async (t) => {
  const venue = await Venue.open(t);

  await t.test(
    "Redis' clock is ahead: nothing is taken, nothing is trimmed, and it is told; then all is as it was (I3, I10, I11)",
    async () => {
      for (let i = 0; i < 5; i++) await venue.submit();
      await venue.isWhole();
      for (const ms of [10_000, HOUR_MS]) {
        const entries = await venue.redis.xlen(KEYS.orders);
        venue.shift(ms, "redis");
        for (let i = 0; i < 2; i++) {
          const { code, message, retryAfterMs } = await venue.refused();
          assert.equal(code, "UNAVAILABLE");
          assert.match(message, /clocks .* differ; nothing was done/);
          assert.ok(retryAfterMs! > 0);
        }
        assert.match(await failingOf(venue.ingest.http), /Redis' clock is \d+ ms ahead/);
        assert.equal((await venue.orderOf(venue.ids[0]!))?.status, OrderStatus.NEW, "it answers what it is asked");
        assert.equal(await venue.redis.xlen(KEYS.orders), entries);
        venue.shift(0, "redis");
        assert.ok((await venue.aheadOf(venue.submit())) <= 0);
        await venue.isWhole();
      }
      const alarms = venue.ingest.lines.filter((line) => line.includes("A CLOCK IS WRONG"));
      assert.equal(alarms.length, 2, "once each time");
    },
  );

  await t.test("Redis' clock is behind: orders are taken, and their IDs stand at the last moment (I3)", async () => {
    const before = await venue.aheadOf(venue.submit());
    for (const ms of [-10_000, -HOUR_MS]) {
      venue.shift(ms, "redis");
      const at = Date.now();
      for (let i = 0; i < 5; i++) {
        const { ms: entryMs } = parseOrderId(await venue.submit())!;
        assert.ok(entryMs <= at && entryMs > at - 60_000, "neither the jump's time nor the machine's");
      }
      await venue.isWhole();
      venue.shift(0, "redis");
      assert.ok((await venue.aheadOf(venue.submit())) >= before - 5_000, "the time goes on from here");
      await venue.isWhole();
    }
  });

  await t.test("a role's clock, or Postgres', by an hour and back: nothing but ingest's own asks for it", async () => {
    for (const who of ["worker", "engine", "postgres", "ingest"] as const) {
      for (const ms of [10_000, HOUR_MS, -10_000, -HOUR_MS]) {
        venue.shift(ms, who);
        if (who === "ingest" && ms < 0) assert.equal((await venue.refused()).code, "UNAVAILABLE");
        else for (let i = 0; i < 3; i++) assert.ok((await venue.aheadOf(venue.submit())) <= 0, "Redis' clock counts");
      }
      venue.shift(0, who);
      await venue.submit();
      await venue.isWhole();
    }
  });

  await t.test(
    "an order that is due while the log is quiet expires by Redis' clock, whatever becomes of the engine's (I7)",
    async () => {
      const gtd = async (inMs: number) => {
        const at = Date.now() + inMs;
        const expireTime = { seconds: BigInt(Math.floor(at / 1_000)), nanos: (at % 1_000) * 1_000_000 };
        return { at, id: await venue.submit({ timeInForce: TimeInForce.GTD, expireTime }) };
      };
      const expired = async ({ at, id }: { at: number; id: string }) => {
        const order = await eventually(async () => {
          const found = await venue.orderOf(id);
          return found?.status === OrderStatus.EXPIRED && found;
        }, "it to expire");
        assert.ok(timestampMs(order.updatedAt!) >= at, "not before it was due");
      };
      venue.shift(HOUR_MS, "engine");
      await expired(await gtd(1_500));
      // The engine's clock was ahead when it saw the order, and is set right while it waits.
      const late = await gtd(2_500);
      await eventually(
        async () => (await venue.orderOf(late.id))?.status !== OrderStatus.PENDING_NEW,
        "it to be matched",
      );
      venue.shift(0, "engine");
      await expired(late);
      await venue.isWhole();
    },
  );

  await t.test("both are an hour ahead, and are set back: IDs go on from there (I3)", async () => {
    await venue.submit();
    venue.shift(HOUR_MS, "redis", "ingest");
    // What is under way seems an hour old for a moment, until the next look: refused, and worth trying again.
    const taken = () => eventually(() => venue.aheadOf(venue.submit()).catch(() => undefined), "an order to be taken");
    assert.ok((await taken()) > HOUR_MS - 30_000);
    await venue.isWhole();
    venue.shift(0, "redis", "ingest");
    for (let i = 0; i < 5; i++) assert.ok((await taken()) > HOUR_MS - 30_000);
    await venue.isWhole();
  });
});
