import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { gzipSync } from "node:zlib";

import { create, toBinary } from "@bufbuild/protobuf";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { OrderService, SubmitOrderRequestSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  grpcHeaders,
  headerBlock,
  message,
  PREFACE,
  RawConnection,
} from "./support/raw-http2.ts";
import { order, Venue } from "./support/venue.ts";

/** What was tried against the gRPC door. After each of these a good client is served, and memory is what it was. */

const { submitOrder, listOrders } = OrderService.method;
const PATH = "/penstock.v1.OrderService/SubmitOrder";
const MIB = 1024 * 1024;
/** What an attack may leave behind: heap that is not collected yet. A thousandth of what the bombs would fill. */
const LEFT_BEHIND_MIB = 200;

/** Error codes of HTTP/2. */
const PROTOCOL_ERROR = 1;
const FRAME_SIZE_ERROR = 6;
const REFUSED_STREAM = 7;

function residentMib(pid: number): number {
  const [, resident] = readFileSync(`/proc/${pid}/statm`, "utf8").split(" ");
  return (Number(resident) * 4096) / MIB;
}

function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function connected(t: TestContext, address: string, settings = {}): ClientHttp2Session {
  // More than ten megabytes may wait to be sent.
  const session = connect(`http://${address}`, { settings, maxSessionMemory: 1_000 });
  session.on("error", () => {});
  t.after(() => session.destroy());
  return session;
}

/** The grpc-status of a call that sends these bytes, and no end where they are not the whole; or its reset's code. */
async function statusOf(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Buffer,
  { whole = true } = {},
): Promise<string> {
  const stream = session.request({
    ":method": "POST",
    ":path": PATH,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  return new Promise((resolve) => {
    const told = ({ "grpc-status": status }: IncomingHttpHeaders) => {
      if (typeof status === "string") resolve(status);
    };
    stream.on("response", told);
    stream.on("trailers", told);
    stream.on("error", () => {});
    stream.on("close", () => resolve(`reset ${stream.rstCode}`));
    stream.resume();
    stream.write(body);
    if (whole) stream.end();
  });
}

test("the gRPC door under attack", async (t) => {
  const venue = await Venue.trading(t, {
    PENSTOCK_REQUEST_TIMEOUT_MS: "2500",
    PENSTOCK_MAX_CONNECTIONS: "200",
    // A drain is longer than a transaction.
    PENSTOCK_TRANSACTION_TIMEOUT_MS: "4000",
    PENSTOCK_DRAIN_TIMEOUT_MS: "5000",
    PENSTOCK_REPLICA_TIMEOUT_MS: "1000",
  });
  const { address, pid } = venue.ingest;
  const good = await venue.caller();
  const anyone = new Caller(address);
  t.after(() => anyone.close());
  const authorization = `Bearer ${await tokenOf("demo")}`;
  let orders = 0;

  /** Runs an attack, and asks the door how it is. */
  const attack = async (name: string, run: (t: TestContext) => Promise<void>) =>
    t.test(name, async (t) => {
      await good.call(submitOrder, order(`before-${orders++}`), { deadlineMs: 5_000 });
      const before = residentMib(pid!);
      let most = before;
      const watch = setInterval(() => (most = Math.max(most, residentMib(pid!))), 20);
      await run(t).finally(() => clearInterval(watch));
      const { duplicate } = await good.call(submitOrder, order(`after-${orders++}`), { deadlineMs: 5_000 });
      assert.equal(duplicate, false);
      t.diagnostic(`${Math.round(before)} MiB before, ${Math.round(most)} at most`);
      assert.ok(most < before + LEFT_BEHIND_MIB, `grew from ${before} to ${most} MiB`);
      assert.ok(venue.ingest.running);
    });
  const closed = (connection: RawConnection) => eventually(async () => connection.closed, "the end of the connection");

  // These take ten seconds, so they begin now.
  const silent = await RawConnection.open(t, address);
  const halfPreface = await RawConnection.open(t, address);
  halfPreface.write(PREFACE.subarray(0, 10));
  const noSettings = await RawConnection.open(t, address);
  noSettings.write(PREFACE);

  // Its window is closed from the beginning.
  const deaf = connected(t, address, { initialWindowSize: 0 });
  const neverRead = once(deaf, "close");
  const list = { ":path": "/penstock.v1.MarketDataService/ListInstruments", authorization };
  for (let i = 0; i < 200; i++) void statusOf(deaf, list, message(Buffer.alloc(0)));
  // One that says itself when its time is up gets a status by grpc-js, and does not read that either.
  const hasty = connected(t, address, { initialWindowSize: 0 });
  const neverReadHastily = once(hasty, "close");
  for (let i = 0; i < 200; i++) void statusOf(hasty, { ...list, "grpc-timeout": "2S" }, message(Buffer.alloc(0)));

  await attack("garbage in the place of HTTP/2", async (t) => {
    for (const bytes of [
      Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
      Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]), // a TLS hello
      Buffer.alloc(1_000_000, 0xff),
      Buffer.alloc(24),
    ]) {
      const connection = await RawConnection.open(t, address);
      connection.write(bytes);
      await closed(connection);
    }
  });

  await attack("frames that break the rules end their connection", async (t) => {
    const headers = grpcHeaders(PATH);
    const cases: [number, ...Buffer[]][] = [
      [PROTOCOL_ERROR, frame(FRAME.DATA, 0, 0, Buffer.from("x"))],
      [PROTOCOL_ERROR, frame(FRAME.HEADERS, END_HEADERS, 2, headers)],
      [PROTOCOL_ERROR, frame(FRAME.CONTINUATION, END_HEADERS, 1, headers)],
      [PROTOCOL_ERROR, frame(FRAME.HEADERS, 0, 1, headers), frame(FRAME.PING, 0, 0, Buffer.alloc(8))],
      [PROTOCOL_ERROR, frame(FRAME.WINDOW_UPDATE, 0, 0, Buffer.alloc(4))],
      [FRAME_SIZE_ERROR, frame(FRAME.PING, 0, 0, Buffer.alloc(7))],
      [FRAME_SIZE_ERROR, frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))],
      // 16 KiB are allowed.
      [FRAME_SIZE_ERROR, frame(FRAME.DATA, 0, 1, Buffer.alloc(16_385))],
      [FRAME_SIZE_ERROR, Buffer.from([0xff, 0xff, 0xff, FRAME.HEADERS, 0, 0, 0, 0, 1])],
      // HPACK: an index that no table has.
      [9, frame(FRAME.HEADERS, END_HEADERS, 1, Buffer.from([0xff, 0xff, 0xff, 0x7f]))],
    ];
    for (const [code, ...frames] of cases) {
      const connection = await RawConnection.begin(t, address);
      connection.write(...frames);
      await closed(connection);
      assert.deepEqual(connection.codes(FRAME.GOAWAY), [code], frames[0]!.subarray(0, 20).toString("hex"));
    }
  });

  await attack(
    "lengths that lie: too long is refused before it comes, and what never comes is not waited for",
    async (t) => {
      const session = connected(t, address);
      assert.equal(await statusOf(session, { authorization }, message(Buffer.alloc(8), { length: 0xffff_ffff })), "8");
      assert.equal(await statusOf(session, { authorization }, message(Buffer.alloc(8), { length: MIB + 1 })), "8");
      const started = performance.now();
      const halves = Array.from({ length: 500 }, (_, i) => {
        const headers = { ":method": "POST", ":path": PATH, "content-type": "application/grpc", authorization };
        const stream = session.request(headers);
        // Some say nothing at all, some begin, some go on and on.
        if (i % 3 > 0) stream.write(message(Buffer.alloc(1_000), { length: 500_000 }));
        const more = i % 3 === 2 ? setInterval(() => stream.write(Buffer.alloc(100)), 100) : undefined;
        return new Promise((resolve) => {
          stream.on("response", (headers) => resolve(headers["grpc-status"]));
          stream.on("error", resolve);
          stream.on("close", () => clearInterval(more));
        });
      });
      assert.deepEqual(new Set(await Promise.all(halves)), new Set(["4"]), "DEADLINE_EXCEEDED");
      assert.ok(performance.now() - started > 2_000);
    },
  );

  /** Nearly all of a message of a megabyte. */
  const most = message(Buffer.alloc(900_000), { length: 1_000_000 });
  /** The ends of so many calls of one connection that bring no more than that. */
  const large = async (t: TestContext, calls: number, headers: OutgoingHttpHeaders): Promise<Set<string>> => {
    const session = connected(t, address);
    const ends = Array.from({ length: calls }, () => statusOf(session, headers, most, { whole: false }));
    return new Set(await Promise.all(ends));
  };

  await attack("large messages of nobody: none is read", async (t) => {
    assert.deepEqual(await large(t, 500, {}), new Set(["16"]), "UNAUTHENTICATED");
    assert.deepEqual(await large(t, 500, { authorization: "Bearer x" }), new Set(["16"]));
    // Where no token is needed, little is read, and few come in at once.
    for (const path of ["/penstock.v1.AuthService/IssueToken", "/grpc.health.v1.Health/Check"]) {
      assert.deepEqual(await large(t, 100, { ":path": path }), new Set(["8"]), "RESOURCE_EXHAUSTED");
    }
    const streaming = { ":path": "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" };
    assert.deepEqual(await large(t, 100, streaming), new Set(["8", "reset 11"]), "ENHANCE_YOUR_CALM");
  });

  await attack("large messages of a client with a token: some are held, more are refused", async (t) => {
    assert.deepEqual(await large(t, 500, { authorization }), new Set(["4", "8"]), "given up, refused");
    // Those of streams are held for as long as their client likes.
    const session = connected(t, address);
    const streaming = { ":path": "/penstock.v1.OrderService/StreamOrders", authorization };
    let refused = 0;
    for (let i = 0; i < 200; i++) {
      void statusOf(session, streaming, most, { whole: false }).then((end) => (refused += Number(end === "reset 11")));
    }
    await eventually(async () => refused > 100, "refusals");
    assert.ok((await large(t, 5, { authorization })).has("8"));
    await good.call(submitOrder, order("beside-large-ones"), { deadlineMs: 5_000 });
    session.destroy();
    const another = connected(t, address);
    const whole = message(Buffer.alloc(900_000, 0xff));
    await eventually(async () => (await statusOf(another, { authorization }, whole)) === "3", "room");
  });

  await attack("calls that need no token: few of a connection, and one that was answered is over", async (t) => {
    const session = connected(t, address);
    const watch = { ":path": "/grpc.health.v1.Health/Watch" };
    const ends: string[] = [];
    for (let i = 0; i < 100; i++) {
      void statusOf(session, watch, message(Buffer.alloc(0))).then((end) => ends.push(end));
    }
    await eventually(async () => ends.length === 84, "refusals");
    assert.deepEqual(new Set(ends), new Set(["8"]));

    const unending = await RawConnection.begin(t, address);
    for (let i = 0; i < 50; i++) unending.write(frame(FRAME.HEADERS, END_HEADERS, 2 * i + 1, grpcHeaders(PATH)));
    await eventually(async () => unending.codes(FRAME.RST_STREAM).length === 50, "their ends");
    assert.deepEqual(new Set(unending.codes(FRAME.RST_STREAM)), new Set([0]), "NO_ERROR");
  });

  await attack("streams that are taken back before they begin are let go", async (t) => {
    const connection = await RawConnection.begin(t, address);
    const headers = grpcHeaders("/penstock.v1.OrderService/StreamOrders", { authorization });
    const both = Array.from({ length: 100 }, (_, i) => [
      frame(FRAME.HEADERS, END_HEADERS, 2 * i + 1, headers),
      frame(FRAME.RST_STREAM, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8])),
    ]);
    connection.write(...both.flat(), frame(FRAME.PING, 0, 0, Buffer.alloc(8)));
    await eventually(async () => connection.frames.some(({ type }) => type === FRAME.PING), "the answer to the ping");
    await eventually(async () => (await venue.metric("grpc_streams")) === 0, "no streams", 5_000);
  });

  await attack("a message after the message of a unary call, and none", async (t) => {
    const session = connected(t, address);
    const bytes = message(toBinary(SubmitOrderRequestSchema, create(SubmitOrderRequestSchema, order("twice"))));
    assert.equal(await statusOf(session, { authorization }, Buffer.concat([bytes, bytes])), "12", "UNIMPLEMENTED");
    assert.equal(await statusOf(session, { authorization }, Buffer.alloc(0)), "12");
    assert.ok(!(await venue.logged()).includes("twice"));
  });

  await attack("compression bombs: none is unpacked", async (t) => {
    const bomb = message(gzipSync(Buffer.alloc(MIB - 1)), { compressed: true });
    const many = Buffer.concat(Array.from({ length: 40 }, () => bomb));
    for (const encoding of ["gzip", "deflate", "br", "nonsense"]) {
      const session = connected(t, address);
      const calls = Array.from({ length: 150 }, () => statusOf(session, { "grpc-encoding": encoding }, many));
      assert.deepEqual(new Set(await Promise.all(calls)), new Set(["12"]), "UNIMPLEMENTED");
    }
    const session = connected(t, address);
    // A flag without an encoding is a message like any other, and no order.
    assert.equal(await statusOf(session, { authorization }, bomb), "3");
  });

  await attack("floods of headers end their connection", async (t) => {
    const endless = await RawConnection.begin(t, address);
    endless.write(frame(FRAME.HEADERS, 0, 1, grpcHeaders(PATH)));
    const more = frame(FRAME.CONTINUATION, 0, 1, headerBlock({ "x-flood": "x".repeat(100) }));
    for (let i = 0; i < 10_000 && !endless.closed; i++) await endless.push(more);
    await closed(endless);

    const session = connected(t, address);
    const pairs = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`x-${i}`, "x"]));
    assert.match(await statusOf(session, pairs, message(Buffer.alloc(0))), /^reset /);
    const large = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`x-${i}`, "x".repeat(2_000)]));
    assert.match(await statusOf(connected(t, address), large, message(Buffer.alloc(0))), /^(reset |8)/);
  });

  await attack("more streams than are allowed are refused", async (t) => {
    const connection = await RawConnection.begin(t, address);
    const headers = grpcHeaders(PATH, { authorization });
    const opened = Array.from({ length: 3_000 }, (_, i) => frame(FRAME.HEADERS, END_HEADERS, 2 * i + 1, headers));
    connection.write(...opened);
    const refused = () => connection.codes(FRAME.RST_STREAM).filter((code) => code === REFUSED_STREAM).length;
    await eventually(async () => connection.closed || refused() >= 50, "refusals");
    assert.ok(refused() > 0);
    connection.socket.destroy();
  });

  await attack("rapid reset ends its connection", async (t) => {
    const connection = await RawConnection.begin(t, address);
    const bytes = message(toBinary(SubmitOrderRequestSchema, create(SubmitOrderRequestSchema, order("reset"))));
    const cancel = Buffer.from([0, 0, 0, 8]);
    let resets = 0;
    for (; resets < 50_000 && !connection.closed; resets++) {
      const stream = 2 * resets + 1;
      await connection.push(
        Buffer.concat([
          frame(FRAME.HEADERS, END_HEADERS, stream, grpcHeaders(PATH)),
          frame(FRAME.DATA, END_STREAM, stream, bytes),
          frame(FRAME.RST_STREAM, 0, stream, cancel),
        ]),
      );
    }
    await closed(connection);
    t.diagnostic(`after ${resets} resets`);
    assert.ok(resets < 50_000);
  });

  await attack("floods of pings and settings by one that does not read end its connection", async (t) => {
    for (const flood of [
      frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
      frame(FRAME.SETTINGS, 0, 0, Buffer.from([0, 3, 0, 0, 0, 9])),
    ]) {
      const connection = await RawConnection.begin(t, address);
      connection.socket.pause();
      const many = Buffer.concat(Array.from({ length: 1_000 }, () => flood));
      const pushing = async () => {
        for (let i = 0; i < 10_000 && !connection.closed; i++) await connection.push(many);
      };
      await Promise.race([pushing(), closed(connection)]);
      assert.ok(connection.closed);
    }
  });

  await attack(
    "the limit on connections: more are closed at once, and there is room again when some end",
    async (t) => {
      const connections: RawConnection[] = [];
      for (let i = 0; i < 300; i++) connections.push(await RawConnection.begin(t, address));
      await eventually(async () => connections.filter(({ closed }) => closed).length >= 100, "the limit");
      await good.call(submitOrder, order("beside"), { deadlineMs: 5_000 });
      for (const { socket } of connections) socket.destroy();
      await eventually(async () => (await venue.metric("grpc_connections")) < 100, "room");
      const caller = await venue.caller();
      await caller.call(listOrders, {}, { deadlineMs: 5_000 });
      assert.ok((await venue.metric("grpc_connections_cut_total", 'reason="limit"')) >= 100);
    },
  );

  await attack("a client that never reads is cut", async () => {
    await Promise.all([neverRead, neverReadHastily]);
    assert.equal(await venue.metric("grpc_connections_cut_total", 'reason="unread"'), 2);
  });

  await attack("a wrong secret and an unknown account take the same work", async () => {
    const admin = new Caller(address, `Bearer ${await tokenOf("root", "admin")}`);
    await admin.call(AdminService.method.createAccount, { account: "alice", role: Role.TRADER });
    admin.close();
    const cost = async (account: string) => {
      const before = cpuMs(pid!);
      for (let i = 0; i < 5; i++) {
        const { code } = await refusalOf(anyone.call(AuthService.method.issueToken, { account, secret: "wrong" }));
        assert.equal(code, "UNAUTHENTICATED");
      }
      return cpuMs(pid!) - before;
    };
    const [known, unknown] = [await cost("alice"), await cost("nobody")];
    t.diagnostic(`${known} ms of CPU for a known account, ${unknown} for an unknown one`);
    assert.ok(unknown > known / 3 && known > unknown / 3, `${known} and ${unknown} ms`);
  });

  await attack("who does not begin is cut after ten seconds", async () => {
    for (const connection of [silent, halfPreface, noSettings]) await closed(connection);
    assert.ok((await venue.metric("grpc_connections_cut_total", 'reason="opening"')) >= 3);
  });

  await t.test("a line that went dead does not hold up the end", async (t) => {
    const line = await Proxy.start(t, `http://${address}`);
    const caller = await venue.caller("demo", line.address);
    await caller.call(submitOrder, order("on-the-line"));
    line.stall();
    const lost = refusalOf(caller.call(submitOrder, order("lost"), { deadlineMs: 30_000 }));
    assert.equal(await venue.ingest.stop(), 0);
    line.cut();
    assert.equal((await lost).code, "UNAVAILABLE");
    assert.equal(venue.ingest.lines.filter((logged) => /"level":"(error|fatal)"/.test(logged)).join("\n"), "");
  });
});
