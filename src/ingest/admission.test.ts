import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { startTestRedis } from "../../test/support/servers.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { connectRedis } from "../stream/redis.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { Admission, type AdmissionLimits } from "./admission.ts";
import { IngestMetrics } from "./metrics.ts";

const LIMITS: AdmissionLimits = { maxBacklog: 2, maxBacklogAgeMs: 60_000, maxMemoryShare: 0.9 };

/** Two partitions, in each of which a group has not begun. */
async function setScene(t: TestContext) {
  const server = await startTestRedis(t);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 5_000 });
  t.after(() => redis.disconnect());
  const partitions = [0, 1].map((partition) => new PartitionKeys(partition));
  for (const { orders } of partitions) await redis.xgroup("CREATE", orders, PERSIST_GROUP, "0", "MKSTREAM");
  const metrics = new IngestMetrics(createMetrics("ingest"), () => 0);
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
  return {
    redis,
    partitions,
    lines,
    admission: (limits: Partial<AdmissionLimits> = {}) =>
      new Admission(redis, partitions, { ...LIMITS, ...limits }, metrics, log),
    refusing: async () => (await metrics.refusing.get()).values[0]?.value,
    /** So many entries more, which nobody reads. */
    add: async (partition: number, entries: number, id = "*") => {
      for (let i = 0; i < entries; i++) await redis.xadd(partitions[partition]!.orders, id, "d", "");
    },
  };
}

test("what a partition has piled up is the reason to refuse its own orders; all reasons are told", async (t) => {
  const { admission: make, add, lines, refusing } = await setScene(t);
  const admission = make();
  await add(0, 2);
  await add(1, 3);
  await admission.look();
  assert.equal(admission.refusalOf(0), undefined);
  const second = admission.refusalOf(1)!;
  assert.deepEqual([second.code, second.retryAfterMs], ["RESOURCE_EXHAUSTED", 1_000]);
  assert.equal(second.message, "group persist of the orders of partition 1 is more than 2 entries behind");
  assert.equal(admission.refusal, undefined, "the others' are taken");
  assert.equal(admission.refusing, second.message);
  assert.equal(await refusing(), 1);
  await admission.look();
  assert.deepEqual(lines, ["NEW ORDERS ARE REFUSED"], "said once");

  await add(0, 1);
  await admission.look();
  const first = admission.refusalOf(0)!;
  assert.equal(admission.refusal, first);
  assert.equal(admission.refusing, `${first.message}; ${second.message}`);
});

test("Redis' memory and an old backlog; all is taken again when they are over", async (t) => {
  const { admission: make, add, redis, partitions, lines, refusing } = await setScene(t);
  const full = make({ maxMemoryShare: 0 });
  await full.look();
  assert.equal(full.refusing, "Redis uses more than 0 % of its memory");
  assert.equal(full.refusal, full.refusalOf(0));
  assert.ok(full.refusalOf(1) !== undefined);

  const admission = make();
  await add(1, 1, `${Date.now() - 100_000}-0`);
  await admission.look();
  assert.match(admission.refusing, /^group persist of the orders of partition 1 is more than 60000 ms behind$/);
  await redis.xgroup("SETID", partitions[1]!.orders, PERSIST_GROUP, "$");
  await admission.look();
  assert.deepEqual([admission.refusing, admission.refusal, admission.refusalOf(1)], ["", undefined, undefined]);
  assert.equal(await refusing(), 0);
  assert.equal(lines.at(-1), "new orders are taken again");
});
