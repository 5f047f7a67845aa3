import assert from "node:assert/strict";
import { test } from "node:test";

import type { PreparedCommand } from "../src/stream/prepared-command.ts";
import { DurabilityError, verifyDurability, type Durability } from "../src/stream/durability.ts";
import { checkPartitionCount, claimPartitionCount } from "../src/stream/partition-count.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { LogScene, order, TestAppender } from "./support/log.ts";
import { eventually, Ingest } from "./support/pipeline.ts";
import { entryIdOf, epochOf, ids, outcomes, refusedAs } from "./support/placements.ts";
import { Proxy } from "./support/proxy.ts";
import { startTestRedis } from "./support/servers.ts";

/** What a server must hold, or it is refused: the level of durability, and the number of partitions; what replicas add to it. */

/** A server with each setting that a level does not take, and what is said of it. */
const LEVEL: Durability = { level: "always", replicas: 0, replicaTimeoutMs: 1_000 };
const FAULTS: readonly [Durability["level"], readonly [string, string | number][], string[]][] = [
  ["always", [["appendonly", "no"]], ["appendonly is no, must be yes"]],
  ["always", [["appendfsync", "everysec"]], ["appendfsync is everysec, must be always"]],
  ["always", [["no-appendfsync-on-rewrite", "yes"]], ["no-appendfsync-on-rewrite is yes, must be no"]],
  ["always", [["maxmemory", 0]], ["maxmemory is 0, must be set"]],
  ["always", [["maxmemory-policy", "allkeys-lru"]], ["maxmemory-policy is allkeys-lru, must be noeviction"]],
  [
    "always",
    [
      ["appendfsync", "no"],
      ["maxmemory", 0],
    ],
    ["appendfsync is no, must be always", "maxmemory is 0, must be set"],
  ],
  ["replicas", [["min-replicas-to-write", 1]], ["min-replicas-to-write is 1, must be 2 or more"]],
  [
    "replicas",
    [
      ["appendfsync", "everysec"],
      ["min-replicas-to-write", 2],
    ],
    ["appendfsync is everysec, must be always"],
  ],
  ["everysec", [["appendfsync", "no"]], ["appendfsync is no, must be everysec or always"]],
  ["everysec", [["appendonly", "no"]], ["appendonly is no, must be yes"]],
  ["memory", [["maxmemory-policy", "volatile-ttl"]], ["maxmemory-policy is volatile-ttl, must be noeviction"]],
  ["memory", [["maxmemory", 0]], ["maxmemory is 0, must be set"]],
];

test("a server that does not hold the level is refused, with a line for each fault", async (t) => {
  const { redis, server } = await LogScene.set(t);
  const names = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-to-write",
  ];
  const good = (await redis.call("CONFIG", "GET", ...names)) as string[];
  const configure = (settings: readonly (string | number)[]) => redis.call("CONFIG", "SET", ...settings);
  for (const [level, settings, faults] of FAULTS) {
    await configure(settings.flat());
    const asked = verifyDurability(redis, { ...LEVEL, level, replicas: level === "replicas" ? 2 : 0 });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof DurabilityError);
      assert.deepEqual(error.faults, faults);
      return true;
    });
    await configure(good);
  }
  const { maxMemoryBytes, runId } = await verifyDurability(redis, LEVEL);
  assert.ok(maxMemoryBytes > 0 && /^[0-9a-f]{40}$/.test(runId));
  await server.kill(); // it would not stop while it writes its file anew
});

test("a replica is no place for a log", async (t) => {
  const master = await startTestRedis(t);
  const scene = await LogScene.set(t, ["--replicaof", `127.0.0.1 ${master.port}`]);
  await assert.rejects(verifyDurability(scene.redis, LEVEL), /the server is a slave, must be a master/);
});

test("a database that the server does not have is refused, in place of another one", async (t) => {
  const { server } = await LogScene.set(t);
  const verify = async (database: number) => {
    const redis = connectRedis(`${server.url}/${database}`, { name: "test", socketTimeoutMs: 5_000 });
    t.after(() => redis.disconnect());
    return await verifyDurability(redis, LEVEL);
  };
  await verify(15);
  await assert.rejects(verify(16), /the database is 0, must be 16/);
});

test("another number of partitions is refused, and not recorded where there is none yet", async (t) => {
  const { redis } = await LogScene.set(t);
  await checkPartitionCount(redis, 3);
  assert.equal(await redis.exists("penstock:partitions"), 0);
  await Promise.all([claimPartitionCount(redis, 2), claimPartitionCount(redis, 2)]);
  await claimPartitionCount(redis, 2);
  for (const refuse of [claimPartitionCount, checkPartitionCount]) {
    await assert.rejects(refuse(redis, 3), /the log in Redis has 2 partitions, not 3/);
  }
});

test(
  "ingest does not start on a server below the level, nor with another number of partitions",
  { concurrency: true },
  async (t) => {
    const scene = await LogScene.set(t);
    const { databaseUrl, redis, server } = scene;
    const fails = async (env: Record<string, string>, message: RegExp) => {
      const ingest = new Ingest("ingest", { redisUrl: server.url, databaseUrl, env });
      t.after(() => ingest.kill());
      assert.notEqual(await ingest.exited, 0);
      assert.match(ingest.lines.join("\n"), message);
    };
    await claimPartitionCount(redis, 1);
    await Promise.all([
      fails({ PENSTOCK_DURABILITY: "replicas:1" }, /min-replicas-to-write is 0, must be 1 or more/),
      fails({ PENSTOCK_PARTITIONS: "2" }, /the log in Redis has 1 partitions, not 2/),
    ]);
    const [recorded] = await scene.sql`SELECT value FROM settings WHERE key = 'partitions'`;
    assert.equal(recorded, undefined, "a wrong number is not recorded");
    await redis.flushall();
    await scene.sql`INSERT INTO settings (key, value) VALUES ('partitions', '1')`;
    await fails({ PENSTOCK_PARTITIONS: "2" }, /the number of partitions is 1 in this database, not 2/);
    assert.equal(await redis.exists("penstock:partitions"), 0);
  },
);

test("I1: replicas: an order is acknowledged when they have it; too few of them: unknown, and the retry tells", async (t) => {
  const scene = await LogScene.set(t, ["--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0"]);
  const replica = await startTestRedis(t, ["--replicaof", `127.0.0.1 ${scene.server.port}`]);
  t.after(() => replica.pid !== undefined && process.kill(replica.pid, "SIGCONT"));
  await eventually(
    async () => /connected_slaves:1\r[^]*state=online/.test(await scene.redis.info("replication")),
    "the replica",
  );
  const proxy = await Proxy.start(t, scene.server.url);
  const durability: Durability = { level: "replicas", replicas: 1, replicaTimeoutMs: 300 };
  const log = scene.appender({ durability, url: proxy.url });
  // As a client does: the replica may be slower than the time that it is given here.
  const retried = (...commands: readonly PreparedCommand[]) =>
    eventually(async () => log.append(...commands).catch(() => undefined), "the replica's confirmation");
  const [first] = await retried(order("first"));
  const onReplica = connectRedis(replica.url, { name: "test", socketTimeoutMs: 10_000 });
  t.after(() => onReplica.disconnect());
  const replicated = async () => (await onReplica.xrange(scene.keys.orders, "-", "+")).map(([id]) => id);
  assert.deepEqual(await replicated(), [entryIdOf(first!.id)]);

  process.kill(replica.pid!, "SIGSTOP");
  await assert.rejects(log.one(order("second")), refusedAs("unknown"));
  await assert.rejects(log.one(order("second")), refusedAs("unknown"), "a duplicate waits as well");
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const resent = assert.rejects(
    log.one(order("third")),
    refusedAs("unknown"),
    "and so does a flush that is sent again",
  );
  await lost;
  await resent;
  process.kill(replica.pid!, "SIGCONT");
  const again = await retried(order("second"), order("third"));
  assert.deepEqual(outcomes(again), ["duplicate", "duplicate"]);
  assert.deepEqual(await replicated(), ids([first!, ...again]).map(entryIdOf));

  // The replica is made the master: what its master had beyond it cannot be known, so the epoch is raised.
  await onReplica.replicaof("NO", "ONE");
  await scene.server.kill();
  const promoted = new TestAppender(replica.url, scene.sql);
  t.after(() => promoted.stop());
  const next = await promoted.one(order("next"));
  assert.equal(epochOf(next), 2);
  assert.deepEqual(await replicated(), ids([first!, ...again, next]).map(entryIdOf));
});
