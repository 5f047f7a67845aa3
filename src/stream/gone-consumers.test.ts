/** I4: what a consumer holds outlives it, however it is removed from its group. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import { eventually } from "../../test/support/pipeline.ts";
import { startTestRedis } from "../../test/support/servers.ts";
import { createLog } from "../telemetry/log.ts";
import { GoneConsumers } from "./gone-consumers.ts";
import { connectRedis } from "./redis.ts";

const STREAM = "stream";
const GROUP = "group";

async function setUp(t: TestContext) {
  const connections: Redis[] = [];
  t.after(() => connections.forEach((connection) => connection.disconnect()));
  const server = await startTestRedis(t);
  const open = () => {
    const connection = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    connections.push(connection);
    return connection;
  };
  const redis = open();
  await redis.xgroup("CREATE", STREAM, GROUP, "0", "MKSTREAM");
  const removed: number[] = [];
  return {
    redis,
    open,
    removed,
    sweep: (goneMs: number, streams: readonly string[] = [STREAM]) =>
      new GoneConsumers({
        ...{ redis, streams, group: GROUP, self: "self", goneMs, log: createLog("test", "silent") },
        onRemoved: (_stream, consumers) => removed.push(consumers),
      }).remove(),
    add: async (entries: number) => {
      await Promise.all(Array.from({ length: entries }, () => redis.xadd(STREAM, "*", "d", "x")));
    },
    read: (consumer: string, count: number, connection = redis) => readWith(connection, consumer, count),
    consumers: async () => {
      const rows = (await redis.xinfo("CONSUMERS", STREAM, GROUP)) as (string | number)[][];
      return rows.map((row) => ({ name: row[1] as string, pending: row[3] as number, idle: row[5] as number }));
    },
    pending: async () => ((await redis.xpending(STREAM, GROUP)) as [number])[0],
  };
}

async function readWith(redis: Redis, consumer: string, count: number, ...block: ["BLOCK", number] | []) {
  const reply = (await redis.call(
    ...["XREADGROUP", "GROUP", GROUP, consumer, "COUNT"],
    ...[count, ...block, "STREAMS", STREAM, ">"],
  )) as [string, [id: string, fields: string[]][]][] | null;
  return (reply?.[0]?.[1] ?? []).map(([id]) => id);
}

test("who holds nothing and is silent goes; who holds something stays until another has taken it over", async (t) => {
  const { redis, sweep, add, read, consumers, pending, removed } = await setUp(t);
  await add(4);
  const ids = await read("dead", 2);
  await redis.xack(STREAM, GROUP, ...(await read("idle", 2)));
  await sweep(60_000);
  assert.deepEqual((await consumers()).map(({ name }) => name).sort(), ["dead", "idle", "self"], "too early");
  await sweep(0);
  assert.deepEqual((await consumers()).map(({ name, pending }) => [name, pending]), [["dead", 2], ["self", 0]]); // prettier-ignore
  assert.equal(await pending(), 2);

  await redis.call("XAUTOCLAIM", STREAM, GROUP, "other", 0, "0-0");
  await sweep(0);
  assert.deepEqual((await consumers()).map(({ name, pending }) => [name, pending]), [["other", 2], ["self", 0]]); // prettier-ignore
  assert.equal(await redis.xack(STREAM, GROUP, ...ids), 2);
  await sweep(0);
  assert.deepEqual((await consumers()).map(({ name }) => name), ["self"]); // prettier-ignore
  assert.deepEqual(removed, [1, 1, 1]);
});

test("no stream or no group is nothing to do", async (t) => {
  const { redis, sweep, removed } = await setUp(t);
  await sweep(0, ["elsewhere"]);
  assert.equal(await redis.exists("elsewhere"), 0);
  await redis.xgroup("DESTROY", STREAM, GROUP);
  await sweep(0);
  assert.deepEqual(removed, []);
});

test("the own consumer is heard of by each round, and none of its entries is touched", async (t) => {
  const { redis, sweep, add, read, consumers } = await setUp(t);
  await add(1);
  await read("self", 1);
  await eventually(async () => ((await consumers())[0]?.idle ?? 0) > 200, "some silence");
  await sweep(60_000);
  assert.ok(((await consumers())[0]?.idle ?? Infinity) < 200);
  const [[, , idle, deliveries]] = (await redis.xpending(STREAM, GROUP, "-", "+", 1)) as [[string, string, number, number]]; // prettier-ignore
  assert.ok(idle > 200);
  assert.equal(deliveries, 1);
});

test("the race: a consumer that reads between the look and the removal", async (t) => {
  const { redis, sweep, add, read, pending } = await setUp(t);
  await add(2);
  // In two steps it would be lost, which is why it is one.
  await redis.xgroup("CREATECONSUMER", STREAM, GROUP, "reader");
  await read("reader", 1);
  assert.equal(await redis.xgroup("DELCONSUMER", STREAM, GROUP, "reader"), 1, "its entry is gone with it");
  assert.equal(await pending(), 0);

  // As one step: whoever comes first, the entry stays pending.
  await redis.xgroup("CREATECONSUMER", STREAM, GROUP, "reader");
  const [ids] = await Promise.all([read("reader", 1), sweep(0)]);
  assert.equal(await pending(), 1);
  assert.equal(await redis.xack(STREAM, GROUP, ...ids), 1);
});

test("a consumer that waits in a read while it is removed gets what comes, and holds it", async (t) => {
  const { redis, open, sweep, add, consumers, pending } = await setUp(t);
  await redis.xgroup("CREATECONSUMER", STREAM, GROUP, "waiting");
  const reading = readWith(open(), "waiting", 1, "BLOCK", 10_000);
  await eventually(async () => /blocked_clients:1/.test(await redis.info("clients")), "a read that waits");
  await sweep(0);
  assert.ok(!(await consumers()).some(({ name }) => name === "waiting"));
  await add(1);
  const ids = await reading;
  assert.equal(ids.length, 1);
  assert.ok((await consumers()).some(({ name, pending }) => name === "waiting" && pending === 1));
  assert.equal(await pending(), 1);
  assert.equal(await redis.xack(STREAM, GROUP, ...ids), 1);
});

test("consumers that read and acknowledge while they are removed again and again: every entry comes once, none is lost", async (t) => {
  const { redis, open, sweep, add, pending, removed } = await setUp(t);
  const ENTRIES = 600;
  const got: string[] = [];
  let over = false;
  const readers = ["a", "b", "c"].map(async (name, i) => {
    const connection = open();
    while (!over) {
      const ids = await readWith(connection, name, 7, "BLOCK", 20);
      if (i > 0) await sleep(i); // some hold what they read for a while
      if (ids.length === 0) continue;
      got.push(...ids);
      assert.equal(await connection.xack(STREAM, GROUP, ...ids), ids.length, "all of it was still held");
    }
  });
  const sweeper = (async () => {
    while (!over) await sweep(0);
  })();
  for (let i = 0; i < ENTRIES / 20; i++) {
    await add(20);
    await sleep(5);
  }
  await eventually(async () => got.length >= ENTRIES && (await pending()) === 0, "all entries to be acknowledged");
  over = true;
  await Promise.all([...readers, sweeper]);
  assert.equal(new Set(got).size, ENTRIES);
  assert.equal(got.length, ENTRIES);
  assert.equal(await redis.xlen(STREAM), ENTRIES);
  assert.ok(removed.length > 10, `${removed.length} rounds removed somebody`);
});
