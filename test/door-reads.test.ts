import assert from "node:assert/strict";
import { test } from "node:test";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { OrderStatus } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { Door, KEYS, order } from "./support/door.ts";
import { eventually } from "./support/pipeline.ts";

/** The gRPC door: what it tells of orders and of the pipeline. */

const { submitOrder, getOrder, listOrders } = OrderService.method;
const { getPipelineStatus } = AdminService.method;

test("reads", async (t) => {
  const door = await Door.open(t);
  const { redis } = door;
  const client = await door.client();
  const admin = await door.client("root", "admin");
  const length = () => redis.xlen(KEYS.orders);

  await t.test("says how the pipeline stands", async () => {
    const status = await admin.call(getPipelineStatus, {});
    const [partition] = status.partitions;
    assert.equal(partition?.lastEntryId, (await redis.xrevrange(KEYS.orders, "+", "-", "COUNT", 1))[0]?.[0]);
    assert.equal(Number(partition?.entries), await length());
    assert.equal(partition?.groups[0]?.lag, partition?.entries, "no worker ran yet");
    assert.ok(status.redisUsedMemoryBytes > 0n && status.redisMaxMemoryBytes > status.redisUsedMemoryBytes);
    assert.equal(status.refusing, "");
  });

  await t.test(
    "reads: before a worker ran, after it, after a trim, and where only the journal has the order",
    async () => {
      const { orderId, createdAt } = await client.call(
        submitOrder,
        order("read-me", { displayQuantity: "0.05", postOnly: true }),
      );
      const byName = { symbol: "BTC-USD", clientOrderId: "read-me" };
      const fresh = await client.call(getOrder, { orderId });
      assert.deepEqual(await client.call(getOrder, byName), fresh);
      const { status, quantity, leavesQuantity, cumQuantity, price, displayQuantity, postOnly, account } = fresh.order!;
      assert.deepEqual(
        { status, quantity, leavesQuantity, cumQuantity, price, displayQuantity, postOnly, account },
        {
          status: OrderStatus.PENDING_NEW,
          quantity: "0.1",
          leavesQuantity: "0.1",
          cumQuantity: "0",
          price: "100.25",
          displayQuantity: "0.05",
          postOnly: true,
          account: "demo",
        },
      );
      assert.deepEqual([fresh.order?.createdAt, fresh.order?.updatedAt], [createdAt, createdAt]);
      assert.deepEqual((await client.call(listOrders, {})).orders, [], "a list is of rows, and says up to where");

      const worker = await door.work();
      await eventually(
        async () =>
          (await redis.xpending(KEYS.orders, PERSIST_GROUP))[0] === 0 &&
          (await client.call(listOrders, {})).orders.length > 0,
        "the rows",
      );
      await eventually(
        async () => (await door.sql`SELECT FROM orders WHERE order_id = ${orderId}`).length === 1,
        "the row",
      );
      assert.deepEqual(await client.call(getOrder, { orderId }), fresh);
      await redis.xtrim(KEYS.orders, "MAXLEN", 0);
      for (const by of [{ orderId }, byName]) assert.deepEqual(await client.call(getOrder, by), fresh);
      await redis.del(KEYS.seen(1));
      assert.deepEqual(await client.call(getOrder, byName), fresh, "beyond the idempotency horizon");
      await worker.stop();

      const lost = await client.call(submitOrder, order("dead-lettered"));
      const again = await door.work();
      await eventually(
        async () => (await door.sql`SELECT FROM orders WHERE order_id = ${lost.orderId}`).length === 1,
        "the row",
      );
      await again.stop();
      await door.sql`DELETE FROM orders WHERE order_id = ${lost.orderId}`;
      await redis.xtrim(KEYS.orders, "MAXLEN", 0);
      assert.equal((await client.call(getOrder, { orderId: lost.orderId })).order?.clientOrderId, "dead-lettered");
    },
  );

  await t.test("lists: newest first, by pages, by symbol, as of a place that it names", async () => {
    await door.define("ETH-USD");
    const lister = await door.client("lister");
    const ids: string[] = [];
    for (const n of [1, 2, 3, 4, 5]) {
      ids.unshift(
        (await lister.call(submitOrder, order(`list-${n}`, n % 2 === 0 ? { symbol: "ETH-USD" } : {}))).orderId,
      );
    }
    const worker = await door.work();
    const full = await eventually(async () => {
      const list = await lister.call(listOrders, {});
      return list.orders.length === 5 && list;
    }, "the rows");
    assert.deepEqual(
      full.orders.map(({ orderId }) => orderId),
      ids,
    );
    assert.equal(full.nextPageToken, "");
    const asOf = await eventually(async () => {
      const [place] = (await lister.call(listOrders, {})).asOf;
      return place?.entryId === (await redis.hget(KEYS.head, "last")) && place;
    }, "a list up to the end of the log");
    assert.equal(asOf.entryId, formatEntryId(parseOrderId(ids[0]!)!));
    assert.deepEqual([asOf.partition, asOf.epoch], [0, 1]);

    const pages: string[][] = [];
    for (let pageToken = ""; ;) {
      const page = await lister.call(listOrders, { pageSize: 2, pageToken });
      pages.push(page.orders.map(({ orderId }) => orderId));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    assert.deepEqual(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
    assert.equal((await lister.call(listOrders, { pageSize: 5 })).nextPageToken, "", "a full page may be the last");
    const ether = await lister.call(listOrders, { symbol: "ETH-USD" });
    assert.deepEqual(
      ether.orders.map(({ orderId }) => orderId),
      [ids[1], ids[3]],
    );
    await worker.stop();
  });
});

test("a list says up to where it is complete, in the epoch of the entry there", async (t) => {
  const level = { env: { PENSTOCK_DURABILITY: "everysec" }, redis: ["--appendfsync", "everysec"] };
  const door = await Door.open(t, level);
  const client = await door.client();
  await client.call(submitOrder, order("first"));
  await door.server.restart();
  await eventually(async () => client.call(submitOrder, order("second")).catch(() => undefined), "the log");
  const entries = (await door.redis.xrange(KEYS.orders, "-", "+")).map(([id]) => id);
  const asOf = async () => {
    const [place] = (await client.call(listOrders, {})).asOf;
    return [place?.epoch, place?.entryId];
  };
  assert.deepEqual(await asOf(), [0, "0-0"], "nothing was written yet");
  // The entries are the instrument and the first order in epoch 1, and the second order in epoch 2.
  for (const [i, epoch] of [1, 2, 2].entries()) {
    await door.redis.xreadgroup("GROUP", PERSIST_GROUP, "hand", "COUNT", 1, "STREAMS", KEYS.orders, ">");
    await door.redis.xack(KEYS.orders, PERSIST_GROUP, entries[i]!);
    assert.deepEqual(await asOf(), [epoch, entries[i]]);
  }
});
