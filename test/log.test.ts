import assert from "node:assert/strict";
import { test } from "node:test";

import { ReplyError } from "ioredis";

import { AppendError } from "../src/stream/append-error.ts";
import { MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS } from "../src/stream/command.ts";
import type { PreparedCommand } from "../src/stream/prepared-command.ts";
import type { Placement } from "../src/stream/flush.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { Script } from "../src/stream/script.ts";
import type { TestAppender } from "./support/log.ts";
import { LogScene, order, orders, patient } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";

/** The commit script and the appender over a real Redis. */

const outcomes = (placements: readonly Placement[]) => placements.map(({ outcome }) => outcome);
const ids = (placements: readonly Placement[]) => placements.map(({ id }) => id);

function refusedAs(code: AppendError["code"]): (error: unknown) => boolean {
  return (error) => error instanceof AppendError && error.code === code;
}

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

/** The commit script as an ingest calls it, with everything in the test's hands. */
class HandFlush {
  readonly #script = new Script("commit");
  readonly #scene: LogScene;

  constructor(scene: LogScene) {
    this.#scene = scene;
  }

  async #run(): Promise<string> {
    return /run_id:(\w+)/.exec(await this.#scene.redis.info("server"))?.[1] ?? "";
  }

  async send(counter: number, commands: readonly PreparedCommand[], given: Record<string, string | number> = {}) {
    const { redis, keys } = this.#scene;
    const head = await redis.hgetall(keys.head);
    const values = {
      generation: 1,
      run: await this.#run(),
      epoch: head["epoch"] ?? 1,
      acknowledged: "0-0",
      clock: Date.now(),
      ...given,
    };
    const lengths = Buffer.alloc(commands.length * 4);
    commands.forEach(({ element }, i) => lengths.writeUInt32BE(element.length, i * 4));
    const reply = await this.#script.run(
      redis,
      [keys.orders, keys.head, keys.instruments, keys.seen(1), keys.seen(0), keys.seen(2), keys.flush("hand")],
      [
        ...[counter, values.generation, values.run, values.epoch, values.acknowledged, values.clock, 5_000],
        ...[1, Buffer.concat(commands.map(({ element }) => element)), lengths],
        ...[Buffer.from(commands.map(({ identity }) => identity).join(""), "latin1"), 3_600_000, 1_000, 60_000],
      ],
    );
    return (reply as unknown[]).map((part) => (Buffer.isBuffer(part) ? part.toString() : part));
  }
}

test("the script refuses, and then has written nothing: another run id, epoch, clock, position, generation, a late flush", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const hand = new HandFlush(scene);
  assert.deepEqual(await hand.send(1, [order("too early")]), ["RUN"]);
  const log = scene.appender();
  await log.one(order("first"));

  const [ok, , , id] = await hand.send(5, [order("five")]);
  assert.equal(ok, "OK");
  const state = async () =>
    JSON.stringify([await redis.hgetall(keys.head), await redis.xlen(keys.orders), await redis.hlen(keys.seen(1))]);
  const before = await state();
  const last = String(id);
  const beyond = `${last.split("-")[0]}-${Number(last.split("-")[1]) + 1}`;
  assert.deepEqual(await hand.send(4, [order("four")]), ["STALE", "5"], "a flush that came late");
  assert.deepEqual(await hand.send(6, [order("six")], { epoch: 2 }), ["EPOCH"]);
  assert.deepEqual(
    await hand.send(5, [order("five")], { run: "f".repeat(40) }),
    ["RUN"],
    "it was opened again meanwhile",
  );
  assert.deepEqual(await hand.send(6, [order("six")], { acknowledged: beyond }), ["BEHIND", last]);
  assert.equal((await hand.send(6, [order("six")], { clock: Date.now() - 6_000 }))[0], "CLOCK");
  assert.deepEqual(await hand.send(6, [order("six")], { generation: 7 }), ["GENERATION", "1"]);
  assert.equal(await state(), before);

  const again = await hand.send(5, [order("five")], { clock: 0, generation: 9, epoch: 7 });
  assert.deepEqual(
    again.slice(0, 4),
    ["OK", "1", "1", last],
    "a flush that is sent again gets its first answer, whatever else",
  );
  assert.equal(await state(), before);

  await redis.rename(keys.orders, "elsewhere");
  assert.deepEqual(await hand.send(6, [order("six")]), ["MISSING"]);
  await redis.rename("elsewhere", keys.orders);
  const run = await redis.hget(keys.head, "run");
  await redis.hset(keys.head, "run", "f".repeat(40));
  assert.deepEqual(await hand.send(5, [order("five")]), ["RUN"], "it was opened on another server");
  await redis.hset(keys.head, "run", run!);
  assert.equal((await hand.send(6, [order("six")], { acknowledged: last }))[0], "OK");
  await scene.orders();
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
  const log: TestAppender = scene.appender();
  const { id } = await log.one(order("next"));
  const [last, next] = await scene.entries();
  assert.deepEqual(await left(), [entries.at(-1), next!.id]);
  assert.equal(formatEntryId(next!.previous), last!.id);
  const place = parseOrderId(id)!;
  assert.equal(formatEntryId(place), next!.id);
});
