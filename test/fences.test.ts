/**
 * What a worker still holds when the log was lost and opened again:
 *
 * - I4 it ends as a dead letter, and nothing that the log has does
 * - I5, I8 no row and no receipt tells of what no engine will ever match
 * - I3 no epoch is begun twice, however often Redis forgets
 *
 * A worker is kept from Postgres with entries in its hands, while Redis is emptied and opened again; then it is let go.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { Durability } from "../src/stream/durability.ts";
import { readHead } from "../src/stream/head.ts";
import { untilMatched } from "./support/engine.ts";
import { type LogScene, order } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { RedisWire } from "./support/redis-wire.ts";
import { Runbook } from "./support/runbook.ts";
import { orphans, orphansOf, untilWritten, FencedVenue } from "./support/fenced-venue.ts";

test("I4, I5, I8: what workers hold when Redis is emptied becomes dead letters, and no rows; log, engine and audit agree", async (t) => {
  const venue = await FencedVenue.open(t);
  const { scene, log } = venue;
  const { orders, events, entries, told } = await venue.hold("held-1", "held-2", "held-3");
  await scene.redis.flushall();
  const next = await log.one(order("next"));
  await untilMatched(scene);
  for (const held of [orders, events]) held.release();
  await Promise.all([orders.untilOrphaned(3), events.untilOrphaned(3)]);
  await venue.untilWritten();

  assert.deepEqual(await orphans(scene), [...orphansOf(0, entries), ...orphansOf(1, told)]);
  assert.deepEqual(await venue.rows(), ["written", "next"]);
  for (const { ms, seq } of entries) {
    const places = await scene.sql`
      SELECT FROM journal WHERE ms = ${ms} AND seq = ${seq}
      UNION ALL SELECT FROM executions WHERE ms = ${ms} AND seq = ${seq}
      UNION ALL SELECT FROM order_states WHERE ms = ${ms} AND seq = ${seq}`;
    assert.equal(places.length, 0);
  }
  // Their clients send them again, and they are new.
  const again = await log.one(order("held-1"));
  assert.equal(again.outcome, "new");
  assert.equal((await log.one(order("next"))).id, next.id);
  await venue.untilWritten();
  const runbook = new Runbook(t, { redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  const audit = await runbook.run("penstock audit");
  assert.equal(audit.code, 0, audit.output);
  assert.match(audit.output, /^partition 0: 6 entries that the log lost, and went on without, are dead letters$/m);
  const replay = await runbook.run("penstock replay --from journal");
  assert.equal(replay.code, 0, replay.output);
});

test("I8, I9: what the engine made of lost entries, written before these were, is taken back; the audit finds nothing", async (t) => {
  const venue = await FencedVenue.open(t);
  const { scene, log } = venue;
  const { orders, events, told } = await venue.hold("held-1", "held-2");
  events.release();
  await untilWritten(scene, "events");
  const reports = () => scene.sql`SELECT FROM executions WHERE ms BETWEEN ${told[0]!.ms} AND ${told.at(-1)!.ms}`;
  assert.equal((await reports()).length, 2);
  await scene.redis.flushall();
  await log.one(order("next"));
  assert.equal(log.logged("took back what had been written of events"), 1);
  orders.release();
  await orders.untilOrphaned(2);
  await venue.untilWritten();
  assert.equal((await reports()).length, 0);
  assert.deepEqual(await venue.rows(), ["written", "next"]);
  await venue.assertFound();
});

test("I1, I4: a transaction that is under way when the log is opened is waited for, and put back", async (t) => {
  const venue = await FencedVenue.open(t);
  const { scene, log } = venue;
  const orders = await venue.start("orders");
  await venue.start("events");
  // Its last row has gone, and the end of its COPY has not.
  const copying = orders.toPostgres.holdAt(({ name }) => name === "CopyDone");
  const first = await log.one(order("under way"));
  const held = await copying;
  await scene.redis.flushall();
  const next = log.one(order("next"));
  await eventually(async () => (await waitsForLock(scene)) > 0, "the opener to wait");
  held.release();
  assert.equal((await next).outcome, "new");
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["written", "under way", "next"],
  );
  assert.equal((await scene.orders())[1]!.id, first.id);
  await venue.untilWritten();
  assert.deepEqual(await venue.rows(), ["written", "under way", "next"]);
  assert.deepEqual(await orphans(scene), []);
  assert.deepEqual(log.losses, []);
  await venue.assertFound();
});

/** How many wait for the lock of the fences. */
async function waitsForLock({ sql }: LogScene): Promise<number> {
  const rows = await sql`
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 7366514 AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  return rows.length;
}

test("I4, I11: a worker that has stalled within a COPY does not keep the log shut, and what it held is no row", async (t) => {
  const venue = await FencedVenue.open(t, { stalledMs: 1_000 });
  const { scene, log } = venue;
  const orders = await venue.start("orders");
  const copying = orders.toPostgres.holdAt(({ name }) => name === "CopyDone");
  await log.one(order("stalled"));
  await copying; // and nobody lets it go
  await untilMatched(scene);
  await scene.redis.flushall();
  await log.appender.open();
  assert.equal((await log.one(order("next"))).outcome, "new");
  await orders.untilOrphaned(1);
  await untilWritten(scene, "orders");
  assert.deepEqual(await venue.rows(), ["written", "next"]);
  assert.equal((await orphans(scene)).length, 1);
});

test("I3, I4, I8: the right Redis comes back after a wrong one whose orders are written: its end is given up, and told; all else agrees", async (t) => {
  const venue = await FencedVenue.open(t);
  const { scene, log } = venue;
  await log.one(order("given up 1")); // in the stream alone: no worker is left
  await log.one(order("given up 2"));
  await untilMatched(scene);
  const end = (await scene.entries()).slice(-2);
  const bringBack = await scene.putAside();
  await log.one(order("elsewhere 1"));
  await log.one(order("elsewhere 2"));
  const workers = [await venue.start("orders"), await venue.start("events")];
  await venue.untilWritten();
  for (const { worker } of workers) await worker.stop();
  assert.equal(log.losses.length, 1);

  await bringBack();
  // Two openers, of which the first is stopped before it drops what is given up, and then comes too late.
  const proxy = await Proxy.start(t, scene.server.url, { wire: () => new RedisWire() });
  const slow = scene.appender({ url: proxy.url });
  const atDrop = proxy.holdAt(({ direction, name }) => direction === "up" && name === "script drop");
  const opening = slow.appender.open();
  const held = await Promise.race([atDrop, opening.then(() => assert.fail("it dropped nothing"))]);
  assert.equal((await log.one(order("next"))).outcome, "new");
  held.release();
  assert.equal((await opening).head.epoch, 3);

  const [told] = log.lines.filter(({ msg }) => msg.startsWith("THE END OF THIS LOG IS GIVEN UP"));
  assert.deepEqual(
    [told?.level, told?.["entries"], told?.["first"], told?.["last"]],
    ["error", 2, end[0]!.id, end[1]!.id],
  );
  assert.equal(log.logged("GAP IN THE LOG"), 0);
  assert.deepEqual(await orphans(scene), orphansOf(0, end));
  for (const stream of ["orders", "events"] as const) await venue.start(stream);
  await venue.untilWritten();
  const names = ["written", "elsewhere 1", "elsewhere 2", "next"];
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    names,
  );
  assert.deepEqual(await venue.rows(), names);
  assert.deepEqual(await orphans(scene), orphansOf(0, end));
  assert.equal((await log.one(order("given up 1"))).outcome, "new");
  assert.equal((await log.one(order("elsewhere 1"))).outcome, "duplicate");
  await venue.untilWritten();
  await venue.assertFound();
});

test("where nothing was lost what workers hold is written, though the epoch is raised (I1, I4)", async (t) => {
  const durability: Durability = { level: "everysec", replicas: 0, replicaTimeoutMs: 1_000 };
  const venue = await FencedVenue.open(t, { durability, server: ["--appendfsync", "everysec"] });
  const { scene, log } = venue;
  const { orders, events } = await venue.hold("held-1", "held-2");
  await scene.server.restart(); // cleanly: all of it is there
  await log.one(order("next"));
  assert.equal((await readHead(scene.redis, scene.keys)).epoch, 2);
  for (const held of [orders, events]) held.release();
  await venue.untilWritten();
  assert.deepEqual(await venue.rows(), ["written", "held-1", "held-2", "next"]);
  assert.deepEqual(await orphans(scene), []);
  await venue.assertFound();
});

test("I4: a head that was deleted alone costs nothing of what the stream has", async (t) => {
  const venue = await FencedVenue.open(t);
  const { scene, log } = venue;
  const { orders, events } = await venue.hold("held-1", "held-2");
  await scene.redis.del(scene.keys.head);
  await log.one(order("next"));
  assert.equal((await readHead(scene.redis, scene.keys)).epoch, 2);
  for (const held of [orders, events]) held.release();
  await venue.untilWritten();
  assert.deepEqual(await venue.rows(), ["written", "held-1", "held-2", "next"]);
  assert.deepEqual(await orphans(scene), []);
});
