/**
 * Everything is killed at once, servers too, with data in every stage: commands that wait in ingest, entries that no worker
 * has read, entries that a worker holds, entries that are written and not acknowledged. Started again, without help:
 *
 * - I1, I11 what was acknowledged is in the log, in the journal and in the rows
 * - I2 what is sent again under its id makes no second order
 * - I4, I5 every entry is written once, and the chain is unbroken
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { countRows, openWriter } from "../src/store/test-entries.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import { readEntry } from "../src/stream/entry.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, formatOrderId } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import type { ApiClient } from "../src/cli/client.ts";
import { defineInstrument, eventually, startConsumers, startIngest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { createTestDatabase, startTestPostgres, startTestRedis } from "./support/servers.ts";

const { submitOrder, submitOrders } = OrderService.method;
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
const KEYS = new PartitionKeys(0);

const ENV = {
  PENSTOCK_CONSUMER_NAME: "worker",
  PENSTOCK_READ_COUNT: "10",
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "2000",
};

test("a restart with data in every stage", async (t) => {
  const closing: (() => unknown)[] = [];
  t.after(async () => {
    for (const close of closing) await close();
  });
  const [redisServer, postgresServer] = await Promise.all([startTestRedis(t), startTestPostgres(t, { durable: true })]);
  const { url: databaseUrl } = await createTestDatabase(t, postgresServer);
  const proxy = await Proxy.start(t, redisServer.url);
  const redis = connectRedis(redisServer.url, { name: "test", socketTimeoutMs: 10_000 });
  closing.push(() => redis.disconnect());
  const sql = connect(databaseUrl, { max: 1 });
  closing.push(() => sql.end({ timeout: 1 }));
  /** What the client was told: client order id → order id. */
  const acknowledged = new Map<string, string>();
  let numbers = 0;
  const submit = async (client: ApiClient, clientOrderId = `order-${numbers++}`) => {
    const { orderId } = await client.call(submitOrder, { ...ORDER, clientOrderId });
    acknowledged.set(clientOrderId, orderId);
  };
  /** One after the other, so that each is an entry of its own. */
  const submitMany = async (client: ApiClient, count: number) => {
    for (let i = 0; i < count; i++) await submit(client);
  };

  const servers = { redisUrl: redisServer.url, databaseUrl, env: ENV };
  const ingest = await startIngest(t, servers);
  await defineInstrument(ingest);
  const client = await ingest.client();
  const worker = await startConsumers(t, { ...servers, redisUrl: proxy.url });
  await submitMany(client, 5);
  await eventually(async () => (await countRows(sql)).orders === 5, "the first rows");

  // The worker's transaction waits for a table, its connection to Redis goes silent, and the transaction goes on: so those
  // entries are written and not acknowledged, and the ones it read ahead are held and not written.
  const holder = openWriter(t, databaseUrl);
  await holder.transaction(async (transaction) => {
    await transaction.query("LOCK TABLE orders IN EXCLUSIVE MODE");
    await submitMany(client, 40);
    await eventually(async () => {
      const waiting =
        await sql`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%COPY orders%'`;
      const [pending] = (await redis.xpending(KEYS.orders, PERSIST_GROUP)) as [number];
      return waiting.length > 0 && pending > 1;
    }, "a COPY that waits, and entries that were read ahead");
    proxy.stall();
  });
  await holder.close();
  const { orders: written } = await eventually(async () => {
    const counted = await countRows(sql);
    return counted.orders > 5 && counted;
  }, "what was written without an acknowledgement");
  const [pending] = (await redis.xpending(KEYS.orders, PERSIST_GROUP)) as [number];
  assert.ok(pending > written - 5, "some are written and pending, some are not written");
  const { results } = await client.call(submitOrders, {
    orders: Array.from({ length: 700 }, () => ({ ...ORDER, clientOrderId: `order-${numbers++}` })),
  });
  for (const [i, { result }] of results.entries()) {
    assert.ok(result.case === "accepted");
    acknowledged.set(`order-${numbers - 700 + i}`, result.value.orderId);
  }

  // Redis answers no more: commands wait in ingest, of which nobody knows whether they are in the log.
  process.kill(redisServer.pid!, "SIGSTOP");
  const unknown = Array.from({ length: 50 }, () => `order-${numbers++}`);
  const failed = Promise.allSettled(unknown.map((id) => submit(client, id)));
  await eventually(async () => {
    const metrics = await (await fetch(`${ingest.http}/metrics`)).text();
    return metrics.includes('penstock_waiting_commands{role="ingest"} 50');
  }, "commands that wait");
  await Promise.all([ingest.kill(), worker.kill(), redisServer.kill(), postgresServer.kill()]);
  for (const { status } of await failed) assert.equal(status, "rejected");

  await Promise.all([redisServer.start(), postgresServer.start()]);
  const again = await startIngest(t, servers);
  const workers = await startConsumers(t, servers);
  const next = await again.client();
  for (const id of unknown) await submit(next, id);
  await submitMany(next, 10);
  for (const id of ["order-0", "order-20", "order-300", unknown[7]!]) {
    const answer = await next.call(submitOrder, { ...ORDER, clientOrderId: id });
    assert.deepEqual([answer.duplicate, answer.orderId], [true, acknowledged.get(id)]);
  }
  await eventually(async () => (await countRows(sql)).orders === acknowledged.size, "all rows");
  await eventually(async () => {
    const [left] = (await redis.xpending(KEYS.orders, PERSIST_GROUP)) as [number];
    return left === 0;
  }, "nothing pending");

  // Acknowledged = logged…
  const logged = new Map<string, string>();
  const ids: string[] = [];
  let last = "0-0";
  for (const [id, fields] of (await redis.callBuffer("XRANGE", KEYS.orders, "-", "+")) as [Buffer, Buffer[]][]) {
    const entry = readEntry(id.toString(), fields);
    assert.equal(formatEntryId(entry.previous), last);
    last = entry.id;
    ids.push(last);
    for (const [index, command] of decodeBatch(entry.payload).entries()) {
      if (command.kind === "submit") {
        logged.set(command.submit.clientOrderId, formatOrderId({ ...entry, partition: 0, index }));
      }
    }
  }
  assert.deepEqual(logged, acknowledged);
  // … = journaled, along the chain …
  const journal = await sql<{ id: string; previous: string }[]>`
    SELECT ms || '-' || seq AS id, prev_ms || '-' || prev_seq AS previous FROM journal ORDER BY epoch, ms, seq`;
  assert.deepEqual(
    journal.map(({ id }) => id),
    ids,
  );
  assert.deepEqual(
    journal.map(({ previous }) => previous),
    ["0-0", ...ids.slice(0, -1)],
  );
  // … = rows, once each.
  const rows = await sql<{ id: string; order: string }[]>`SELECT client_order_id AS id, order_id AS order FROM orders`;
  assert.equal(rows.length, acknowledged.size);
  assert.deepEqual(new Map(rows.map(({ id, order }) => [id, order])), acknowledged);
  assert.equal((await countRows(sql)).deadLetters, 0);
  assert.deepEqual([await again.stop(), await workers.stop()], [0, 0]);
});
