import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";
import { until } from "../../test/support/until.ts";
import { startTestRedis, type TestRedis } from "../../test/support/servers.ts";
import { encodeEventBatch, type EventBatchSource } from "../stream/event-encoder.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { connectRedis } from "../stream/redis.ts";
import { createLog } from "../telemetry/log.ts";
import { EventFollower, FOLLOW_BLOCK_MS, type FollowedEntry } from "./event-follower.ts";

const KEYS = new PartitionKeys(0);
const START = { epoch: 0, ms: 0, seq: 0 };

/** A batch without events, which its state hash tells from others. */
function batch(stateHash: bigint): Buffer {
  const none = { count: 0, at: (): never => assert.fail("there is none") };
  const source: EventBatchSource = { stateHash, rules: 1, events: none, levels: none };
  return encodeEventBatch(0, source, () => "");
}

/** The events of a partition, written as an engine writes them. */
class Events {
  readonly redis: Redis;
  last = "0-0";

  constructor(redis: Redis) {
    this.redis = redis;
  }

  async append(id: string, oddities: Partial<Record<"p" | "e" | "v" | "d", string | Buffer>> = {}): Promise<void> {
    const fields = { d: batch(BigInt(id.split("-")[0]!)), p: this.last, e: "1", v: "1", ...oddities };
    await this.redis.xadd(KEYS.events, id, ...Object.entries(fields).flat());
    this.last = id;
  }

  async fill(from: number, to: number): Promise<void> {
    for (let n = from; n <= to; n++) await this.append(`${n}-1`);
  }
}

class Scene {
  readonly follower: EventFollower;
  readonly events: Events;
  /** What a listener was told: IDs, and "reset" with the end as it is then. */
  readonly told: string[] = [];
  readonly lines: { readonly level: string; readonly msg: string }[] = [];

  constructor(t: TestContext, { url }: TestRedis) {
    const redis = connectRedis(url, { name: "test", socketTimeoutMs: 5_000 });
    t.after(() => redis.disconnect());
    this.events = new Events(redis);
    const log = createLog("ingest", "info", { write: (line) => this.lines.push(JSON.parse(line) as never) });
    const following = connectRedis(url, { name: "follow", socketTimeoutMs: 2_000 + FOLLOW_BLOCK_MS });
    this.follower = new EventFollower({ partitions: [KEYS], redis: [following], log });
    this.follower.listen(0, {
      entry: ({ id }) => this.told.push(id),
      reset: () => this.told.push(`reset at ${this.follower.end(0)?.ms}`),
    });
    t.after(() => this.follower.stop());
  }

  async followed(ms: number | undefined): Promise<void> {
    await until(`the follower is at ${ms}`, () => this.follower.end(0)?.ms === ms);
  }

  all(): string[] | undefined {
    return this.follower.since(0, START)?.map(({ id }) => id);
  }
}

const ids = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}-1`);

test("it begins with what the stream has, and goes on with what comes", async (t) => {
  const scene = new Scene(t, await startTestRedis(t));
  const { follower, events, told } = scene;
  await events.fill(1, 100); // several pages
  await follower.start();
  assert.deepEqual(scene.all(), ids(1, 100));
  assert.deepEqual(follower.end(0), follower.find(0, { ms: 100, seq: 1 }));
  await events.fill(101, 103);
  await scene.followed(103);
  assert.deepEqual(told, ["101-1", "102-1", "103-1"]);
  const entry: FollowedEntry = follower.find(0, { ms: 101, seq: 1 })!;
  assert.deepEqual(
    [entry.id, entry.epoch, entry.previous, entry.batch.stateHash],
    ["101-1", 1, { ms: 100, seq: 1 }, 101n],
  );
  for (const { batch, ms } of follower.since(0, START)!) assert.equal(batch.stateHash, BigInt(ms));
  assert.equal(follower.find(0, { ms: 101, seq: 0 }), undefined);
  assert.deepEqual(
    [follower.end(1), follower.find(1, START), follower.since(1, START)],
    [undefined, undefined, undefined],
  );

  const more: string[] = [];
  const end = follower.listen(0, { entry: ({ id }) => more.push(id), reset: () => assert.fail("a reset") });
  await events.fill(104, 104);
  await scene.followed(104);
  end();
  await events.fill(105, 105);
  await scene.followed(105);
  assert.deepEqual(more, ["104-1"]);
});

test("a listener that throws costs no other one an entry: all are told of a hole (I4)", async (t) => {
  const { follower, events, told, lines } = new Scene(t, await startTestRedis(t));
  await follower.start();
  const end = follower.listen(0, {
    entry: () => {
      throw new Error("a mistake");
    },
    reset: () => {},
  });
  const behind: string[] = [];
  follower.listen(0, { entry: ({ id }) => behind.push(id), reset: () => behind.push("reset") });
  await events.fill(1, 1);
  await until("all are told", () => told.length === 2 && behind.length === 1);
  assert.deepEqual([told, behind], [["1-1", "reset at 1"], ["reset"]]);
  assert.ok(lines.some(({ msg }) => msg.includes("events cannot be followed")));
  end();
  await events.fill(2, 2);
  await until("the next one", () => behind.length === 2);
  assert.deepEqual(behind, ["reset", "2-1"]);
});

test("where the stream begins anew, or has lost entries, it starts again and says so (I4)", async (t) => {
  const server = await startTestRedis(t);
  const scene = new Scene(t, server);
  const { follower, events, told } = scene;
  await events.fill(1, 3);
  await events.append("4-1", { p: "3-9" }); // a hole: only what is behind it counts
  await follower.start();
  assert.deepEqual(scene.all(), undefined);
  assert.deepEqual(
    follower.since(0, { epoch: 1, ms: 3, seq: 9 })?.map(({ id }) => id),
    ["4-1"],
  );

  await events.append("5-1", { p: "4-9" });
  await until("a reset", () => told.length === 1);
  assert.deepEqual(told, ["reset at 5"]);
  assert.equal(follower.find(0, { ms: 4, seq: 1 }), undefined);

  // Emptied, and written again from an earlier place on: nothing comes behind the end.
  await events.redis.flushall();
  events.last = "0-0";
  await events.fill(1, 2);
  await scene.followed(2);
  assert.deepEqual(told.slice(1), ["reset at 2"]);
  assert.deepEqual(scene.all(), ["1-1", "2-1"]);

  // Emptied, and nothing there.
  await events.redis.flushall();
  await scene.followed(undefined);
  events.last = "0-0";
  await events.fill(7, 8);
  await scene.followed(8);
  assert.deepEqual(told.slice(2), ["reset at undefined", "7-1", "8-1"]);

  // Trimmed altogether, which is no loss.
  await events.redis.xtrim(KEYS.events, "MAXLEN", 0);
  await server.restart();
  await until("Redis", async () => (await events.redis.ping().catch(() => "")) === "PONG");
  await events.fill(9, 9);
  await scene.followed(9);
  assert.deepEqual(told.slice(5), ["9-1"]);
});

test("it goes on behind a Redis that was away, and throws at nobody meanwhile (I11)", async (t) => {
  const server = await startTestRedis(t);
  const scene = new Scene(t, server);
  const { follower, events, told, lines } = scene;
  await events.fill(1, 2);
  await follower.start();
  await server.stop();
  await until("trouble", () => lines.some(({ msg }) => msg === "events cannot be followed at present"));
  assert.equal(follower.find(0, { ms: 2, seq: 1 })?.batch.stateHash, 2n);
  await server.start();
  await until("Redis", async () => (await events.redis.ping().catch(() => "")) === "PONG");
  await events.fill(3, 4);
  await scene.followed(4);
  assert.deepEqual(told, ["3-1", "4-1"]);
  await until("a line", () => lines.at(-1)?.msg === "events are followed again");
});

test("a version that it does not know holds it up; damaged bytes are an empty batch, and told", async (t) => {
  const scene = new Scene(t, await startTestRedis(t));
  const { follower, events, lines } = scene;
  await follower.start();
  await events.append("1-1", { d: Buffer.from("1a05", "hex") });
  await scene.followed(1);
  const entry = follower.find(0, { ms: 1, seq: 1 })!;
  assert.deepEqual(entry.batch.events, []);
  assert.equal(entry.event(0), undefined);
  assert.ok(lines.some(({ level, msg }) => level === "error" && msg === "AN EVENT ENTRY IS DAMAGED"));

  await events.append("2-1", { v: "2" });
  await until("a warning", () => lines.some(({ msg }) => msg === "events cannot be followed at present"));
  assert.equal(follower.end(0)?.ms, 1);
  await events.redis.xdel(KEYS.events, "2-1");
  await events.append("2-2", { p: "1-1" });
  await scene.followed(2);
});

test("it starts while Redis is away, and fills its ring later", async (t) => {
  const server = await startTestRedis(t);
  await server.stop();
  const scene = new Scene(t, server);
  await scene.follower.start();
  assert.equal(scene.follower.end(0), undefined);
  await server.start();
  await until("Redis", async () => (await scene.events.redis.ping().catch(() => "")) === "PONG");
  await scene.events.fill(1, 1);
  await scene.followed(1);
  await server.stop();
  await scene.follower.stop(); // while it waits for a connection
});
