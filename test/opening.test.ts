import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import type { Durability } from "../src/stream/durability.ts";
import type { Placement } from "../src/stream/flush.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { readHead } from "../src/stream/head.ts";
import { findSeen } from "../src/stream/lookup.ts";
import { formatEntryId } from "../src/stream/position.ts";
import { readGroups } from "../src/stream/status.ts";
import { connect } from "../src/store/connection.ts";
import { LogScene, order, TestAppender } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { entryIdOf, epochOf, ids, refusedAs, unique } from "./support/placements.ts";
import { Proxy } from "./support/proxy.ts";
import { RedisWire } from "./support/redis-wire.ts";

/** The log is opened on a server that is new, or that restarted with all it had, and stays shut where it has to. */

test("the first start: epoch 1, the groups at the beginning; two that open at once agree", async (t) => {
  const scene = await LogScene.set(t);
  const [a, b] = [scene.appender(), scene.appender()];
  const [first, second] = await Promise.all([a.appender.open(), b.appender.open()]);
  assert.deepEqual(first, second);
  const { epoch, generation, last, base } = first.head;
  assert.deepEqual(
    { epoch, generation, last, base },
    { epoch: 1, generation: 1, last: { ms: 0, seq: 0 }, base: { ms: 0, seq: 0 } },
  );
  for (const stream of [scene.keys.orders, scene.keys.events]) {
    const [group] = (await scene.redis.xinfo("GROUPS", stream)) as string[][];
    assert.deepEqual([group![1], group![group!.indexOf("last-delivered-id") + 1]], [PERSIST_GROUP, "0-0"], stream);
  }
  assert.equal(a.logged("opened the log") + b.logged("opened the log"), 1);
});

test("I1, I11: a Redis that is killed under load and restarts: what was acknowledged is there, once", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const acknowledged: Placement[] = [];
  const unknown: number[] = [];
  let stop = false;
  let sent = 0;
  const client = async (): Promise<void> => {
    while (!stop) {
      const n = sent++;
      await log.one(order(`o-${n}`)).then(
        (placement) => acknowledged.push(placement),
        (error: unknown) =>
          unknown.push(refusedAs("unknown")(error) || refusedAs("unavailable")(error) ? n : Number.NaN),
      );
    }
  };
  const clients = Array.from({ length: 20 }, client);
  for (let round = 1; round <= 2; round++) {
    const before = acknowledged.length;
    await eventually(async () => acknowledged.length > before + 200, "some orders");
    await scene.restartAfterKill();
  }
  const before = acknowledged.length;
  await eventually(async () => acknowledged.length > before + 200, "orders after the restart");
  stop = true;
  await Promise.all(clients);

  const logged = await scene.orders();
  assert.ok(unique(logged.map(({ clientOrderId }) => clientOrderId)));
  const there = new Set(logged.map(({ id }) => id));
  assert.deepEqual(
    acknowledged.filter(({ id }) => !there.has(id)),
    [],
  );
  assert.ok(unique(ids(acknowledged)));
  assert.equal((await readHead(scene.redis, scene.keys)).epoch, 3, "each opening begins one");
  assert.deepEqual(log.losses, []);
  assert.ok(unknown.every(Number.isFinite));
  // What is left open is told by the same id.
  for (const n of unknown) await log.one(order(`o-${n}`));
  assert.ok(unique((await scene.orders()).map(({ clientOrderId }) => clientOrderId)));
});

test("a server that restarted does not overstate how far a group is behind", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  for (let n = 0; n < 30; n++) await log.one(order(`o-${n}`));
  const read = (entries: number) =>
    redis.xreadgroup("GROUP", PERSIST_GROUP, "reader", "COUNT", entries, "STREAMS", keys.orders, ">");
  const lag = async () => (await readGroups(redis, keys.orders))[0]!.lag;
  await read(5);
  assert.equal(await lag(), 25);
  await redis.bgrewriteaof();
  const isRewriting = async () => (await redis.info("persistence")).includes("aof_rewrite_in_progress:1");
  await eventually(async () => !(await isRewriting()), "the file to be rewritten");
  await read(20);
  await scene.restartAfterKill();
  await log.one(order("o-30"));
  assert.ok([-1, 6].includes(await lag()), "six are left, or it is not known");
  await read(3);
  assert.ok([-1, 3].includes(await lag()));
  await read(3);
  await log.one(order("o-31"));
  assert.equal(await lag(), 1);
});

test("a restart begins an epoch, so that no id can be made twice, whatever it has lost (I3)", async (t) => {
  const scene = await LogScene.set(t, ["--appendfsync", "everysec"]);
  const durability: Durability = { level: "everysec", replicas: 0, replicaTimeoutMs: 1_000 };
  const log = scene.appender({ durability });
  const first = await log.one(order("first"));
  await scene.server.restart(); // cleanly: all of it is there
  const second = await log.one(order("second"));
  assert.deepEqual([epochOf(first), epochOf(second)], [1, 2]);
  assert.deepEqual(
    (await scene.orders()).map(({ id }) => id),
    ids([first, second]),
  );
  const { base } = await readHead(scene.redis, scene.keys);
  assert.equal(formatEntryId(base), entryIdOf(first.id));
  assert.deepEqual(log.losses, []);
});

test("I2: a head that is lost alone does not hide the ids that were taken", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender({ generationKeys: () => 2 });
  for (let n = 0; n < 7; n++) await log.one(order(`o-${n}`));
  const { generation } = await readHead(redis, keys);
  assert.ok(generation > 2);
  const last = await log.one(order("last"));
  await redis.del(keys.head);
  assert.deepEqual(await log.one(order("last")), { ...last, outcome: "duplicate" });
  assert.ok((await readHead(redis, keys)).generation >= generation);
});

test("a flush whose answer was lost together with the server's run is answered from the log (I1, I2)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const answer = log.one(order("lost answer"));
  await lost;
  await scene.restartAfterKill();
  const placement = await answer;
  assert.equal(placement.outcome, "new");
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["before", "lost answer"],
  );
  assert.equal((await scene.orders())[1]!.id, placement.id);
});

// Each of these waits for as long as a flush is sent again, or for a gap to be filled.
suite("while the log stays shut", { concurrency: true }, () => {
  test("without Postgres it stays shut; orders are refused as not logged; then it opens by itself (I11)", async (t) => {
    const scene = await LogScene.set(t);
    const proxy = await Proxy.start(t, scene.databaseUrl);
    const sql = connect(proxy.url, { max: 2 });
    const log = new TestAppender(scene.server.url, sql);
    t.after(async () => {
      await log.stop();
      await sql.end({ timeout: 1 });
    });
    const first = await log.one(order("first"));
    proxy.closed = true;
    await scene.restartAfterKill();
    await assert.rejects(log.one(order("refused")), refusedAs("unavailable"));
    assert.equal((await scene.entries()).length, 1);

    // Neither does a Postgres that says nothing at all hold up the callers.
    proxy.closed = false;
    proxy.stall();
    await assert.rejects(log.one(order("refused too")), refusedAs("unavailable"));
    proxy.cut();
    const second = await log.one(order("second"));
    assert.deepEqual(
      (await scene.orders()).map(({ id }) => id),
      ids([first, second]),
    );
  });

  test("an answer that was lost with the server stays unknown while the log is shut (I11)", async (t) => {
    const scene = await LogScene.set(t);
    const [toRedis, toPostgres] = [await Proxy.start(t, scene.server.url), await Proxy.start(t, scene.databaseUrl)];
    const sql = connect(toPostgres.url, { max: 2 });
    const log = new TestAppender(toRedis.url, sql);
    t.after(async () => {
      await log.stop();
      await sql.end({ timeout: 1 });
    });
    await log.one(order("before"));
    const lost = toRedis.swallow((answer) => answer.includes("OK"));
    const answer = assert.rejects(log.one(order("in doubt")), refusedAs("unknown"));
    await lost;
    toPostgres.closed = true;
    await scene.restartAfterKill();
    await answer;
    toPostgres.closed = false;
    assert.equal((await log.one(order("in doubt"))).outcome, "duplicate");
    await scene.orders();
  });

  test("a server that restarts below its level is refused until it holds it again", async (t) => {
    const scene = await LogScene.set(t);
    const log = scene.appender();
    await log.one(order("before"));
    await scene.restartAfterKill();
    await scene.redis.config("SET", "maxmemory-policy", "allkeys-lru");
    const head = await readHead(scene.redis, scene.keys);
    await assert.rejects(log.one(order("refused")), (error: unknown) => {
      assert.ok(refusedAs("unavailable")(error));
      assert.match(String((error as Error).cause), /maxmemory-policy is allkeys-lru, must be noeviction/);
      return true;
    });
    assert.deepEqual(await readHead(scene.redis, scene.keys), head);
    await scene.redis.config("SET", "maxmemory-policy", "noeviction");
    assert.equal((await log.one(order("after"))).outcome, "new");
  });

  /** A log of five entries of which Redis has none and the journal all but the third. */
  async function sceneWithGap(t: TestContext) {
    const scene = await LogScene.set(t);
    const writing = scene.appender();
    const placements: Placement[] = [];
    for (let i = 0; i < 5; i++) placements.push(await writing.one(order(`o-${i}`)));
    const missing = entryIdOf(placements[2]!.id);
    await scene.persist(({ id }) => id !== missing);
    const [row] = (await scene.entries()).filter(({ id }) => id === missing);
    const put = () => scene.sql`
      INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
      VALUES (0, 0, 1, ${row!.ms}, ${row!.seq}, ${row!.previous.ms}, ${row!.previous.seq}, 1, 1, sha256(${row!.payload}), ${row!.payload})`;
    await scene.server.restart({ empty: true });
    return { scene, placements, missing, put };
  }

  test("I4: a gap in the journal is waited for, and filled where a worker still held the entry", async (t) => {
    const { scene, placements, put } = await sceneWithGap(t);
    const log = scene.appender();
    const opened = log.appender.open();
    await eventually(async () => (await scene.redis.xlen(scene.keys.orders)) === 2, "what stands before the gap");
    await put();
    await opened;
    assert.deepEqual(
      (await scene.orders()).map(({ id }) => id),
      ids(placements),
    );
    assert.equal(log.logged("GAP IN THE LOG"), 0);
  });

  test("I2, I4: what fills a gap that was passed over, before the fence stands, has its ids known as well", async (t) => {
    const { scene, placements, missing, put } = await sceneWithGap(t);
    const proxy = await Proxy.start(t, scene.server.url, { wire: () => new RedisWire() });
    const log = scene.appender({ url: proxy.url });
    const opened = log.appender.open();
    await eventually(async () => (await scene.redis.xlen(scene.keys.orders)) === 2, "what stands before the gap");
    const { release } = await proxy.holdAt(({ direction, name }) => direction === "up" && name === "script restore");
    assert.equal(log.logged("GAP IN THE LOG"), 1);
    await put();
    release();
    await opened;
    const again = await log.one(order("o-2"));
    assert.deepEqual([again.outcome, entryIdOf(again.id)], ["duplicate", missing]);
    assert.equal(again.id, placements[2]!.id);
  });

  test("I4: a gap that nobody fills is alarmed, and the log goes on behind it", async (t) => {
    const { scene, placements, missing } = await sceneWithGap(t);
    const log = scene.appender();
    await log.appender.open();
    const [alarm] = log.lines.filter(({ msg }) => msg.startsWith("GAP IN THE LOG"));
    assert.equal(alarm?.level, "error");
    assert.equal(alarm?.["missing"], missing);
    const there = placements.filter((_, i) => i !== 2).map(({ id }) => entryIdOf(id));
    assert.deepEqual(
      (await scene.entries()).map(({ id }) => id),
      there,
    );
    assert.equal((await log.one(order("after"))).outcome, "new");
    assert.equal(await findSeen(scene.redis, scene.keys, order("o-2").identity.slice(0, 16)), undefined);
  });
});
