import assert from "node:assert/strict";
import { test } from "node:test";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { MarketDataService } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderStatus, OrderType, TimeInForce } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { refusalOf, refusalsOf } from "./support/caller.ts";
import { Door, KEYS, order } from "./support/door.ts";
import { eventually } from "./support/pipeline.ts";

/** The gRPC door over real sockets: an ingest process, and clients in this one. What it takes and what it refuses. */

const { submitOrder, submitOrders, cancelOrder, replaceOrder, cancelAllOrders, getOrder, listOrders } =
  OrderService.method;
const { upsertInstrument } = AdminService.method;
const { listInstruments } = MarketDataService.method;

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
