import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Redis } from "ioredis";

import { startTestRedis } from "../../test/support/servers.ts";
import { RedisServer } from "./redis-server.ts";

function connect(t: TestContext, url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => null, lazyConnect: true });
  client.on("error", () => {});
  t.after(() => client.disconnect());
  return client;
}

test("it keeps every write, evicts nothing and listens on loopback", async (t) => {
  const server = await startTestRedis(t);
  const client = connect(t, server.url);
  const setting = async (name: string): Promise<unknown> => (await client.config("GET", name))[1];
  assert.equal(await setting("appendonly"), "yes");
  assert.equal(await setting("appendfsync"), "always");
  assert.equal(await setting("no-appendfsync-on-rewrite"), "no");
  assert.equal(await setting("maxmemory-policy"), "noeviction");
  assert.equal(await setting("save"), "");
  assert.equal(await setting("bind"), "127.0.0.1");
  const limit = Number(await setting("maxmemory"));
  assert.ok(limit >= 256 * 2 ** 20 && limit <= 4 * 2 ** 30, `maxmemory ${limit}`);
});

test("its data and its port survive a kill; an empty restart has no data", async (t) => {
  const server = await startTestRedis(t);
  await connect(t, server.url).set("key", "value");
  const { url } = server;

  await server.kill();
  assert.deepEqual(await server.exited, { code: null, signal: "SIGKILL" });
  assert.equal(server.pid, undefined);
  await server.start();
  assert.equal(server.url, url);
  assert.equal(await connect(t, url).get("key"), "value");

  await server.restart({ empty: true });
  assert.equal(server.url, url);
  assert.equal(await connect(t, url).get("key"), null);
});

test("a default port that is taken gives way, one that was asked for does not", async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  t.after(() => other.close());
  const { port } = other.address() as AddressInfo;
  const { folder } = await startTestRedis(t);
  const options = { folder: `${folder}/second`, program: "redis-server", removeWhenOrphaned: true };

  const yielding = new RedisServer({ ...options, port: { port, exact: false } });
  t.after(() => yielding.stop());
  await yielding.start();
  assert.notEqual(yielding.port, port);
  const insisting = new RedisServer({ ...options, port: { port, exact: true } });
  await assert.rejects(insisting.start(), /in use/);
});

test("it asks for the password that it was given", async (t) => {
  const { folder } = await startTestRedis(t);
  const password = "a-password-of-a-test";
  const server = new RedisServer({
    folder: `${folder}/second`,
    program: "redis-server",
    password,
    removeWhenOrphaned: true,
  });
  t.after(() => server.stop());
  await server.start();
  assert.equal(await connect(t, server.url).ping(), "PONG");
  await assert.rejects(connect(t, `redis://127.0.0.1:${server.port}`).ping(), /NOAUTH|closed/);
});

test("a server that outlived its parent is ended before another starts on its data", async (t) => {
  const first = await startTestRedis(t);
  await connect(t, first.url).set("key", "value");
  const second = new RedisServer({ folder: first.folder, program: "redis-server", removeWhenOrphaned: true });
  t.after(() => second.stop());
  await second.start();
  assert.deepEqual(await first.exited, { code: 0, signal: null });
  assert.equal(await connect(t, second.url).get("key"), "value");
});

test("a start that fails says why in the server's own words", async (t) => {
  const server = await startTestRedis(t);
  const bad = new RedisServer({
    folder: `${server.folder}/bad`,
    program: "redis-server",
    arguments: ["--maxmemory", "x"],
  });
  await assert.rejects(bad.start(), /redis did not start:[^]*maxmemory/);
  assert.equal(bad.pid, undefined);
});
