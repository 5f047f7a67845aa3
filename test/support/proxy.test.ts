import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Writer } from "../../src/store/writer.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { LogScene, order } from "./log.ts";
import { eventually } from "./pipeline.ts";
import { PostgresWire } from "./postgres-wire.ts";
import { Proxy } from "./proxy.ts";
import { RedisWire } from "./redis-wire.ts";
import { createTestDatabase, startTestRedis } from "./servers.ts";
import type { Message } from "./wire.ts";

/** A socket, with what came and how it ended. */
class End {
  readonly socket: Socket;
  received = "";
  /** "" while it is open. */
  ending = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => (this.received += chunk.toString()));
    socket.on("end", () => (this.ending ||= "close"));
    socket.on("error", (error) => (this.ending ||= "code" in error ? String(error.code) : error.message));
  }

  async receives(text: string): Promise<void> {
    await eventually(async () => this.received === text, `"${text}" where "${this.received.slice(0, 40)}" has come`);
  }

  async ends(ending: string): Promise<void> {
    await eventually(async () => this.ending === ending, `the end "${ending}", not "${this.ending}"`);
  }
}

/** A server that keeps what connects, and a proxy before it. */
async function setLine(t: TestContext) {
  const accepted: End[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(new End(socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const opened: Socket[] = [];
  const proxy = await Proxy.start(t, `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => {
    for (const socket of [...opened, ...accepted.map(({ socket }) => socket)]) socket.destroy();
    server.close();
  });
  const open = (): End => {
    const { port, hostname } = new URL(`tcp://${proxy.address}`);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    opened.push(socket);
    return new End(socket);
  };
  /** Both ends of a connection. */
  const join = async (): Promise<[client: End, server: End]> => {
    const count = accepted.length;
    const client = open();
    client.socket.write("hello ");
    const end = await eventually(async () => accepted[count], "a connection");
    await end.receives("hello ");
    return [client, end];
  };
  return { proxy, open, join };
}

test("what it carries is whole, and an end comes behind it", async (t) => {
  const { join, proxy } = await setLine(t);
  const [client, server] = await join();
  const much = "0123456789".repeat(300_000);
  client.socket.end(much);
  await server.ends("close");
  assert.equal(server.received, `hello ${much}`);
  server.socket.end("that was much");
  await client.receives("that was much");
  await client.ends("close");
  await eventually(async () => proxy.connections === 0, "no connection to be left");
});

test("cut: closed or reset, on both sides; after so many bytes; refused; and taken again", async (t) => {
  const { join, open, proxy } = await setLine(t);
  const closed = await join();
  proxy.cut();
  for (const end of closed) await end.ends("close");
  const reset = await join();
  proxy.cut("reset");
  for (const end of reset) await end.ends("ECONNRESET");

  const [client, server] = await join();
  const cut = proxy.cutAfter("down", 4);
  client.socket.write("of any length");
  await server.receives("hello of any length");
  server.socket.write("cut ");
  await cut;
  server.socket.on("error", () => {});
  await client.ends("close");
  assert.equal(client.received, "cut ");

  const [left] = await join();
  await proxy.refuse();
  await left.ends("ECONNRESET");
  await open().ends("ECONNREFUSED");
  await proxy.heal();
  await join();
});

test("half-open: one side is told, the other learns nothing", async (t) => {
  const { join, proxy } = await setLine(t);
  for (const [side, ending, told] of [
    ["client", "reset", "ECONNRESET"],
    ["server", "close", "close"],
  ] as const) {
    const [client, server] = await join();
    const [gone, left] = side === "client" ? [client, server] : [server, client];
    proxy.abandon(side, ending);
    await gone.ends(told);
    left.socket.write("is anybody there?");
    const others = await join();
    assert.equal(left.ending, "");
    assert.ok(!gone.received.includes("anybody"));
    await proxy.heal();
    await left.ends("close");
    assert.deepEqual(
      others.map(({ ending }) => ending),
      ["", ""],
      "what lost nothing stays",
    );
  }
});

test("silent in one direction or both: nothing passes, no end either; connecting still works", async (t) => {
  const { join, open, proxy } = await setLine(t);
  const [client, server] = await join();
  proxy.silence("down");
  client.socket.write("up");
  await server.receives("hello up");
  server.socket.end("down");
  client.socket.write("again");
  await server.receives("hello upagain");
  assert.deepEqual([client.received, client.ending], ["", ""]);

  proxy.silence("up");
  const late = open();
  await once(late.socket, "connect");
  late.socket.destroy();
  await proxy.heal();
  await client.ends("close");
  assert.equal(client.received, "");
  await join();
});

test("gone: connecting takes for ever, until it is back", async (t) => {
  const { open, join, proxy } = await setLine(t);
  const [client, server] = await join();
  await proxy.vanish();
  server.socket.write("lost");
  const hanging = open();
  let connected = false;
  hanging.socket.once("connect", () => (connected = true));
  // The system itself would have answered within microseconds; it asks again after a second.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual([connected, hanging.ending, client.received], [false, "", ""]);
  hanging.socket.destroy();
  await proxy.heal();
  await client.ends("close");
  await join();
});

test("slow: so many bytes a second, each piece later", async (t) => {
  const { join, proxy } = await setLine(t);
  const [client, server] = await join();
  proxy.pace = { bytesPerSecond: 50_000, latencyMs: 100 };
  const since = performance.now();
  server.socket.write("x".repeat(20_000));
  await eventually(async () => client.received.length === 20_000, "all of it");
  assert.ok(performance.now() - since > 400, "it takes 0.1 s to come and 0.4 s to pass");
  await proxy.heal();
  server.socket.write("y".repeat(5_000_000));
  await eventually(async () => client.received.length === 5_020_000, "the rest");
});

test("Redis' messages are known, whatever they hold: a script's answer is held, and lost with its connection", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url, { wire: () => new RedisWire() });
  const redis = connectRedis(proxy.url, { name: "read", socketTimeoutMs: 10_000 });
  t.after(() => redis.disconnect());
  // Answers of every shape, in pieces that end anywhere.
  await redis.set("blob", Buffer.alloc(300_000, "\r\n$*"));
  const seen: Message[] = [];
  void proxy.holdAt((message) => seen.push(message) < 0);
  const blob = redis.getBuffer("blob");
  const others = [redis.get("none"), redis.xrange("none", "-", "+"), redis.xinfo("STREAM", "none").catch(String)];
  const command = redis.command("COUNT");
  assert.equal((await blob)?.length, 300_000);
  assert.deepEqual(await Promise.all(others), [null, [], "ReplyError: ERR no such key"]);
  await command;
  await redis.xinfo("STREAM", scene.keys.orders).catch(() => {});
  assert.deepEqual(
    seen.filter(({ direction }) => direction === "down").map(({ name, text }) => [name, text.slice(0, 6)]),
    [
      ["GET", "\r\n$*\r\n"],
      ["GET", ""],
      ["XRANGE", ""],
      ["XINFO", "ERR no"],
      ["COMMAND", (await redis.command("COUNT")).toString()],
      ["XINFO", "ERR no"],
    ].map(([name, text]) => [name, text!.slice(0, 6)]),
  );
  await proxy.heal();

  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const held = proxy.holdAt(({ direction, name, text }) => {
    return direction === "down" && name === "script commit" && text.startsWith("OK");
  });
  const answer = log.one(order("held"));
  const { message, drop } = await held;
  assert.match(message!.text, /^OK \d+ 1 \d+-\d+/);
  assert.equal((await scene.orders()).length, 2, "it stands in the log, and nobody was told");
  drop();
  assert.equal((await answer).outcome, "new", "it was sent again, and answered with the first answer");
  assert.equal((await scene.orders()).length, 2);
});

test("Postgres' messages are known: held before the COMMIT, or behind it", async (t) => {
  const { url } = await createTestDatabase(t);
  const proxy = await Proxy.start(t, url, { wire: () => new PostgresWire() });
  const writer = new Writer(proxy.url, { timeoutMs: 10_000 });
  const outside = new Writer(url, { timeoutMs: 10_000 });
  t.after(() => Promise.all([writer.close(), outside.close()]));
  const count = () =>
    outside.transaction(async (transaction) => {
      const { rows } = await transaction.query<{ count: number }>("SELECT count(*)::int AS count FROM things");
      return rows[0]?.count;
    });
  await outside.transaction((transaction) => transaction.query("CREATE TABLE things (name text, size int)"));
  const seen: string[] = [];
  const write = (name: string) =>
    writer.transaction(async (transaction) => {
      await transaction.query("INSERT INTO things VALUES ($1, $2)", [name, 1]);
      await transaction.copy("COPY things FROM STDIN", [Buffer.from("a\t1\n"), Buffer.from("b\t2\n".repeat(20_000))]);
    });

  void proxy.holdAt(({ name, text }) => seen.push(`${name} ${text}`.trim()) < 0);
  await write("first");
  assert.equal(await count(), 20_002);
  assert.ok(seen.includes("Parse INSERT INTO things VALUES ($1, $2)"), seen.join("\n"));
  assert.ok(seen.includes("Execute INSERT INTO things VALUES ($1, $2)"));
  assert.ok(seen.includes("CommandComplete COPY 20001"));
  assert.deepEqual(seen.slice(-2), ["CommandComplete COMMIT", "ReadyForQuery"]);
  assert.ok(seen.includes("Query COMMIT"));
  await proxy.heal();

  const before = proxy.holdAt(({ name, text }) => name === "Query" && text === "COMMIT");
  const lost = assert.rejects(write("second"));
  const held = await before;
  assert.equal(await count(), 20_002);
  held.drop();
  await lost;
  assert.equal(await count(), 20_002);

  const behind = proxy.holdAt(({ name, text }) => name === "CommandComplete" && text === "COMMIT");
  const late = write("third");
  const committed = await behind;
  assert.equal(await count(), 40_004);
  committed.release();
  await late;
  const failing = proxy.holdAt(({ name, text }) => name === "ErrorResponse" && text.includes("22P02"));
  const failed = assert.rejects(
    writer.transaction((transaction) => transaction.copy("COPY things FROM STDIN", [Buffer.from("a\tone\n")])),
  );
  (await failing).release();
  await failed;
});

test("another server at the same address", async (t) => {
  const [first, second] = await Promise.all([startTestRedis(t), startTestRedis(t)]);
  const proxy = await Proxy.start(t, first.url);
  const redis = connectRedis(proxy.url, { name: "test", socketTimeoutMs: 10_000 });
  t.after(() => redis.disconnect());
  const port = async () => Number(/tcp_port:(\d+)/.exec(await redis.info("server"))?.[1]);
  assert.equal(await port(), first.port);
  proxy.target = second.url;
  assert.equal(await port(), first.port, "who is connected stays");
  proxy.cut();
  await eventually(async () => (await port().catch(() => 0)) === second.port, "the second one");
});
