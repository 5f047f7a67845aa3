import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { test } from "node:test";

import { ReplyError } from "ioredis";

import { createTestDatabase, startTestRedis } from "../../test/support/servers.ts";
import { connect } from "../store/connection.ts";
import { connectRedis } from "../stream/redis.ts";
import { asRequestError } from "./errors.ts";
import { isOutage } from "./outage.ts";

async function thrown(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => assert.fail("nothing was thrown"),
    (error: unknown) => error,
  );
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

test("what the drivers throw where nobody is there, or where a connection is cut, is an outage", async (t) => {
  const closing = createServer((socket) => socket.resetAndDestroy());
  const free = createServer();
  const ports = [await listen(closing), await listen(free)];
  free.close();
  t.after(() => closing.close());
  for (const port of ports) {
    const redis = connectRedis(`redis://127.0.0.1:${port}`, { name: "test", socketTimeoutMs: 1_000 });
    const sql = connect(`postgres://x@127.0.0.1:${port}/x`, { max: 1 });
    const errors = await Promise.all([thrown(redis.ping()), thrown(sql`SELECT 1`)]);
    redis.disconnect();
    await sql.end({ timeout: 1 });
    for (const error of errors) {
      assert.ok(isOutage(error), String(error));
      assert.equal(asRequestError(error).code, "UNAVAILABLE");
    }
  }
});

test("so is a server that cannot now; a mistake of ours is none", async (t) => {
  const [server, { url }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 1_000 });
  const sql = connect(url, { max: 1 });
  t.after(async () => {
    redis.disconnect();
    await sql.end({ timeout: 1 });
  });
  await redis.config("SET", "maxmemory", 1);
  const mistakes = [thrown(redis.call("NONSENSE")), thrown(sql`SELECT 1 / 0`), thrown(sql`SELECT nonsense`)];
  for (const error of [...(await Promise.all(mistakes)), new TypeError("x"), new Error("x"), undefined, "x"]) {
    assert.ok(!isOutage(error), String(error));
    assert.equal(asRequestError(error).code, "INTERNAL");
  }

  const now = [thrown(redis.set("k", "v")), thrown(sql`SELECT pg_terminate_backend(pg_backend_pid())`)];
  for (const error of await Promise.all(now)) assert.ok(isOutage(error), String(error));
  assert.ok(
    isOutage(new (ReplyError as new (message: string) => Error)("LOADING Redis is loading the dataset in memory")),
  );
  redis.disconnect();
  assert.ok(isOutage(await thrown(redis.ping())));
});
