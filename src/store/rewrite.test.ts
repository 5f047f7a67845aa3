import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import { rewrite } from "./rewrite.ts";
import { readMarks, removeMarks, writeMark } from "./replay-marks.ts";
import { countRows, makeEntry, makeEvents, makeOrder, NOON, openSql, openWriter } from "./test-entries.ts";

const unmarked = async (): Promise<void> => {};

test("what is missing is written, whatever the receipts say; what is there stays (I5, I6)", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const orders = [0, 1, 2].map((seq) => makeEntry({ seq, orders: 4 }));
  const events = orders.map((entry, seq) => makeEvents(seq, entry.orders));
  const entries = [...orders, ...events];
  assert.deepEqual(await rewrite(writer, entries, unmarked), { receipts: 6, rows: 24, conflicts: [] });
  assert.deepEqual(await rewrite(writer, entries, unmarked), { receipts: 0, rows: 0, conflicts: [] });
  assert.deepEqual(await persist(writer, entries), {
    written: 0,
    duplicates: 6,
    rows: 0,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });

  await sql`DELETE FROM orders WHERE client_order_id IN ('order-1', 'order-1002')`;
  await sql`DELETE FROM executions WHERE seq = 1 AND index > 1`;
  await sql`DELETE FROM order_states WHERE seq = 2`;
  await sql`DELETE FROM journal WHERE stream = 1 AND seq = 0`;
  await sql`UPDATE orders SET quantity = 5 WHERE client_order_id = 'order-2000'`;
  await sql`UPDATE executions SET status = 'FILLED' WHERE seq = 0 AND index = 3`;
  await sql`UPDATE order_states SET status = 'FILLED' WHERE seq = 1 AND index = 0`;
  const { receipts, rows, conflicts } = await rewrite(writer, entries, unmarked);
  assert.deepEqual([receipts, rows], [1, 4]);
  assert.deepEqual(conflicts, [
    { what: "another row of orders", where: makeOrder(NOON, 2, 0).orderId },
    { what: "another row of executions", where: `0 1 ${NOON} 0 3` },
    { what: "another state of an order, of the same change", where: makeOrder(NOON, 1, 0).orderId },
  ]);
  const [left] = await sql`
    SELECT (SELECT count(*)::int FROM order_states) AS states, (SELECT count(*)::int FROM executions) AS reports,
           (SELECT quantity::float8 FROM orders WHERE client_order_id = 'order-2000') AS quantity`;
  assert.deepEqual({ ...left }, { states: 12, reports: 12, quantity: 5 });
});

test("an older state does not take the place of a newer one, and is no conflict (I6)", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const orders = [makeOrder(NOON, 0, 0)];
  await persist(writer, [makeEvents(7, orders, { status: "FILLED", leavesQuantity: "0" })]);
  const { conflicts } = await rewrite(writer, [makeEvents(3, orders)], unmarked);
  assert.deepEqual(conflicts, []);
  const states = await sql`SELECT seq::int, status FROM order_states`;
  assert.deepEqual([...states], [{ seq: 7, status: "FILLED" }]);
});

test("poison: the good rows are written, the bad one is a dead letter once, and another row in a place is told", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 5, order: (index) => (index === 2 ? { quantity: "many" } : {}) });
  await persist(writer, [entry]);
  assert.deepEqual(await countRows(sql), { journal: 1, orders: 4, deadLetters: 1 });
  await sql`DELETE FROM orders WHERE client_order_id = 'order-1'`;
  await sql`UPDATE orders SET symbol = 'ETH-USD' WHERE client_order_id = 'order-4'`;
  const { conflicts } = await rewrite(writer, [entry, makeEntry({ seq: 1 })], unmarked);
  assert.deepEqual(conflicts, [
    {
      what: "another row of orders stands in its place",
      where: `partition 0, entry ${NOON}-0 of epoch 1, index 4`,
    },
  ]);
  assert.deepEqual(await countRows(sql), { journal: 2, orders: 5, deadLetters: 1 });
});

test("another payload in an entry's place is told, and nothing of it is written", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await persist(writer, [makeEntry({ seq: 0, orders: 1 })]);
  const fork = makeEntry({ seq: 0, orders: 3, receipt: { payload: Buffer.from("another") } });
  const { conflicts } = await rewrite(writer, [fork], unmarked);
  assert.deepEqual(conflicts, [
    { what: "another payload in the journal", where: `partition 0, entry ${NOON}-0 of epoch 1` },
  ]);
  assert.deepEqual(await countRows(sql), { journal: 1, orders: 1, deadLetters: 0 });
});

test("beside workers that write the same entries: once each, and no deadlock (I6)", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const writers = Array.from({ length: 4 }, () => openWriter(t, url));
  for (let round = 0; round < 8; round++) {
    const orders = Array.from({ length: 10 }, (_, i) => makeEntry({ seq: round * 10 + i, orders: 20 }));
    const entries = [...orders, ...orders.map((entry) => makeEvents(entry.receipt.seq, entry.orders))];
    const backwards = entries.toReversed();
    await Promise.all([
      persist(writers[0]!, entries),
      rewrite(writers[1]!, backwards, unmarked),
      persist(writers[2]!, backwards),
      rewrite(writers[3]!, entries, unmarked),
    ]);
  }
  const [counted] = await sql`
    SELECT (SELECT count(*)::int FROM journal) AS journal, (SELECT count(*)::int FROM orders) AS orders,
           (SELECT count(*)::int FROM executions) AS reports, (SELECT count(*)::int FROM order_states) AS states`;
  assert.deepEqual({ ...counted }, { journal: 160, orders: 1_600, reports: 1_600, states: 1_600 });
});

test("the mark stands if and only if the rows do", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const mark = { bounds: "0-0 ", stage: "orders", at: { epoch: 1, ms: NOON, seq: 1 } } as const;
  const failing = rewrite(writer, [makeEntry({ seq: 0 })], async (transaction) => {
    await writeMark(transaction, 3, mark);
    throw new Error("killed");
  });
  await assert.rejects(failing, /killed/);
  assert.equal((await countRows(sql)).journal, 0);
  assert.equal((await readMarks(sql)).size, 0);
  await rewrite(writer, [makeEntry({ seq: 0 })], (transaction) => writeMark(transaction, 3, mark));
  assert.deepEqual([...(await readMarks(sql))], [[3, mark]]);
  await removeMarks(sql, "another");
  assert.equal((await readMarks(sql)).size, 1);
  await removeMarks(sql, mark.bounds);
  assert.equal((await readMarks(sql)).size, 0);
});
