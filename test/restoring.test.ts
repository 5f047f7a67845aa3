import assert from "node:assert/strict";
import { test } from "node:test";

import type { Placement } from "../src/stream/flush.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { readHead } from "../src/stream/head.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { Partitioning } from "../src/stream/partition.ts";
import { formatEntryId } from "../src/stream/position.ts";
import { instrument, LogScene, order, orders } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { entryIdOf, epochOf, ids, outcomes, unique } from "./support/placements.ts";
import { Proxy } from "./support/proxy.ts";
import { TestWorker } from "./support/worker.ts";

/** The log is opened on a server that lost all of it, or its stream: what the journal in Postgres has is put back. */

test("I2, I3, I5: a Redis that comes back empty: the log, its keys and the instruments come from the journal", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const worker = new TestWorker({ redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  t.after(() => worker.stop());
  await worker.worker.start();
  await log.define("BTC-USD");
  // A clock that was an hour ahead when these were logged, as seen from a server that starts anew.
  await redis.xsetid(keys.orders, `${Date.now() + 3_600_000}-0`);
  const first = await log.append(...orders("first", 3));
  const second = await log.append(...orders("second", 2));
  const rows = async () => Number((await scene.sql`SELECT count(*)::int AS count FROM orders`)[0]!["count"]);
  await eventually(async () => (await rows()) === 5, "the rows");
  const before = (await scene.entries()).map(({ id, payload }) => ({ id, payload }));
  const definitions = await redis.hgetallBuffer(keys.instruments);
  await worker.stop();

  await scene.server.kill();
  await scene.server.restart({ empty: true });
  const third = await log.one(order("third"));
  assert.equal(third.outcome, "new");
  assert.equal(epochOf(third), 2);
  assert.ok(third.ms >= second[0]!.ms, "IDs never go back, though the clock is behind");
  const logged = await scene.orders();
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids([...first, ...second, third]),
  );
  assert.deepEqual(
    (await scene.entries()).slice(0, -1).map(({ id, payload }) => ({ id, payload })),
    before,
  );
  assert.deepEqual(await redis.hgetallBuffer(keys.instruments), definitions);
  assert.deepEqual(log.losses, []);
  const again = await log.append(...orders("first", 3), order("second-0", { price: 1 }));
  assert.deepEqual(outcomes(again), ["duplicate", "duplicate", "duplicate", "conflict"]);

  // The group is there again and begins at the beginning; the receipts absorb what comes again.
  const successor = new TestWorker({ redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  t.after(() => successor.stop());
  await successor.worker.start();
  await eventually(async () => (await rows()) === 6, "the new row");
  await eventually(async () => (await redis.xpending(keys.orders, PERSIST_GROUP))[0] === 0, "all to be acknowledged");
  assert.equal(await rows(), 6);
  assert.equal(await successor.count("dead_letters_total"), 0);
  assert.equal(successor.logged("GROUP LOST"), 0);
});

/** Longer than an opening takes on a busy machine. */
const SLOW_MS = 1_000;

test("what a worker has in hand when the log is lost is waited for, and put back (I1, I4)", async (t) => {
  const scene = await LogScene.set(t);
  const { sql, redis } = scene;
  const log = scene.appender({ settleMs: SLOW_MS });
  await log.one(order("written"));
  await scene.persist();
  await log.one(order("in hand"));
  const [, inHand] = await scene.entries();
  const { epoch, ms, seq, previous, payload } = inHand!;
  await redis.flushall();
  const next = log.one(order("next"));
  await sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
    VALUES (0, 0, ${epoch}, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 1, sha256(${payload}), ${payload})`;
  assert.equal(epochOf(await next), 2);
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["written", "in hand", "next"],
  );
  assert.deepEqual(log.losses, []);
});

test("what is older than the replay horizon comes back as keys only, what is older than both not at all; IDs go on behind", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const writing = scene.appender();
  const old = await writing.append(...orders("old", 3));
  await eventually(async () => Date.now() > old[0]!.ms + 2 * SLOW_MS, "some time to pass");
  const recent = await writing.one(order("recent"));
  await scene.persist();
  const horizon = () => Date.now() - recent.ms;

  await scene.server.restart({ empty: true });
  const keysOnly = scene.appender({ replayHorizonMs: 0 });
  const next = await keysOnly.one(order("next"));
  assert.equal(epochOf(next), 2);
  const [entry] = await scene.entries();
  assert.equal((await scene.entries()).length, 1);
  assert.equal(formatEntryId(entry!.previous), entryIdOf(recent.id), "the chain goes on from what was not put back");
  assert.equal((await keysOnly.one(order("old-1"))).id, old[1]!.id);
  assert.equal((await keysOnly.one(order("recent"))).id, recent.id);

  await scene.server.restart({ empty: true });
  const nothing = scene.appender({ replayHorizonMs: 0, idempotencyHorizonMs: 0 });
  const { head } = await nothing.appender.open();
  assert.equal(formatEntryId(head.last), entryIdOf(recent.id));
  assert.equal(head.epoch, 3, "epoch 2 was never journaled, but its fence stands");
  assert.equal(await redis.xlen(keys.orders), 0);
  const last = await nothing.one(order("last"));
  assert.ok(last.ms > recent.ms);

  await scene.server.restart({ empty: true });
  const partly = scene.appender({
    replayHorizonMs: horizon() + SLOW_MS,
    idempotencyHorizonMs: horizon() + SLOW_MS,
  });
  await partly.appender.open();
  assert.deepEqual(
    (await scene.entries()).map(({ id }) => id),
    [entryIdOf(recent.id)],
    "no gap: what is missing is too old",
  );
  assert.equal(partly.logged("GAP"), 0);
});

test("however much there is to put back, the keys stay within their bound, and the newest are kept (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const writing = scene.appender();
  const placements: Placement[] = [];
  for (let i = 0; i < 250; i++) placements.push(await writing.one(order(`o-${i}`)));
  await scene.persist();
  await scene.server.restart({ empty: true });
  const bounded = scene.appender({ generationKeys: () => 40 });
  const { head } = await bounded.appender.open();
  assert.equal(head.generation, 7);
  const { keys, redis } = scene;
  assert.deepEqual((await redis.keys("*seen*")).sort(), [keys.seen(6), keys.seen(7)]);
  assert.deepEqual([await redis.hlen(keys.seen(6)), await redis.hlen(keys.seen(7))], [40, 10]);
  assert.equal((await scene.entries()).length, 250);
  for (const i of [200, 239, 240, 249]) assert.equal((await bounded.one(order(`o-${i}`))).id, placements[i]!.id);
  assert.equal((await bounded.one(order("o-199"))).outcome, "new");
});

test("two that open an emptied log at once put everything back once; one that is cut off in the middle is taken over", async (t) => {
  const scene = await LogScene.set(t);
  const writing = scene.appender();
  for (let i = 0; i < 230; i++) await writing.one(order(`o-${i}`));
  await scene.persist();
  const wanted = await scene.orders();
  await scene.server.restart({ empty: true });
  const proxy = await Proxy.start(t, scene.server.url);
  const cutOff = scene.appender({ url: proxy.url });
  let ones = 0; // the log is shut; the first entries are put back
  const lost = proxy.swallow((answer) => answer.toString().startsWith(":1\r\n") && ++ones === 2);
  const failed = assert.rejects(cutOff.appender.open());
  await lost;
  await failed;
  const [a, b] = [scene.appender(), scene.appender()];
  const opened = await Promise.all([a.appender.open(), b.appender.open(), cutOff.appender.open()]);
  assert.deepEqual(await scene.orders(), wanted);
  for (const { head } of opened) assert.deepEqual(head, opened[0].head);
  assert.equal(opened[0].head.epoch, 2);
});

test("several partitions: each gets back its own entries and its own instruments", async (t) => {
  const scene = await LogScene.set(t);
  const partitioning = new Partitioning(2);
  const symbolOf = (partition: number) => ["A", "B", "C", "D"].find((symbol) => partitioning.of(symbol) === partition)!;
  const logs = [0, 1].map((partition) => scene.appender({ keys: new PartitionKeys(partition), partitions: 2 }));
  for (const [partition, log] of logs.entries()) {
    await log.define(symbolOf(partition));
    await log.one(order("o", { symbol: symbolOf(partition) }));
    await scene.persist(undefined, new PartitionKeys(partition));
  }
  await scene.server.restart({ empty: true });
  for (const [partition, log] of logs.entries()) {
    const keys = new PartitionKeys(partition);
    await log.appender.open();
    assert.deepEqual(await scene.redis.hkeys(keys.instruments), [symbolOf(partition)]);
    assert.equal((await scene.orders(keys)).length, 1);
  }
});

test("an instrument that Redis has in an older version, or lacks, is put back; a newer one stays", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  await log.define("OLDER");
  await log.define("NEWER");
  await scene.persist();
  const encoded = await redis.hgetBuffer(keys.instruments, "OLDER");
  await redis.hset(keys.instruments, "OLDER", instrument("OLDER", 0).encoded, "NEWER", instrument("NEWER", 7).encoded);
  const counted = Number(await redis.hget(keys.head, "defined"));
  await redis.hset(keys.head, "run", "0".repeat(40));
  await log.one(order("opens it again"));
  assert.deepEqual(await redis.hgetBuffer(keys.instruments, "OLDER"), encoded);
  assert.deepEqual(await redis.hgetBuffer(keys.instruments, "NEWER"), instrument("NEWER", 7).encoded);
  assert.ok(Number(await redis.hget(keys.head, "defined")) > counted, "so that it is read again");
});

test("entries that cannot be decoded come back as they are, and what was none of ours does not", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const { id } = await log.one(order("good"));
  const head = await readHead(redis, keys);
  const bad = await redis.xadd(keys.orders, "*", "d", "\x08", "p", formatEntryId(head.last), "e", 1, "v", 1);
  await redis.hset(keys.head, "last", bad!);
  await scene.persist();
  await scene.sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
    VALUES (0, 0, 0, ${Date.now()}, 0, 0, 0, 0, 0, sha256(''), '')`; // as consumers/record.ts keeps what is no entry
  await scene.server.restart({ empty: true });
  const next = await log.one(order("next"));
  assert.deepEqual(
    (await scene.entries()).map((entry) => entry.id),
    [entryIdOf(id), bad, entryIdOf(next.id)],
  );
  assert.equal((await log.one(order("good"))).outcome, "duplicate");
});

test("a stream that was deleted under a running server: opened again, with a higher epoch (I3)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const first = await log.one(order("first"));
  await scene.persist();
  await scene.redis.del(scene.keys.orders);
  const second = await log.one(order("second"));
  assert.deepEqual([epochOf(first), epochOf(second)], [1, 2]);
  const [entry] = await scene.entries();
  assert.equal(formatEntryId(entry!.previous), entryIdOf(first.id), "the chain names what is missing");

  await scene.redis.flushall();
  const third = await log.one(order("third"));
  assert.equal(third.outcome, "new");
  assert.equal(log.losses.length, 1, "the second one was not journaled");
  assert.ok(unique(ids([first, second, third])));
});

test("where an older epoch left entries behind the point at which a newer one began, the newer one's are the log", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.one(order("kept"));
  await scene.persist();
  const putBack = await scene.snapshot();
  await log.append(order("orphan-1"));
  await log.append(order("orphan-2"));
  const orphans = await scene.entries();
  await putBack();
  const after = [await log.one(order("after-1")), await log.one(order("after-2"))];
  assert.equal(epochOf(after[0]!), 2);
  await scene.persist();
  // A worker that held the orphans commits only now.
  for (const { ms, seq, previous, payload } of orphans.slice(1)) {
    await scene.sql`
      INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
      VALUES (0, 0, 1, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 1, sha256(${payload}), ${payload})`;
  }
  await scene.server.restart({ empty: true });
  await log.appender.open();
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["kept", "after-1", "after-2"],
  );
  assert.equal(log.logged("GAP"), 0);
});
