import assert from "node:assert/strict";
import { test } from "node:test";

import { ReplyError } from "ioredis";

import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { Script } from "../src/stream/script.ts";
import { LogScene, order } from "./support/log.ts";

/** What the trimmer removes from the log, and what it must leave there. */

const trimScript = new Script("trim");

/** Twelve entries over several nodes of the stream, so that the approximate trim can remove some. */
async function trimScene(t: Parameters<typeof LogScene.set>[0]) {
  const scene = await LogScene.set(t, ["--stream-node-max-entries", "1"]);
  const log = scene.appender();
  for (let i = 0; i < 12; i++) await log.one(order(`o-${i}`));
  const entries = (await scene.entries()).map(({ id }) => id);
  const trim = (horizonMs: number, ...groups: string[]) =>
    trimScript.run(scene.redis, [scene.keys.orders], [horizonMs, 1_000, Date.now(), ...groups]);
  const read = (count: number, group = PERSIST_GROUP) =>
    scene.redis.xreadgroup("GROUP", group, "worker", "COUNT", count, "STREAMS", scene.keys.orders, ">");
  const left = async () => (await scene.entries()).map(({ id }) => id);
  return { scene, entries, trim, read, left };
}

test("I10: nothing is trimmed that a group has not read, or holds, or that the horizon keeps", async (t) => {
  const { scene, entries, trim, read, left } = await trimScene(t);
  const { redis, keys } = scene;
  await trim(0, PERSIST_GROUP);
  assert.deepEqual(await left(), entries, "nothing was read");

  await read(5);
  await trim(0, PERSIST_GROUP);
  assert.deepEqual(await left(), entries, "all five are pending");
  await redis.xack(keys.orders, PERSIST_GROUP, ...[entries[0]!, entries[1]!, entries[3]!, entries[4]!]);
  await trim(0, PERSIST_GROUP);
  assert.deepEqual(await left(), entries.slice(2), "the third one is pending");
  await redis.xack(keys.orders, PERSIST_GROUP, entries[2]!);
  await trim(3_600_000, PERSIST_GROUP);
  assert.deepEqual(await left(), entries.slice(2), "the replay horizon keeps them");
  await trim(0, PERSIST_GROUP);
  assert.deepEqual(await left(), entries.slice(4), "all but the last one read, and what comes behind it");
  await scene.redis.xack(keys.orders, PERSIST_GROUP, ...entries);
  await read(100);
  await redis.xack(keys.orders, PERSIST_GROUP, ...entries);
  await trim(0, PERSIST_GROUP);
  assert.deepEqual(await left(), entries.slice(-1));
});

test("I10: a clock that has jumped ahead, here or there, does not cut the horizon short", async (t) => {
  const { scene, entries, trim, read, left } = await trimScene(t);
  await read(100);
  await scene.redis.xack(scene.keys.orders, PERSIST_GROUP, ...entries);
  // Seen from this process Redis' clock is two hours ahead, and then behind.
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 7_200_000 });
  await trim(3_600_000, PERSIST_GROUP);
  t.mock.timers.reset();
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 7_200_000 });
  await trim(3_600_000, PERSIST_GROUP);
  t.mock.timers.reset();
  assert.deepEqual(await left(), entries);
});

test("I10: the slowest of several groups counts; where the groups are not those configured nothing is trimmed", async (t) => {
  const { scene, entries, trim, read, left } = await trimScene(t);
  const { redis, keys } = scene;
  await read(100);
  await redis.xack(keys.orders, PERSIST_GROUP, ...entries);
  const isRefusal = (error: unknown) =>
    error instanceof (ReplyError as new () => Error) && error.message.startsWith("GROUPS");
  await redis.xgroup("CREATE", keys.orders, "engine", "0");
  await assert.rejects(trim(0, PERSIST_GROUP), isRefusal, "a group that is not configured");
  assert.deepEqual(await left(), entries);
  await trim(0, PERSIST_GROUP, "engine");
  assert.deepEqual(await left(), entries, "the other group has read nothing");
  await read(6, "engine");
  await redis.xack(keys.orders, "engine", ...entries);
  await trim(0, PERSIST_GROUP, "engine");
  assert.deepEqual(await left(), entries.slice(5));
  await redis.xgroup("DESTROY", keys.orders, PERSIST_GROUP);
  await assert.rejects(trim(0, PERSIST_GROUP, "engine"), isRefusal, "a group that is gone");
  assert.deepEqual(await left(), entries.slice(5));
  assert.deepEqual(await trimScript.run(redis, ["penstock:{9}:orders"], [0, 100, Date.now(), PERSIST_GROUP]), [
    0,
    Buffer.from("0-0"),
  ]);
});

test("I10: nothing is trimmed that the engine would need to start again: what is behind its newest snapshot", async (t) => {
  const { scene, entries, read, left } = await trimScene(t);
  const { redis, keys } = scene;
  const trimBoth = () => trimScript.run(redis, [keys.orders, keys.engine], [0, 1_000, Date.now(), PERSIST_GROUP]);
  await read(8);
  await redis.xack(keys.orders, PERSIST_GROUP, ...entries);
  await redis.hset(keys.engine, "epoch", "1");
  await trimBoth();
  assert.deepEqual(await left(), entries, "an engine that has stored no snapshot yet");
  await redis.hset(keys.engine, "snapshot", entries[3]!);
  await trimBoth();
  assert.deepEqual(await left(), entries.slice(3), "it has stored one, at the fourth entry");
  await redis.hset(keys.engine, "snapshot", entries[10]!);
  await trimBoth();
  assert.deepEqual(await left(), entries.slice(7), "now the group is the one behind");
  await read(100);
  await redis.xack(keys.orders, PERSIST_GROUP, ...entries);
  await redis.del(keys.engine);
  await trimBoth();
  assert.deepEqual(await left(), entries.slice(-1), "no engine is part of the deployment");
});

test("what is left after a trim is followed by the next entry, and ids go on (I3, I4)", async (t) => {
  const { scene, entries, trim, read, left } = await trimScene(t);
  await read(100);
  await scene.redis.xack(scene.keys.orders, PERSIST_GROUP, ...entries);
  await trim(0, PERSIST_GROUP);
  const log = scene.appender();
  const { id } = await log.one(order("next"));
  const [last, next] = await scene.entries();
  assert.deepEqual(await left(), [entries.at(-1), next!.id]);
  assert.equal(formatEntryId(next!.previous), last!.id);
  const place = parseOrderId(id)!;
  assert.equal(formatEntryId(place), next!.id);
});
