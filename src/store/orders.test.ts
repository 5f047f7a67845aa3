import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import type { OrderRow } from "./entry-record.ts";
import { findOrder, findOrderByClientId, listOrders } from "./orders.ts";
import { connect } from "./connection.ts";
import { readExecutions } from "./executions.ts";
import { ensurePartitions, firstOrderId } from "./partitions.ts";
import { makeEntry, makeEvents, NOON, openSql, openWriter } from "./test-entries.ts";
import { listTrades } from "./trades.ts";

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
    let before: string | undefined;
    do {
      const { orders, end } = await listOrders(sql, { account: "mine", symbol, before, limit: 6 });
      assert.equal(orders.length, 6, "24 and 12 are whole pages");
      ids.push(...orders.map(({ orderId }) => orderId));
      before = end;
    } while (before !== undefined);
    const expected = mine.filter((order) => symbol === undefined || order.symbol === symbol);
    assert.deepEqual(ids, expected.map(({ orderId }) => orderId)); // prettier-ignore
  }
  assert.deepEqual(await listOrders(sql, { account: "nobody", limit: 5 }), { orders: [], end: undefined });
});

test("open orders whose own rows are not written yet do not end the list", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const [old, young] = [0, 1].map((seq) => makeEntry({ seq, orders: 4, order: () => ({ account: "a" }) }));
  await persist(writer, [old!, makeEvents(0, old!.orders), makeEvents(1, young!.orders)]);
  const ids: string[] = [];
  let before: string | undefined;
  do {
    const { orders, end } = await listOrders(sql, { account: "a", openOnly: true, before, limit: 3 });
    ids.push(...orders.map(({ orderId }) => orderId));
    before = end;
  } while (before !== undefined);
  assert.deepEqual(ids, old!.orders.map(({ orderId }) => orderId).toReversed()); // prettier-ignore
});

const ENDED = { execType: "CANCELED", status: "CANCELED", reason: "REQUESTED", leavesQuantity: "0" } as const;

test("an order has its newest state, however it is found; none before the engine came to it", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 3, order: () => ({ account: "a" }) });
  const [first, second, third] = entry.orders as [OrderRow, OrderRow, OrderRow];
  const filled = {
    ...{ execType: "TRADE", status: "PARTIALLY_FILLED", price: "7", cumQuantity: "0.5", leavesQuantity: "0.25" },
    ...{ quantity: "0.75", tradedValue: "3.5", triggered: true },
  };
  await persist(writer, [makeEvents(0, [first, second]), makeEvents(1, [second], filled)]); // before the orders themselves
  assert.deepEqual((await listOrders(sql, { account: "a", openOnly: true, limit: 9 })).orders, []);
  await persist(writer, [entry, makeEvents(2, [first], ENDED)]);

  const place = { epoch: 1, ms: NOON, index: 0 };
  const { quantity, price } = first;
  const unchanged = { stopPrice: null, displayQuantity: null };
  const states = [
    {
      ...{ ...place, seq: 2, status: "CANCELED", reason: "REQUESTED", triggered: false, quantity, price, ...unchanged },
      ...{ cumQuantity: "0", leavesQuantity: "0", tradedValue: "0" },
    },
    {
      ...{ ...place, seq: 1, status: "PARTIALLY_FILLED", reason: null, triggered: true, quantity: "0.75", price: "7" },
      ...{ ...unchanged, cumQuantity: "0.5", leavesQuantity: "0.25", tradedValue: "3.5" },
    },
    null,
  ];
  for (const [i, order] of entry.orders.entries()) {
    const { account, symbol, clientOrderId, clientKey } = order;
    const found = await findOrder(sql, order.orderId);
    assert.deepEqual(found?.state, states[i]);
    assert.deepEqual(await findOrderByClientId(sql, account, symbol, clientOrderId, clientKey), found);
  }
  const { orders: listed } = await listOrders(sql, { account: "a", limit: 9 });
  assert.deepEqual(
    listed.map(({ orderId, state }) => [orderId, state]),
    [third, second, first].map(({ orderId }, i) => [orderId, states[2 - i]]),
  );
  const { orders: open } = await listOrders(sql, { account: "a", openOnly: true, limit: 9 });
  assert.deepEqual(open, [listed[1]]);

  const current = await sql`
    SELECT client_order_id, status, open, quantity, price, cum_quantity, leaves_quantity, average_price::float8, reason
    FROM orders_current ORDER BY order_id`;
  assert.deepEqual(
    current.map((row) => Object.values(row) as unknown[]),
    [
      [first.clientOrderId, "CANCELED", false, quantity, price, "0", "0", null, "REQUESTED"],
      [second.clientOrderId, "PARTIALLY_FILLED", true, "0.75", "7", "0.5", "0.25", 7, null],
      [third.clientOrderId, "PENDING_NEW", true, quantity, price, "0", quantity, null, null],
    ],
  );
});

test("a report has the facts of its order, once they are written", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 1, order: () => ({ expireTime: NOON + 5, postOnly: true }) });
  await persist(writer, [makeEvents(0, entry.orders)]);
  const read = async () =>
    (await readExecutions(sql, 0, { epoch: 0, ms: 0, seq: 0, index: 0 }, { limit: 9 }))[0]?.order;
  assert.equal(await read(), null);
  await persist(writer, [entry]);
  const { clientOrderId, side, type, timeInForce, selfTradePrevention } = entry.orders[0]!;
  const facts = { clientOrderId, side, type, timeInForce, expireTime: NOON + 5, postOnly: true, selfTradePrevention };
  assert.deepEqual(await read(), facts);
});

test("a page of reports costs what it holds, however many stand behind it; and goes on through epochs", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  const sql = connect(url, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  await ensurePartitions(writer, [NOON, NOON + DAY_MS]);
  await sql`
    INSERT INTO executions (ms, seq, sequence, index, partition, epoch, account, symbol, exec_type)
    SELECT ${NOON}::bigint + n * 10000, 0, n, 0, 0, CASE WHEN n > 14995 THEN 2 ELSE 1 END, 'mine', 'A-B', 'NEW'
    FROM generate_series(1, 15000) AS n`;
  await sql`ANALYZE executions`;
  const looked = async () => {
    await sql`SELECT pg_stat_force_next_flush()`;
    const [row] = await sql<{ rows: number }[]>`
      SELECT sum(seq_tup_read + coalesce(idx_tup_read, 0))::int AS rows
      FROM pg_stat_user_tables JOIN (
        SELECT relid, sum(idx_tup_read) AS idx_tup_read FROM pg_stat_user_indexes GROUP BY relid
      ) AS index USING (relid) WHERE relname LIKE 'executions_%'`;
    return row!.rows;
  };
  const sequences = async (n: number, account?: string) => {
    const place = { epoch: 1, ms: NOON + n * 10_000, seq: 0, index: 0 };
    return (await readExecutions(sql, 0, place, { account, limit: 300 })).map(({ sequence }) => sequence);
  };
  const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const before = await looked();
  for (const account of ["mine", undefined]) {
    assert.deepEqual(await sequences(100, account), numbers(101, 400));
    assert.deepEqual(await sequences(14_990, account), numbers(14_991, 15_000));
    assert.deepEqual(await sequences(14_999, account), numbers(14_996, 15_000), "another epoch is behind all of it");
  }
  const rows = (await looked()) - before;
  assert.ok(rows < 3_000, `looked at ${rows} rows`);
});

test("open orders, an account's reports and trades are found by indexes, among many of others and over days", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  for (const day of [0, 1, 2]) {
    const ms = NOON + day * DAY_MS;
    const account = (index: number) => ({ account: index < 5 ? "mine" : `other-${index % 40}` });
    const entry = makeEntry({ seq: day, orders: 3000, receipt: { ms }, order: account });
    const some = entry.orders.filter((_, index) => index % 2 === 0);
    await persist(writer, [
      entry,
      makeEvents(2 * day, entry.orders, { ms }),
      makeEvents(2 * day + 1, some, { ms, ...ENDED }),
    ]);
  }
  const trades = Array.from({ length: 2000 }, (_, index) => ({
    ...{
      index,
      symbol: index % 2 === 0 ? "A-B" : "C-D",
      trade: index + 1,
      price: "1",
      quantity: "2",
      aggressor: "BUY" as const,
    },
    ...{ buyOrderId: firstOrderId(NOON), sellOrderId: firstOrderId(NOON), buyAccount: "a", sellAccount: "b" },
  }));
  await persist(writer, [makeEntry({ seq: 50, orders: 0, receipt: { stream: 1 }, more: { trades } })]);
  const sql = connect(url, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  await sql`ANALYZE`;
  const scans = async () => {
    await sql`SELECT pg_stat_force_next_flush()`;
    const [row] = await sql<{ scans: number }[]>`
      SELECT sum(seq_scan)::int AS scans FROM pg_stat_user_tables WHERE relname ~ '^(orders|order_states|executions|trades)_'`;
    return row!.scans;
  };
  const before = await scans();
  assert.equal((await listOrders(sql, { account: "mine", openOnly: true, limit: 9 })).orders.length, 6);
  assert.equal((await listOrders(sql, { account: "mine", limit: 9 })).orders.length, 9);
  const place = { epoch: 1, ms: NOON + DAY_MS, seq: 0, index: 0 };
  assert.equal((await readExecutions(sql, 0, place, { account: "mine", limit: 9 })).length, 9);
  assert.equal((await readExecutions(sql, 0, place, { limit: 9 })).length, 9);
  assert.equal((await listTrades(sql, "A-B", { limit: 9 })).length, 9);
  assert.equal(await scans(), before);
});
