/** I4: what a consumer holds and has not acknowledged comes again, whatever was lost on its way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import { startTestRedis } from "../../test/support/servers.ts";
import { type Delivery, GroupReader } from "./group-reader.ts";
import { connectRedis } from "./redis.ts";

const STREAM = "stream";
const GROUP = "group";

async function setUp(t: TestContext): Promise<{
  redis: Redis;
  add: (entries: number) => Promise<string[]>;
  reader: (consumer: string, settings?: { count?: number; minIdleMs?: number }) => GroupReader;
  losses: () => number;
}> {
  const connections: Redis[] = [];
  t.after(() => connections.forEach((connection) => connection.disconnect()));
  const server = await startTestRedis(t);
  const open = () => {
    const connection = connectRedis(server.url, { name: "test", socketTimeoutMs: 5_000 });
    connections.push(connection);
    return connection;
  };
  const redis = open();
  let lost = 0;
  return {
    redis,
    async add(entries) {
      const ids: string[] = [];
      for (let i = 0; i < entries; i++) ids.push((await redis.xadd(STREAM, "*", "d", "x"))!);
      return ids;
    },
    reader: (consumer, { count = 3, minIdleMs = 60_000 } = {}) =>
      new GroupReader({
        ...{ blocking: open(), redis, stream: STREAM, group: GROUP, consumer, count, minIdleMs },
        ...{ blockMs: 20, claimIntervalMs: 0, onGroupLost: () => lost++ },
      }),
    losses: () => lost,
  };
}

/** Everything that comes until a read brings nothing; at most so many reads. */
async function readAll(
  reader: GroupReader,
  reads = 30,
): Promise<{ ids: string[]; lost: string[]; deliveries: number[] }> {
  const all: Delivery[] = [];
  let quiet = 0;
  for (let i = 0; i < reads && quiet < 2; i++) {
    const delivery = await reader.next();
    quiet = delivery.entries.length + delivery.lost.length === 0 ? quiet + 1 : 0;
    all.push(delivery);
  }
  const entries = all.flatMap((delivery) => delivery.entries);
  return {
    ids: entries.map(({ id }) => id),
    lost: all.flatMap(({ lost }) => lost),
    deliveries: entries.map(({ deliveries }) => deliveries),
  };
}

test("the group is made where there is none, and read from the stream's beginning", async (t) => {
  const { add, reader, losses } = await setUp(t);
  const first = reader("a");
  assert.deepEqual(await first.next(), { entries: [], lost: [] });
  assert.equal(losses(), 0); // nobody had made it yet
  const ids = await add(4);
  assert.deepEqual((await readAll(first)).ids, ids);
  assert.equal(await first.acknowledge(ids), 4);
  assert.equal(await first.acknowledge(ids), 0);
  assert.equal(await first.acknowledge([]), 0);
});

test("I4: a group that is gone is made again and reported, and all that the stream holds comes again", async (t) => {
  const { redis, add, reader, losses } = await setUp(t);
  const consumer = reader("a");
  await consumer.next();
  const ids = await add(7);
  await consumer.acknowledge((await readAll(consumer)).ids);
  await redis.xgroup("DESTROY", STREAM, GROUP);
  assert.deepEqual((await readAll(consumer)).ids, ids);
  assert.equal(losses(), 1);
  // A worker that starts only now, and finds a stream without its group.
  await redis.xgroup("DESTROY", STREAM, GROUP);
  await reader("b").next();
  assert.equal(losses(), 2);
});

test("I4: the own pending list comes first, page by page, then what is new", async (t) => {
  const { add, reader } = await setUp(t);
  await reader("a").next();
  const ids = await add(8);
  assert.equal((await reader("a", { count: 8 }).next()).entries.length, 8);
  const more = await add(2);

  const after = reader("a", { count: 3 });
  const again = await readAll(after);
  assert.deepEqual(again.ids, [...ids, ...more]);
  assert.deepEqual(again.deliveries, [...ids.map(() => 2), ...more.map(() => 1)]);
  after.rewind();
  await after.acknowledge(ids.slice(0, 5));
  assert.deepEqual((await readAll(after)).ids, [...ids.slice(5), ...more]);
});

test("I4: stalled entries are claimed across pages that are empty", async (t) => {
  const { redis, add, reader } = await setUp(t);
  await reader("a").next();
  const ids = await add(60);
  await readAll(reader("dead", { count: 60 }));
  // 40 in a row are gone: more than one page of a claim, which looks at ten times its COUNT.
  await redis.xdel(STREAM, ...ids.slice(5, 45));
  const found = await readAll(reader("alive", { count: 2, minIdleMs: 0 }), 60);
  // With no idle time it also claims its own, so some come more than once; none is missing.
  assert.deepEqual([...new Set(found.ids)], [...ids.slice(0, 5), ...ids.slice(45)]);
  assert.deepEqual(found.lost, ids.slice(5, 45));
});

test("entries that are not stalled are left to their consumer", async (t) => {
  const { add, reader } = await setUp(t);
  await reader("a").next();
  await add(5);
  await readAll(reader("busy", { count: 5 }));
  assert.deepEqual(await readAll(reader("idle")), { ids: [], lost: [], deliveries: [] });
});

test("I4: what was deleted in the own pending list is told as lost", async (t) => {
  const { redis, add, reader } = await setUp(t);
  await reader("a").next();
  const ids = await add(5);
  await readAll(reader("a", { count: 5 }));
  await redis.xdel(STREAM, ids[0]!, ids[3]!);
  const again = reader("a", { count: 1 });
  const first = await readAll(again);
  assert.deepEqual(first.ids, [ids[1], ids[2], ids[4]]);
  // A claim finds the same ones, idle or not, and takes them off the list.
  assert.deepEqual(first.lost, [ids[0], ids[3], ids[0], ids[3]]);
  again.rewind();
  assert.deepEqual((await readAll(again)).ids, first.ids);
  assert.equal(await again.acknowledge(ids), 3);
});

test("a worker whose clock was set back takes over stalled entries all the same", async (t) => {
  const { add, reader } = await setUp(t);
  const [dead, next] = [reader("dead"), reader("next", { minIdleMs: 1 })];
  await readAll(next); // its next look for stalled entries has a time now
  const ids = await add(2);
  await readAll(dead);
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 3_600_000 });
  const { ids: taken } = await readAll(next);
  t.mock.timers.reset();
  assert.deepEqual([...new Set(taken)], ids);
});
