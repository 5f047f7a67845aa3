/** I4: a gap in the log is always noticed, once, and nothing else is taken for one. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { HandLog } from "../../test/support/hand-log.ts";
import { eventually } from "../../test/support/pipeline.ts";
import { setScene, type Scene, untilFinished } from "../../test/support/worker.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { ORDERS_GROUPS } from "../stream/groups.ts";
import { type EntryId, parseEntryId } from "../stream/position.ts";
import { Trimmer } from "../stream/trimmer.ts";
import { createLog } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { ChainWatch } from "./chain-watch.ts";
import { ConsumerMetrics } from "./metrics.ts";

function makeWatch({ redis, sql, log: { keys } }: Pick<Scene, "redis" | "sql" | "log">) {
  const alarms: { gaps: EntryId[] }[] = [];
  const setbacks: { msg: string; run: string }[] = [];
  const log = createLog("consumers", "error", {
    write: (line) => {
      const alarm = JSON.parse(line) as { gaps: EntryId[]; msg: string; run: string };
      if (alarm.msg.startsWith("GAP")) alarms.push(alarm);
      else setbacks.push(alarm);
    },
  });
  const metrics = new ConsumerMetrics(
    createMetrics("consumers"),
    () => Promise.resolve([]),
    () => Promise.resolve([]),
  );
  const streams = [{ partition: 0, stream: ORDERS_STREAM, key: keys.orders }];
  const watch = new ChainWatch({ redis, sql, streams, retentionDays: 30, metrics, log });
  return {
    watch,
    alarms,
    setbacks,
    key: keys.orders,
    counted: async () => (await metrics.gaps.get()).values[0]?.value,
  };
}

/** An entry of a later millisecond: the newest one's is not looked at while it may go on. */
async function fillLater(log: HandLog): Promise<void> {
  const { ms } = parseEntryId(log.last);
  await eventually(async () => Date.now() > ms, "the next millisecond");
  await log.fill(1);
}

test("I4: each missing entry is reported once, at the entry behind it", async (t) => {
  const scene = await setScene(t);
  const { sql, log } = scene;
  const { watch, alarms, counted } = makeWatch(scene);
  t.after(() => watch.stop());
  await watch.start(); // before there is anything
  await scene.worker();
  const ids = await log.fill(20);
  await fillLater(log);
  await untilFinished(scene);
  await watch.look();
  assert.deepEqual(alarms, []);

  await sql`CREATE TABLE saved AS SELECT * FROM journal`;
  for (const id of [ids[3]!, ids[4]!, ids[11]!]) {
    const { ms, seq } = parseEntryId(id);
    await sql`DELETE FROM journal WHERE ms = ${ms} AND seq = ${seq}`;
  }
  const after = makeWatch(scene); // as a process that starts later
  await after.watch.look();
  assert.equal(after.alarms.length, 1);
  assert.deepEqual(
    after.alarms[0]!.gaps.map(({ ms, seq }) => ({ ms, seq })),
    [ids[5]!, ids[12]!].map(parseEntryId),
  );
  await after.watch.look();
  assert.equal(after.alarms.length, 1);
  assert.equal(await after.counted(), 2);
  assert.equal(await counted(), 0);
  assert.deepEqual(
    after.setbacks.map(({ run }) => run),
    [`penstock replay --from ${ids[2]!}`],
    "Redis has them, so they can be written again",
  );
  // One of them is filled: somebody was late with it, or an operator closed it.
  const { ms, seq } = parseEntryId(ids[11]!);
  await sql`INSERT INTO journal SELECT * FROM saved WHERE ms = ${ms} AND seq = ${seq} ON CONFLICT DO NOTHING`;
  await after.watch.look();
  assert.equal(await after.counted(), 1);
  assert.equal(after.alarms.length, 1);
});

test("I4, I10: a Postgres that went back is noticed at once; nothing is trimmed until it has again what was finished", async (t) => {
  const scene = await setScene(t);
  const { redis, sql, log } = scene;
  await scene.worker();
  const ids = await log.fill(250);
  await untilFinished(scene);
  const { watch, alarms, setbacks, key } = makeWatch(scene);
  const trimmer = new Trimmer({
    redis,
    streams: [{ key, groups: ORDERS_GROUPS, horizonMs: 0 }],
    intervalMs: 1_000,
    isHeld: (held) => watch.holds(held),
    log: createLog("consumers", "silent"),
  });
  assert.ok(watch.holds(key), "nothing is known yet");
  await watch.look();
  assert.ok(!watch.holds(key));

  // Its end, behind which nothing came since; so there is no gap to be seen.
  await sql`CREATE TABLE saved AS SELECT * FROM journal`;
  const removed = ids.slice(12).map(parseEntryId);
  for (const { ms, seq } of removed) await sql`DELETE FROM journal WHERE ms = ${ms} AND seq = ${seq}`;
  await watch.look();
  await watch.look();
  assert.deepEqual(alarms, []);
  assert.deepEqual(
    setbacks.map(({ run }) => run),
    [`penstock replay --from ${ids[11]!}`],
  );
  assert.match(setbacks[0]!.msg, /^POSTGRES WENT BACK: .* Run: penstock replay --from \d+-\d+$/);
  assert.ok(watch.holds(key));
  await trimmer.trim();
  assert.equal(await redis.xlen(key), 251);

  // Its end alone is not enough.
  const last = removed.at(-1)!;
  await sql`INSERT INTO journal SELECT * FROM saved WHERE ms = ${last.ms} AND seq = ${last.seq} ON CONFLICT DO NOTHING`;
  await fillLater(log);
  await untilFinished(scene);
  await watch.look();
  assert.ok(watch.holds(key));
  await sql`INSERT INTO journal SELECT * FROM saved ON CONFLICT DO NOTHING`;
  await watch.look();
  assert.ok(!watch.holds(key));
  assert.equal(setbacks.length, 1);
  await trimmer.trim();
  assert.ok((await redis.xlen(key)) < 251);
});

test("a process that starts before the first order looks no further back, once there is one, than a later process does", async (t) => {
  const scene = await setScene(t);
  let asked = 0;
  const sql = new Proxy(scene.sql, {
    apply: (target, self, args: unknown[]): unknown => {
      asked++;
      return Reflect.apply(target, self, args);
    },
  });
  const { watch } = makeWatch({ ...scene, sql });
  t.after(() => watch.stop());
  await watch.start();
  await scene.worker();
  await scene.log.fill(1);
  await fillLater(scene.log);
  await untilFinished(scene);
  asked = 0;
  await watch.look();
  assert.ok(asked > 0 && asked < 20, `an hour in slices of ten minutes, not the time since 1970: ${asked} questions`);
});

test("a look that is under way when the process stops is given up", async (t) => {
  const scene = await setScene(t);
  await scene.worker();
  await scene.log.fill(1);
  await fillLater(scene.log);
  await untilFinished(scene);
  const { watch, alarms } = makeWatch(scene);
  const looking = assert.rejects(watch.look(), { name: "AbortError" });
  await watch.stop();
  await looking;
  assert.deepEqual(alarms, []);
});

test("I4, I10: a process that starts hours after Postgres went back keeps what Redis alone has, as those before it do", async (t) => {
  const scene = await setScene(t);
  const { redis, sql, log } = scene;
  await scene.worker();
  const ids = await log.fill(20);
  await redis.xsetid(log.keys.orders, `${parseEntryId(log.last).ms + 2 * 3_600_000}-0`);
  await log.fill(2);
  await untilFinished(scene);
  for (const { ms, seq } of ids.slice(5, 8).map(parseEntryId)) {
    await sql`DELETE FROM journal WHERE ms = ${ms} AND seq = ${seq}`;
  }
  const { watch, setbacks, key } = makeWatch(scene);
  await watch.look();
  assert.ok(watch.holds(key));
  await watch.look();
  assert.ok(watch.holds(key));
  assert.deepEqual(
    setbacks.map(({ run }) => run),
    [`penstock replay --from ${ids[4]!}`],
  );
});

test("I4: an entry that was removed before anybody read it leaves a gap", async (t) => {
  const scene = await setScene(t);
  const { watch, alarms } = makeWatch(scene);
  const [, removed] = await scene.log.fill(3);
  await scene.redis.xdel(scene.log.keys.orders, removed!);
  await scene.worker();
  await untilFinished(scene);
  await fillLater(scene.log);
  await untilFinished(scene);
  await watch.look();
  assert.equal(alarms.length, 1);
});

test("what is still under way is no gap, nor is what a dead letter stands for", async (t) => {
  const scene = await setScene(t);
  const { redis, log } = scene;
  const { watch, alarms } = makeWatch(scene);
  const [, removed] = await log.fill(3);
  // A stalled worker holds the first entries; others go on behind them.
  await redis.xreadgroup("GROUP", "persist", "stalled", "COUNT", 3, "STREAMS", log.keys.orders, ">");
  await log.appendOdd({ d: "" });
  await log.fill(3);
  await scene.worker({ name: "quick" });
  await watch.look();
  await watch.look();
  await redis.xdel(log.keys.orders, removed!);
  await scene.worker({ name: "other", minIdleMs: 0 });
  await fillLater(log);
  await untilFinished(scene);
  await watch.look();
  assert.deepEqual(alarms, []);
});
