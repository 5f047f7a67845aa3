/**
 * The HTTP port of ingest over real sockets: Connect, gRPC-Web, JSON and fetch; in clear, and under TLS with HTTP/1.1 and
 * HTTP/2. What was tried against it stands in http-door-attacks.test.ts.
 *
 * - I2 an id is recognised whichever door and protocol it came through first
 * - I11 overload and faults give a clear error in every protocol
 * - I12 an account sees and touches its own orders only
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { connect } from "node:tls";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { MarketDataService } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderStatus, OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { Caller, Refusal, refusalOf, refusalsOf } from "./support/caller.ts";
import { TestCertificate } from "./support/certificates.ts";
import { HttpCaller, WAYS } from "./support/http-caller.ts";
import type { ErrorJson, HttpCallerOptions } from "./support/http-caller.ts";
import { defineInstrument, eventually, startConsumers, startIngest, tokenOf } from "./support/pipeline.ts";
import type { Ingest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { message } from "./support/raw-http2.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

const { submitOrder, submitOrders, cancelOrder, getOrder, listOrders } = OrderService.method;
const { createAccount, getPipelineStatus } = AdminService.method;

const SYMBOL = "BTC-USD";
const ORDER = { symbol: SYMBOL, side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
const order = (clientOrderId: string, fields: object = {}) => ({ ...ORDER, clientOrderId, ...fields });

/** Whatever speaks to a door: the gRPC one too. */
type AnyCaller = Pick<HttpCaller, "call">;

interface ScenarioOptions {
  readonly account: string;
  /** A client with this token, or with none. */
  readonly client: (token?: string) => AnyCaller;
}

/** What a client does in its first hour. Needs BTC-USD, and workers. */
async function scenario({ account, client }: ScenarioOptions): Promise<void> {
  const admin = client(await tokenOf("root", "admin"));
  const { secret } = await admin.call(createAccount, { account, role: Role.TRADER });
  const wrong = await refusalOf(client().call(AuthService.method.issueToken, { account, secret: `${secret}x` }));
  assert.equal(wrong.code, "UNAUTHENTICATED");
  const { token } = await client().call(AuthService.method.issueToken, { account, secret });
  const trader = client(token);

  const { instruments } = await trader.call(MarketDataService.method.listInstruments, {});
  assert.ok(instruments.some(({ symbol }) => symbol === SYMBOL));

  const first = await trader.call(submitOrder, order("first"));
  assert.deepEqual([first.clientOrderId, first.status, first.duplicate], ["first", OrderStatus.PENDING_NEW, false]);
  const again = await trader.call(submitOrder, order("first"));
  assert.deepEqual([again.orderId, again.createdAt, again.duplicate], [first.orderId, first.createdAt, true]);
  assert.equal((await refusalOf(trader.call(submitOrder, order("first", { price: "7" })))).code, "ALREADY_EXISTS");

  const invalid = await refusalOf(trader.call(submitOrder, order("bad", { quantity: "", price: "1e3", side: 9 })));
  assert.equal(invalid.code, "INVALID_ARGUMENT");
  assert.deepEqual(invalid.fields, ["price", "quantity", "side"]);
  assert.equal((await refusalOf(client().call(submitOrder, order("nobody")))).code, "UNAUTHENTICATED");
  assert.equal((await refusalOf(trader.call(getPipelineStatus, {}))).code, "PERMISSION_DENIED");

  const { results } = await trader.call(submitOrders, {
    orders: [order("batch-1"), order("batch-2", { price: "1.001" }), order("batch-3")],
  });
  assert.deepEqual(
    results.map(({ result }) => result.case),
    ["accepted", "refused", "accepted"],
  );
  const bad = results[1]!.result;
  assert.ok(bad.case === "refused");
  assert.equal(bad.value.code, 3);
  assert.equal(bad.value.details[0]?.typeUrl, "type.googleapis.com/google.rpc.BadRequest");

  const cancel = await trader.call(cancelOrder, { clientRequestId: "c-1", orderId: first.orderId });
  assert.equal(cancel.duplicate, false);
  const got = await trader.call(getOrder, { symbol: SYMBOL, clientOrderId: "first" });
  assert.deepEqual([got.order?.orderId, got.order?.account, got.order?.price], [first.orderId, account, "100.25"]);
  assert.equal((await refusalOf(trader.call(getOrder, { symbol: SYMBOL, clientOrderId: "none" }))).code, "NOT_FOUND");
  const listed = await eventually(async () => {
    const { orders } = await trader.call(listOrders, {});
    return orders.length === 3 && orders;
  }, "the rows");
  assert.deepEqual(
    listed.map(({ clientOrderId }) => clientOrderId),
    ["batch-3", "batch-1", "first"],
  );
}

const slug = (text: string) => text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");

test("the HTTP door", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const [toRedis, toPostgres] = await Promise.all([Proxy.start(t, redis.url), Proxy.start(t, databaseUrl)]);
  const certificate = new TestCertificate(t);
  const ca = certificate.ca;
  const servers = { redisUrl: redis.url, databaseUrl };
  const [clear, secure, shaky] = await Promise.all([
    startIngest(t, servers),
    startIngest(t, {
      ...servers,
      env: {
        PENSTOCK_TLS_CERT_FILE: certificate.certFile,
        PENSTOCK_TLS_KEY_FILE: certificate.keyFile,
      },
    }),
    // Its ways to Redis and Postgres can fail.
    startIngest(t, {
      redisUrl: toRedis.url,
      databaseUrl: toPostgres.url,
      env: {
        PENSTOCK_REQUEST_TIMEOUT_MS: "3000",
        PENSTOCK_CORS_ORIGINS: "https://trade.example, http://localhost:5173",
      },
    }),
    startConsumers(t, servers),
  ]);
  await defineInstrument(clear);
  const token = await tokenOf("demo");
  const authorization = `Bearer ${token}`;

  const over = (ingest: Ingest, options: HttpCallerOptions) => (token?: string) =>
    new HttpCaller(t, ingest.http, { ...options, token });
  const ways: [string, ScenarioOptions["client"]][] = WAYS.map((way) => [way, over(clear, { way })]);
  for (const way of ["Connect", "gRPC-Web", "Connect JSON"] as const) {
    ways.push([`${way} by HTTP/2`, over(secure, { way, http2: true, ca })]);
  }
  ways.push(["Connect by HTTP/1.1 and TLS", over(secure, { way: "Connect", ca })]);
  ways.push([
    "gRPC",
    (token) => {
      const caller = new Caller(clear.address, token && `Bearer ${token}`);
      t.after(() => caller.close());
      return caller;
    },
  ]);
  await Promise.all(
    ways.map(([name, client]) =>
      t.test(`one scenario by ${name} (I2)`, () => scenario({ account: slug(name), client })),
    ),
  );

  await t.test("an id that came by one door is known at the other", async () => {
    const token = await tokenOf("both-doors");
    const caller = new Caller(clear.address, `Bearer ${token}`);
    t.after(() => caller.close());
    const { orderId } = await caller.call(submitOrder, order("both"));
    const again = await new HttpCaller(t, secure.http, { way: "gRPC-Web", http2: true, ca, token }).call(
      submitOrder,
      order("both"),
    );
    assert.deepEqual([again.orderId, again.duplicate], [orderId, true]);
  });

  await t.test("another account's order is not there (I12)", async () => {
    const owner = new HttpCaller(t, clear.http, { way: "Connect", token: await tokenOf("owner") });
    const { orderId } = await owner.call(submitOrder, order("mine"));
    for (const way of ["Connect JSON", "gRPC-Web"] as const) {
      const thief = new HttpCaller(t, clear.http, { way, token: await tokenOf("thief") });
      const refusals = await refusalsOf(
        thief.call(getOrder, { orderId }),
        thief.call(cancelOrder, { orderId, clientRequestId: "x" }),
        thief.call(getOrder, { symbol: SYMBOL, clientOrderId: "mine" }),
      );
      for (const { code } of refusals) assert.equal(code, "NOT_FOUND");
    }
    assert.equal((await owner.call(getOrder, { orderId })).order?.clientOrderId, "mine");
  });

  await t.test("a renewed certificate is used without a restart, and open connections go on", async () => {
    const token = await tokenOf("renewer");
    const held = new HttpCaller(t, secure.http, { way: "Connect", http2: true, ca, token });
    await held.call(submitOrder, order("before"));
    certificate.renew();
    await eventually(
      async () => (await fingerprint(secure.http)) === fingerprintOf(certificate.ca),
      "the new certificate",
    );
    await held.call(submitOrder, order("meanwhile"));
    const fresh = certificate.ca;
    for (const http2 of [true, false]) {
      const caller = new HttpCaller(t, secure.http, { way: "Connect", http2, ca: fresh, token });
      assert.equal((await caller.call(submitOrder, order("before"))).duplicate, true);
    }
  });

  await t.test("deadlines: the client's, and ours where it gives none or a later one", async () => {
    const { orderId } = await new HttpCaller(t, shaky.http, { way: "fetch", token }).call(submitOrder, order("one"));
    toPostgres.stall();
    await Promise.all(
      WAYS.flatMap((way) =>
        (["soon", "late", "none"] as const).map(async (deadline) => {
          // The late one goes by hand: connect's client would overflow.
          const caller = new HttpCaller(t, shaky.http, { way, token, headers: deadline === "late" ? LATE : {} });
          const begun = performance.now();
          const call = caller.call(getOrder, { orderId }, deadline === "soon" ? { deadlineMs: 200 } : {});
          const { code, message } = await refusalOf(call);
          assert.equal(code, "DEADLINE_EXCEEDED", `${way} ${deadline}`);
          // Also true of a call that carries no id, as this one.
          if (deadline !== "soon") assert.match(message, /where the request carries an id, send it again/);
          assert.ok(performance.now() - begun > (deadline === "soon" ? 150 : 2_900), `${way} ${deadline}`);
        }),
      ),
    );
    toPostgres.cut();
    const caller = new HttpCaller(t, shaky.http, { way: "fetch", token });
    await eventually(() => caller.call(getOrder, { orderId }).catch(() => undefined), "Postgres");
    for (const value of ["-1", "1e3", "soon", ""]) {
      const wrong = new HttpCaller(t, shaky.http, { way: "fetch", token, headers: { "connect-timeout-ms": value } });
      assert.equal((await refusalOf(wrong.call(getOrder, { orderId }))).code, "INVALID_ARGUMENT", value);
    }
  });

  await t.test(
    "a server that is away: UNAVAILABLE, when to come again, and under which id it was logged (I11)",
    async () => {
      toPostgres.closed = true;
      for (const way of WAYS) {
        const caller = new HttpCaller(t, shaky.http, { way, token, headers: { "x-request-id": `id-${way}` } });
        const refusal = await refusalOf(caller.call(listOrders, {}));
        assert.equal(refusal.code, "UNAVAILABLE", way);
        assert.ok(refusal.retryAfterMs! > 0, way);
        assert.ok(
          shaky.lines.some((line) => line.includes(`"requestId":"id-${way}"`)),
          way,
        );
      }
      const response = await post(shaky, "OrderService/ListOrders", "{}", { authorization: `Bearer ${token}` });
      assert.equal(response.status, 503);
      const id = response.headers.get("x-request-id") ?? "";
      assert.match(id, /^[0-9a-f-]{36}$/);
      assert.ok(shaky.lines.some((line) => line.includes(id)));
      await response.text();
      toPostgres.closed = false;
    },
  );

  await t.test("what is not a call is told so, and each refusal is counted", async () => {
    const good = JSON.stringify({ symbol: SYMBOL, clientOrderId: "g" });
    const answers: [string, string, Record<string, string>, number, string, RegExp][] = [
      ["", good, { "content-type": "text/plain" }, 415, "invalid_argument", /content-type/],
      ["", good, { "content-type": "application/grpc" }, 415, "invalid_argument", /content-type/],
      ["", "", {}, 400, "invalid_argument", /Unexpected end of JSON/],
      ["", "[]", {}, 400, "invalid_argument", /GetOrderRequest/],
      ["", "{", {}, 400, "invalid_argument", /JSON/],
      ["", '{"ordr_id": "x"}', {}, 400, "invalid_argument", /key "ordr_id" is unknown/],
      ["", '{"orderId": 7}', {}, 400, "invalid_argument", /order_id from JSON: expected string/],
      ["", '{"__proto__": {"a": 1}}', {}, 400, "invalid_argument", /unknown/],
      ["", "[".repeat(200_000), {}, 400, "invalid_argument", /JSON/],
      ["SubmitOrder", '{"side": "SIDE_BOTH"}', {}, 400, "invalid_argument", /Side from JSON: "SIDE_BOTH"/],
      ["SubmitOrder", '{"quantity": 0.1}', {}, 400, "invalid_argument", /quantity from JSON: expected string/],
      ["", "\xff", { "content-type": "application/proto" }, 400, "invalid_argument", /binary/],
      ["", "\x0b".repeat(100_000), { "content-type": "application/proto" }, 400, "invalid_argument", /binary/],
      ["", good, { "content-encoding": "gzip" }, 400, "invalid_argument", /decompress/],
      ["", good, { "content-encoding": "deflate" }, 501, "unimplemented", /gzip,br/],
      ["", good, { authorization: "" }, 401, "unauthenticated", /Bearer/],
    ];
    for (const [name, body, headers, status, code, message] of answers) {
      const path = `OrderService/${name || "GetOrder"}`;
      const response = await post(clear, path, body, { authorization, ...headers });
      const json = (await response.json()) as { code: string; message: string };
      assert.deepEqual([response.status, json.code], [status, code], JSON.stringify({ body: body.slice(0, 60), json }));
      assert.match(json.message, message);
      assert.doesNotMatch(JSON.stringify(json), /node_modules|\.[jt]s:|    at /);
    }
    // Half a character, which no trailer of gRPC-Web can hold.
    const half = await post(clear, "OrderService/SubmitOrder", message(Buffer.from('{"\\ud800": 1}')).toString(), {
      ...{ authorization, "content-type": "application/grpc-web+json" },
    });
    assert.equal(half.status, 200);
    assert.match(await half.text(), /grpc-status: 3\r\n/);
    for (const [method, path, status] of [
      ["GET", "/penstock.v1.OrderService/GetOrder", 405],
      ["PUT", "/penstock.v1.OrderService/GetOrder", 405],
      ["OPTIONS", "/penstock.v1.OrderService/GetOrder", 405],
      ["POST", "/penstock.v1.OrderService/Nothing", 404],
      ["POST", "/penstock.v1.OrderService/StreamOrders", 404],
      ["POST", "/penstock.v1.OrderService/getOrder", 404],
      ["POST", "//penstock.v1.OrderService/GetOrder", 404],
      ["POST", "/healthz", 405],
    ] as const) {
      const response = await fetch(clear.http + path, { method });
      await response.text();
      assert.equal(response.status, status, `${method} ${path}`);
      if (status === 405) assert.match(response.headers.get("allow") ?? "", /POST|GET, HEAD/);
    }
    // connect's clients take a 404 for what it says: UNIMPLEMENTED.
    const stream = await post(clear, "OrderService/StreamOrders", "", { authorization });
    assert.equal(((await stream.json()) as ErrorJson).code, "unimplemented");
    const text = await (await fetch(`${clear.http}/metrics`)).text();
    const counted = (code: string) =>
      Number(
        new RegExp(`^penstock_requests_total\\{method="GetOrder",code="${code}".*\\} (\\d+)$`, "m").exec(text)?.[1],
      );
    assert.deepEqual([counted("INVALID_ARGUMENT"), counted("UNIMPLEMENTED"), counted("UNAUTHENTICATED")], [10, 1, 1]);
    const lines = clear.lines.filter((line) => !line.includes("an admin's call was refused"));
    assert.doesNotMatch(lines.join("\n"), /"level":"(warn|error)"/);
  });

  await t.test("CORS: pages of the configured origins may call, and read what they need", async () => {
    const preflight = (ingest: Ingest, origin: string) =>
      fetch(`${ingest.http}/penstock.v1.OrderService/SubmitOrder`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "authorization,connect-protocol-version,content-type",
        },
      });
    for (const [ingest, origin, allowed] of [
      [shaky, "https://trade.example", "https://trade.example"],
      [shaky, "http://localhost:5173", "http://localhost:5173"],
      [shaky, "https://trade.example.evil.example", null],
      [shaky, "http://trade.example", null],
      [shaky, "null", null],
      [clear, "https://trade.example", null],
    ] as const) {
      const answer = await preflight(ingest, origin);
      assert.equal(answer.headers.get("access-control-allow-origin"), allowed, origin);
      assert.equal(answer.status, allowed === null ? 403 : 204);
      const headers = answer.headers.get("access-control-allow-headers")?.toLowerCase().split(", ") ?? [];
      for (const name of ["authorization", "content-type", "connect-protocol-version", "x-grpc-web", "grpc-timeout"]) {
        assert.equal(headers.includes(name), allowed !== null, name);
      }
      // A browser's call: it comes with what fetch adds there, and in case of an error too must be readable.
      for (const token of [authorization, "Bearer none"]) {
        const call = await post(ingest, "OrderService/SubmitOrder", JSON.stringify(BROWSER_ORDER), {
          ...{ origin, authorization: token, "connect-protocol-version": "1", "sec-fetch-mode": "cors" },
          ...{ "sec-fetch-site": "cross-site", "accept-encoding": "gzip, deflate, br, zstd", accept: "*/*" },
        });
        assert.equal(call.status, token === authorization ? 200 : 401);
        assert.equal(call.headers.get("access-control-allow-origin"), allowed);
        assert.equal(
          /grpc-status-details-bin/i.test(call.headers.get("access-control-expose-headers") ?? ""),
          allowed !== null,
        );
        assert.equal(call.headers.get("access-control-allow-credentials"), null);
        assert.equal(call.headers.get("vary"), ingest === shaky ? "Origin" : null);
        await call.text();
      }
    }
  });

  await t.test("answers are compressed for who takes that, and only where it is worth it", async () => {
    const orders = (from: number) =>
      JSON.stringify({
        orders: Array.from({ length: 100 }, (_, i) => ({ ...BROWSER_ORDER, clientOrderId: `o-${from + i}` })),
      });
    for (const [i, encoding] of ["gzip", "br", "identity"].entries()) {
      const headers = { authorization, "accept-encoding": encoding };
      const many = await post(clear, "OrderService/SubmitOrders", orders(100 * i), headers);
      assert.equal(many.headers.get("content-encoding"), encoding === "identity" ? null : encoding);
      const { results } = (await many.json()) as { results: { accepted: object }[] };
      assert.equal(results.filter(({ accepted }) => accepted !== undefined).length, 100);
      const one = await post(clear, "OrderService/SubmitOrder", JSON.stringify(BROWSER_ORDER), headers);
      assert.equal(one.headers.get("content-encoding"), null);
      await one.text();
    }
  });

  await t.test("SIGTERM: /readyz says so first, what was taken is answered, and it ends with 0 (I1)", async () => {
    const caller = () => new HttpCaller(t, shaky.http, { way: "Connect", token });
    const [one, two] = [caller(), caller()];
    await one.call(submitOrder, order("before"));
    toRedis.stall();
    const onItsWay = one.call(submitOrder, order("on-its-way"));
    await eventually(
      async () => /^penstock_waiting_commands\{.*\} 1$/m.test(await (await fetch(`${shaky.http}/metrics`)).text()),
      "the order at the log",
    );
    shaky.signal("SIGTERM");
    const late = await eventually(async () => {
      const refusal = await two.call(submitOrder, order("late"), { deadlineMs: 200 }).then(
        () => undefined,
        (error: unknown) => error,
      );
      return refusal instanceof Refusal && refusal.code === "UNAVAILABLE" && refusal;
    }, "the closed door");
    assert.ok(late.retryAfterMs! > 0);
    const ready = await fetch(`${shaky.http}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /"doors":/);
    toRedis.cut();
    assert.equal((await onItsWay).duplicate, false);
    assert.equal(await shaky.exited, 0);
  });
});

const BROWSER_ORDER = {
  ...{ symbol: SYMBOL, clientOrderId: "browser", side: "SIDE_BUY", type: "ORDER_TYPE_LIMIT" },
  ...{ quantity: "0.1", price: "100" },
};
const LATE = { "connect-timeout-ms": "9999999999", "grpc-timeout": "99999999H" };

function post(ingest: Ingest, path: string, body: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${ingest.http}/penstock.v1.${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
}

/** Of the certificate that a new connection meets. */
async function fingerprint(url: string): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(url).port), rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerCertificate().fingerprint256;
  } finally {
    socket.destroy();
  }
}

function fingerprintOf(certificate: Buffer): string {
  return new X509Certificate(certificate).fingerprint256;
}
