/**
 * Redis dies, and its replica takes its place at the same address.
 *
 * - I1, I11 with replicas:1 nothing that was acknowledged is gone; with another level no more than what had not been copied
 *   and no worker had written, and it is told
 * - I3 IDs are made once: a new epoch begins
 * - I2 what was lost is a new order when it is sent again, what was not is the same one
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { connect } from "../src/store/connection.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import { readEntry, type StreamReply } from "../src/stream/entry.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, formatOrderId, parseOrderId } from "../src/stream/position.ts";
import { failingOf, metricOf } from "./support/engine-stack.ts";
import { PatientClient } from "./support/patient-client.ts";
import {
  defineInstrument,
  eventually,
  type Ingest,
  startConsumers,
  startEngine,
  startIngest,
  tokenOf,
} from "./support/pipeline.ts";
import { ReplicatedRedis } from "./support/replicated-redis.ts";
import { createTestDatabase } from "./support/servers.ts";

const KEYS = new PartitionKeys(0);
const QUICK = { PENSTOCK_READ_BLOCK_MS: "100", PENSTOCK_REPLICA_TIMEOUT_MS: "1000", PENSTOCK_CONSUMER_NAME: "worker" };

interface Venue {
  readonly redis: ReplicatedRedis;
  readonly sql: postgres.Sql;
  readonly servers: { redisUrl: string; databaseUrl: string; env: Record<string, string> };
  readonly ingest: Ingest;
  readonly clients: PatientClient;
}

async function open(t: TestContext, durability: "replicas:1" | "always"): Promise<Venue> {
  const closing: (() => unknown)[] = [];
  t.after(async () => {
    for (const close of closing) await close();
  });
  const [redis, { url: databaseUrl }] = await Promise.all([
    ReplicatedRedis.start(t, { replicas: durability === "always" ? 0 : 1 }),
    createTestDatabase(t),
  ]);
  const sql = connect(databaseUrl, { max: 2 });
  closing.push(() => sql.end({ timeout: 1 }));
  const env = { ...QUICK, PENSTOCK_DURABILITY: durability };
  const servers = { redisUrl: redis.front.url, databaseUrl, env };
  const ingest = await startIngest(t, servers);
  await defineInstrument(ingest);
  const clients = new PatientClient([ingest.address], await tokenOf("demo"));
  closing.push(() => clients.close());
  return { redis, sql, servers, ingest, clients };
}

/** What stands in the log of the server that is the master now: order id → client order id, in the log's order. */
async function logged({ onSecond }: ReplicatedRedis): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let last = "0-0";
  for (const [id, fields] of (await onSecond.callBuffer("XRANGE", KEYS.orders, "-", "+")) as StreamReply[]) {
    const entry = readEntry(id.toString(), fields ?? []);
    assert.equal(formatEntryId(entry.previous), last, "the chain");
    last = entry.id;
    for (const [index, command] of decodeBatch(entry.payload).entries()) {
      if (command.kind !== "submit") continue;
      found.set(formatOrderId({ ...entry, partition: 0, index }), command.submit.clientOrderId);
    }
  }
  return found;
}

/** The client's own record is what is in the log and in the rows, once each. */
async function assertWhole({ redis, sql, clients }: Venue): Promise<void> {
  const record = new Map(Array.from(clients.acknowledged, ([client, order]) => [order, client]));
  assert.deepEqual(await logged(redis), record);
  await eventually(async () => {
    const [row] = await sql`SELECT count(*)::int AS count FROM orders`;
    return row!["count"] >= record.size;
  }, "all rows");
  const rows = await sql<{ id: string; order: string }[]>`SELECT client_order_id AS id, order_id AS order FROM orders`;
  assert.deepEqual(new Map(rows.map(({ id, order }) => [id, order])), clients.acknowledged);
}

test("with replicas:1 nothing acknowledged is lost, whenever the master dies (I1, I3)", async (t) => {
  const venue = await open(t, "replicas:1");
  const { redis, servers, clients, ingest } = venue;
  await startConsumers(t, servers);
  const engine = await startEngine(t, servers);
  clients.start(10);
  await eventually(async () => clients.acknowledged.size > 200, "some orders");
  const before = new Map(clients.acknowledged);
  await redis.failOver();
  // A master without a replica takes nothing at this level: clear, and worth trying again.
  await eventually(async () => clients.refusals.size > 0, "refusals");
  await redis.rejoin();
  const count = clients.acknowledged.size;
  await eventually(async () => clients.acknowledged.size > count + 100, "orders on the second server");
  await clients.stop();
  await assertWhole(venue);
  for (const [client, order] of before) assert.equal(clients.acknowledged.get(client), order);
  const epochs = new Set([...clients.acknowledged.values()].map((id) => parseOrderId(id)!.epoch));
  assert.deepEqual(epochs, new Set([1, 2]));
  assert.equal(await metricOf(ingest.http, "acknowledged_tail_lost_total"), 0);
  await eventually(async () => (await failingOf(engine.http)) === "", "the engine to go on");
  await eventually(async () => (await failingOf(ingest.http)) === "", "ingest to be ready");
});

test("without it no more is lost than what was neither copied nor written, and it is told (I1, I3, I11)", async (t) => {
  const venue = await open(t, "always");
  const { redis, servers, sql, clients, ingest } = venue;
  const worker = await startConsumers(t, servers);
  for (let i = 0; i < 20; i++) await clients.submit();
  await eventually(() => redis.isCopied(), "all to be copied");

  // From here on nothing is copied. Ten of these a worker writes, the other ten nobody has when the server dies.
  redis.separate();
  const journaled = await Promise.all(Array.from({ length: 10 }, () => clients.submit()));
  await eventually(async () => {
    const [row] = await sql`SELECT count(*)::int AS count FROM orders`;
    return row!["count"] === 30;
  }, "the rows of those that were not copied");
  await worker.stop();
  const lost: string[] = [];
  for (let i = 0; i < 10; i++) lost.push(await clients.submit());

  await redis.failOver();
  const next = await clients.submit();
  assert.equal(parseOrderId(next)!.epoch, 2);
  const found = await logged(redis);
  for (const id of journaled) assert.ok(found.has(id), "put back from the journal, under its own id");
  for (const id of lost) assert.ok(!found.has(id));
  const alarm = await ingest.logged("ACKNOWLEDGED ENTRIES LOST");
  assert.equal(alarm["level"], "error");
  const { ms, seq } = parseOrderId(lost.at(-1)!)!;
  assert.equal(alarm["acknowledged"], formatEntryId({ ms, seq }));
  assert.ok(ingest.lines.some((line) => line.includes("put entries back from the journal")));

  // Their clients send them again: what is there is the same, what is gone is a new order.
  const told = new Map(clients.acknowledged);
  for (const [client, order] of told) {
    const again = await clients.submit(client);
    if (lost.includes(order)) assert.notEqual(again, order);
    else assert.equal(again, order);
  }
  await startConsumers(t, servers);
  await assertWhole(venue);
});
