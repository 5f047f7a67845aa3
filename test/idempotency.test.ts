import assert from "node:assert/strict";
import { test } from "node:test";

import { LogScene, order, orders } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { ids, outcomes } from "./support/placements.ts";

/** A client order id that comes again: in one flush, in two, and for as long as its key lives. */

test("the same id: in one flush, in two, in the generation before, after both; another payload is a conflict (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender({ generationMs: 3_600_000, generationKeys: () => 4 });
  const twin = order("twin");
  const other = order("twin", { price: 1 });

  const [a, b, c] = await log.append(twin, twin, other);
  assert.deepEqual(outcomes([a!, b!, c!]), ["new", "duplicate", "conflict"]);
  assert.deepEqual(new Set(ids([a!, b!, c!])), new Set([a!.id]));

  const again = await log.append(order("filler-0"), twin, other, order("filler-1"));
  assert.deepEqual(outcomes(again), ["new", "duplicate", "conflict", "new"]);
  assert.deepEqual(ids(again.slice(1, 3)), [a!.id, a!.id]);
  assert.equal(again[1]!.ms, a!.ms);

  // What is left of a flush keeps its own index; only what is new is in the log.
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["twin", "filler-0", "filler-1"],
  );

  await log.append(order("filler-2")); // the fourth key
  await log.append(order("filler-3")); // the generation turns
  assert.equal(await scene.redis.hget(scene.keys.head, "generation"), "2");
  assert.equal((await log.one(twin)).id, a!.id, "found in the generation before");
  assert.equal((await log.one(other)).outcome, "conflict");

  await log.append(...orders("more", 3));
  await log.append(order("turns"));
  assert.equal(await scene.redis.hget(scene.keys.head, "generation"), "3");
  assert.equal(await scene.redis.exists(scene.keys.seen(1)), 0, "the oldest generation is removed");
  const beyond = await log.one(twin);
  assert.equal(beyond.outcome, "new");
  assert.notEqual(beyond.id, a!.id);
  await scene.orders();
});

test("a flush of nothing but duplicates writes no entry", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const first = await log.append(...orders("same", 3));
  const second = await log.append(...orders("same", 3));
  assert.deepEqual(outcomes(second), ["duplicate", "duplicate", "duplicate"]);
  assert.deepEqual(ids(second), ids(first));
  assert.equal((await scene.entries()).length, 1);
});

test("generations turn by Redis' time, and a key lives through one whole generation at least (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender({ generationMs: 200 });
  const first = await log.one(order("kept"));
  const generation = async () => Number(await scene.redis.hget(scene.keys.head, "generation"));
  let n = 0;
  await eventually(async () => {
    // Up to the removal the key is found: it lives in the present generation, then in the one before.
    const found = await log.one(order("kept"));
    if ((await generation()) < 3) assert.equal(found.id, first.id);
    else return true;
    await log.append(order(`tick-${n++}`));
    return (await generation()) >= 3;
  }, "two turns");
  assert.equal(await scene.redis.exists(scene.keys.seen(1)), 0);
  const removed = Number(await scene.redis.hget(scene.keys.head, "turned"));
  assert.ok(removed - first.ms >= 200, "it was kept for a generation's length after it was written");
  await scene.orders();
});

test("an appender that did not see the generation turn is told, and goes on", async (t) => {
  const scene = await LogScene.set(t);
  const [a, b] = [scene.appender({ generationKeys: () => 2 }), scene.appender({ generationKeys: () => 2 })];
  await b.append(order("b-0"));
  for (let i = 0; i < 6; i++) await a.append(...orders(`a-${i}`, 2));
  assert.equal((await b.one(order("a-5-1"))).outcome, "duplicate");
  assert.equal((await b.one(order("b-1"))).outcome, "new");
  await scene.orders();
});
