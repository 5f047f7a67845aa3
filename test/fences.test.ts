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
import { cpSync, rmSync } from "node:fs";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { auditServers } from "../src/audit/audit.ts";
import type { StreamNumber } from "../src/store/entry-record.ts";
import { claimPartitionCount } from "../src/store/settings.ts";
import { allLetters } from "../src/store/test-entries.ts";
import type { Durability } from "../src/stream/durability.ts";
import type { Entry } from "../src/stream/entry.ts";
import type { Placement } from "../src/stream/flush.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { readHead } from "../src/stream/head.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { eventsOf, FileSnapshots, startEngine, untilMatched } from "./support/engine.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order, type TestAppender, type TestAppenderOptions } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { PostgresWire } from "./support/postgres-wire.ts";
import { Proxy } from "./support/proxy.ts";
import { RedisWire } from "./support/redis-wire.ts";
import { Runbook } from "./support/runbook.ts";
import { type Scene, TestWorker, untilFinished } from "./support/worker.ts";

type Stream = "orders" | "events";

/** A worker whose way to Postgres can be cut, while it keeps what it has read. */
class HeldWorker {
  readonly worker: TestWorker;
  readonly toPostgres: Proxy;

  private constructor(worker: TestWorker, toPostgres: Proxy) {
    this.worker = worker;
    this.toPostgres = toPostgres;
  }

  /** `closed`: it comes to nothing until it is let go. */
  static async start(scene: LogScene, stream: Stream, { closed = false } = {}): Promise<HeldWorker> {
    const toPostgres = await Proxy.open(scene.databaseUrl, { wire: () => new PostgresWire() });
    toPostgres.closed = closed;
    const worker = new TestWorker({ redisUrl: scene.server.url, databaseUrl: toPostgres.url, stream, name: stream });
    scene.closing(async () => {
      await toPostgres.heal();
      await worker.stop();
      await toPostgres.close();
    });
    await worker.start();
    return new HeldWorker(worker, toPostgres);
  }

  release(): void {
    this.toPostgres.closed = false;
  }

  async untilOrphaned(entries: number): Promise<void> {
    await eventually(async () => (await this.worker.count("orphans_total")) === entries, `${entries} orphans`);
    await this.worker.hasLogged("ENTRIES ORPHANED");
  }
}

function entryIdOf({ id }: Placement): string {
  return formatEntryId(parseOrderId(id)!);
}

/** Waits until a worker has so many entries of the stream in hand. */
async function untilHeld({ redis, keys }: LogScene, stream: Stream, entries: number): Promise<void> {
  const holds = async () => (await redis.xpending(keys[stream], PERSIST_GROUP))[0] === entries;
  await eventually(holds, `${entries} ${stream} in a worker's hands`);
}

async function untilWritten({ redis, keys }: LogScene, stream: Stream): Promise<void> {
  await untilFinished({ redis, log: { keys } as Scene["log"] }, stream);
}

/** A log with an engine, of which all is written, and no worker is left. */
class Venue {
  readonly scene: LogScene;
  readonly log: TestAppender;

  private constructor(scene: LogScene, log: TestAppender) {
    this.scene = scene;
    this.log = log;
  }

  static async open(
    t: TestContext,
    { server = [], ...options }: TestAppenderOptions & { server?: readonly string[] } = {},
  ): Promise<Venue> {
    const scene = await LogScene.set(t, server);
    await claimPartitionCount(scene.sql, 1);
    const log = scene.appender(options);
    await Flow.define(log);
    await startEngine(t, scene, { snapshots: FileSnapshots.make(t) });
    const venue = new Venue(scene, log);
    const workers = [await venue.start("orders"), await venue.start("events")];
    await log.one(order("written"));
    await venue.untilWritten();
    for (const { worker } of workers) await worker.stop();
    return venue;
  }

  start(stream: Stream): Promise<HeldWorker> {
    return HeldWorker.start(this.scene, stream);
  }

  /** Logs and has matched an entry for each of these orders, which workers of both streams then hold and cannot write. */
  async hold(...names: readonly string[]) {
    const { scene, log } = this;
    for (const name of names) await log.one(order(name));
    await untilMatched(scene);
    const orders = await HeldWorker.start(scene, "orders", { closed: true });
    const events = await HeldWorker.start(scene, "events", { closed: true });
    for (const stream of ["orders", "events"] as const) await untilHeld(scene, stream, names.length);
    const entries = (await scene.entries()).slice(-names.length);
    return { orders, events, entries, told: (await eventsOf(scene)).slice(-names.length) };
  }

  async untilWritten(): Promise<void> {
    await untilMatched(this.scene);
    for (const stream of ["orders", "events"] as const) await untilWritten(this.scene, stream);
  }

  /** The client order ids of the rows, in the log's order. */
  async rows(): Promise<string[]> {
    const rows = await this.scene.sql<{ id: string }[]>`SELECT client_order_id AS id FROM orders ORDER BY order_id`;
    return rows.map(({ id }) => id);
  }

  /** The audit finds these kinds, and no others. */
  async assertFound(...kinds: readonly string[]): Promise<void> {
    const lines: string[] = [];
    const { redis, sql } = this.scene;
    const { verdicts } = await auditServers(redis, sql, { print: (line) => void lines.push(line) });
    const found = verdicts.flatMap(({ found }) => found.map(({ kind }) => kind));
    assert.deepEqual(found, kinds, lines.join("\n"));
  }
}

/** Entries as the letters name them, with the bytes that they must have. */
function orphansOf(stream: StreamNumber, entries: readonly Entry[]) {
  return entries.map(({ id, epoch, payload }) => ({ stream, id, epoch, raw: payload }));
}

/** The dead letters, all of which must be those of orphaned entries: by stream, in the log's order. */
async function orphans({ sql }: LogScene) {
  const letters = await allLetters(sql);
  for (const { kind, index, state } of letters) assert.deepEqual([kind, index, state], ["orphaned", -1, "open"]);
  return letters
    .map(({ stream, epoch, ms, seq, raw }) => ({ stream, id: `${ms}-${seq}`, epoch, raw }))
    .sort((a, b) => a.stream - b.stream || (a.id < b.id ? -1 : 1));
}

test("I4, I5, I8: what workers hold when Redis is emptied becomes dead letters, and no rows; log, engine and audit agree", async (t) => {
  const venue = await Venue.open(t);
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
  const venue = await Venue.open(t);
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
  const venue = await Venue.open(t);
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
  const venue = await Venue.open(t, { stalledMs: 1_000 });
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

/** Takes the files of Redis away, and gives what brings them back in the place of those that it has then. */
async function putAside(t: TestContext, { server }: LogScene): Promise<() => Promise<void>> {
  const copy = `${server.folder}-copy`;
  t.after(() => rmSync(copy, { recursive: true, force: true }));
  await server.stop();
  cpSync(server.folder, copy, { recursive: true });
  await server.restart({ empty: true });
  return async () => {
    await server.kill();
    rmSync(server.folder, { recursive: true });
    cpSync(copy, server.folder, { recursive: true });
    await server.start();
  };
}

test("I3, I4, I8: the right Redis comes back after a wrong one whose orders are written: its end is given up, and told; all else agrees", async (t) => {
  const venue = await Venue.open(t);
  const { scene, log } = venue;
  await log.one(order("given up 1")); // in the stream alone: no worker is left
  await log.one(order("given up 2"));
  await untilMatched(scene);
  const end = (await scene.entries()).slice(-2);
  const bringBack = await putAside(t, scene);
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
  const venue = await Venue.open(t, { durability, server: ["--appendfsync", "everysec"] });
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
  const venue = await Venue.open(t);
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

// Each of these waits for a gap to be filled, or opens the log several times.
suite("gaps and rival openers", { concurrency: true }, () => {
  test("I2, I4, I8: a worker may fill a gap in what was put back, however late; what is behind it is lost", async (t) => {
    const venue = await Venue.open(t);
    const { scene, log } = venue;
    const { orders, events, entries } = await venue.hold("held-1", "held-2", "journaled", "held-3");
    await scene.persist(({ id }) => id === entries[2]!.id); // as another worker did
    await scene.redis.flushall();
    await log.appender.open();
    assert.equal(log.logged("GAP IN THE LOG"), 1);
    assert.equal((await log.one(order("next"))).outcome, "new");

    // The events of what is missing wait for its commands: nobody knows whether these ever come.
    events.release();
    await events.untilOrphaned(3);
    const gap = [entries[0]!, entries[1]!, entries[3]!];
    const ids = (letters: readonly { id: string }[]) => letters.map(({ id }) => id);
    assert.deepEqual(ids(await orphans(scene)), ids(gap));
    // They come, the engine goes on, and makes their events again.
    orders.release();
    await orders.untilOrphaned(1);
    await venue.untilWritten();
    assert.deepEqual(await venue.rows(), ["written", "held-1", "held-2", "journaled", "next"]);
    const letters = await orphans(scene);
    assert.deepEqual(
      letters.map(({ stream, id }) => [stream, id]),
      [[0, entries[3]!.id], ...gap.map(({ id }) => [1, id])],
    );
    for (const [i, name] of ["held-1", "held-2", "journaled"].entries()) {
      const again = await log.one(order(name));
      assert.deepEqual([again.outcome, entryIdOf(again)], ["duplicate", entries[i]!.id]);
    }
    await venue.assertFound("a gap in the log"); // in Redis: the journal has them
  });

  /** A worker has the first of two orders in hand, and the log was opened without it, behind the gap. */
  async function openBehindGap(t: TestContext) {
    const venue = await Venue.open(t);
    const held = await venue.hold("held", "journaled");
    await venue.scene.persist(({ id }) => id === held.entries[1]!.id);
    await venue.scene.redis.flushall();
    await venue.log.appender.open();
    return { venue, ...held };
  }

  test("I2: the ids of what has filled a gap are put back by a later opening, where Redis has lost them again", async (t) => {
    const { venue, orders, entries } = await openBehindGap(t);
    const { scene, log } = venue;
    const { generation } = await readHead(scene.redis, scene.keys);
    const known = await scene.redis.hkeysBuffer(scene.keys.seen(generation));
    orders.release();
    await untilWritten(scene, "orders");
    assert.deepEqual(await orphans(scene), []);
    const recalled = (await scene.redis.hkeysBuffer(scene.keys.seen(generation))).filter(
      (key) => !known.some((other) => other.equals(key)),
    );
    assert.equal(recalled.length, 1);
    // As a replica is that was promoted before it had them.
    await scene.redis.hdel(scene.keys.seen(generation), ...recalled);
    await scene.redis.hdel(scene.keys.head, "run");
    const again = await log.one(order("held"));
    assert.deepEqual([again.outcome, entryIdOf(again)], ["duplicate", entries[0]!.id]);
  });

  test("I2, I4: an id that was sent again while its gap was open counts; the entry in hand is an orphan", async (t) => {
    const { venue, orders, entries } = await openBehindGap(t);
    const { scene, log } = venue;
    const again = await log.one(order("held"));
    assert.equal(again.outcome, "new");
    orders.release();
    await orders.untilOrphaned(1);
    await untilWritten(scene, "orders");
    assert.deepEqual(await venue.rows(), ["written", "journaled", "held"]);
    assert.deepEqual(await orphans(scene), orphansOf(0, [entries[0]!]));
    assert.deepEqual(await log.one(order("held")), { ...again, outcome: "duplicate" });
  });

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
    const bringBack = await putAside(t, scene);
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
    const venue = await Venue.open(t);
    const { scene, log } = venue;
    const { server } = scene;
    const { orders, events, told } = await venue.hold("held-1", "held-2");
    events.release();
    await untilWritten(scene, "events");
    const reports = () => scene.sql`SELECT FROM executions WHERE ms BETWEEN ${told[0]!.ms} AND ${told.at(-1)!.ms}`;
    const copy = `${server.folder}-copy`;
    t.after(() => rmSync(copy, { recursive: true, force: true }));
    await server.stop();
    cpSync(server.folder, copy, { recursive: true });
    await server.restart({ empty: true });
    const { opening, release } = await stoppedOpener(t, scene);
    assert.equal((await reports()).length, 0);
    const failed = assert.rejects(opening);
    await server.kill();
    release();
    await failed;
    rmSync(server.folder, { recursive: true });
    cpSync(copy, server.folder, { recursive: true });
    await server.start();
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
