import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import type { Entry, StreamReply } from "../src/stream/entry.ts";
import { compareEntryIds, formatEntryId, START } from "../src/stream/position.ts";
import { readEventsState } from "../src/stream/status.ts";
import {
  assertMatched,
  eventsOf,
  FileSnapshots,
  startEngine,
  type TestEngine,
  untilMatched,
} from "./support/engine.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order, orders } from "./support/log.ts";
import { Proxy } from "./support/proxy.ts";
import { random } from "./support/random.ts";
import { until } from "./support/until.ts";

async function setScene(t: TestContext, seed: number) {
  const scene = await LogScene.set(t);
  const appender = scene.appender();
  await Flow.define(appender);
  return { scene, appender, snapshots: FileSnapshots.make(t), flow: new Flow(seed) };
}

test("I7, I8: engines thrown away at random points, two at a time, leave the stream of one that never stopped", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 11);
  const next = random(12);
  const start = () => startEngine(t, scene, { snapshots, snapshotCommands: 120 });
  const living: TestEngine[] = [await start(), await start()];
  const killed: Promise<void>[] = [];
  for (let round = 0; round < 8; round++) {
    const feeding = flow.append(appender, 25);
    await sleep(next() * 60); // the point at which one dies, which the seed decides
    const which = Math.floor(next() * 2);
    killed.push(living[which]!.kill());
    living[which] = await start();
    await feeding;
  }
  await untilMatched(scene);
  await Promise.all(killed);
  await assertMatched(scene);
  assert.ok(living.every(({ divergences }) => divergences === 0));
});

/** Started as a process; it ends with the test. */
async function startProcess(t: TestContext, scene: LogScene, snapshots: FileSnapshots): Promise<ChildProcess> {
  const program = join(import.meta.dirname, "support", "engine-process.ts");
  const child = spawn(process.execPath, [program, scene.server.url, scene.databaseUrl, snapshots.folder], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  scene.closing(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  t.signal.throwIfAborted();
  await once(child.stdout, "data");
  return child;
}

test("I7, I8: processes that are killed, paused and resumed leave the stream of one that never stopped", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 13);
  const [first, second] = [await startProcess(t, scene, snapshots), await startProcess(t, scene, snapshots)];
  await flow.append(appender, 40);
  await untilMatched(scene);

  // One that was paused in the middle of its work wakes up when another one has gone on.
  const feeding = flow.append(appender, 60);
  await sleep(20);
  first.kill("SIGSTOP");
  await feeding;
  await untilMatched(scene);
  first.kill("SIGCONT");
  await flow.append(appender, 20);

  // The standby takes over from one that is dead; a new one finds what both left.
  const more = flow.append(appender, 40);
  second.kill("SIGKILL");
  await more;
  await untilMatched(scene);
  first.kill("SIGKILL");
  await flow.append(appender, 20);
  await startProcess(t, scene, snapshots);
  await untilMatched(scene);
  await assertMatched(scene);
});

test("an engine that is cut off is replaced by its standby, and follows once it is back (I8)", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 14);
  const proxy = await Proxy.start(t, scene.server.url);
  const cut = await startEngine(t, scene, { snapshots, redisUrl: proxy.url });
  await flow.append(appender, 10);
  await untilMatched(scene);
  const standby = await startEngine(t, scene, { snapshots });
  await until("it is present", () => standby.engine.status.state !== "starting");
  await flow.append(appender, 10);
  await untilMatched(scene);

  proxy.closed = true;
  await flow.append(appender, 10);
  await untilMatched(scene);
  await until("the standby appends", () => standby.engine.status.state === "active");
  assert.ok(standby.appended > 0);
  proxy.closed = false;
  await flow.append(appender, 10);
  await untilMatched(scene);
  // Orders that are due later add to the log by themselves.
  const newest = (await eventsOf(scene)).at(-1)!;
  await until("the other one has seen it all", () => {
    const { position } = cut.engine.status;
    return position !== undefined && compareEntryIds(position, newest) >= 0 && cut.engine.trouble === undefined;
  });
  await assertMatched(scene);
});

test("an append whose answer was lost is not done twice (I8)", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 15);
  const proxy = await Proxy.start(t, scene.server.url);
  const { engine } = await startEngine(t, scene, { snapshots, redisUrl: proxy.url });
  await flow.append(appender, 5);
  await untilMatched(scene);
  const lost = proxy.swallow((answer) => answer.includes("$2\r\nOK\r\n"));
  await flow.append(appender, 5);
  await lost;
  await untilMatched(scene);
  await flow.append(appender, 5);
  await untilMatched(scene);
  await until("it is well", () => engine.trouble === undefined);
  await assertMatched(scene);
});

test("Redis is restarted, with all it had: the engine goes on", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 16);
  const { engine } = await startEngine(t, scene, { snapshots });
  await flow.append(appender, 10);
  await untilMatched(scene);
  await scene.server.restart();
  await flow.append(appender, 10);
  await untilMatched(scene);
  await until("it is active", () => engine.status.state === "active" && engine.trouble === undefined);
  await assertMatched(scene);
});

test("I8: a Redis that lost its end: what was lost for good has no events, what was put back has them again", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 17);
  const { engine } = await startEngine(t, scene, { snapshots, snapshotCommands: 60 });
  await flow.append(appender, 20);
  await untilMatched(scene);
  const copy = `${scene.server.folder}-copy`;
  t.after(() => rmSync(copy, { recursive: true, force: true }));
  await scene.server.stop();
  cpSync(scene.server.folder, copy, { recursive: true });
  await scene.server.start();

  // These are lost; the first half of them is in the journal.
  await flow.append(appender, 20);
  await untilMatched(scene);
  const half = (await scene.entries()).slice(0, -10).at(-1)!;
  await scene.persist((entry) => entry.ms < half.ms || (entry.ms === half.ms && entry.seq <= half.seq));
  const before = await scene.entries();
  await scene.server.stop();
  rmSync(scene.server.folder, { recursive: true });
  cpSync(copy, scene.server.folder, { recursive: true });
  await scene.server.start();

  await flow.append(appender, 10);
  await untilMatched(scene);
  const after = await scene.entries();
  assert.ok(after.some(({ id }) => id === half.id));
  assert.ok(after.every(({ id, epoch }) => epoch > 1 || before.some((entry) => entry.id === id)));
  await assertMatched(scene);
  await until("it is active", () => engine.status.state === "active");
});

/** As a worker would of the events stream, without their rows. */
async function writeReceipts({ sql }: LogScene, events: readonly Entry[]): Promise<void> {
  for (const { epoch, ms, seq, previous } of events) {
    await sql`INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash)
      VALUES (1, 0, ${epoch}, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 0, ${Buffer.alloc(32)})`;
  }
}

test("I8: an emptied Redis: all events that nobody surely has are made again", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 18);
  const { engine } = await startEngine(t, scene, { snapshots, snapshotCommands: 60 });
  await flow.append(appender, 30);
  await untilMatched(scene);
  await scene.persist();
  await until("there are snapshots", () => snapshots.all().length >= 2);
  const before = await eventsOf(scene);
  await scene.redis.flushall();
  await flow.append(appender, 10);
  await untilMatched(scene);
  // No receipt of an event stands in the journal: from the beginning, then, whatever snapshots there are.
  assert.equal((await eventsOf(scene))[0]!.id, before[0]!.id);
  await assertMatched(scene);
  await until("it is active", () => engine.status.state === "active");

  // With the receipts of most of them: from a snapshot before the first that is missing.
  await scene.persist();
  const all = await eventsOf(scene);
  const missing = all.findIndex(({ id }) => id === formatEntryId(snapshots.all()[1]!)) + 3;
  await writeReceipts(
    scene,
    all.filter((_, i) => i !== missing),
  );
  await scene.redis.flushall();
  await flow.append(appender, 10);
  await untilMatched(scene);
  const again = await eventsOf(scene);
  assert.ok(
    again.some(({ id }) => id === all[missing]!.id),
    "the one that is missing is made again",
  );
  assert.notEqual(again[0]!.id, all[0]!.id, "and the first ones are not");
  const from = all.findIndex(({ id }) => id === again[0]!.id);
  for (const [i, { id, payload }] of all.slice(from).entries()) {
    assert.equal(again[i]!.id, id);
    assert.ok(again[i]!.payload.equals(payload));
  }
});

test("an emptied Redis behind a snapshot of all there was: nothing is to be made, and nothing counts as unmatched", async (t) => {
  const { scene, appender, snapshots } = await setScene(t, 19);
  const { engine } = await startEngine(t, scene, { snapshots, snapshotIntervalMs: 0 });
  let n = 0;
  await until("the last entry has a snapshot: one is taken where none is being stored", async () => {
    await appender.append(order(`order-${n++}`));
    await untilMatched(scene);
    return formatEntryId(snapshots.all()[0] ?? START) === (await scene.redis.hget(scene.keys.head, "last"));
  });
  await scene.persist();
  await writeReceipts(scene, await eventsOf(scene));
  await scene.redis.flushall();
  await appender.appender.open();
  await until("the engine has begun again, and come to the present", async () => {
    return (await scene.redis.exists(scene.keys.engine)) === 1 && engine.status.state === "active";
  });
  assert.ok((await scene.entries()).length > 0, "the log is back");
  assert.deepEqual(await eventsOf(scene), []);
  assert.equal((await readEventsState(scene.redis, scene.keys))?.oldestUnmatchedMs, 0);
  await appender.append(order("next"));
  await untilMatched(scene);
  assert.equal((await eventsOf(scene)).length, 1);
});

test("I8: an events stream that was emptied or cut by hand is made anew, and its group gets all of it", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 22);
  const { redis, keys } = scene;
  const started = await startEngine(t, scene, { snapshots, snapshotCommands: 60 });
  await flow.append(appender, 20);
  await untilMatched(scene);
  const removals = [
    () => redis.xtrim(keys.events, "MAXLEN", 0),
    async () => redis.xdel(keys.events, ...(await eventsOf(scene)).slice(-3).map(({ id }) => id)),
    () => redis.del(keys.events),
  ];
  for (const [i, remove] of removals.entries()) {
    await redis.xreadgroup("GROUP", "persist", "somebody", "STREAMS", keys.events, ">");
    await remove();
    await flow.append(appender, 5);
    await untilMatched(scene);
    await assertMatched(scene);
    await until("it is active", () => started.engine.status.state === "active");
    assert.equal(started.logged("THE EVENTS STREAM HAD LOST ITS END"), Math.min(i + 1, 2));
    if (i === 2) continue; // the group is gone with the stream: its workers make it again
    const [group] = (await redis.xinfo("GROUPS", keys.events)) as unknown[][];
    assert.deepEqual([group?.[1], group?.[7]], ["persist", "0-0"], "from the beginning");
  }
});

test("what the stream has trimmed is read from the journal; what neither has is waited for, with an alarm (I4)", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 19);
  await flow.append(appender, 30);
  const entries = await scene.entries();
  await scene.persist();
  await scene.sql`CREATE TABLE saved AS SELECT * FROM journal`;
  for (const { ms, seq } of entries.slice(10, 12))
    await scene.sql`DELETE FROM journal WHERE ms = ${ms} AND seq = ${seq}`;
  await scene.redis.xtrim(scene.keys.orders, "MINID", entries[20]!.id);

  const { engine, logged } = await startEngine(t, scene, { snapshots }).then((started) => ({
    engine: started.engine,
    logged: (message: string) => started.logged(message),
  }));
  await until("it misses them", () => engine.trouble?.name === "GapError");
  assert.match(engine.status.detail, new RegExp(`no entry follows ${entries[9]!.id} of epoch 1`));
  const [after, missing] = [entries[9]!, entries[11]!].map(({ ms, seq }) => ({ ms, seq }));
  assert.deepEqual(engine.status.gap, { after: { epoch: 1, ...after }, missing });
  assert.equal((await eventsOf(scene)).length, 0, "nothing was worked behind the gap");
  await scene.sql`INSERT INTO journal SELECT * FROM saved ON CONFLICT DO NOTHING`;
  await flow.append(appender, 5);
  await untilMatched(scene);
  await assertMatched(scene, entries.slice(0, 20));
  assert.equal(engine.trouble, undefined);
  assert.equal(engine.status.gap, undefined);
  assert.ok(logged("the engine has to start again") > 0);
});

test("a gap that comes while it runs is an alarm, and no way on (I4)", async (t) => {
  const { scene, appender, snapshots } = await setScene(t, 20);
  const started = await startEngine(t, scene, { snapshots });
  const { engine } = started;
  await appender.append(...orders("before", 3));
  await untilMatched(scene);
  const [[, fields]] = (await scene.redis.callBuffer("XREVRANGE", scene.keys.orders, "+", "-", "COUNT", 1)) as [
    StreamReply,
  ];
  // An entry whose predecessor never was.
  const odd = [...fields!];
  odd[odd.findIndex((field) => field.toString() === "p") + 1] = Buffer.from("9-9");
  const id = await scene.redis.xadd(scene.keys.orders, "*", ...odd);
  await until("it is noticed", () => engine.trouble?.name === "GapError");
  assert.equal(started.logged("GAP IN THE LOG"), 1);
  assert.equal(engine.status.gap, undefined, "it is none that could be closed");
  await scene.redis.xdel(scene.keys.orders, id!);
  await appender.append(order("behind"));
  await untilMatched(scene);
  await until("it goes on", () => engine.trouble === undefined);
  await assertMatched(scene);
});

test("an entry of a newer version stops the engine; what is no entry is passed over", async (t) => {
  const { scene, appender, snapshots } = await setScene(t, 21);
  await scene.redis.xadd(scene.keys.orders, "*", "who", "somebody");
  const { engine } = await startEngine(t, scene, { snapshots });
  await untilMatched(scene);
  await scene.redis.xadd(scene.keys.orders, "*", "who", "somebody");
  await scene.redis.xadd(scene.keys.orders, "*", "who", "somebody else");
  await appender.append(order("one"));
  await untilMatched(scene);
  const entries = await eventsOf(scene);
  await scene.redis.xadd(scene.keys.orders, "*", "d", "", "p", entries.at(-1)!.id, "e", 1, "v", 2);
  await until("it has stopped", () => engine.status.state === "stopped");
  assert.match(engine.status.detail, /schema version 2/);
});
