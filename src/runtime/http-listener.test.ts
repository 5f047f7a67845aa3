import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import type { TestContext } from "node:test";
import { connect } from "node:http2";
import { Agent, get } from "node:http";
import type { Server, Socket } from "node:net";
import { text } from "node:stream/consumers";

import { Flag, FrameType, Setting } from "../../bench/load/frames.ts";
import { TestCertificate } from "../../test/support/certificates.ts";
import { callFrame, frame, headerBlock, OPENING, RawConnection, SETTINGS_ACK } from "../../test/support/raw.ts";
import { until } from "../../test/support/until.ts";
import { HttpListener } from "./http-listener.ts";
import type { HttpLimits } from "./http-listener.ts";

/** Clients that break the rules, or keep to them and take too much; after each the port must serve a good one. */

const LONG_ANSWER_MS = 5_000;
const LIMITS: HttpLimits = {
  connections: 20,
  headerBytes: 8_192,
  headers: 50,
  // More than a TLS handshake takes on a busy machine.
  receiveMs: 3_000,
  answerMs: 4_000,
  longAnswerMs: (request) => (request.url === "/never-soon" ? LONG_ANSWER_MS : undefined),
  idleMs: 3_000,
  ageMs: 60_000,
};
/** Timers are late on a busy machine, and Node looks at those of HTTP/1.1 twice a second. */
const LATE_MS = 5_000;

const CERTIFICATE = new TestCertificate({ after: (end) => after(end) });
/** More than the sockets between a client and a server hold. */
const LARGE = Buffer.alloc(16 * 1_048_576);

class Port {
  readonly listener: HttpListener;
  readonly #t: TestContext;
  readonly #secure: boolean;
  readonly errors: Error[] = [];
  /** What listens, as the last request's connection knows it. */
  server: Server | undefined;
  requests = 0;
  underWay = 0;
  mostUnderWay = 0;

  private constructor(t: TestContext, secure: boolean, limits: Partial<HttpLimits>) {
    this.#t = t;
    this.#secure = secure;
    const pair = secure ? { current: CERTIFICATE.current, onRenewal: () => () => {} } : undefined;
    this.listener = new HttpListener({
      ...{ bind: "127.0.0.1", port: 0, limits: { ...LIMITS, ...limits }, certificates: pair },
      onError: (error) => this.errors.push(error),
      onRequest: (request, response) => {
        this.server = (request.socket as Socket & { readonly server: Server }).server;
        this.requests++;
        this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
        response.once("close", () => this.underWay--);
        if (request.url === "/large") response.end(LARGE);
        else if (request.url === "/at-once") {
          request.once("data", () => response.end("at once"));
          request.resume();
        } else if (!request.url?.startsWith("/never")) {
          text(request).then(
            (body) => response.end(`${body.length} bytes`),
            () => {},
          );
        }
      },
    });
  }

  static async open(t: TestContext, { secure = false, ...limits }: Partial<HttpLimits> & { secure?: boolean } = {}) {
    const port = new Port(t, secure, limits);
    await port.listener.start();
    t.after(() => port.listener.stop());
    return port;
  }

  raw(protocol?: "http/1.1"): Promise<RawConnection> {
    return RawConnection.open(this.#t, this.listener.url, protocol ?? (this.#secure ? "h2" : undefined));
  }

  /** The port serves a client that keeps to the rules, and holds nothing for the others. */
  async serves(): Promise<void> {
    if (this.#secure) {
      const session = connect(this.listener.url, { rejectUnauthorized: false });
      const stream = session.request({ ":method": "POST", ":path": "/" });
      stream.end("four");
      assert.equal(await text(stream), "4 bytes");
      session.close();
    } else {
      const response = await fetch(this.listener.url, { method: "POST", body: "four" });
      assert.equal(await response.text(), "4 bytes");
    }
    await until("no request under way", () => this.underWay === 0);
  }
}

const POST = "POST / HTTP/1.1\r\nhost: x\r\n";

suite("HTTP/1.1", { concurrency: true }, () => {
  /** What each client sends at first, then every 50 ms; what it is told; and after how many milliseconds it is cut. */
  const cut: [name: string, first: string, then: string, told: RegExp, ms: number][] = [
    ["a client that says nothing", "", "", /^(HTTP\/1.1 408 |$)/, LIMITS.receiveMs],
    ["headers that come slowly", `${POST}x: `, "y", /^HTTP\/1.1 408 /, LIMITS.receiveMs],
    ["a body that comes slowly", `${POST}content-length: 10000\r\n\r\n`, "x", /^HTTP\/1.1 408 /, LIMITS.receiveMs],
    ["an endless body", `${POST}transfer-encoding: chunked\r\n\r\n`, "1\r\nx\r\n", /^HTTP\/1.1 408 /, LIMITS.receiveMs],
    [
      "a body that goes on after the answer",
      "POST /at-once HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\nx",
      "x",
      /at once/,
      LIMITS.receiveMs,
    ],
    ["an idle connection", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", "", /^HTTP\/1.1 200 [^]*0 bytes$/, LIMITS.idleMs],
    ["a request that is not answered", "GET /never HTTP/1.1\r\nhost: x\r\n\r\n", "", /^$/, LIMITS.answerMs],
    ["one that may take longer", "GET /never-soon HTTP/1.1\r\nhost: x\r\n\r\n", "", /^$/, LONG_ANSWER_MS],
    [
      "an expectation that nobody knows",
      "GET /never HTTP/1.1\r\nhost: x\r\nexpect: y\r\n\r\n",
      "",
      /^$/,
      LIMITS.answerMs,
    ],
    ["CONNECT", "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", "", /^$/, 0],
    ["garbage", "\x16\x03\x01 what is this?\r\n\r\n", "", /^HTTP\/1.1 400 /, 0],
    ["two lengths", `${POST}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n`, "", /^HTTP\/1.1 400 /, 0],
    ["no host", "GET / HTTP/1.1\r\n\r\n", "", /^HTTP\/1.1 400 /, 0],
    ["too large a header", `${POST}x: ${"x".repeat(LIMITS.headerBytes)}\r\n\r\n`, "", /^HTTP\/1.1 431 /, 0],
    ["a flood of headers", `${POST}${"x: y\r\n".repeat(LIMITS.headers)}\r\n`, "", /^HTTP\/1.1 431 /, 0],
    [
      "a flood of trailers",
      `${POST}transfer-encoding: chunked\r\n\r\n0\r\n${"x: y\r\n".repeat(50_000)}\r\n`,
      "",
      /^HTTP\/1.1 431 /,
      0,
    ],
  ];
  for (const [name, first, then, told, ms] of cut) {
    for (const secure of [false, true]) {
      test(`${name} is cut${secure ? ", under TLS" : ""}`, async (t) => {
        const port = await Port.open(t, { secure });
        const client = await port.raw(secure ? "http/1.1" : undefined);
        client.write(first);
        if (then !== "") client.drip(then, 50);
        const took = await client.closed();
        assert.match(client.text, told);
        assert.ok(took < ms + LATE_MS, `${took} ms`);
        if (ms > 0) assert.ok(took > ms - 200, `${took} ms`);
        await port.serves();
      });
    }
  }

  test("a client that does not read is cut, and what it asked for meanwhile with it", async (t) => {
    const port = await Port.open(t);
    const client = await port.raw();
    client.socket.pause();
    client.write("GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50));
    await until("the requests", () => port.requests > 0);
    await until("the cut", () => port.underWay === 0);
    await port.serves();
  });

  test("a client that does not wait for its answers is cut, however it asks", async (t) => {
    const port = await Port.open(t);
    const client = await port.raw();
    client.write("GET /never HTTP/1.1\r\nhost: x\r\n\r\n".repeat(5_000));
    assert.ok((await client.closed()) < LIMITS.answerMs);
    assert.equal(port.mostUnderWay, 100);
    await port.serves();
  });

  test("more connections than allowed are closed as they come", async (t) => {
    const port = await Port.open(t, { receiveMs: 20_000, answerMs: 40_000 });
    const clients = [];
    for (let n = 0; n < LIMITS.connections; n++) clients.push(await port.raw());
    const refused = await Promise.all([port.raw(), port.raw()]);
    await Promise.all(refused.map((client) => client.closed()));
    assert.ok(clients.every(({ isClosed }) => !isClosed));
    for (const client of clients) client.socket.destroy();
    await until("room again", () =>
      port.serves().then(
        () => true,
        () => false,
      ),
    );
  });

  test("a connection that has grown old is closed after an answer", async (t) => {
    const port = await Port.open(t, { ageMs: 300, idleMs: 20_000 });
    const client = await port.raw();
    const ask = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    client.drip(ask, 100);
    await client.closed();
    assert.match(client.text, /connection: keep-alive/i);
    assert.match(client.text, /connection: close\r\n[^]*0 bytes$/i);
  });

  test("a stop lets answers out, and ends connections that are idle or under way", async (t) => {
    const port = await Port.open(t);
    const agent = new Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const large = new Promise<number>((resolve, reject) => {
      get(`${port.listener.url}/large`, { agent }, (response) => {
        let bytes = 0;
        response.on("data", (chunk: Buffer) => (bytes += chunk.length));
        response.on("end", () => resolve(bytes));
      }).on("error", reject);
    });
    const silent = await port.raw();
    await until("the request", () => port.requests === 1);
    await port.listener.stop();
    assert.equal(await large, LARGE.length);
    await silent.closed();
  });
});

const RESET = (stream: number) => frame(FrameType.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]));
const PING = frame(FrameType.PING, 0, 0, Buffer.alloc(8));
const many = (count: number, make: (n: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, n) => make(n)));
const setting = (id: number, value: number) => {
  const entry = Buffer.alloc(6);
  entry.writeUInt16BE(id);
  entry.writeUInt32BE(value, 2);
  return entry;
};

suite("HTTP/2", { concurrency: true }, () => {
  /** What each client sends at once, then every 50 ms; and after how many milliseconds it is cut. */
  const cut: [name: string, first: Buffer, then: Buffer | undefined, ms: number][] = [
    ["a session without a request", OPENING, undefined, LIMITS.receiveMs],
    ["a session of pings", OPENING, PING, LIMITS.receiveMs],
    [
      "headers that come slowly",
      Buffer.concat([OPENING, callFrame(1, `/${"x".repeat(4_000)}`).subarray(0, 20)]),
      Buffer.from("x"),
      LIMITS.receiveMs,
    ],
    ["an idle session", Buffer.concat([OPENING, callFrame(1, "/")]), PING, LIMITS.idleMs],
    [
      "an expectation that nobody knows",
      Buffer.concat([OPENING, callFrame(1, "/never", { end: false, headers: { expect: "y" } })]),
      undefined,
      LIMITS.answerMs + LIMITS.idleMs,
    ],
    [
      "CONNECT",
      Buffer.concat([
        OPENING,
        frame(FrameType.HEADERS, Flag.END_HEADERS, 1, headerBlock({ ":method": "CONNECT", ":authority": "x" })),
      ]),
      undefined,
      LIMITS.answerMs + LIMITS.idleMs,
    ],
    [
      "rapid reset",
      Buffer.concat([OPENING, many(5_000, (n) => Buffer.concat([callFrame(2 * n + 1, "/never"), RESET(2 * n + 1)]))]),
      undefined,
      0,
    ],
    ["a flood of pings", Buffer.concat([OPENING, many(200_000, () => PING)]), undefined, 0],
    [
      "a flood of settings",
      Buffer.concat([OPENING, many(200_000, () => frame(FrameType.SETTINGS, 0, 0))]),
      undefined,
      0,
    ],
    [
      "too many settings",
      Buffer.concat([
        OPENING,
        frame(
          FrameType.SETTINGS,
          0,
          0,
          many(40, (n) => setting(0xff00 + n, 1)),
        ),
      ]),
      undefined,
      0,
    ],
    [
      "a flood of priorities",
      Buffer.concat([OPENING, many(50_000, (n) => frame(2, 0, 2 * n + 1, Buffer.from([0, 0, 0, 0, 1])))]),
      undefined,
      0,
    ],
    [
      "a flood of empty data",
      Buffer.concat([OPENING, callFrame(1, "/", { end: false }), many(200_000, () => frame(FrameType.DATA, 0, 1))]),
      undefined,
      0,
    ],
    [
      "headers without an end",
      Buffer.concat([
        OPENING,
        frame(FrameType.HEADERS, 0, 1, headerBlock({ ":method": "POST" })),
        many(2_000, (n) => frame(FrameType.CONTINUATION, 0, 1, headerBlock({ [`x-${n}`]: "y".repeat(1_000) }))),
      ]),
      undefined,
      0,
    ],
    [
      "empty headers without an end",
      Buffer.concat([OPENING, frame(FrameType.HEADERS, 0, 1), many(50_000, () => frame(FrameType.CONTINUATION, 0, 1))]),
      undefined,
      0,
    ],
    [
      "a frame that is too long",
      Buffer.concat([OPENING, frame(FrameType.DATA, 0, 1, Buffer.alloc(20_000))]),
      undefined,
      0,
    ],
    [
      "headers that are none",
      Buffer.concat([OPENING, frame(FrameType.HEADERS, Flag.END_HEADERS, 1, Buffer.alloc(50, 0xff))]),
      undefined,
      0,
    ],
    ["HTTP/1.1 where HTTP/2 was agreed on", Buffer.from(`${POST}\r\n`), undefined, 0],
  ];
  for (const [name, first, then, ms] of cut) {
    test(`${name} is cut`, async (t) => {
      const port = await Port.open(t, { secure: true });
      const client = await port.raw();
      client.write(first);
      if (then) client.drip(then, 50);
      const took = await client.closed();
      assert.ok(took < ms + LATE_MS, `${took} ms`);
      if (ms > 0) assert.ok(took > ms - 200, `${took} ms`);
      assert.ok(port.mostUnderWay <= 100, `${port.mostUnderWay} requests at once`);
      await port.serves();
    });
  }

  test("an answer that nobody takes, a request that is not answered and an endless body end alone", async (t) => {
    const port = await Port.open(t, { secure: true, idleMs: 20_000 });
    const client = await port.raw();
    const body = frame(FrameType.DATA, 0, 5, Buffer.alloc(10));
    client.write(
      Buffer.concat([
        OPENING,
        frame(FrameType.SETTINGS, 0, 0, setting(Setting.INITIAL_WINDOW_SIZE, 0)),
        callFrame(1, "/large"),
        callFrame(3, "/never"),
        callFrame(5, "/", { end: false }),
      ]),
    );
    client.drip(body, 20);
    await until("three resets", () => client.frames().filter((name) => name.startsWith("RST_STREAM")).length === 3);
    assert.equal(client.isClosed, false);
    assert.equal(port.underWay, 0);
    await port.serves();
  });

  test("more streams than allowed are refused one by one, and the others are answered", async (t) => {
    const port = await Port.open(t, { secure: true });
    const client = await port.raw();
    client.write(Buffer.concat([OPENING, many(300, (n) => callFrame(2 * n + 1, "/never")), callFrame(601, "/")]));
    await until("the refusals", () => client.frames().filter((name) => name.startsWith("RST_STREAM")).length >= 201);
    assert.equal(port.requests, 100);
    assert.equal(client.isClosed, false);
    client.socket.destroy();
    await port.serves();
  });

  test("headers beyond the bound are refused", async (t) => {
    const port = await Port.open(t, { secure: true, idleMs: 20_000 });
    const client = await port.raw();
    client.write(OPENING);
    await until("their settings", () => client.frames().length > 0);
    client.write(SETTINGS_ACK);
    const flood = Object.fromEntries(Array.from({ length: LIMITS.headers }, (_, n) => [`x-${n}`, "y"]));
    client.write(callFrame(1, "/", { headers: { x: "y".repeat(LIMITS.headerBytes) } }));
    client.write(callFrame(3, "/", { headers: flood }));
    client.write(callFrame(5, "/", { headers: { x: "y" } }));
    await until("the answer", () => client.frames().includes("DATA 5"));
    assert.equal(port.requests, 1);
    await port.serves();
  });

  test("a body is not read any more when it was answered", async (t) => {
    const port = await Port.open(t, { secure: true });
    const client = await port.raw();
    client.write(Buffer.concat([OPENING, callFrame(1, "/at-once", { end: false })]));
    client.drip(frame(FrameType.DATA, 0, 1, Buffer.alloc(100)), 20);
    await until("the end of the stream", () => client.frames().includes("RST_STREAM 1"));
    assert.ok(client.frames().includes("DATA 1"));
    await port.serves();
  });

  test("a handshake that does not come is cut", async (t) => {
    const port = await Port.open(t, { secure: true });
    const client = await RawConnection.open(t, port.listener.url);
    const took = await client.closed();
    assert.ok(took < LIMITS.receiveMs + LATE_MS, `${took} ms`);
    await port.serves();
  });

  test("a session that has grown old takes no more streams, and ends when its last one does", async (t) => {
    const port = await Port.open(t, { secure: true, ageMs: 300 });
    const session = connect(port.listener.url, { rejectUnauthorized: false });
    t.after(() => session.destroy());
    const stream = session.request({ ":method": "POST", ":path": "/" });
    await new Promise((resolve) => session.once("goaway", resolve));
    stream.end("late");
    assert.equal(await text(stream), "4 bytes");
    await new Promise<void>((resolve) => (session.closed ? resolve() : session.once("close", () => resolve())));
    await port.serves();
  });

  test("one that does not care that it is old is cut", async (t) => {
    const port = await Port.open(t, { secure: true, ageMs: 300, idleMs: 20_000 });
    const client = await port.raw();
    client.write(Buffer.concat([OPENING, callFrame(1, "/")]));
    client.drip(PING, 50);
    assert.ok((await client.closed()) < 300 + LIMITS.receiveMs + LATE_MS);
    assert.ok(client.frames().includes("GOAWAY 0"));
    await port.serves();
  });

  test("a stop lets answers out", async (t) => {
    const port = await Port.open(t, { secure: true });
    const session = connect(port.listener.url, { rejectUnauthorized: false });
    session.on("error", () => {});
    t.after(() => session.destroy());
    const stream = session.request({ ":path": "/large" });
    const read = text(stream);
    await until("the request", () => port.requests === 1);
    await port.listener.stop();
    assert.equal((await read).length, LARGE.length);
  });
});

test("a connection that cannot be taken is told, and the port goes on", async (t) => {
  for (const secure of [false, true]) {
    const port = await Port.open(t, { secure });
    await port.serves();
    const error = Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });
    port.server!.emit("error", error);
    assert.deepEqual(port.errors, [error]);
    await port.serves();
  }
});
