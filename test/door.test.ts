import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Redis } from "ioredis";
import type postgres from "postgres";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { MarketDataService } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderStatus, OrderType, Side, TimeInForce } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import type { SubmitOrderRequestSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { TokenService } from "../src/ingest/auth/tokens.ts";
import { connect } from "../src/store/connection.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import { readEntry } from "../src/stream/entry.ts";
import type { StreamReply } from "../src/stream/entry.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, formatOrderId, parseOrderId } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { Caller, Refusal, refusalOf, refusalsOf } from "./support/caller.ts";
import { eventually, startIngest } from "./support/pipeline.ts";
import type { Ingest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";
import type { TestRedis } from "./support/servers.ts";
import { TestWorker } from "./support/worker.ts";

/** The gRPC door over real sockets: an ingest process, and clients in this one. */

const { submitOrder, submitOrders, cancelOrder, replaceOrder, cancelAllOrders, getOrder, listOrders } =
  OrderService.method;
const { upsertInstrument, createAccount, getPipelineStatus } = AdminService.method;
const { listInstruments } = MarketDataService.method;
const { issueToken } = AuthService.method;

const KEYS = new PartitionKeys(0);
const SIGNING_KEY = "a key for tests, of at least 32 bytes";
const tokens = (ttlS: number) => new TokenService({ key: createSecretKey(SIGNING_KEY, "utf8"), ttlS });

type SubmitInit = MessageInitShape<typeof SubmitOrderRequestSchema>;
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
const order = (clientOrderId: string, fields: SubmitInit = {}) => ({ ...ORDER, clientOrderId, ...fields });

interface DoorOptions {
  readonly env?: Record<string, string>;
  /** Arguments of the redis-server. */
  readonly redis?: readonly string[];
}

/** An ingest with servers of its own, and what a test looks at them with. */
class Door {
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

const LONG = "9".repeat(40);
const SOON = timestampFromMs(Date.now() + 3_600_000);
/** Orders that are refused, with the fields at fault. BAND takes LIMIT orders, GTC only, of 1 to 10 at 50 to 150. */
const REFUSED: readonly (readonly [object, ...string[]])[] = [
  [{ clientOrderId: "" }, "client_order_id"],
  [{ clientOrderId: "x".repeat(65) }, "client_order_id"],
  [{ clientOrderId: "a\0b" }, "client_order_id"],
  [{ clientOrderId: "a\x07b" }, "client_order_id"],
  [{ clientOrderId: "a\x7fb" }, "client_order_id"],
  [{ clientOrderId: "a b" }, "client_order_id"],
  [{ clientOrderId: "ä" }, "client_order_id"],
  [{ symbol: "" }, "symbol"],
  [{ symbol: "NO-SUCH" }, "symbol"],
  [{ symbol: "BTC-USD\0" }, "symbol"],
  [{ symbol: "btc-usd" }, "symbol"],
  [{ side: 0 }, "side"],
  [{ side: 3 }, "side"],
  [{ side: -1 }, "side"],
  [{ type: 0 }, "type"],
  [{ type: 99 }, "type"],
  [{ timeInForce: 2 }, "time_in_force"],
  [{ timeInForce: 99 }, "time_in_force"],
  ...[
    "",
    "1e9",
    "-1",
    "0",
    "0.0",
    " 1",
    "1 ",
    "+1",
    ".5",
    "5.",
    "1,000",
    "0x1",
    "NaN",
    "Infinity",
    "1\0",
    "٣",
    LONG,
    `0.${LONG}`,
  ].map((quantity): [object, string] => [{ quantity }, "quantity"]),
  ...["", "1e9", "-1", "0", " 1", LONG, "1.001", "abc"].map((price): [object, string] => [{ price }, "price"]),
  [{ quantity: "0.000000001" }, "quantity"],
  [{ quantity: "90071993", price: "9007199254740" }, "quantity"],
  [{ stopPrice: "1" }, "stop_price"],
  [{ type: OrderType.MARKET }, "price"],
  [{ type: OrderType.MARKET, price: "", timeInForce: TimeInForce.GTC }, "time_in_force"],
  [{ type: OrderType.STOP, price: "" }, "stop_price"],
  [
    { type: OrderType.STOP, price: "", stopPrice: "1", timeInForce: TimeInForce.GTD, expireTime: SOON },
    "time_in_force",
  ],
  [{ type: OrderType.STOP_LIMIT }, "stop_price"],
  [{ type: OrderType.STOP_LIMIT, stopPrice: "1", price: "" }, "price"],
  [{ displayQuantity: "0.2" }, "display_quantity"],
  [{ displayQuantity: "-1" }, "display_quantity"],
  [{ displayQuantity: "0.1", timeInForce: TimeInForce.IOC }, "display_quantity"],
  [{ timeInForce: TimeInForce.GTD }, "expire_time"],
  [{ timeInForce: TimeInForce.GTD, expireTime: timestampFromMs(1_000) }, "expire_time"],
  [{ timeInForce: TimeInForce.GTD, expireTime: timestampFromMs(Date.now() + 20 * 365 * 86_400_000) }, "expire_time"],
  [{ timeInForce: TimeInForce.GTD, expireTime: { seconds: 4_000_000_000n, nanos: -1 } }, "expire_time"],
  [{ expireTime: SOON }, "expire_time"],
  [{ postOnly: true, timeInForce: TimeInForce.IOC }, "post_only"],
  [{ selfTradePrevention: 9 }, "self_trade_prevention"],
  [{ ackLevel: 9 }, "ack_level"],
  [{ symbol: "BAND", price: "100", quantity: "0.99" }, "quantity"],
  [{ symbol: "BAND", price: "100", quantity: "10.01" }, "quantity"],
  [{ symbol: "BAND", quantity: "1", price: "49.5" }, "price"],
  [{ symbol: "BAND", quantity: "1", price: "150.5" }, "price"],
  [{ symbol: "BAND", quantity: "1", price: "100.3" }, "price"],
  [{ symbol: "BAND", quantity: "1", type: OrderType.MARKET, price: "" }, "type"],
  [{ symbol: "BAND", quantity: "1", price: "100", timeInForce: TimeInForce.IOC }, "time_in_force"],
  [{ symbol: "", side: 0, quantity: "1e9", price: "-1" }, "price", "quantity", "side", "symbol"],
];

/** Of a moment ago: an older one might be an order that the engine alone still knows. */
const UNKNOWN_ID = formatOrderId({ partition: 0, epoch: 1, ms: Date.now() - 60_000, seq: 7, index: 1 });

test("the door", async (t) => {
  const door = await Door.open(t);
  const { redis } = door;
  const client = await door.client();
  const admin = await door.client("root", "admin");
  const length = () => redis.xlen(KEYS.orders);

  await t.test("refuses with every field at fault, and nothing that is refused reaches the log (I1)", async () => {
    const band = { minQuantity: "1", maxQuantity: "10", minPrice: "50", maxPrice: "150" };
    const narrow = { orderTypes: [OrderType.LIMIT], timesInForce: [TimeInForce.GTC] };
    await admin.call(upsertInstrument, {
      instrument: { symbol: "BAND", tickSize: "0.5", lotSize: "0.01", ...band, ...narrow },
    });
    const before = await length();
    for (const [fields, ...wanted] of REFUSED) {
      const { code, fields: found, message } = await refusalOf(client.call(submitOrder, order("refused", fields)));
      assert.deepEqual(
        { code, found },
        { code: "INVALID_ARGUMENT", found: wanted },
        `${JSON.stringify(fields, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value))}: ${message}`,
      );
    }
    const { results } = await client.call(submitOrders, {
      orders: REFUSED.map(([fields]) => order("refused", fields)),
    });
    assert.deepEqual(new Set(results.map(({ result }) => result.case)), new Set(["refused"]));
    assert.equal(await length(), before);
  });

  await t.test("one bad order in a batch fails alone, with the status that it would have had by itself", async () => {
    const before = await length();
    const { results } = await client.call(submitOrders, {
      orders: [
        order("batch-1"),
        order("batch-2", { price: "1.001" }),
        order("batch-1"),
        order("batch-1", { quantity: "7" }),
        order("batch-3"),
      ],
    });
    const cases = results.map(({ result }) =>
      result.case === "refused" ? result.value.code : [result.case, result.value?.duplicate],
    );
    assert.deepEqual(cases, [["accepted", false], 3, ["accepted", true], 6, ["accepted", false]]);
    const [first, , again] = results.map(({ result }) => (result.case === "accepted" ? result.value.orderId : ""));
    assert.equal(again, first);
    assert.equal(await length(), before + 1);
    assert.deepEqual((await door.logged()).slice(-2), ["batch-1", "batch-3"]);
  });

  await t.test("holds batches and messages to their bounds", async () => {
    const before = await length();
    assert.deepEqual((await refusalOf(client.call(submitOrders, {}))).fields, ["orders"]);
    const many = Array.from({ length: 1_001 }, (_, i) => order(`many-${i}`));
    assert.deepEqual((await refusalOf(client.call(submitOrders, { orders: many }))).fields, ["orders"]);
    const large = refusalOf(client.call(submitOrder, order("large", { symbol: "x".repeat(2 * 1_048_576) })));
    assert.equal((await large).code, "RESOURCE_EXHAUSTED");
    for (const bytes of [Buffer.from([0xff]), Buffer.from([0x0a, 0x7f, 0x41]), Buffer.from("no message")]) {
      const { code, message } = await refusalOf(client.call(submitOrder, {}, { bytes }));
      assert.equal(code, "INVALID_ARGUMENT", message);
    }
    assert.equal(await length(), before);
    const fits = await client.call(submitOrders, { orders: many.slice(0, 1_000) });
    assert.equal(fits.results.filter(({ result }) => result.case === "accepted").length, 1_000);
    assert.equal(await length(), before + 2);
  });

  await t.test("wants a good token, and for AdminService the role admin", async () => {
    const before = await length();
    const { token } = await tokens(3_600).issue("demo", "trader");
    const [head, payload, signature] = token.split(".") as [string, string, string];
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const asAdmin = Buffer.from(JSON.stringify({ ...claims, role: "admin" })).toString("base64url");
    const none = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
    const past = new TokenService({
      key: createSecretKey(SIGNING_KEY, "utf8"),
      ttlS: 60,
      now: () => Date.now() - 120_000,
    });
    const foreign = new TokenService({ key: createSecretKey(SIGNING_KEY.toUpperCase(), "utf8"), ttlS: 60 });
    const bad = [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      `Basic ${token}`,
      token,
      `Bearer ${head}.${asAdmin}.${signature}`,
      `Bearer ${none}.${asAdmin}.`,
      `Bearer ${token.slice(0, -6)}AAAAAA`,
      `Bearer ${(await past.issue("demo", "trader")).token}`,
      `Bearer ${(await foreign.issue("demo", "trader")).token}`,
    ];
    for (const authorization of bad) {
      const caller = door.anyone(authorization);
      const calls = [
        caller.call(submitOrder, order("nobody")),
        caller.call(getOrder, {}),
        caller.call(createAccount, {}),
      ];
      for (const { code } of await refusalsOf(...calls))
        assert.equal(code, "UNAUTHENTICATED", authorization ?? "no token");
    }
    const denied = await refusalsOf(
      client.call(createAccount, { account: "mallory", role: Role.ADMIN }),
      client.call(upsertInstrument, { instrument: { symbol: "X", tickSize: "1", lotSize: "1" } }),
      client.call(getPipelineStatus, {}),
    );
    for (const { code } of denied) assert.equal(code, "PERMISSION_DENIED");
    assert.equal(await length(), before);
    assert.equal((await door.anyone(`bearer ${token}`).call(submitOrder, order("in-lower-case"))).duplicate, false);
  });

  await t.test("a token ends, also one that is in use", async () => {
    const { token, expiresAt } = await tokens(2).issue("demo", "trader");
    const caller = door.anyone(`Bearer ${token}`);
    assert.equal((await caller.call(listOrders, {})).asOf.length, 1);
    await eventually(async () => Date.now() >= expiresAt.getTime(), "the end of the token");
    assert.equal((await refusalOf(caller.call(listOrders, {}))).code, "UNAUTHENTICATED");
  });

  await t.test("accounts: created by an admin, their secrets are good for tokens", async () => {
    const created = await admin.call(createAccount, { account: "alice", role: Role.TRADER });
    const anyone = door.anyone();
    const issued = await anyone.call(issueToken, { account: "alice", secret: created.secret });
    const alice = door.anyone(`Bearer ${issued.token}`);
    const { orderId } = await alice.call(submitOrder, order("alice's"));
    assert.equal((await alice.call(getOrder, { orderId })).order?.account, "alice");
    assert.equal(
      (await refusalOf(admin.call(createAccount, { account: "alice", role: Role.TRADER }))).code,
      "ALREADY_EXISTS",
    );
    for (const [account, secret] of [
      ["alice", `${created.secret}x`],
      ["bob", created.secret],
    ] as const) {
      assert.equal((await refusalOf(anyone.call(issueToken, { account, secret }))).code, "UNAUTHENTICATED");
    }
    const [row] = await door.sql`SELECT * FROM accounts WHERE name = 'alice'`;
    assert.ok(!JSON.stringify(row).includes(created.secret), "only its hash is kept");
    assert.ok(!door.ingest.lines.some((line) => line.includes(created.secret) || line.includes(issued.token)));
    assert.deepEqual((await refusalOf(admin.call(createAccount, { account: "A b" }))).fields, ["account", "role"]);
    assert.deepEqual((await refusalOf(anyone.call(issueToken, {}))).fields, ["account", "secret"]);
  });

  await t.test("I12: another account's order is no more there than one that never was", async () => {
    const { orderId } = await client.call(submitOrder, order("mine"));
    const other = await door.client("other");
    const before = await length();
    for (const caller of [other, client]) {
      const id = caller === other ? orderId : UNKNOWN_ID;
      const byName = { symbol: "BTC-USD", clientOrderId: caller === other ? "mine" : "never-was" };
      const refused = await refusalsOf(
        caller.call(getOrder, { orderId: id }),
        caller.call(getOrder, byName),
        caller.call(cancelOrder, { orderId: id, clientRequestId: "c" }),
        caller.call(replaceOrder, { orderId: id, clientRequestId: "r", quantity: "1" }),
      );
      for (const { code } of refused) assert.equal(code, "NOT_FOUND");
    }
    assert.deepEqual((await other.call(listOrders, {})).orders, []);
    assert.equal(await length(), before);
    const own = await other.call(submitOrder, order("mine", { price: "5" }));
    assert.ok(!own.duplicate && own.orderId !== orderId, "ids are an account's own");
    assert.equal((await other.call(getOrder, { symbol: "BTC-USD", clientOrderId: "mine" })).order?.price, "5");
  });

  await t.test("I2: the same id and payload gets the first answer, another payload is a conflict", async () => {
    const first = await client.call(submitOrder, order("once"));
    const again = await client.call(submitOrder, order("once", { quantity: "0.10", price: "100.250", ackLevel: 2 }));
    assert.deepEqual(again, { ...first, duplicate: true }, "neither spelling nor the ack level makes another payload");
    assert.equal(first.status, OrderStatus.PENDING_NEW);
    const conflict = await refusalOf(client.call(submitOrder, order("once", { quantity: "0.2" })));
    assert.equal(conflict.code, "ALREADY_EXISTS");
    assert.match(conflict.message, new RegExp(first.orderId));
    await admin.call(upsertInstrument, { instrument: { symbol: "ETH-USD", tickSize: "0.01", lotSize: "0.01" } });
    assert.equal(
      (await client.call(submitOrder, order("once", { symbol: "ETH-USD" }))).duplicate,
      false,
      "ids are a symbol's own",
    );
  });

  await t.test(
    "cancel, replace and cancel all go into the log, and are idempotent by their request ids (I2)",
    async () => {
      const { orderId } = await client.call(submitOrder, order("target"));
      const byName = { symbol: "BTC-USD", clientOrderId: "target" };
      const before = (await door.logged()).length;
      const cancelled = await client.call(cancelOrder, { clientRequestId: "1", orderId });
      const calls = [
        client.call(cancelOrder, { clientRequestId: "2", ...byName }),
        client.call(replaceOrder, { clientRequestId: "1", orderId, quantity: "0.2" }),
        client.call(replaceOrder, { clientRequestId: "2", ...byName, price: "99.5", displayQuantity: "0.01" }),
        client.call(cancelAllOrders, { clientRequestId: "1" }),
        client.call(cancelAllOrders, { clientRequestId: "1", symbol: "BTC-USD" }),
      ];
      const places = [cancelled.commandId];
      for (const answer of await Promise.all(calls)) {
        assert.equal(answer.duplicate, false);
        places.push(...("commandId" in answer ? [answer.commandId] : answer.commandIds));
      }
      const kinds = (await door.logged()).slice(before);
      assert.deepEqual(kinds.sort(), ["cancel", "cancel", "massCancel", "massCancel", "replace", "replace"]);
      assert.equal(new Set(places).size, 6);

      const retried = await client.call(cancelOrder, { clientRequestId: "1", orderId: orderId.toUpperCase() });
      assert.deepEqual(retried, { ...cancelled, duplicate: true });
      const replaced = await client.call(replaceOrder, { clientRequestId: "1", orderId, quantity: "0.20" });
      assert.ok(replaced.duplicate && places.includes(replaced.commandId));
      const all = await client.call(cancelAllOrders, { clientRequestId: "1" });
      assert.ok(all.duplicate && places.includes(all.commandIds[0]!));
      const conflicts = await refusalsOf(
        client.call(replaceOrder, { clientRequestId: "1", orderId, quantity: "0.3" }),
        client.call(cancelOrder, { clientRequestId: "1", ...byName }),
      );
      for (const { code } of conflicts) assert.equal(code, "ALREADY_EXISTS");
      for (const [call, ...fields] of [
        [() => client.call(cancelOrder, {}), "client_request_id", "order_id"],
        [() => client.call(cancelOrder, { clientRequestId: "3", orderId: "nonsense" }), "order_id"],
        [() => client.call(cancelOrder, { clientRequestId: "3", orderId, symbol: "BTC-USD" }), "symbol"],
        [() => client.call(replaceOrder, { clientRequestId: "3", orderId }), "quantity"],
        [() => client.call(replaceOrder, { clientRequestId: "3", orderId, price: "1.001" }), "price"],
        [
          () => client.call(replaceOrder, { clientRequestId: "a b", ...byName, quantity: "0" }),
          "client_request_id",
          "quantity",
        ],
        [() => client.call(cancelAllOrders, { clientRequestId: "3", symbol: "NO-SUCH" }), "symbol"],
        [() => client.call(getOrder, {}), "order_id"],
        [() => client.call(listOrders, { pageSize: 1_001, pageToken: "x" }), "page_size", "page_token"],
      ] as const) {
        const refusal = await refusalOf(call());
        assert.deepEqual([refusal.code, ...refusal.fields], ["INVALID_ARGUMENT", ...fields]);
      }
      assert.equal((await door.logged()).length, before + 6);
    },
  );

  await t.test("an instrument's versions follow one another; tick and lot never change", async () => {
    const wanted = { symbol: "VER", tickSize: "0.1", lotSize: "1", maxQuantity: "5" };
    const v1 = await admin.call(upsertInstrument, { instrument: wanted });
    assert.equal(v1.instrument?.version, 1);
    const stale = await refusalOf(admin.call(upsertInstrument, { instrument: { ...wanted, maxQuantity: "6" } }));
    assert.equal(stale.code, "ABORTED");
    const changed = await refusalOf(
      admin.call(upsertInstrument, { instrument: { ...wanted, tickSize: "0.2", lotSize: "2", version: 1 } }),
    );
    assert.deepEqual(
      changed.fields.filter((field) => /tick|lot/.test(field)),
      ["instrument.lot_size", "instrument.tick_size"],
    );
    const race = await Promise.allSettled(
      ["7", "8", "9"].map((maxQuantity) =>
        admin.call(upsertInstrument, { instrument: { ...wanted, maxQuantity, version: 1 } }),
      ),
    );
    assert.equal(race.filter(({ status }) => status === "fulfilled").length, 1);
    const { instruments } = await client.call(listInstruments, {});
    assert.equal(instruments.find(({ symbol }) => symbol === "VER")?.version, 2);
    assert.deepEqual(
      instruments.map(({ symbol }) => symbol),
      instruments.map(({ symbol }) => symbol).sort(),
    );
  });

  await t.test("what one ingest defines and takes, a second one knows within about a second", async (t) => {
    const second = await door.start();
    const there = await door.client("demo", "trader", second.address);
    await door.define("NEW-1");
    const taken = await client.call(submitOrder, order("elsewhere", { symbol: "NEW-1" }));
    const { order: found } = await there.call(getOrder, { orderId: taken.orderId });
    assert.equal(found?.clientOrderId, "elsewhere", "an acknowledged order is never NOT_FOUND");
    const defined = performance.now();
    await door.define("NEW-2");
    await eventually(
      async () => (await there.call(submitOrder, order("x", { symbol: "NEW-2" })).catch(() => undefined)) !== undefined,
      "the symbol",
    );
    t.diagnostic(`seen after ${Math.round(performance.now() - defined)} ms`);
    assert.equal((await there.call(submitOrder, order("elsewhere", { symbol: "NEW-1" }))).orderId, taken.orderId);
    assert.equal(await second.stop(), 0);
  });

  await t.test("says how the pipeline stands", async () => {
    const status = await admin.call(getPipelineStatus, {});
    const [partition] = status.partitions;
    assert.equal(partition?.lastEntryId, (await redis.xrevrange(KEYS.orders, "+", "-", "COUNT", 1))[0]?.[0]);
    assert.equal(Number(partition?.entries), await length());
    assert.equal(partition?.groups[0]?.lag, partition?.entries, "no worker ran yet");
    assert.ok(status.redisUsedMemoryBytes > 0n && status.redisMaxMemoryBytes > status.redisUsedMemoryBytes);
    assert.equal(status.refusing, "");
  });

  await t.test("a deadline in a month is no worse than a near one", async () => {
    for (const days of [20, 25, 30, 60, 4_000]) {
      await client.call(listInstruments, {}, { deadlineMs: days * 86_400_000 });
    }
  });

  await t.test("health and reflection answer", async () => {
    const raw = (path: string, bytes: Buffer) =>
      new Promise<Buffer>((resolve, reject) => {
        const identity = (value: Buffer) => value;
        client.client.makeUnaryRequest(path, identity, identity, bytes, (error, answer) =>
          error ? reject(error) : resolve(answer!),
        );
      });
    for (const service of ["", "penstock.v1.OrderService", "penstock.v1.AdminService"]) {
      const request = Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]);
      assert.deepEqual(await raw("/grpc.health.v1.Health/Check", request), Buffer.from([0x08, 0x01]), "SERVING");
    }
    const reflected = await new Promise<Buffer>((resolve, reject) => {
      const identity = (value: Buffer) => value;
      const stream = client.client.makeBidiStreamRequest(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        identity,
        identity,
      );
      stream.on("data", resolve);
      stream.on("error", reject);
      stream.write(Buffer.from([0x3a, 0x01, 0x2a])); // list_services
      stream.end();
    });
    for (const service of [OrderService, MarketDataService, AuthService, AdminService])
      assert.ok(reflected.includes(service.typeName));
  });

  await t.test(
    "reads: before a worker ran, after it, after a trim, and where only the journal has the order",
    async () => {
      const { orderId, createdAt } = await client.call(
        submitOrder,
        order("read-me", { displayQuantity: "0.05", postOnly: true }),
      );
      const byName = { symbol: "BTC-USD", clientOrderId: "read-me" };
      const fresh = await client.call(getOrder, { orderId });
      assert.deepEqual(await client.call(getOrder, byName), fresh);
      const { status, quantity, leavesQuantity, cumQuantity, price, displayQuantity, postOnly, account } = fresh.order!;
      assert.deepEqual(
        { status, quantity, leavesQuantity, cumQuantity, price, displayQuantity, postOnly, account },
        {
          status: OrderStatus.PENDING_NEW,
          quantity: "0.1",
          leavesQuantity: "0.1",
          cumQuantity: "0",
          price: "100.25",
          displayQuantity: "0.05",
          postOnly: true,
          account: "demo",
        },
      );
      assert.deepEqual([fresh.order?.createdAt, fresh.order?.updatedAt], [createdAt, createdAt]);
      assert.deepEqual((await client.call(listOrders, {})).orders, [], "a list is of rows, and says up to where");

      const worker = await door.work();
      await eventually(
        async () =>
          (await redis.xpending(KEYS.orders, PERSIST_GROUP))[0] === 0 &&
          (await client.call(listOrders, {})).orders.length > 0,
        "the rows",
      );
      await eventually(
        async () => (await door.sql`SELECT FROM orders WHERE order_id = ${orderId}`).length === 1,
        "the row",
      );
      assert.deepEqual(await client.call(getOrder, { orderId }), fresh);
      await redis.xtrim(KEYS.orders, "MAXLEN", 0);
      for (const by of [{ orderId }, byName]) assert.deepEqual(await client.call(getOrder, by), fresh);
      await redis.del(KEYS.seen(1));
      assert.deepEqual(await client.call(getOrder, byName), fresh, "beyond the idempotency horizon");
      await worker.stop();

      const lost = await client.call(submitOrder, order("dead-lettered"));
      const again = await door.work();
      await eventually(
        async () => (await door.sql`SELECT FROM orders WHERE order_id = ${lost.orderId}`).length === 1,
        "the row",
      );
      await again.stop();
      await door.sql`DELETE FROM orders WHERE order_id = ${lost.orderId}`;
      await redis.xtrim(KEYS.orders, "MAXLEN", 0);
      assert.equal((await client.call(getOrder, { orderId: lost.orderId })).order?.clientOrderId, "dead-lettered");
    },
  );

  await t.test("lists: newest first, by pages, by symbol, as of a place that it names", async () => {
    const lister = await door.client("lister");
    const ids: string[] = [];
    for (const n of [1, 2, 3, 4, 5]) {
      ids.unshift(
        (await lister.call(submitOrder, order(`list-${n}`, n % 2 === 0 ? { symbol: "ETH-USD" } : {}))).orderId,
      );
    }
    const worker = await door.work();
    const full = await eventually(async () => {
      const list = await lister.call(listOrders, {});
      return list.orders.length === 5 && list;
    }, "the rows");
    assert.deepEqual(
      full.orders.map(({ orderId }) => orderId),
      ids,
    );
    assert.equal(full.nextPageToken, "");
    const asOf = await eventually(async () => {
      const [place] = (await lister.call(listOrders, {})).asOf;
      return place?.entryId === (await redis.hget(KEYS.head, "last")) && place;
    }, "a list up to the end of the log");
    assert.equal(asOf.entryId, formatEntryId(parseOrderId(ids[0]!)!));
    assert.deepEqual([asOf.partition, asOf.epoch], [0, 1]);

    const pages: string[][] = [];
    for (let pageToken = ""; ;) {
      const page = await lister.call(listOrders, { pageSize: 2, pageToken });
      pages.push(page.orders.map(({ orderId }) => orderId));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    assert.deepEqual(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
    assert.equal((await lister.call(listOrders, { pageSize: 5 })).nextPageToken, "", "a full page may be the last");
    const ether = await lister.call(listOrders, { symbol: "ETH-USD" });
    assert.deepEqual(
      ether.orders.map(({ orderId }) => orderId),
      [ids[1], ids[3]],
    );
    await worker.stop();
  });

  await t.test("Redis out of memory: RESOURCE_EXHAUSTED with a time to come again; then it goes on (I11)", async () => {
    const before = await length();
    const [, memory] = (await redis.config("GET", "maxmemory")) as [string, string];
    await redis.config("SET", "maxmemory", 1);
    const refusal = await refusalOf(client.call(submitOrder, order("no-room")));
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.ok(refusal.retryAfterMs! > 0);
    assert.equal(await length(), before);
    await redis.config("SET", "maxmemory", memory);
    await eventually(
      async () => (await client.call(submitOrder, order("no-room")).catch(() => undefined))?.duplicate === false,
      "room again",
    );
  });

  await t.test("its HTTP port tells of health and rates, and the log holds no secret", async () => {
    for (const path of ["/healthz", "/readyz"]) assert.equal((await fetch(door.ingest.http + path)).status, 200, path);
    const metrics = await (await fetch(`${door.ingest.http}/metrics`)).text();
    for (const name of [
      "orders_total",
      "requests_total",
      "flush_commands",
      "flush_bytes",
      "flush_seconds",
      "request_seconds",
      "redis_memory_bytes",
    ]) {
      assert.match(metrics, new RegExp(`^penstock_${name}`, "m"));
    }
    assert.match(metrics, /penstock_requests_total\{[^}]*method="SubmitOrder"[^}]*code="INVALID_ARGUMENT"[^}]*\} \d+/);
    assert.equal(door.ingest.lines.filter((line) => /"level":"error"/.test(line)).join("\n"), "");
    assert.equal(await door.ingest.stop(), 0);
  });
});

suite("under trouble", { concurrency: true }, () => {
  test("I2: a retried order after a cut connection is one order, and says so", async (t) => {
    const door = await Door.open(t);
    const proxy = await Proxy.start(t, `http://${door.ingest.address}`);
    const client = await door.client("demo", "trader", proxy.address);
    await client.call(submitOrder, order("before"));
    const lost = proxy.swallow((answer) => answer.includes("cut-off"));
    const [refusal] = await Promise.all([refusalOf(client.call(submitOrder, order("cut-off"))), lost]);
    assert.equal(refusal.code, "UNAVAILABLE");
    const again = await eventually(
      async () => client.call(submitOrder, order("cut-off")).catch(() => undefined),
      "a new connection",
    );
    assert.equal(again.duplicate, true);
    assert.deepEqual(await door.logged(), ["instrument", "before", "cut-off"]);
    assert.equal((await client.call(getOrder, { orderId: again.orderId })).order?.clientOrderId, "cut-off");
  });

  test("a log that says nothing: deadlines and cancels are honoured, the queue is bounded, what was sent is answered (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_IN_FLIGHT: "1000" } });
    const client = await door.client();
    await client.call(submitOrder, order("before"));
    door.toRedis.stall();
    const onItsWay = client.call(submitOrder, order("on-its-way"));
    await waiting(door, 1);
    const expired = refusalOf(client.call(submitOrder, order("expired"), { deadlineMs: 300 }));
    const cancelled = refusalOf(
      client.call(submitOrder, order("cancelled"), {
        onCall: (call) => void waiting(door, 4).then(() => call.cancel()),
      }),
    );
    const late = client.call(submitOrder, order("late"), { deadlineMs: 30_000 });
    assert.equal((await expired).code, "DEADLINE_EXCEEDED");
    assert.equal((await cancelled).code, "CANCELLED");
    await waiting(door, 4);
    const orders = Array.from({ length: 997 }, (_, i) => order(`too-many-${i}`));
    assert.equal((await refusalOf(client.call(submitOrders, { orders }))).code, "RESOURCE_EXHAUSTED");
    door.toRedis.cut();
    assert.equal((await onItsWay).duplicate, false);
    assert.equal((await late).duplicate, false);
    assert.deepEqual(await door.logged(), ["instrument", "before", "on-its-way", "late"]);
    await waiting(door, 0);
  });

  test("Redis or Postgres away: UNAVAILABLE with a time to come again, and by itself it goes on (I11)", async (t) => {
    const door = await Door.open(t);
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("before"));
    const byName = { symbol: "BTC-USD", clientOrderId: "before" };
    const away = async (...calls: Promise<unknown>[]) => {
      for (const { code, retryAfterMs, message } of await refusalsOf(...calls)) {
        assert.equal(code, "UNAVAILABLE", message);
        assert.ok(retryAfterMs! > 0);
      }
    };
    door.toPostgres.closed = true;
    await away(
      client.call(getOrder, { orderId }),
      client.call(listOrders, {}),
      client.call(cancelOrder, { orderId, clientRequestId: "1" }),
    );
    await away(door.anyone().call(issueToken, { account: "demo", secret: "x" }));
    assert.equal((await client.call(submitOrder, order("without-Postgres"))).duplicate, false);
    door.toPostgres.closed = false;
    const found = await eventually(async () => client.call(getOrder, { orderId }).catch(() => undefined), "Postgres");
    assert.equal(found.order?.clientOrderId, "before");

    door.toRedis.closed = true;
    await away(client.call(submitOrder, order("away")), client.call(getOrder, byName), client.call(listOrders, {}));
    assert.equal((await fetch(`${door.ingest.http}/readyz`)).status, 503);
    assert.equal((await fetch(`${door.ingest.http}/healthz`)).status, 200);
    door.toRedis.closed = false;
    await eventually(async () => client.call(submitOrder, order("back")).catch(() => undefined), "the log");
    await client.call(getOrder, byName);

    // A restarted Redis is opened against the journal: until that is there the partition is shut, and /readyz says so.
    door.toPostgres.closed = true;
    await door.server.restart();
    await away(client.call(submitOrder, order("shut")));
    const ready = () => fetch(`${door.ingest.http}/readyz`);
    assert.deepEqual(Object.keys(((await (await ready()).json()) as { failing: object }).failing), ["log"]);
    door.toPostgres.closed = false;
    await eventually(async () => (await ready()).ok, "the log to be opened by itself");
    assert.deepEqual(
      (await door.logged()).filter((id) => id !== "away"),
      ["instrument", "before", "without-Postgres", "back"],
    );
    assert.doesNotMatch(door.ingest.lines.join("\n"), /"level":"error"/);
  });

  test("a Postgres that says nothing: a call without a deadline ends all the same, and orders are taken (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_REQUEST_TIMEOUT_MS: "1500" } });
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("before"));
    door.toPostgres.stall();
    const read = refusalOf(client.call(getOrder, { orderId }));
    assert.equal((await client.call(submitOrder, order("meanwhile"))).duplicate, false);
    const refusal = await read;
    assert.equal(refusal.code, "DEADLINE_EXCEEDED");
    // Also true of a call that carries no id, as this one.
    assert.match(
      refusal.message,
      /outcome is unknown; where the request carries an id, send it again with the same one/,
    );
    door.toPostgres.cut();
    const found = await eventually(async () => client.call(getOrder, { orderId }).catch(() => undefined), "Postgres");
    assert.equal(found.order?.clientOrderId, "before");
  });

  test("a list says up to where it is complete, in the epoch of the entry there", async (t) => {
    const level = { env: { PENSTOCK_DURABILITY: "everysec" }, redis: ["--appendfsync", "everysec"] };
    const door = await Door.open(t, level);
    const client = await door.client();
    await client.call(submitOrder, order("first"));
    await door.server.restart();
    await eventually(async () => client.call(submitOrder, order("second")).catch(() => undefined), "the log");
    const entries = (await door.redis.xrange(KEYS.orders, "-", "+")).map(([id]) => id);
    const asOf = async () => {
      const [place] = (await client.call(listOrders, {})).asOf;
      return [place?.epoch, place?.entryId];
    };
    assert.deepEqual(await asOf(), [0, "0-0"], "nothing was written yet");
    // The entries are the instrument and the first order in epoch 1, and the second order in epoch 2.
    for (const [i, epoch] of [1, 2, 2].entries()) {
      await door.redis.xreadgroup("GROUP", PERSIST_GROUP, "hand", "COUNT", 1, "STREAMS", KEYS.orders, ">");
      await door.redis.xack(KEYS.orders, PERSIST_GROUP, entries[i]!);
      assert.deepEqual(await asOf(), [epoch, entries[i]]);
    }
  });

  test("a group that falls behind: new orders are refused, cancels are taken; orders again when it has caught up (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_BACKLOG: "3" } });
    const client = await door.client();
    const { orderId } = await client.call(submitOrder, order("first"));
    let n = 0;
    const refusal = await eventually(async () => {
      try {
        await client.call(submitOrder, order(`more-${n++}`));
        return undefined;
      } catch (error) {
        assert.ok(error instanceof Refusal);
        return error;
      }
    }, "a refusal");
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.match(refusal.message, /group persist of the orders of partition 0 is more than 3 entries behind/);
    assert.ok(refusal.retryAfterMs! > 0);
    assert.equal((await refusalOf(client.call(submitOrders, { orders: [order("batch")] }))).code, "RESOURCE_EXHAUSTED");
    assert.equal((await client.call(cancelOrder, { orderId, clientRequestId: "1" })).duplicate, false);
    const admin = await door.client("root", "admin");
    assert.match((await admin.call(getPipelineStatus, {})).refusing, /entries behind/);
    await door.work();
    await eventually(
      async () => client.call(submitOrder, order("again")).catch(() => undefined),
      "orders to be taken again",
    );
    assert.ok(!(await door.logged()).includes("batch"));
  });

  test("what one partition has piled up stands in the way of its own orders alone (I11)", async (t) => {
    const door = await Door.open(t, { env: { PENSTOCK_MAX_BACKLOG: "3", PENSTOCK_PARTITIONS: "2" } });
    await door.define("ETH-USD"); // in the other one
    const client = await door.client();
    const first = { symbol: "BTC-USD", clientOrderId: "0" };
    let n = 0;
    const refusal = await eventually(async () => {
      const outcome = await client.call(submitOrder, order(String(n++))).catch((error: unknown) => error);
      return outcome instanceof Refusal && outcome;
    }, "a refusal");
    assert.equal(refusal.code, "RESOURCE_EXHAUSTED");
    assert.match(refusal.message, /partition 0 is more than 3 entries behind/);
    assert.ok(refusal.retryAfterMs! > 0);
    const other = { symbol: "ETH-USD" };
    await client.call(submitOrder, order("other", other));
    const { results } = await client.call(submitOrders, { orders: [order("batch"), order("beside", other)] });
    assert.deepEqual(
      results.map(({ result }) => [result.case, result.case === "refused" && result.value.code]),
      [
        ["refused", 8],
        ["accepted", false],
      ],
    );
    const replace = client.call(replaceOrder, { ...first, clientRequestId: "1", quantity: "0.2" });
    assert.equal((await refusalOf(replace)).code, "RESOURCE_EXHAUSTED");
    await client.call(cancelOrder, { ...first, clientRequestId: "2" });
    const admin = await door.client("root", "admin");
    const { refusing } = await admin.call(getPipelineStatus, {});
    assert.equal(refusal.message, `RESOURCE_EXHAUSTED: ${refusing}`);
  });

  test("SIGTERM while calls are under way: what was taken is answered, and it ends with 0 (I1)", async (t) => {
    const door = await Door.open(t);
    const clients = await Promise.all([1, 2, 3].map(() => door.client()));
    const answered: string[] = [];
    const refusals = new Set<string>();
    let sent = 0;
    const submit = async (client: Caller): Promise<void> => {
      for (;;) {
        const id = `o-${sent++}`;
        try {
          await client.call(submitOrder, order(id));
          answered.push(id);
        } catch (error) {
          assert.ok(error instanceof Refusal);
          refusals.add(error.code);
          return;
        }
      }
    };
    const loops = clients.flatMap((client) => Array.from({ length: 30 }, () => submit(client)));
    await eventually(async () => answered.length > 500, "some orders");
    assert.equal(await door.ingest.stop(), 0);
    await Promise.all(loops);
    assert.deepEqual([...refusals], ["UNAVAILABLE"]);
    const logged = (await door.logged()).slice(1);
    assert.equal(new Set(logged).size, logged.length);
    assert.deepEqual(logged.sort(), answered.sort());
    assert.doesNotMatch(door.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
  });
});

/** Waits until so many commands wait for the log. */
async function waiting({ ingest }: Door, commands: number): Promise<void> {
  const metric = new RegExp(`^penstock_waiting_commands(\\{.*\\})? ${commands}$`, "m");
  await eventually(
    async () => metric.test(await (await fetch(`${ingest.http}/metrics`)).text()),
    `${commands} waiting commands`,
  );
}
