/**
 * Worker processes that are killed, stalled, stopped and cut off. Whatever happens to them:
 *
 * - I4 every entry ends acknowledged or dead-lettered
 * - I5 the rows of an entry are written once
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { countRows, openWriter } from "../src/store/test-entries.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { defineInstrument, eventually, type RoleProcess, startConsumers, startIngest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { startTestPostgres } from "./support/servers.ts";
import { pendingOf, type Scene, setScene, untilFinished } from "./support/worker.ts";

/** A stalled entry is taken over after a second, so a transaction may take less. */
const QUICK = {
  PENSTOCK_MIN_IDLE_MS: "1000",
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "900",
  PENSTOCK_CLAIM_INTERVAL_MS: "200",
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_READ_COUNT: "10",
};

function startWorker(
  t: TestContext,
  { server, databaseUrl }: Scene,
  name: string,
  { redisUrl = server.url, env = {} }: { redisUrl?: string; env?: Record<string, string> } = {},
): Promise<RoleProcess> {
  return startConsumers(t, { redisUrl, databaseUrl, env: { ...QUICK, PENSTOCK_CONSUMER_NAME: name, ...env } });
}

/** Every order of the log is a row, once; nothing is pending; nothing became a dead letter. */
async function assertWhole({ sql }: Scene, entries: number, orders: number): Promise<void> {
  assert.deepEqual(await countRows(sql), { journal: entries, orders, deadLetters: 0 });
  const [row] = await sql`SELECT count(DISTINCT client_order_id)::int AS distinct FROM orders`;
  assert.equal(row?.["distinct"], orders);
}

/** Holds the orders table, so that every COPY into it waits, for as long as the work takes. */
async function whileHeld<Result>(t: TestContext, { databaseUrl }: Scene, work: () => Promise<Result>): Promise<Result> {
  const holder = openWriter(t, databaseUrl, 60_000);
  const result = await holder.transaction(async (transaction) => {
    await transaction.query("LOCK TABLE orders IN EXCLUSIVE MODE");
    return await work();
  });
  await holder.close();
  return result;
}

async function untilCopyWaits({ sql }: Scene, copies = 1): Promise<void> {
  await eventually(async () => {
    const waiting = await sql`
      SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%COPY orders%'`;
    return waiting.length >= copies;
  }, "a COPY that waits");
}

async function heldBy({ redis, log }: Scene, consumer: string): Promise<number> {
  return (await redis.xpending(log.keys.orders, PERSIST_GROUP, "-", "+", 1000, consumer)).length;
}

function get(worker: RoleProcess, path: string): Promise<{ status: number; body: string }> {
  return worker.logged("health and metrics").then(async ({ url }) => {
    const answer = await fetch(`${String(url)}${path}`);
    return { status: answer.status, body: await answer.text() };
  });
}

/** Whether the process logged a line with this message. */
const says = (worker: RoleProcess, message: string) => worker.lines.some((line) => line.includes(`"msg":"${message}`));

test("I4, I5: two workers share the group; one is killed in mid-batch, and the other takes over", async (t) => {
  const scene = await setScene(t);
  // Both transactions are to wait at the same time, on a busy machine too.
  const env = { PENSTOCK_TRANSACTION_TIMEOUT_MS: "2500", PENSTOCK_MIN_IDLE_MS: "3000" };
  const [first] = await Promise.all([
    startWorker(t, scene, "first", { env }),
    startWorker(t, scene, "second", { env }),
  ]);
  await whileHeld(t, scene, async () => {
    await scene.log.fill(60, 3);
    await untilCopyWaits(scene, 2);
    assert.ok((await heldBy(scene, "first")) > 0);
    assert.ok((await heldBy(scene, "second")) > 0);
    await first.kill();
  });
  await untilFinished(scene);
  await assertWhole(scene, 61, 180);
});

test("I4, I5: a worker that stalls past its time and then goes on does no harm", async (t) => {
  const scene = await setScene(t);
  const stalled = await startWorker(t, scene, "stalled");
  await whileHeld(t, scene, async () => {
    await scene.log.fill(30, 3);
    await untilCopyWaits(scene);
    stalled.signal("SIGSTOP");
  });
  const other = await startWorker(t, scene, "other");
  await untilFinished(scene);
  await assertWhole(scene, 31, 90);
  stalled.signal("SIGCONT");
  await stalled.logged("some entries were no longer ours to acknowledge"); // written again, which changed nothing
  await assertWhole(scene, 31, 90);
  await scene.log.fill(10);
  await untilFinished(scene);
  await assertWhole(scene, 41, 100);
  assert.deepEqual([await stalled.stop(), await other.stop()], [0, 0]);
});

test("I4, I5: a commit whose acknowledgement is lost, and answered by another worker in the meantime", async (t) => {
  const scene = await setScene(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const cutOff = await startWorker(t, scene, "cut-off", { redisUrl: proxy.url });
  await whileHeld(t, scene, async () => {
    await scene.log.fill(5, 3);
    await untilCopyWaits(scene);
    proxy.stall();
  });
  await eventually(async () => (await countRows(scene.sql)).orders > 0, "the commit");
  assert.ok((await pendingOf(scene)) > 0);
  await startWorker(t, scene, "other");
  await untilFinished(scene);
  proxy.cut();
  await cutOff.logged("some entries were no longer ours to acknowledge");
  await assertWhole(scene, 6, 15);
});

test("I5: SIGTERM under load: what was read is written and acknowledged, and the next process goes on", async (t) => {
  const scene = await setScene(t);
  const first = await startWorker(t, scene, "worker");
  const filling = scene.log.fill(300);
  await eventually(async () => (await countRows(scene.sql)).orders > 20, "some rows");
  assert.equal(await first.stop(), 0);
  assert.equal(await pendingOf(scene), 0);
  const next = await startWorker(t, scene, "worker");
  await filling;
  await untilFinished(scene);
  await assertWhole(scene, 301, 300);
  for (const worker of [first, next]) assert.ok(!says(worker, "uncaught"));
});

test("the workers of many partitions drain side by side", async (t) => {
  const scene = await setScene(t);
  const env = {
    PENSTOCK_PARTITIONS: "8",
    PENSTOCK_CONSUMER_NAME: "worker",
    PENSTOCK_READ_BLOCK_MS: "2000",
    PENSTOCK_TRANSACTION_TIMEOUT_MS: "5000",
    PENSTOCK_DRAIN_TIMEOUT_MS: "10000", // one after the other they would need up to 16 s
    PENSTOCK_REQUEST_TIMEOUT_MS: "5000",
  };
  const worker = await startConsumers(t, { redisUrl: scene.server.url, databaseUrl: scene.databaseUrl, env });
  await scene.log.fill(3);
  await untilFinished(scene);
  assert.equal(await worker.stop(), 0);
});

test("I4, I5: backends that are terminated again and again, and a Postgres that restarts and crashes, under load", async (t) => {
  const postgresServer = await startTestPostgres(t);
  const scene = await setScene(t, postgresServer);
  const worker = await startWorker(t, scene, "worker");
  let entries = 1;
  let filled = false;
  const filling = (async () => {
    for (; !filled; entries += 10) await scene.log.fill(10, 2);
  })();
  for (let i = 0; i < 15; i++) {
    await scene.sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`;
    const { orders } = await countRows(scene.sql);
    await eventually(async () => (await countRows(scene.sql)).orders > orders, "progress");
  }
  filled = true;
  await filling;
  await postgresServer.stop();
  await scene.log.fill(20);
  await eventually(async () => (await get(worker, "/readyz")).status === 503, "the worker not to be ready");
  await postgresServer.start();
  await eventually(async () => (await get(worker, "/readyz")).status === 200, "the worker to be ready again");
  await postgresServer.kill();
  await scene.log.fill(20);
  await postgresServer.start();
  await untilFinished(scene);
  await assertWhole(scene, entries + 40, 2 * (entries - 1) + 40);
  assert.ok(worker.running);
  assert.equal(await worker.stop(), 0);
});

test("I4: an answer that is lost with its connection in the middle of a blocking read strands nothing", async (t) => {
  const scene = await setScene(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const worker = await startWorker(t, scene, "worker", { redisUrl: proxy.url, env: { PENSTOCK_MIN_IDLE_MS: "60000" } });
  await untilFinished(scene);
  for (let i = 0; i < 3; i++) {
    const lost = proxy.swallow((answer) => answer.includes("order-"));
    await scene.log.fill(3);
    await lost;
    await untilFinished(scene);
  }
  await assertWhole(scene, 10, 9);
  assert.ok(says(worker, "reading failed"));

  // And one that goes silent: nobody is told, the worker finds out by itself.
  proxy.stall();
  await scene.log.fill(3);
  await worker.logged("Redis connection");
  proxy.cut();
  await untilFinished(scene);
  await assertWhole(scene, 13, 12);
});

test("an entry of a newer version is left to a worker that knows it, and that takes it over", async (t) => {
  const scene = await setScene(t);
  const old = await startWorker(t, scene, "old");
  await scene.log.fill(3);
  await scene.log.appendOdd({ d: scene.log.order(), v: "2" });
  await scene.log.fill(3);
  await old.logged("STOPPED: the log has entries of a newer version; upgrade this worker");
  const { status, body } = await get(old, "/readyz");
  assert.equal(status, 503);
  assert.match(body, /"workers":"entry [\d-]+ has schema version 2; this worker knows 1"/);
  assert.equal((await get(old, "/healthz")).status, 200);
  assert.equal((await countRows(scene.sql)).orders, 3);

  const upgrade = `import { registerHooks } from "node:module";
    registerHooks({
      load(url, context, next) {
        const loaded = next(url, context);
        if (!url.endsWith("/stream/command.ts")) return loaded;
        return { ...loaded, source: String(loaded.source).replace("SCHEMA_VERSION = 1", "SCHEMA_VERSION = 2") };
      },
    });`;
  await startWorker(t, scene, "new", {
    env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(upgrade)}` },
  });
  await untilFinished(scene);
  await assertWhole(scene, 8, 7);
  assert.equal(await old.stop(), 0);
});

test("I10: nothing is trimmed that a lagging group needs; once it is through, the stream is as short as the horizon lets it be", async (t) => {
  const scene = await setScene(t);
  const { redis, log } = scene;
  const env = { PENSTOCK_REPLAY_HORIZON_MS: "0", PENSTOCK_TRIM_INTERVAL_MS: "100", PENSTOCK_READ_COUNT: "250" };
  await (await scene.worker()).stop(); // the tables are there for today
  await log.fill(400, 2);
  const worker = await whileHeld(t, scene, async () => {
    const started = await startWorker(t, scene, "worker", { env });
    await untilCopyWaits(scene);
    await eventually(async () => (await pendingOf(scene)) >= 400, "all to be delivered");
    const trims = async () => Number(/cmdstat_xtrim:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1] ?? 0);
    const before = await trims();
    await eventually(async () => (await trims()) >= before + 2, "two rounds of the trimmer");
    assert.equal(await redis.xlen(log.keys.orders), 401);
    return started;
  });
  await untilFinished(scene);
  // Whole nodes go, of 100 entries or 4 KiB; the last one stays.
  await eventually(async () => (await redis.xlen(log.keys.orders)) <= 100, "a short stream");
  await assertWhole(scene, 401, 800);
  const { body } = await get(worker, "/metrics");
  assert.match(body, /penstock_entries_trimmed_total\{stream="penstock:\{0\}:orders",role="consumers"\} [34]\d\d/);
});

test("health and metrics tell of the groups, the rates, the commits and the dead letters", async (t) => {
  const scene = await setScene(t);
  const worker = await startWorker(t, scene, "worker");
  assert.deepEqual(await get(worker, "/readyz"), { status: 200, body: '{"ready":true,"failing":{}}\n' });
  await scene.log.fill(5, 4);
  await scene.log.append(scene.log.order({ clientOrderId: "nul\0" }));
  await untilFinished(scene);
  const value = async (name: string) => {
    const { body } = await get(worker, "/metrics");
    const lines = body.split("\n").filter((line) => line.startsWith(`penstock_${name}`));
    assert.ok(lines.length > 0, name);
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  assert.equal(await value("rows_written_total"), 20);
  assert.equal(await value("entries_written_total"), 7);
  assert.equal(await value("dead_letters_total"), 1);
  assert.ok((await value("transaction_seconds_count")) > 0);
  assert.equal(await value("entry_age_seconds_count"), 7);
  for (const name of ["entries_lost_total", "groups_lost_total", "forks_total", "journal_gaps"])
    assert.equal(await value(name), 0);
  for (const state of ["pending", "undelivered"]) {
    assert.equal(await value(`group_entries{partition="0",group="persist",state="${state}"`), 0);
    assert.equal(await value(`group_oldest_seconds{partition="0",group="persist",state="${state}"`), 0);
  }
  await whileHeld(t, scene, async () => {
    await scene.log.fill(40);
    await untilCopyWaits(scene);
    assert.ok((await value('group_entries{partition="0",group="persist",state="pending"')) > 0);
    assert.ok((await value('group_entries{partition="0",group="persist",state="undelivered"')) > 0);
    assert.ok((await value('group_oldest_seconds{partition="0",group="persist",state="pending"')) > 0);
  });
  await scene.server.stop();
  await eventually(async () => (await get(worker, "/readyz")).status === 503, "the worker not to be ready");
  assert.equal((await get(worker, "/metrics")).status, 200);
  await scene.server.start();
  await untilFinished(scene);
  await eventually(async () => (await get(worker, "/readyz")).status === 200, "the worker to be ready again");
});

test("I2, I4, I5: a Redis that is emptied under load: its log is put back, and no row is doubled", async (t) => {
  const scene = await setScene(t);
  await scene.redis.flushall(); // ingest begins this log
  const ingest = await startIngest(t, { redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  await defineInstrument(ingest);
  const worker = await startWorker(t, scene, "worker");
  const client = await ingest.client();
  const order = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100" };
  const submit = async (clientOrderId: string) => {
    const request = { ...order, clientOrderId };
    return await eventually(
      () => client.call(OrderService.method.submitOrder, request).catch(() => undefined),
      "an answer",
    );
  };
  for (let i = 0; i < 20; i++) await submit(`order-${i}`);
  await untilFinished(scene);
  await scene.redis.flushall();
  await worker.logged("GROUP LOST");
  for (let i = 20; i < 40; i++) await submit(`order-${i}`);
  assert.equal((await submit("order-5")).duplicate, true);
  await untilFinished(scene);
  await assertWhole(scene, 41, 40);
});
