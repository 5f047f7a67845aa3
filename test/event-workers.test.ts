import assert from "node:assert/strict";
import { test } from "node:test";

import { audit } from "../src/audit/audit.ts";
import { Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { appendFlow, eventFlow } from "./support/event-flow.ts";
import { eventBatch } from "./support/hand-events.ts";
import { eventually, startConsumers } from "./support/pipeline.ts";
import { ensurePartitions } from "../src/store/partitions.ts";
import { openWriter } from "../src/store/test-entries.ts";
import { type Scene, setScene, untilFinished } from "./support/worker.ts";

const QUICK = {
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "2500",
  PENSTOCK_MIN_IDLE_MS: "3000",
  PENSTOCK_CLAIM_INTERVAL_MS: "200",
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_READ_COUNT: "10",
};

const start = (t: Parameters<typeof startConsumers>[0], { server, databaseUrl }: Scene, name: string) =>
  startConsumers(t, { redisUrl: server.url, databaseUrl, env: { ...QUICK, PENSTOCK_CONSUMER_NAME: name } });

async function figures({ sql }: Scene) {
  const [row] = await sql`
    SELECT (SELECT count(*)::int FROM journal WHERE stream = 1) AS journal, count(*)::int AS executions,
           count(DISTINCT order_id) FILTER (WHERE exec_type !~ 'REJECTED|REPORT' OR exec_type = 'REJECTED')::int AS orders,
           (SELECT count(*)::int FROM order_states) AS states, (SELECT count(*)::int FROM trades) AS trades,
           (SELECT count(*)::int FROM dead_letters) AS letters
    FROM executions`;
  return row as Record<"journal" | "executions" | "orders" | "states" | "trades" | "letters", number>;
}

test("I4, I5: two workers share the events' group; one is killed in mid-batch, and the other takes over", async (t) => {
  const scene = await setScene(t);
  const { redis, log } = scene;
  const flow = eventFlow(0x5eed, 400);
  const [first] = await Promise.all([start(t, scene, "first"), start(t, scene, "second")]);
  const holder = openWriter(t, scene.databaseUrl, 60_000);
  await ensurePartitions(holder, [flow[0]!.ms]); // which would wait for the lock, too
  await holder.transaction(async (transaction) => {
    await transaction.query("LOCK TABLE executions IN EXCLUSIVE MODE");
    await appendFlow(redis, log.keys, flow);
    await eventually(async () => {
      const waiting = await scene.sql`
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%COPY executions%'`;
      return waiting.length >= 2;
    }, "two COPYs that wait");
    await first.kill();
  });
  await untilFinished(scene, "events");
  const found = await figures(scene);
  const events = flow.flatMap((entry) => entry.events);
  assert.deepEqual(found, {
    journal: flow.length,
    executions: events.filter(({ kind, account }) => kind < 4 || account !== "").length,
    orders: found.states,
    states: new Set(events.filter(({ kind }) => kind === 1).map(({ ms, seq, index }) => `${ms}/${seq}/${index}`)).size,
    trades: events.filter(({ aggressor }) => aggressor).length,
    letters: 0,
  });
});

test("the events' group is there from the first start on; an engine that was first is no alarm; metrics tell both streams", async (t) => {
  const scene = await setScene(t);
  const { redis, log, sql } = scene;
  // The engine has begun, and nobody has read yet.
  await redis.xadd(log.keys.events, "*", "d", eventBatch([{}]), "p", "0-0", "e", "1", "v", "1");
  const worker = await start(t, scene, "worker");
  await untilFinished(scene, "events");
  await untilFinished(scene);
  assert.equal((await figures(scene)).executions, 1);
  const groups = (await redis.xinfo("GROUPS", log.keys.events)) as unknown[][];
  assert.deepEqual(groups.map(([, name]) => name), [PERSIST_GROUP]); // prettier-ignore
  assert.ok(!worker.lines.some((line) => line.includes("GROUP LOST")));
  const { url } = await worker.logged("health and metrics");
  const body = await (await fetch(`${String(url)}/metrics`)).text();
  for (const stream of ["orders", "events"]) {
    assert.match(body, new RegExp(`penstock_entries_written_total\\{stream="${stream}",role="consumers"\\} 1\n`));
    assert.match(body, new RegExp(`penstock_group_entries\\{partition="0".*stream="${stream}".*\\} 0\n`));
  }
  const days =
    await sql`SELECT FROM pg_class WHERE relkind = 'r' AND relname ~ '^(executions|trades|order_states)_\\d{8}$'`;
  assert.ok(days.length >= 9); // today and the two days to come
  assert.equal(await worker.stop(), 0);
});

test("I8, I9: orders of real clients through ingest, engine and two workers: states, trades and reports agree, and the audit finds nothing", async (t) => {
  const stack = await EngineStack.open(t);
  const { servers, keys, redis, sql } = stack;
  const env = (name: string) => ({ ...QUICK, PENSTOCK_CONSUMER_NAME: name });
  await Promise.all([
    stack.engine(),
    startConsumers(t, { ...servers, env: env("first") }),
    startConsumers(t, { ...servers, env: env("second") }),
  ]);
  for (let i = 0; i < 20; i++) {
    await stack.submit(25, Side.BUY, i % 3 === 0 ? "100" : "99");
    await stack.submit(20, Side.SELL, i % 2 === 0 ? "100" : "101");
  }
  await stack.client.call(OrderService.method.cancelAllOrders, { clientRequestId: "all" });
  await stack.submit(7, Side.BUY, "98");
  await stack.untilMatched();
  const scene = { redis, log: { keys } as Scene["log"] };
  await untilFinished(scene);
  await untilFinished(scene, "events");
  const [row] = await sql`
    SELECT count(*)::int AS orders, count(*) FILTER (WHERE open)::int AS open, sum(cum_quantity)::float8 AS filled,
           (SELECT 2 * sum(quantity) FROM trades)::float8 AS traded,
           (SELECT count(*)::int FROM orders_current WHERE status = 'PENDING_NEW') AS pending
    FROM order_states`;
  assert.deepEqual({ ...row, traded: undefined }, { ...row, orders: 907, open: 7, pending: 0, traded: undefined });
  assert.equal(row?.["filled"], row?.["traded"]);
  const { redisUrl, databaseUrl } = servers;
  const { findings, incomplete } = await audit({ redisUrl, databaseUrl });
  assert.deepEqual({ findings, incomplete }, { findings: 0, incomplete: undefined });
});
