import assert from "node:assert/strict";
import { test } from "node:test";

import postgres from "postgres";

import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { defineInstrument, eventually, startConsumers, startIngest } from "./support/pipeline.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

const { submitOrder, submitOrders, getOrder, listOrders } = OrderService.method;
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };

test("an order becomes a row, and is read from its acknowledgement on", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const servers = { redisUrl: redis.url, databaseUrl };
  const ingest = await startIngest(t, servers);
  await defineInstrument(ingest);
  const client = await ingest.client();

  const answer = await client.call(submitOrder, { ...ORDER, clientOrderId: "first" });
  assert.match(answer.orderId, /^[0-9a-f]{8}-[0-9a-f]{4}-7000-8001-[0-9a-f]{12}$/);
  const logged = await client.call(getOrder, { orderId: answer.orderId });
  assert.equal(logged.order?.price, "100.25");

  const consumers = await startConsumers(t, servers);
  const sql = postgres(databaseUrl, { max: 1 });
  t.after(() => sql.end());
  const [row] = await eventually(async () => {
    const rows = await sql`SELECT * FROM orders`;
    return rows.length > 0 && rows;
  }, "a row");
  assert.equal(row?.["order_id"], answer.orderId);
  const stored = await client.call(getOrder, { symbol: "BTC-USD", clientOrderId: "first" });
  assert.deepEqual(stored, logged);

  const batch = await client.call(submitOrders, {
    orders: [
      { ...ORDER, clientOrderId: "second" },
      { ...ORDER, clientOrderId: "first" },
      { ...ORDER, clientOrderId: "third", price: "1.001" },
    ],
  });
  assert.deepEqual(
    batch.results.map(({ result }) => result.case),
    ["accepted", "accepted", "refused"],
  );
  await eventually(async () => (await client.call(listOrders, {})).orders.length === 2, "two orders");
  assert.equal(await ingest.stop(), 0);
  assert.equal(await consumers.stop(), 0);
});
