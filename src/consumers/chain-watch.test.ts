/** I4: a gap in the log is always noticed, once, and nothing else is taken for one. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { HandLog } from "../../test/support/hand-log.ts";
import { eventually } from "../../test/support/pipeline.ts";
import { setScene, type Scene, untilFinished } from "../../test/support/worker.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { type EntryId, parseEntryId } from "../stream/position.ts";
import { createLog } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { ChainWatch } from "./chain-watch.ts";
import { ConsumerMetrics } from "./metrics.ts";

function makeWatch({ redis, sql, log: { keys } }: Scene) {
  const alarms: { gaps: EntryId[] }[] = [];
  const log = createLog("consumers", "error", {
    write: (line) => alarms.push(JSON.parse(line) as { gaps: EntryId[] }),
  });
  const metrics = new ConsumerMetrics(
    createMetrics("consumers"),
    () => Promise.resolve([]),
    () => Promise.resolve([]),
  );
  const streams = [{ partition: 0, stream: ORDERS_STREAM, key: keys.orders }];
  const watch = new ChainWatch({ redis, sql, streams, retentionDays: 30, metrics, log });
  return { watch, alarms, counted: async () => (await metrics.gaps.get()).values[0]?.value };
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
