import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { EnginePartitionStatus_State as State } from "../src/gen/penstock/v1/engine_service_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { EngineClient } from "../src/ingest/engine-client.ts";
import { decodeEventBatch } from "../src/stream/event-decoder.ts";
import { readEntry, type StreamReply } from "../src/stream/entry.ts";
import { EVENTS_GROUPS, ORDERS_GROUPS, PERSIST_GROUP } from "../src/stream/groups.ts";
import { Trimmer } from "../src/stream/trimmer.ts";
import { createLog } from "../src/telemetry/log.ts";
import { EngineStack, failingOf, metricOf } from "./support/engine-stack.ts";
import { type EngineProcess, eventually } from "./support/pipeline.ts";

async function clientOf(t: TestContext, ...engines: readonly EngineProcess[]): Promise<EngineClient> {
  const client = new EngineClient(engines.map(({ url }) => url));
  t.after(() => client.close());
  await eventually(async () => (await failingOf(engines[0]!.http)) === "", "the engine to be ready");
  return client;
}

/** What the engine holds: the book, the hash of the whole, and how many orders are open. */
async function stateOf(client: EngineClient) {
  const [status] = await client.getStatus();
  const { bids, asks, version } = await client.getBook("BTC-USD", 0);
  const levels = [...bids, ...asks].map(({ price, quantityLow, orders }) => `${orders}: ${quantityLow} @ ${price}`);
  return { hash: status?.stateHash, open: status?.openOrders, position: status?.position, levels, version };
}

test("orders of real clients are matched; a stop, and a kill in the middle, lose and repeat nothing (I7, I8)", async (t) => {
  const stack = await EngineStack.open(t);
  const first = await stack.engine();
  await stack.submit(30, Side.BUY, "100");
  await stack.submit(10, Side.SELL, "99.5");
  await stack.submit(5, Side.SELL, "101");
  await stack.untilMatched();
  const client = await clientOf(t, first);
  const state = await stateOf(client);
  assert.deepEqual(state.levels, ["20: 200000000 @ 10000", "5: 50000000 @ 10100"]);
  assert.equal(state.open, 25);
  assert.equal(await metricOf(first.http, "engine_state", 'state="active"'), 1);
  assert.equal(await metricOf(first.http, "engine_state"), 1);
  assert.equal(await metricOf(first.http, "engine_open_orders"), 25);
  assert.equal(await metricOf(first.http, "engine_behind_seconds"), 0);
  assert.equal(await metricOf(first.http, "engine_commands_total"), 46);
  assert.ok((await metricOf(first.http, "engine_append_seconds_count")) > 0);

  assert.equal(await first.stop(), 0);
  const second = await stack.engine();
  assert.deepEqual(await stateOf(await clientOf(t, second)), state);

  // Killed while orders come in, some of which trade.
  const coming = (async () => {
    for (let i = 0; i < 30; i++) await stack.submit(20, i % 2 ? Side.SELL : Side.BUY, "100");
  })();
  await eventually(async () => (await stack.redis.xlen(stack.keys.events)) > 8, "the first of them to be matched");
  await second.kill();
  await coming;
  const third = await stack.engine();
  await stack.untilMatched();
  assert.deepEqual(await stack.idsOf(stack.keys.events), await stack.idsOf(stack.keys.orders));
  const replies = (await stack.redis.callBuffer("XRANGE", stack.keys.events, "-", "+")) as StreamReply[];
  const entries = replies.map(([id, fields]) => readEntry(id.toString(), fields!));
  for (const [i, { previous }] of entries.entries()) {
    const { ms, seq } = entries[i - 1] ?? { ms: 0, seq: 0 };
    assert.deepEqual(previous, { ms, seq }, "the chain has no hole");
  }
  const { stateHash } = decodeEventBatch(entries.at(-1)!.payload);
  assert.equal((await stateOf(await clientOf(t, third))).hash, stateHash);
});

test("an engine beside another stands by, and goes on where that one is killed (I8)", async (t) => {
  const stack = await EngineStack.open(t);
  const engines = [await stack.engine(), await stack.engine({ beside: true })];
  const active = await eventually(async () => {
    await stack.submit(2, Side.BUY, "100");
    await stack.untilMatched();
    const states = await Promise.all(engines.map(({ http }) => metricOf(http, "engine_state", 'state="standby"')));
    return states[0] !== states[1] && engines[states.indexOf(0)];
  }, "one of them to stand by");
  assert.deepEqual(await Promise.all(engines.map(({ http }) => failingOf(http))), ["", ""]);
  await active.kill();
  await stack.submit(3, Side.SELL, "100");
  await stack.untilMatched();
  assert.deepEqual(await stack.idsOf(stack.keys.events), await stack.idsOf(stack.keys.orders));
});

test("I10: the log is kept from the newest stored snapshot on, and an engine starts again from there", async (t) => {
  const { env, redis: args } = {
    env: { PENSTOCK_SNAPSHOT_COMMANDS: "1000" },
    redis: ["--stream-node-max-entries", "1"],
  };
  const stack = await EngineStack.open(t, { env, redis: args });
  const { redis, keys } = stack;
  const trimmer = new Trimmer({
    redis,
    streams: [
      { key: keys.orders, groups: ORDERS_GROUPS, engine: keys.engine, horizonMs: 0 },
      { key: keys.events, groups: EVENTS_GROUPS, horizonMs: 0 },
    ],
    ...{ intervalMs: 60_000, log: createLog("test", "silent") },
  });
  /** All of both streams is written, as a worker would tell. */
  const write = async () => {
    for (const stream of [keys.orders, keys.events]) {
      await redis.xgroup("SETID", stream, PERSIST_GROUP, "$");
    }
  };
  const engine = await stack.engine();
  for (let i = 0; i < 5; i++) await stack.submit(100, Side.BUY, `${90 + i}`);
  await stack.untilMatched();
  await write();
  const before = await stack.idsOf(keys.orders);
  await trimmer.trim();
  assert.deepEqual(await stack.idsOf(keys.orders), before, "no snapshot was stored");
  assert.equal(await redis.xlen(keys.events), 1, "events are needed by nobody but who writes them");

  for (let i = 0; i < 10; i++) await stack.submit(100, Side.BUY, `${95 + i}`);
  const snapshot = await eventually(async () => {
    const marked = await redis.hget(keys.engine, "snapshot");
    return marked !== null && marked !== "0-0" && marked;
  }, "a snapshot");
  await stack.submit(100, Side.BUY, "80");
  await stack.untilMatched();
  await write();
  const all = await stack.idsOf(keys.orders);
  await trimmer.trim();
  assert.deepEqual(await stack.idsOf(keys.orders), all.slice(all.indexOf(snapshot)));
  const [stored] =
    await stack.sql`SELECT ms || '-' || seq AS id, bytes::int FROM engine_snapshots ORDER BY ms DESC, seq DESC`;
  assert.equal(stored?.["id"], snapshot);
  assert.equal(await metricOf(engine.http, "engine_snapshot_bytes"), stored["bytes"]);

  const state = await stateOf(await clientOf(t, engine));
  assert.equal(state.open, 1_600);
  await engine.kill();
  const again = await stack.engine();
  assert.deepEqual(await stateOf(await clientOf(t, again)), state);
  const { snapshot: used } = await again.logged("the engine starts");
  assert.equal(`${(used as { ms: number }).ms}-${(used as { seq: number }).seq}`, snapshot);
});

test("an engine that is dead stops new orders when its bound is passed, not before; cancels are taken (I11)", async (t) => {
  const env = {
    PENSTOCK_MAX_BACKLOG_AGE_MS: "2000",
    PENSTOCK_MIN_IDLE_MS: "1900",
    PENSTOCK_CLAIM_INTERVAL_MS: "1000",
    PENSTOCK_TRANSACTION_TIMEOUT_MS: "1000",
  };
  const stack = await EngineStack.open(t, { env });
  const { redis, keys, client } = stack;
  // Rows are not the point here.
  const written = setInterval(() => {
    for (const stream of [keys.orders, keys.events])
      void redis.xgroup("SETID", stream, PERSIST_GROUP, "$").catch(() => {});
  }, 100);
  t.after(() => clearInterval(written));
  const engine = await stack.engine();
  await stack.submit(1, Side.BUY, "100");
  await stack.untilMatched();
  await engine.kill();
  let orders = 0;
  const submit = () =>
    client.call(OrderService.method.submitOrder, {
      ...{ symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "1", price: "100" },
      clientOrderId: `alone-${orders++}`,
    });
  const { orderId } = await submit();
  // A disk that stalls can hold the groups up for a moment as well.
  await eventually(async () => {
    const told = await submit().then(
      () => "taken",
      (error: Error) => error.message,
    );
    return told === "RESOURCE_EXHAUSTED: the engine of partition 0 is more than 2000 ms behind";
  }, "a refusal");
  assert.ok(orders > 2, "they were taken until then");
  assert.ok((await metricOf(stack.ingest.http, "unmatched_oldest_seconds")) > 1);
  await client.call(OrderService.method.cancelOrder, { orderId, clientRequestId: "cancel" });

  await stack.engine();
  await eventually(async () => submit().catch(() => undefined), "orders to be taken again");
  await stack.untilMatched();
});

test("a status is told of each partition's engine, and of the groups of both streams", async (t) => {
  const stack = await EngineStack.open(t, { env: { PENSTOCK_PARTITIONS: "2" } });
  const { AdminService } = await import("../src/gen/penstock/v1/admin_service_pb.ts");
  const status = () => stack.admin.call(AdminService.method.getPipelineStatus, {});
  const alone = await status();
  assert.deepEqual(
    alone.partitions.map(({ engine, groups }) => [engine, groups.map(({ stream }) => stream)]),
    [[undefined, ["orders"]], [undefined, ["orders"]]], // prettier-ignore
    "no engine was ever there",
  );
  const engine = await stack.engine();
  await clientOf(t, engine);
  const { partitions } = await status();
  assert.deepEqual(
    partitions.map(({ engine, groups }) => [engine?.state, groups.map(({ stream, group }) => `${stream} ${group}`)]),
    [
      [State.ACTIVE, ["orders persist", "events persist"]],
      [State.ACTIVE, ["orders persist", "events persist"]],
    ],
  );
});
