import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http2";
import type { Http2Session, ServerHttp2Stream, ServerOptions } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { Code } from "./call.ts";
import type { Outcome } from "./call.ts";
import { Connection } from "./connection.ts";

function body(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const PING = body(Buffer.from("ping"));

// Answers a call as a gRPC server does: message, then the trailers.
function answer(stream: ServerHttp2Stream, message: Buffer): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "grpc-message": "OK" }));
  stream.end(body(message));
}

type Handler = (stream: ServerHttp2Stream, request: Buffer) => void;

interface Ended {
  readonly tag: number;
  readonly outcome: Outcome;
}

// A server of Node's HTTP/2 and one connection to it.
async function start(t: TestContext, handler: Handler, options: ServerOptions = {}) {
  const server = createServer(options);
  const sessions: Http2Session[] = [];
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream: ServerHttp2Stream) => {
    const parts: Buffer[] = [];
    stream.on("error", () => {});
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => handler(stream, Buffer.concat(parts)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const ended: Ended[] = [];
  let expected = 0;
  let all = Promise.withResolvers<void>();
  const connection = await Connection.open<number>({
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    headers: [
      { name: ":method", value: "POST" },
      { name: ":scheme", value: "http" },
      { name: ":path", value: "/x" },
      { name: ":authority", value: "localhost" },
      { name: "content-type", value: "application/grpc" },
    ],
    ended: (tag, outcome) => {
      ended.push({ tag, outcome });
      if (ended.length === expected) all.resolve();
    },
  });
  t.after(async () => {
    connection.close();
    for (const session of sessions) session.destroy();
    server.close();
    await once(server, "close");
  });
  const count = async (calls: number): Promise<Ended[]> => {
    expected = calls;
    all = Promise.withResolvers<void>();
    if (ended.length < calls) await all.promise;
    return ended;
  };
  return { connection, ended: count, session: () => sessions[0] as Http2Session };
}

test("every call gets its own answer", async (t) => {
  const { connection, ended } = await start(t, (stream, request) => answer(stream, request.subarray(5)));
  for (let tag = 0; tag < 2000; tag++) connection.call(tag, body(Buffer.from(`message ${tag}`)));
  connection.flush();
  const outcomes = await ended(2000);
  for (const { tag, outcome } of outcomes) {
    assert.equal(outcome.code, Code.OK);
    assert.equal(outcome.message?.toString(), `message ${tag}`);
  }
});

test("a body may be changed as soon as the call was made, also where it must wait", async (t) => {
  const { connection, ended } = await start(t, (stream, request) => answer(stream, request.subarray(5)), {
    settings: { maxConcurrentStreams: 1, initialWindowSize: 3 },
  });
  const bytes = body(Buffer.from("first!"));
  for (const [tag, text] of ["first!", "second", "third!"].entries()) {
    bytes.write(text, 5);
    connection.call(tag, bytes);
  }
  bytes.fill(0);
  connection.flush();
  const outcomes = await ended(3);
  assert.deepEqual(
    outcomes.map(({ outcome }) => outcome.message?.toString()),
    ["first!", "second", "third!"],
  );
});

test("the server's limit of streams is kept", async (t) => {
  let open = 0;
  let most = 0;
  const handler: Handler = (stream) => {
    most = Math.max(most, ++open);
    setImmediate(() => {
      answer(stream, Buffer.from("x"));
      stream.once("close", () => open--);
    });
  };
  const { connection, ended } = await start(t, handler, { settings: { maxConcurrentStreams: 3 } });
  for (let tag = 0; tag < 100; tag++) connection.call(tag, PING);
  connection.flush();
  const outcomes = await ended(100);
  assert.ok(outcomes.every(({ outcome }) => outcome.code === Code.OK));
  assert.ok(most <= 3, `${most} streams at once`);
});

test("large bodies pass through small windows, and large answers through the generator's", async (t) => {
  const { connection, ended } = await start(t, (stream, request) => answer(stream, request.subarray(5)), {
    settings: { initialWindowSize: 1000 },
  });
  const message = Buffer.alloc(200_000, "0123456789");
  for (let tag = 0; tag < 10; tag++) connection.call(tag, body(message));
  connection.flush();
  const outcomes = await ended(10);
  for (const { outcome } of outcomes) assert.ok(outcome.message?.equals(message));
});

test("an error without a message is told with its code and reason", async (t) => {
  const { connection, ended } = await start(t, (stream) => {
    stream.respond({ ":status": 200, "grpc-status": "8", "grpc-message": "too many%2C wait" }, { endStream: true });
  });
  connection.call(1, PING);
  connection.call(2, PING);
  connection.flush();
  for (const { outcome } of await ended(2)) {
    assert.deepEqual(outcome, { code: 8, reason: "too many, wait", message: undefined });
  }
});

test("an HTTP error, an answer without a message and a reset stream are errors", async (t) => {
  let turn = 0;
  const { connection, ended } = await start(t, (stream) => {
    turn++;
    if (turn === 1) stream.respond({ ":status": 404 }, { endStream: true });
    if (turn === 2) stream.respond({ ":status": 200, "grpc-status": "0" }, { endStream: true });
    if (turn === 3) stream.close(2);
  });
  for (let tag = 1; tag <= 3; tag++) {
    connection.call(tag, PING);
    connection.flush();
    await ended(tag);
  }
  assert.deepEqual(
    (await ended(3)).map(({ outcome }) => [outcome.code, outcome.reason]),
    [
      [Code.UNKNOWN, "HTTP status 404"],
      [Code.INTERNAL, "status OK without a message"],
      [Code.UNAVAILABLE, "reset by the server (HTTP/2 error 2)"],
    ],
  );
});

test("a server's ping is answered", async (t) => {
  const { connection, ended, session } = await start(t, (stream) => answer(stream, Buffer.from("x")));
  connection.call(1, PING);
  connection.flush();
  await ended(1);
  const payload = Buffer.from("12345678");
  const pong = await new Promise<Buffer>((resolve, reject) => {
    session().ping(payload, (error, _, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
  assert.deepEqual(pong, payload);
});

test("settings that change in mid-connection are taken up", async (t) => {
  const { connection, ended, session } = await start(t, (stream, request) => answer(stream, request.subarray(5)));
  let made = 0;
  const round = async (): Promise<void> => {
    connection.call(made++, PING);
    connection.call(made++, PING);
    connection.flush();
    await ended(made);
  };
  await round();
  for (const headerTableSize of [0, 100, 4096]) {
    await new Promise<void>((resolve, reject) => {
      const settings = { headerTableSize, initialWindowSize: 10 + headerTableSize };
      session().settings(settings, (error) => (error === null ? resolve() : reject(error)));
    });
    await round();
  }
  assert.ok((await ended(made)).every(({ outcome }) => outcome.message?.toString() === "ping"));
});

test("after GOAWAY the begun calls are finished and new ones fail", async (t) => {
  const held: ServerHttp2Stream[] = [];
  const { connection, ended, session } = await start(t, (stream) => {
    held.push(stream);
    if (held.length === 2) {
      session().close();
      for (const one of held) answer(one, Buffer.from("x"));
    }
  });
  connection.call(1, PING);
  connection.call(2, PING);
  connection.flush();
  assert.ok((await ended(2)).every(({ outcome }) => outcome.code === Code.OK));
  connection.call(3, PING);
  assert.equal((await ended(3))[2]?.outcome.code, Code.UNAVAILABLE);
});

test("a lost connection and a close end every call once", async (t) => {
  const lost = await start(t, (_stream) => lost.session().destroy());
  for (let tag = 0; tag < 5; tag++) lost.connection.call(tag, PING);
  lost.connection.flush();
  const outcomes = await lost.ended(5);
  assert.ok(outcomes.every(({ outcome }) => outcome.code === Code.UNAVAILABLE));
  assert.equal(lost.connection.usable, false);

  const silent = await start(t, () => {});
  silent.connection.call(1, PING);
  silent.connection.flush();
  silent.connection.close();
  assert.equal((await silent.ended(1))[0]?.outcome.code, Code.DEADLINE_EXCEEDED);
});

test("nobody listens: opening fails", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  await assert.rejects(Connection.open({ host: "127.0.0.1", port, headers: [], ended: () => {} }), /ECONNREFUSED/);
});
