import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { readHead } from "../src/stream/head.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { RedisWire } from "./support/redis-wire.ts";
import { HeldWorker, orphans, untilHeld, untilWritten, FencedVenue } from "./support/fenced-venue.ts";

/** Several that open the log, one after another or at once, and servers that change under them. */

/** A log whose first orders are journaled, and no worker. */
async function openJournaled(t: TestContext, orders = 1): Promise<LogScene> {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await Flow.define(log);
  for (let i = 0; i < orders; i++) await log.one(order(`journaled-${i}`));
  await scene.persist();
  return scene;
}

/** An opener of an emptied Redis that is stopped before its last step, behind the fence; with what lets it go on. */
async function stoppedOpener(t: TestContext, scene: LogScene) {
  const proxy = await Proxy.start(t, scene.server.url, { wire: () => new RedisWire() });
  const stopped = scene.appender({ url: proxy.url });
  const atLastStep = proxy.holdAt(({ direction, name }) => direction === "up" && name === "script open");
  const opening = stopped.appender.open();
  const { release } = await atLastStep;
  return { opening, release };
}

async function fencesOf({ sql }: LogScene): Promise<number[]> {
  const rows = await sql<{ epoch: number }[]>`SELECT epoch FROM log_fences ORDER BY epoch`;
  return rows.map(({ epoch }) => epoch);
}

/** A worker has an order in hand that it cannot write. With what else was journaled, all is in the log. */
async function holdOne(scene: LogScene, submit: () => Promise<unknown>): Promise<HeldWorker> {
  const worker = await HeldWorker.start(scene, "orders");
  await untilWritten(scene, "orders");
  worker.toPostgres.closed = true;
  await submit();
  await untilHeld(scene, "orders", 1);
  return worker;
}

async function rowsOf({ sql }: LogScene): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`SELECT client_order_id AS id FROM orders ORDER BY order_id`;
  return rows.map(({ id }) => id);
}

// Each of these opens the log several times.
suite("rival openers", { concurrency: true }, () => {
  test("I1, I2, I4: a tail that Redis has lost is lost for all, also where the process that opens never heard of it", async (t) => {
    const scene = await openJournaled(t);
    const [knows, other] = [scene.appender(), scene.appender()];
    await other.one(order("kept"));
    const putBack = await scene.snapshot();
    const worker = await holdOne(scene, () => knows.one(order("gone")));
    await putBack();
    await other.one(order("behind it"));
    worker.release();
    await worker.untilOrphaned(1);
    await untilWritten(scene, "orders");
    assert.deepEqual(await rowsOf(scene), ["journaled-0", "kept", "behind it"]);
    assert.equal((await knows.one(order("gone"))).outcome, "new");
    assert.equal(knows.losses.length, 1);
  });

  test("I1, I4: what a worker has in hand of a Redis that is back, after one of which nothing was written, is no orphan", async (t) => {
    const scene = await openJournaled(t);
    const worker = await holdOne(scene, () => scene.appender().one(order("in hand")));
    const bringBack = await scene.putAside();
    await scene.appender().appender.open();
    await bringBack();
    const tried = await worker.worker.count("retries_total");
    worker.release();
    const hasTried = async () => (await worker.worker.count("retries_total")) > tried + 1;
    await eventually(async () => (await hasTried()) || (await orphans(scene)).length > 0, "the worker to try");
    await scene.appender().one(order("next"));
    await untilWritten(scene, "orders");
    assert.deepEqual(await orphans(scene), []);
    assert.deepEqual(await rowsOf(scene), ["journaled-0", "in hand", "next"]);
  });

  test("I3, I4: an opener that stops behind its fence is taken over, and its fence does no harm", async (t) => {
    const scene = await openJournaled(t);
    await scene.redis.flushall();
    const { opening, release } = await stoppedOpener(t, scene);
    assert.deepEqual(await fencesOf(scene), [1, 2]);
    const second = scene.appender();
    await second.one(order("after"));
    release();
    assert.equal((await opening).head.epoch, 2);
    assert.deepEqual(await fencesOf(scene), [1, 2]);
    await scene.persist();
    assert.deepEqual(await orphans(scene), []);
    assert.equal((await scene.orders()).length, 2);
  });

  test("I3, I4: Redis is emptied again between a fence and the opening: another epoch, and the first opener gives way", async (t) => {
    const scene = await openJournaled(t);
    await scene.redis.flushall();
    const { opening, release } = await stoppedOpener(t, scene);
    await scene.redis.flushall();
    const second = scene.appender();
    await second.one(order("after"));
    assert.equal((await readHead(scene.redis, scene.keys)).epoch, 3);
    release();
    assert.equal((await opening).head.epoch, 3);
    assert.deepEqual(await fencesOf(scene), [1, 2, 3]);
    await scene.persist();
    assert.deepEqual(await orphans(scene), []);
    assert.equal((await scene.orders()).length, 2);
  });

  test("I4: an older Redis that comes back whole, after a fence for an emptied one was raised, has lost nothing", async (t) => {
    const scene = await openJournaled(t);
    const { server, redis, keys } = scene;
    await scene.appender().one(order("in the stream alone"));
    const bringBack = await scene.putAside();
    const { opening, release } = await stoppedOpener(t, scene);
    const failed = assert.rejects(opening);
    await server.kill();
    release();
    await failed;
    await bringBack();
    const next = scene.appender();
    await next.one(order("next"));
    assert.equal((await readHead(redis, keys)).epoch, 3, "a fence has the number of epoch 2");
    await scene.persist();
    assert.deepEqual(await orphans(scene), []);
    assert.deepEqual(
      (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
      ["journaled-0", "in the stream alone", "next"],
    );
  });

  test("I8: events that were taken back, since Redis was empty, are written again when it comes back whole", async (t) => {
    const venue = await FencedVenue.open(t);
    const { scene, log } = venue;
    const { server } = scene;
    const { orders, events, told } = await venue.hold("held-1", "held-2");
    events.release();
    await untilWritten(scene, "events");
    const reports = () => scene.sql`SELECT FROM executions WHERE ms BETWEEN ${told[0]!.ms} AND ${told.at(-1)!.ms}`;
    const bringBack = await scene.putAside();
    const { opening, release } = await stoppedOpener(t, scene);
    assert.equal((await reports()).length, 0);
    const failed = assert.rejects(opening);
    await server.kill();
    release();
    await failed;
    await bringBack();
    await log.one(order("next"));
    orders.release();
    await venue.untilWritten();
    assert.equal((await reports()).length, 2);
    assert.deepEqual(await venue.rows(), ["written", "held-1", "held-2", "next"]);
    await venue.assertFound();
  });

  test("I3, I4: an epoch of which nothing was journaled is never begun again, and what workers hold of it is lost with it", async (t) => {
    const scene = await openJournaled(t);
    await scene.redis.flushall();
    const lost = scene.appender();
    await lost.appender.open();
    const worker = await HeldWorker.start(scene, "orders");
    await untilWritten(scene, "orders"); // what was put back comes once more
    worker.toPostgres.closed = true;
    await lost.one(order("held in epoch 2"));
    await untilHeld(scene, "orders", 1);
    await scene.redis.flushall();
    // A process that knows of none of it.
    const { head } = await scene.appender().appender.open();
    assert.equal(head.epoch, 3);
    worker.release();
    await worker.untilOrphaned(1);
    const [orphan] = await orphans(scene);
    assert.equal(orphan?.epoch, 2);
  });

  test("many that open an emptied log at once raise one fence", async (t) => {
    const scene = await openJournaled(t, 150);
    const wanted = await scene.orders();
    await scene.redis.flushall();
    const openers = Array.from({ length: 4 }, () => scene.appender());
    const opened = await Promise.all(openers.map(({ appender }) => appender.open()));
    for (const { head } of opened) assert.equal(head.epoch, 2);
    assert.deepEqual(await fencesOf(scene), [1, 2]);
    assert.deepEqual(await scene.orders(), wanted);
  });
});
