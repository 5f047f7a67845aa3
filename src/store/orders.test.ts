import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import { findOrder, findOrderByClientId, listOrders } from "./orders.ts";
import { makeEntry, NOON, openSql, openWriter } from "./test-entries.ts";

const DAY_MS = 86_400_000;

test("finds an order by its id and by the client's", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 3 });
  await persist(writer, [entry]);
  const { orderId, account, symbol, clientOrderId, clientKey } = entry.orders[1]!;
  assert.equal((await findOrder(sql, orderId))?.clientOrderId, clientOrderId);
  assert.equal(await findOrder(sql, orderId.replace(/.$/, "f")), undefined);
  const find = (over: { account?: string; symbol?: string; clientOrderId?: string; clientKey?: bigint }) => {
    const by = { account, symbol, clientOrderId, clientKey, ...over };
    return findOrderByClientId(sql, by.account, by.symbol, by.clientOrderId, by.clientKey);
  };
  assert.equal((await find({}))?.orderId, orderId);
  // A hash is no proof: the text decides.
  assert.equal(await find({ account: "trader-9" }), undefined);
  assert.equal(await find({ symbol: "ETH-USD" }), undefined);
  assert.equal(await find({ clientOrderId: "other" }), undefined);
  assert.equal(await find({ clientKey: 1n }), undefined);
});

test("of several orders with one client id, on several days, the newest", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const same = { account: "a", clientOrderId: "again", clientKey: 5n };
  const entries = [2, 0, 1].map((day) =>
    makeEntry({ seq: day, receipt: { ms: NOON + day * DAY_MS }, order: () => same }),
  );
  await persist(writer, entries);
  const found = await findOrderByClientId(sql, "a", "BTC-USD", "again", 5n);
  assert.equal(found?.createdAt.getTime(), NOON + 2 * DAY_MS);
});

test("lists an account's orders, newest first, page by page, over days", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const symbols = ["BTC-USD", "ETH-USD"];
  const entries = [0, 1, 2].map((day) =>
    makeEntry({
      seq: day,
      orders: 10,
      receipt: { ms: NOON + day * DAY_MS },
      order: (index) => ({ account: index < 8 ? "mine" : "other", symbol: symbols[index % 2]! }),
    }),
  );
  await persist(writer, entries);
  const mine = entries.flatMap(({ orders }) => orders.filter(({ account }) => account === "mine")).toReversed();
  for (const symbol of [undefined, "ETH-USD"]) {
    const ids: string[] = [];
    for (;;) {
      const page = await listOrders(sql, { account: "mine", symbol, before: ids.at(-1), limit: 5 });
      if (page.length === 0) break;
      assert.ok(page.length <= 5);
      ids.push(...page.map(({ orderId }) => orderId));
    }
    const expected = mine.filter((order) => symbol === undefined || order.symbol === symbol);
    assert.deepEqual(ids, expected.map(({ orderId }) => orderId)); // prettier-ignore
  }
  assert.deepEqual(await listOrders(sql, { account: "nobody", limit: 5 }), []);
});
