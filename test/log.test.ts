import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS } from "../src/stream/command.ts";
import type { Placement } from "../src/stream/flush.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { parseOrderId } from "../src/stream/position.ts";
import { LogScene, order, orders, patient } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { ids, outcomes, refusedAs } from "./support/placements.ts";
import { Proxy } from "./support/proxy.ts";

/** The appender over a real Redis: entries, places, trouble and bounds. */

test("calls that come together share entries; their order and their places hold (I3, I4)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const answers = await Promise.all(orders("many", 2_000).map((command) => log.one(command)));

  const entries = await scene.entries();
  assert.ok(entries.length <= 10, `${entries.length} entries for 2,000 calls`);
  const logged = await scene.orders(); // verifies the chain
  assert.deepEqual(
    logged.map(({ clientOrderId }) => clientOrderId),
    answers.map((_, i) => `many-${i}`),
  );
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids(answers),
  );
  assert.deepEqual(new Set(outcomes(answers)), new Set(["new"]));
  for (const { epoch, version } of entries) assert.deepEqual({ epoch, version }, { epoch: 1, version: 1 });
  for (const { id, ms } of answers) assert.equal(parseOrderId(id)?.ms, ms);
  assert.equal(log.appender.waiting, 0);
});

test("a batch of 1,000 goes into entries of at most 500 commands, in its order", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const [first, batch, last] = await Promise.all([
    log.append(order("first")),
    log.append(...orders("batch", 1_000)),
    log.append(order("last")),
  ]);
  const logged = await scene.orders();
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids([...first, ...batch, ...last]),
  );
  assert.deepEqual(
    logged.slice(1, -1).map(({ clientOrderId }) => clientOrderId),
    batch.map((_, i) => `batch-${i}`),
  );
  const sizes = log.flushes.map(({ commands }) => commands);
  assert.deepEqual(sizes, [MAX_ENTRY_COMMANDS, MAX_ENTRY_COMMANDS, 2]);
});

test("an entry holds at most 1 MiB", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  // No door lets such ids in; here they stand for large commands.
  const large = Array.from({ length: 400 }, (_, i) => order(`${i}-${"x".repeat(3_900)}`));
  const placements = await log.append(...large);
  const entries = await scene.entries();
  assert.equal(entries.length, 2);
  for (const { payload } of entries) assert.ok(payload.length <= MAX_ENTRY_BYTES);
  assert.ok(entries[0]!.payload.length > MAX_ENTRY_BYTES - 4_096);
  assert.deepEqual(
    (await scene.orders()).map(({ id }) => id),
    ids(placements),
  );
});

test("two ingests on one partition: the chain is unbroken, nothing doubled, each one's order kept (I2, I4)", async (t) => {
  const scene = await LogScene.set(t);
  const [a, b] = [scene.appender(), scene.appender()];
  const both: Promise<Placement>[] = [];
  for (let i = 0; i < 300; i++) {
    both.push(a.one(order(`a-${i}`)), b.one(order(`b-${i}`)), a.one(order(`both-${i}`)), b.one(order(`both-${i}`)));
    if (i % 20 === 0) await both.at(-1);
  }
  const placements = await Promise.all(both);
  const logged = await scene.orders();
  assert.equal(logged.length, 900);
  assert.equal(new Set(logged.map(({ clientOrderId }) => clientOrderId)).size, 900);
  for (const name of ["a", "b"]) {
    const own = logged.filter(({ clientOrderId }) => clientOrderId.startsWith(`${name}-`));
    assert.deepEqual(
      own.map(({ clientOrderId }) => clientOrderId),
      own.map((_, i) => `${name}-${i}`),
    );
  }
  for (let i = 0; i < 300; i++) {
    const [throughA, throughB] = [placements[i * 4 + 2]!, placements[i * 4 + 3]!];
    assert.equal(throughA.id, throughB.id);
    assert.deepEqual(outcomes([throughA, throughB]).sort(), ["duplicate", "new"]);
  }
});

test("partitions have logs of their own", async (t) => {
  const scene = await LogScene.set(t);
  const keys = [0, 1, 2].map((partition) => new PartitionKeys(partition));
  const logs = keys.map((of) => scene.appender({ keys: of, partitions: 3 }));
  const placements = await Promise.all(logs.map((log, i) => log.append(order("same id"), order(`only-${i}`))));
  for (const [partition, [first, second]] of placements.entries()) {
    assert.equal(first?.outcome, "new");
    assert.equal(parseOrderId(first.id)?.partition, partition);
    assert.deepEqual(
      (await scene.orders(keys[partition])).map(({ id }) => id),
      [first.id, second!.id],
    );
  }
});

test("a flush whose answer was lost is sent again: one entry, the same answer (I1, I2)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  const first = await log.one(order("known"));

  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const placements = await log.append(order("new-0"), order("known"), order("known", { price: 1 }), order("new-1"));
  await lost;
  assert.deepEqual(outcomes(placements), ["new", "duplicate", "conflict", "new"]);
  assert.equal(placements[1]!.id, first.id);
  const logged = await scene.orders();
  assert.deepEqual(
    logged.map(({ clientOrderId }) => clientOrderId),
    ["known", "new-0", "new-1"],
  );
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids([first, placements[0]!, placements[3]!]),
  );
});

test("a server that goes silent: the flush is answered as unknown, and the id tells what became of it (I11)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const sent = log.append(order("lost"), order("lost too"));
  await Promise.all([lost.then(() => (proxy.closed = true)), assert.rejects(sent, refusedAs("unknown"))]);

  // While nothing can be sent at all, nothing was done.
  await assert.rejects(log.append(order("never sent")), refusedAs("unavailable"));
  proxy.closed = false;
  const again = await log.append(order("lost"), order("lost too"));
  assert.deepEqual(outcomes(again), ["duplicate", "duplicate"]);
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["before", "lost", "lost too"],
  );
});

test("a clock that is ahead by more than five seconds: nothing is logged, and the client may come again (I11)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.one(order("before"));
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 60_000 });
  await assert.rejects(log.one(order("refused")), refusedAs("unavailable"));
  t.mock.timers.reset();
  assert.equal((await log.one(order("refused"))).outcome, "new");
});

test("a call that is over before it was sent is not in the log", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const expired = log.appender.append([order("expired")], { deadline: Date.now() - 1, cancelled: false });
  const cancelled = log.appender.append([order("cancelled")], { deadline: patient.deadline, cancelled: true });
  const good = log.one(order("good"));
  await assert.rejects(expired, refusedAs("expired"));
  await assert.rejects(cancelled, refusedAs("expired"));
  assert.equal((await good).outcome, "new");

  // While one flush is on its way the others wait; who gives up meanwhile is not sent.
  proxy.stall();
  const onItsWay = log.one(order("on its way"));
  await eventually(async () => log.appender.waiting === 1, "the flush to be sent");
  await new Promise((resolve) => setImmediate(resolve));
  const caller = { deadline: patient.deadline, cancelled: false };
  const waiting = log.appender.append([order("waiting")], caller);
  caller.cancelled = true;
  proxy.cut();
  await assert.rejects(waiting, refusedAs("expired"));
  await onItsWay;
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["before", "good", "on its way"],
  );
});

test("the queue is bounded; beyond it calls are refused at once, and it empties again (I11)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender({ maxWaiting: 10 });
  const taken = log.append(...orders("taken", 8));
  const tooMany = log.append(...orders("refused", 3));
  const fits = log.append(...orders("fits", 2));
  await assert.rejects(tooMany, refusedAs("overloaded"));
  assert.equal((await taken).length + (await fits).length, 10);
  assert.equal(log.appender.waiting, 0);
  assert.equal((await log.append(...orders("later", 10))).length, 10);
  assert.equal((await scene.orders()).length, 20);
});

test("stop answers everything that was taken, and takes nothing more", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const taken = orders("taken", 1_200).map((command) => log.one(command));
  const stopped = log.appender.stop();
  await assert.rejects(log.one(order("too late")), refusedAs("unavailable"));
  await stopped;
  assert.equal(log.appender.waiting, 0);
  assert.deepEqual(new Set(outcomes(await Promise.all(taken))), new Set(["new"]));
  assert.equal((await scene.orders()).length, 1_200);
});

test("a batch of several flushes fails whole where one of them fails, and the rest of it does not follow", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.one(order("before"));
  await scene.redis.config("SET", "maxmemory", 1);
  const batch = log.append(...orders("batch", 1_500));
  const after = log.one(order("after"));
  const results = await Promise.allSettled([batch, after]);
  for (const result of results) assert.ok(result.status === "rejected" && refusedAs("overloaded")(result.reason));
  await scene.redis.config("SET", "maxmemory", 256 * 1024 * 1024);
  assert.equal(log.appender.waiting, 0, "each is counted once");
  const logged = (await scene.orders()).map(({ clientOrderId }) => clientOrderId);
  assert.deepEqual(
    logged.filter((id) => id.startsWith("batch")),
    [],
  );
  assert.equal((await log.append(...orders("batch", 1_500))).length, 1_500);
});

test("Redis out of memory: refused as overload, retryable, nothing lost and nothing written (I11)", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const kept = await log.one(order("kept"));
  const head = await redis.hgetall(keys.head);
  await redis.config("SET", "maxmemory", 1);
  await assert.rejects(log.append(order("refused"), order("kept")), refusedAs("overloaded"));
  assert.deepEqual(await redis.hgetall(keys.head), head);
  await redis.config("SET", "maxmemory", 256 * 1024 * 1024);
  const again = await log.append(order("refused"), order("kept"));
  assert.deepEqual(outcomes(again), ["new", "duplicate"]);
  assert.equal(again[1]!.id, kept.id);
  await scene.orders();
});

test("an instrument is written together with its command, and only in place of the one that was given", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const [v1, v2, v3] = ["one", "two", "three"].map((text) => Buffer.from(text));
  const none = Buffer.alloc(0);
  const change = (present: Buffer, next: Buffer) => ({ symbol: "BTC-USD", present, next });
  const define = (name: string, present: Buffer, next: Buffer) =>
    log.appender.append([order(name)], patient, change(present, next));

  const before = log.one(order("before"));
  const defined = define("first", none, v1!);
  const after = log.one(order("after"));
  await Promise.all([before, defined, after]);
  const names = async () => (await scene.orders()).map(({ clientOrderId }) => clientOrderId);
  assert.deepEqual(await names(), ["before", "first", "after"]);
  assert.equal((await scene.entries()).length, 3, "it goes alone, so that its refusal concerns nobody else");

  const counted = await redis.hget(keys.head, "defined");
  const stale = define("stale", none, v2!);
  const beside = log.one(order("beside"));
  await assert.rejects(stale, refusedAs("changed"));
  assert.equal((await beside).outcome, "new");
  assert.equal(await redis.hget(keys.instruments, "BTC-USD"), "one");
  assert.equal(await redis.hget(keys.head, "defined"), counted);

  const two = await Promise.allSettled([define("a", v1!, v2!), define("b", v1!, v3!)]);
  assert.deepEqual(
    two.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
  assert.equal(await redis.hget(keys.instruments, "BTC-USD"), "two");
  assert.deepEqual(await names(), ["before", "first", "after", "beside", "a"]);
});
