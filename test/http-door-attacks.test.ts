/**
 * What was tried against the HTTP door: bodies, compression, envelopes, hosts, tokens. After each the door serves a good call,
 * and in the end it holds no more memory than it needs. (Connections, headers and frames: src/runtime/http-listener.test.ts.)
 */
import assert from "node:assert/strict";
import { createSecretKey, randomBytes } from "node:crypto";
import { test } from "node:test";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { create, toBinary } from "@bufbuild/protobuf";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService, SubmitOrderRequestSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { TokenService } from "../src/ingest/auth/tokens.ts";
import { refusalOf } from "./support/caller.ts";
import { TestCertificate } from "./support/certificates.ts";
import { HttpCaller, WAYS } from "./support/http-caller.ts";
import { defineInstrument, startIngest, tokenOf } from "./support/pipeline.ts";
import { callFrame, frame, OPENING, RawConnection } from "./support/raw.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";
import { until } from "./support/until.ts";

const { submitOrder, getOrder } = OrderService.method;
const PATH = "/penstock.v1.OrderService/SubmitOrder";
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
const MAX_BYTES = 1_048_576;
/** Of a call and of receiving it. */
const TIMEOUT_MS = 3_000;
/** What a test of this size may leave behind in a process: buffers, compiled code, garbage not collected yet. */
const GROWTH_BYTES = 250 * 1_048_576;

test("the HTTP door under attack", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const servers = { redisUrl: redis.url, databaseUrl };
  const certificate = new TestCertificate(t);
  const env = { PENSTOCK_REQUEST_TIMEOUT_MS: String(TIMEOUT_MS) };
  const tls = { PENSTOCK_TLS_CERT_FILE: certificate.certFile, PENSTOCK_TLS_KEY_FILE: certificate.keyFile };
  const [clear, secure] = await Promise.all([
    startIngest(t, { ...servers, env }),
    startIngest(t, { ...servers, env: { ...env, ...tls } }),
  ]);
  await defineInstrument(clear);
  const token = await tokenOf("demo");
  const authorization = `Bearer ${token}`;

  let calls = 0;
  /** Both doors take a good order. */
  const serves = async (): Promise<void> => {
    const options = { way: "Connect JSON", token } as const;
    for (const caller of [
      new HttpCaller(t, clear.http, options),
      new HttpCaller(t, secure.http, { ...options, http2: true, ca: certificate.ca }),
    ]) {
      const answer = await caller.call(submitOrder, { ...ORDER, clientOrderId: `good-${calls++}` });
      assert.equal(answer.duplicate, false);
    }
  };
  const memory = async (): Promise<number> => {
    const metrics = await (await fetch(`${clear.http}/metrics`)).text();
    return Number(/^process_resident_memory_bytes\{.*\} (\d+)$/m.exec(metrics)?.[1]);
  };
  /** The answer to a body, by its protocol: the HTTP status and the code. */
  const answered = async (body: Buffer, headers: Record<string, string>, path = PATH): Promise<string> => {
    const response = await fetch(clear.http + path, {
      method: "POST",
      headers: { authorization, ...headers },
      body: new Uint8Array(body),
    });
    const bytes = await response.text();
    const code = /grpc-status: (\d+)/.exec(bytes)?.[1] ?? /"code":"(\w+)"/.exec(bytes)?.[1];
    return `${response.status} ${code}`;
  };
  const head = (more: string, token = authorization) =>
    `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: ${token}\r\n${more}\r\n`;

  await serves();
  const before = await memory();

  await t.test("bodies that are too large, endless or slow", async () => {
    // [what comes at once, what comes every 20 ms, what it is told]
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    const attempts: [string, string, RegExp][] = [
      // Refused by what it promises, before a byte of it came.
      [head(`content-length: ${MAX_BYTES + 6}\r\n`), "", /^HTTP\/1.1 429 [^]*resource_exhausted/],
      [head("transfer-encoding: chunked\r\n"), chunk, /^HTTP\/1.1 429 [^]*resource_exhausted/],
      [head("content-length: 1000\r\n"), "", /^HTTP\/1.1 (408|504) /],
      [head("content-length: 100000\r\n"), "x", /^HTTP\/1.1 (408|504) /],
      [head("content-length: 1000\r\nconnect-timeout-ms: 300\r\n"), "", /^HTTP\/1.1 504 [^]*deadline_exceeded/],
      // Nothing is read of who may not call.
      [head("transfer-encoding: chunked\r\n", "none"), chunk, /^HTTP\/1.1 401 [^]*unauthenticated/],
      [head("transfer-encoding: chunked\r\n").replace(PATH, "/healthz"), chunk, /^HTTP\/1.1 405 /],
      [head("transfer-encoding: chunked\r\n").replace(PATH, "/none"), chunk, /^HTTP\/1.1 404 /],
      [head("transfer-encoding: chunked\r\ncontent-type: text/plain\r\n"), "not a chunk\r\n", /^HTTP\/1.1 4\d\d /],
    ];
    await Promise.all(
      attempts.map(async ([first, then, told]) => {
        const client = await RawConnection.open(t, clear.http);
        client.write(first);
        if (then !== "") client.drip(then, 20);
        await until(`an answer to ${first.slice(0, 300)}`, () => client.text.includes("\r\n\r\n"));
        assert.match(client.text, told);
        // Who goes on sending is cut when the time for a request is over.
        if (then !== "") await client.closed();
      }),
    );
    // Who needs no token may send less.
    const long = Buffer.from(JSON.stringify({ account: "demo", secret: "x".repeat(5_000) }));
    const path = "/penstock.v1.AuthService/IssueToken";
    assert.equal(await answered(long, { "content-type": "application/json" }, path), "429 resource_exhausted");
    await serves();
  });

  await t.test("the same by HTTP/2", async () => {
    const client = await RawConnection.open(t, secure.http, "h2");
    const headers = { authorization, "content-type": "application/json" };
    client.write(OPENING);
    client.write(callFrame(1, PATH, { end: false, headers: { ...headers, "content-length": "9999999" } }));
    client.write(callFrame(3, PATH, { end: false, headers }));
    client.write(callFrame(5, PATH, { end: false, headers: { ...headers, authorization: "none" } }));
    client.drip(Buffer.concat([1, 3, 5].map((stream) => frame(0, 0, stream, Buffer.alloc(100)))), 20);
    await until("three answers, and the ends of what is sent", () =>
      [1, 3, 5].every((stream) => {
        const frames = client.frames();
        return frames.includes(`HEADERS ${stream}`) && frames.includes(`RST_STREAM ${stream}`);
      }),
    );
    client.socket.destroy();
    await serves();
  });

  await t.test("a body in 100,000 pieces", async () => {
    const order = create(SubmitOrderRequestSchema, {
      ...ORDER,
      clientOrderId: "in-pieces",
      symbol: "X".repeat(99_900),
    });
    const message = Buffer.from(toBinary(SubmitOrderRequestSchema, order));
    const envelope = Buffer.concat([Buffer.from([0]), uint32(message.length), message]).toString("latin1");
    const client = await RawConnection.open(t, clear.http);
    client.write(head("transfer-encoding: chunked\r\n").replace("/json", "/grpc-web+proto"));
    client.write(Buffer.from(`${envelope.replaceAll(/[^]/g, "1\r\n$&\r\n")}0\r\n\r\n`, "latin1"));
    // It was read and looked at in the time that there is.
    await until("the answer", () => client.text.includes("grpc-status: "));
    assert.match(client.text, /^HTTP\/1.1 200 [^]*grpc-status: 3\r/);
    await serves();
  });

  await t.test("clients that go in the middle of a body: what is then written for nobody does no harm", async () => {
    const headers = { authorization, "content-type": "application/json" };
    const call = callFrame(1, PATH, { end: false, headers });
    const gone = async (): Promise<number> => {
      const text = await (await fetch(`${clear.http}/metrics`)).text();
      return Number(/^penstock_requests_total\{method="SubmitOrder",code="ABORTED",.*\} (\d+)$/m.exec(text)?.[1] ?? 0);
    };
    const before = await gone();
    for (let i = 0; i < 20; i++) {
      const one = await RawConnection.open(t, clear.http);
      one.write(head("content-length: 1000\r\nexpect: 100-continue\r\n"));
      const two = await RawConnection.open(t, secure.http, "h2");
      two.write(Buffer.concat([OPENING, call, frame(0, 0, 1, Buffer.from("{"))]));
      await until("the request is there", () => one.text.includes("100 Continue"));
      // Its own settings, and the answer to ours.
      await until("the stream is there", () => two.frames().filter((name) => name === "SETTINGS 0").length === 2);
      one.socket.destroy();
      two.socket.destroy();
    }
    await until("all of them counted", async () => (await gone()) === before + 20);
    await serves();
  });

  await t.test("compression bombs, and what only looks compressed", async () => {
    const zeros = Buffer.alloc(64 * 1_048_576);
    const json = Buffer.from(JSON.stringify({ orders: Array.from({ length: 400_000 }, () => ({})) }));
    const good = Buffer.from(toBinary(SubmitOrderRequestSchema, create(SubmitOrderRequestSchema, ORDER)));
    const [zipped, brotli] = [
      gzipSync(zeros),
      brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
    ];
    const envelope = (bytes: Buffer, flags = 1) => Buffer.concat([Buffer.from([flags]), uint32(bytes.length), bytes]);
    const connect = (encoding: string) => ({ "content-type": "application/json", "content-encoding": encoding });
    const web = (encoding: string) => ({ "content-type": "application/grpc-web+proto", "grpc-encoding": encoding });
    const attempts: [Buffer, Record<string, string>, string][] = [
      [zipped, connect("gzip"), "429 resource_exhausted"],
      [brotli, connect("br"), "429 resource_exhausted"],
      [gzipSync(json), connect("gzip"), "429 resource_exhausted"],
      [gzipSync(zipped), connect("gzip"), "400 invalid_argument"], // it bursts once only, to what is no JSON
      [envelope(zipped), web("gzip"), "200 8"],
      [envelope(brotli), web("br"), "200 8"],
      [gzipSync(good).subarray(0, 20), connect("gzip"), "400 invalid_argument"],
      [good, connect("br"), "400 invalid_argument"],
      [envelope(good), web("gzip"), "200 3"],
      [envelope(good), { "content-type": "application/grpc-web+proto" }, "200 3"],
      [envelope(good), web("snappy"), "200 12"],
    ];
    for (const [body, headers, told] of attempts) {
      assert.equal(await answered(body, headers), told, JSON.stringify(headers));
    }
    await serves();
  });

  await t.test("a kilobyte that holds a megabyte of nothing, of who needs no token", async () => {
    const nothing = gzipSync(Buffer.alloc(MAX_BYTES - 2, Buffer.from([0x78, 0x00]))); // field 15 again and again
    const attempts = Array.from({ length: 20 }, async () => {
      const response = await fetch(`${clear.http}/penstock.v1.AuthService/IssueToken`, {
        method: "POST",
        headers: { "content-type": "application/proto", "content-encoding": "gzip" },
        body: new Uint8Array(nothing),
      });
      assert.equal(response.status, 429);
      // No more than that was unpacked.
      assert.match(await response.text(), /larger than configured readMaxBytes 4096 /);
    });
    await Promise.all(attempts);
    await serves();
  });

  await t.test("malformed envelopes and messages", async () => {
    const good = Buffer.from(
      toBinary(SubmitOrderRequestSchema, create(SubmitOrderRequestSchema, { ...ORDER, clientOrderId: "enveloped" })),
    );
    const header = (flags: number, length: number) => Buffer.concat([Buffer.from([flags]), uint32(length)]);
    const whole = Buffer.concat([header(0, good.length), good]);
    const attempts: [Buffer, string][] = [
      [Buffer.alloc(0), "12"],
      [Buffer.from([0, 0]), "3"],
      [header(0, 10), "12"], // to connect a message that has not begun is none
      [Buffer.concat([header(0, good.length + 1), good]), "3"],
      [Buffer.concat([header(0, good.length - 1), good]), "3"],
      [header(0, 0xffff_ffff), "8"],
      [header(0, MAX_BYTES + 1), "8"],
      [Buffer.concat([whole, whole]), "12"],
      [Buffer.concat(Array.from({ length: 100_000 }, () => header(0, 0))), "12"],
      [header(0x80, 0), "12"],
      [header(0, 0), "3"],
      [Buffer.concat([header(0, 100), randomBytes(100)]), "3"],
      [Buffer.concat([header(0, 100_000), Buffer.alloc(100_000, 0x0b)]), "3"],
    ];
    for (const [body, status] of attempts) {
      const told = await answered(body, { "content-type": "application/grpc-web+proto" });
      assert.equal(told, `200 ${status}`, body.subarray(0, 20).toString("hex"));
    }
    assert.equal(await answered(whole, { "content-type": "application/grpc-web+proto" }), "200 0");
    assert.equal(await answered(whole, { "content-type": "application/grpc-web-text" }), "415 invalid_argument");
    // As many orders as fit, each of two bytes: refused for their number.
    const tiny = Buffer.concat(Array.from({ length: MAX_BYTES / 2 }, () => Buffer.from([0x0a, 0])));
    const batch = "/penstock.v1.OrderService/SubmitOrders";
    const proto = { "content-type": "application/proto" };
    const json = { "content-type": "application/json" };
    const objects = Buffer.from(`{"orders":[${"{},".repeat(349_000)}{}]}`);
    const gzip = { "content-encoding": "gzip" };
    for (const [body, headers] of [
      [tiny, proto],
      [gzipSync(tiny), { ...proto, ...gzip }],
      [objects, json],
      [gzipSync(objects), { ...json, ...gzip }],
    ] as const) {
      assert.equal(await answered(body, headers, batch), "400 invalid_argument");
    }
    // A second message, which connect would have decoded before it refused it (as 12).
    const two = Buffer.concat([header(0, 0), header(0, 500_000), tiny.subarray(0, 500_000)]);
    const web = { "content-type": "application/grpc-web+proto" };
    assert.equal(await answered(two, web, batch), "200 3");
    await serves();
  });

  await t.test("hosts and targets that are none", async () => {
    const body = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    const attempts: [string, RegExp][] = [
      [`POST ${PATH} HTTP/1.1\r\nhost: [\r\n${body}`, /^HTTP\/1.1 400 /],
      [`POST ${PATH} HTTP/1.1\r\nhost: a b:x\r\n${body}`, /^HTTP\/1.1 400 /],
      [`POST ${PATH} HTTP/1.1\r\nhost: a\r\nhost: b\r\n${body}`, /^HTTP\/1.1 4\d\d /],
      [`POST ${PATH} HTTP/1.1\r\nhost:\r\n${body}`, /^HTTP\/1.1 400 /],
      [`POST ${PATH} HTTP/1.0\r\n${body}`, /^HTTP\/1.1 400 /],
      [`POST http://x${PATH} HTTP/1.1\r\nhost: x\r\n${body}`, /^HTTP\/1.1 404 /],
      [`POST ${PATH}?connect=v1&message={} HTTP/1.1\r\nhost: x\r\n${body}`, /^HTTP\/1.1 401 /],
      [`POST * HTTP/1.1\r\nhost: x\r\n${body}`, /^HTTP\/1.1 404 /],
      [
        `OPTIONS ${PATH} HTTP/1.1\r\nhost: x\r\norigin: \x7f\xff\r\naccess-control-request-method: POST\r\n\r\n`,
        /^HTTP\/1.1 4/,
      ],
      [`CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n`, /^$/],
      [`POST ${PATH} HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n${body}`, /^HTTP\/1.1 401 /],
      [`POST ${PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\r\n${body}`, /^HTTP\/1.1 401 /],
    ];
    for (const [text, told] of attempts) {
      const client = await RawConnection.open(t, clear.http);
      client.write(Buffer.from(text, "latin1"));
      await until(`an answer to ${text}`, () => client.isClosed || client.text.includes("\r\n\r\n"));
      assert.match(client.text, told, text);
      client.socket.destroy();
    }
    await serves();
  });

  await t.test("tokens that are expired, altered, unsigned or another's", async () => {
    const [first, payload, signature] = token.split(".") as [string, string, string];
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const asAdmin = encode({ ...claims, role: "admin" });
    const foreign = new TokenService({ key: createSecretKey(randomBytes(32)), ttlS: 3_600 });
    const expired = await tokenOf("demo", "trader", { now: () => Date.now() - 7_200_000 });
    const bad = [
      "",
      "none",
      `${first}.${asAdmin}.${signature}`,
      `${encode({ alg: "none" })}.${asAdmin}.`,
      `${encode({ alg: "none", typ: "JWT" })}.${payload}.`,
      `${encode({ alg: "None" })}.${payload}.${signature}`,
      `${first}.${payload}.`,
      `${first}.${payload}.${signature.slice(0, -6)}AAAAAA`,
      (await foreign.issue("demo", "trader")).token,
      expired,
    ];
    await Promise.all(
      WAYS.flatMap((way) =>
        bad.map(async (stolen) => {
          const caller = new HttpCaller(t, clear.http, { way, token: stolen });
          assert.equal((await refusalOf(caller.call(getOrder, {}))).code, "UNAUTHENTICATED", `${way} ${stolen}`);
          const admin = caller.call(AdminService.method.createAccount, { account: "mallory" });
          assert.equal((await refusalOf(admin)).code, "UNAUTHENTICATED", `${way} ${stolen}`);
        }),
      ),
    );
    const trader = new HttpCaller(t, clear.http, { way: "Connect", token });
    const denied = trader.call(AdminService.method.createAccount, { account: "mallory" });
    assert.equal((await refusalOf(denied)).code, "PERMISSION_DENIED");
    const nobody = new HttpCaller(t, clear.http, { way: "fetch" });
    const guess = nobody.call(AuthService.method.issueToken, { account: "demo", secret: "hunter2-hunter2" });
    assert.equal((await refusalOf(guess)).code, "UNAUTHENTICATED");
    await serves();
  });

  assert.ok((await memory()) - before < GROWTH_BYTES, `${before} bytes grew to ${await memory()}`);
  for (const ingest of [clear, secure]) {
    assert.doesNotMatch(ingest.lines.join("\n"), /"level":"(error|fatal)"|Warning|hunter2/);
    assert.equal(await ingest.stop(), 0);
  }
});

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
