import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import type { EntryRecord, InstrumentRow, OrderRow } from "./entry-record.ts";
import { TransientStoreError } from "./errors.ts";
import { listInstruments } from "./instruments.ts";
import { findOrder } from "./orders.ts";
import { dropExpiredPartitions } from "./partitions.ts";
import { countRows, makeEntry, makeEvents, makeOrder, NOON, openSql, openWriter } from "./test-entries.ts";

const DAY_MS = 86_400_000;

test("an entry's receipt and rows are written once, however often it comes (I5)", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const first = [makeEntry({ seq: 0, orders: 3 }), makeEntry({ seq: 1, orders: 2 })];
  assert.deepEqual(await persist(writer, first), {
    written: 2,
    duplicates: 0,
    rows: 5,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
  const both = [...first, makeEntry({ seq: 2 })];
  assert.deepEqual(await persist(writer, both), {
    written: 1,
    duplicates: 2,
    rows: 1,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
  assert.deepEqual(await persist(writer, both), {
    written: 0,
    duplicates: 3,
    rows: 0,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
  assert.deepEqual(await countRows(sql), { journal: 3, orders: 6, deadLetters: 0 });
});

test("an empty batch and an entry without orders", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  assert.deepEqual(await persist(writer, []), {
    written: 0,
    duplicates: 0,
    rows: 0,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
  const entry = makeEntry({ seq: 0, orders: 0, receipt: { stream: 1, payload: null } });
  assert.deepEqual(await persist(writer, [entry]), {
    written: 1,
    duplicates: 0,
    rows: 0,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
});

test("what was given comes back, whatever the text", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const odd: Partial<OrderRow> = {
    clientKey: 2n ** 64n - 1n,
    account: "tab\tnewline\nreturn\rback\\slash",
    clientOrderId: '\\N and \\. and é漢🙂 \u0001 "quoted" {braces}',
    type: "STOP_LIMIT",
    timeInForce: "GTD",
    quantity: "123456789012345678.00000001",
    price: "0.00000001",
    stopPrice: "5",
    displayQuantity: "1",
    expireTime: NOON + 1,
    postOnly: true,
    selfTradePrevention: "DECREMENT",
  };
  const entry = makeEntry({ seq: 0, receipt: { ms: NOON + 7 }, order: () => odd });
  await persist(writer, [entry]);
  // The careful way must write the same: a bad neighbour sends it there.
  const bad = makeOrder(NOON + 7, 1, 1);
  const alone = makeEntry({ seq: 1, receipt: { ms: NOON + 7 }, order: () => odd });
  await persist(writer, [{ ...alone, orders: [...alone.orders, { ...bad, quantity: "many" }] }]);
  for (const { orders } of [entry, alone]) {
    const { index: _index, clientKey: _key, ...facts } = orders[0]!;
    assert.deepEqual(await findOrder(sql, facts.orderId), { ...facts, createdAt: new Date(NOON + 7), state: null });
  }
  const [key] = await sql`SELECT DISTINCT client_key::text FROM orders`;
  assert.equal(key?.client_key, "-1");
});

test("two writers with the same batch, at once, from both ends: once each, and no deadlock", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const writers = [openWriter(t, url), openWriter(t, url)];
  await Promise.all(writers.map((writer) => persist(writer, [makeEntry({ seq: 9999 })]))); // both are connected
  for (let round = 0; round < 5; round++) {
    const batch = Array.from({ length: 1000 }, (_, i) => makeEntry({ seq: round * 1000 + i }));
    const outcomes = await Promise.all(
      [batch, batch.toReversed()].map((given, turn) => persist(writers[turn]!, given)),
    );
    assert.equal(outcomes[0]!.written + outcomes[1]!.written, 1000);
    assert.equal(outcomes[0]!.duplicates + outcomes[1]!.duplicates, 1000);
  }
  assert.deepEqual(await countRows(sql), { journal: 5001, orders: 5001, deadLetters: 0 });
});

test("the same entry twice in one batch is written once", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  const entry = makeEntry({ seq: 0, orders: 2 });
  const outcome = await persist(writer, [entry, entry]);
  assert.deepEqual(outcome, { written: 1, duplicates: 1, rows: 2, deadLetters: 0, forks: 0, orphans: 0 });
});

test("another payload in an entry's place is a fork: dead-lettered, never dropped", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await persist(writer, [makeEntry({ seq: 0 })]);
  const other = makeEntry({ seq: 0, orders: 2, receipt: { payload: Buffer.from("another history") } });
  const batch = [other, makeEntry({ seq: 1 })];
  assert.deepEqual(await persist(writer, batch), {
    written: 1,
    duplicates: 0,
    rows: 1,
    deadLetters: 1,
    forks: 1,
    orphans: 0,
  });
  assert.deepEqual(await persist(writer, batch), {
    written: 0,
    duplicates: 1,
    rows: 0,
    deadLetters: 0,
    forks: 1,
    orphans: 0,
  });
  const letters = await sql`SELECT seq, index, reason, sqlstate, raw FROM dead_letters`;
  assert.deepEqual([...letters], [{ seq: "0", index: -1, reason: "FORK", sqlstate: null, raw: other.receipt.payload }]);
  assert.equal((await countRows(sql)).orders, 2);
});

test("a fork of the events is dead-lettered with its bytes, though the journal keeps none of theirs", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const { orders } = makeEntry({ seq: 0 });
  const events = makeEvents(0, orders);
  await persist(writer, [events]);
  const bytes = Buffer.from("another history");
  const hash = createHash("sha256").update(bytes).digest();
  const fork = { ...makeEvents(0, orders, { status: "REJECTED" }), raw: () => bytes };
  const outcome = await persist(writer, [{ ...fork, receipt: { ...fork.receipt, hash } }]);
  assert.deepEqual(outcome, { written: 0, duplicates: 0, rows: 0, deadLetters: 1, forks: 1, orphans: 0 });
  const [letter] = await sql`SELECT stream, raw, reason FROM dead_letters`;
  assert.deepEqual({ ...letter }, { stream: 1, raw: bytes, reason: "FORK" });
  const [state] = await sql`SELECT status FROM order_states`;
  assert.equal(state?.status, "NEW");
});

test("a report that cannot be written is a dead letter, once for its row and its state; the others stand", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const { orders } = makeEntry({ seq: 0, orders: 20, order: (index) => (index === 13 ? { account: "a\0b" } : {}) });
  const batch = [makeEvents(0, orders), makeEvents(1, orders.slice(0, 5), { status: "CANCELED", leavesQuantity: "0" })];
  assert.deepEqual(await persist(writer, batch), {
    written: 2,
    duplicates: 0,
    rows: 24,
    deadLetters: 1,
    forks: 0,
    orphans: 0,
  });
  assert.deepEqual(await persist(writer, batch), {
    written: 0,
    duplicates: 2,
    rows: 0,
    deadLetters: 0,
    forks: 0,
    orphans: 0,
  });
  const [row] = await sql`
    SELECT (SELECT count(*)::int FROM executions) AS executions, count(*)::int AS states,
           count(*) FILTER (WHERE open)::int AS open FROM order_states`;
  assert.deepEqual({ ...row }, { executions: 24, states: 19, open: 14 });
});

const POISON: readonly { name: string; sqlstate: string; order: Partial<OrderRow> }[] = [
  { name: "NUL in text", sqlstate: "22021", order: { clientOrderId: "a\0b" } },
  { name: "no number", sqlstate: "22P02", order: { quantity: "1,5" } },
  { name: "a number that is too large", sqlstate: "22003", order: { price: "1e200000" } },
  { name: "no uuid", sqlstate: "22P02", order: { orderId: "0193-not-a-uuid" } },
  { name: "a time beyond all times", sqlstate: "22008", order: { expireTime: 1e17 } },
  { name: "too long for an index", sqlstate: "54000", order: { account: randomBytes(8000).toString("base64") } },
];

for (const { name, sqlstate, order } of POISON) {
  test(`poison among good rows: ${name}`, async (t) => {
    const { url } = await createTestDatabase(t);
    const [writer, sql] = [openWriter(t, url), openSql(t, url)];
    const batch = [
      makeEntry({ seq: 0, orders: 20 }),
      makeEntry({ seq: 1, orders: 20, order: (index) => (index === 13 ? order : {}), more: { deliveries: 4 } }),
      makeEntry({ seq: 2, orders: 20 }),
    ];
    assert.deepEqual(await persist(writer, batch), {
      written: 3,
      duplicates: 0,
      rows: 59,
      deadLetters: 1,
      forks: 0,
      orphans: 0,
    });
    assert.deepEqual(await persist(writer, batch), {
      written: 0,
      duplicates: 3,
      rows: 0,
      deadLetters: 0,
      forks: 0,
      orphans: 0,
    });
    assert.deepEqual(await countRows(sql), { journal: 3, orders: 59, deadLetters: 1 });
    const [letter] = await sql`SELECT * FROM dead_letters`;
    assert.equal(letter?.sqlstate, sqlstate);
    assert.equal(letter.index, 13);
    assert.equal(letter.attempts, 4);
    assert.deepEqual(letter.raw, Buffer.from("command 1/13"));
    assert.match(String(letter.reason), /\w+ \w+/);
  });
}

test("every row of the largest entry is poison", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 500, order: () => ({ quantity: "" }) });
  assert.deepEqual(await persist(writer, [entry]), {
    written: 1,
    duplicates: 0,
    rows: 0,
    deadLetters: 500,
    forks: 0,
    orphans: 0,
  });
  assert.deepEqual(await countRows(sql), { journal: 1, orders: 0, deadLetters: 500 });
});

test("a receipt that cannot be written is a dead letter of the whole entry", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const batch = [makeEntry({ seq: 0, receipt: { hash: Buffer.alloc(31) } }), makeEntry({ seq: 1 })];
  assert.deepEqual(await persist(writer, batch), {
    written: 1,
    duplicates: 0,
    rows: 1,
    deadLetters: 1,
    forks: 0,
    orphans: 0,
  });
  const [letter] = await sql`SELECT seq, index, sqlstate FROM dead_letters`;
  assert.deepEqual({ ...letter }, { seq: "0", index: -1, sqlstate: "23514" });
});

test("what the decoder found undecodable is written with its entry, once", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const deadLetters = [
    { index: -1, raw: Buffer.from([0, 255]), sqlstate: null, reason: 'no protobuf:\0 {odd} "text" \\' },
    { index: 3, raw: Buffer.alloc(0), sqlstate: null, reason: "no command" },
  ];
  const entry = makeEntry({ seq: 0, orders: 1, more: { deadLetters } });
  assert.equal((await persist(writer, [entry])).deadLetters, 2);
  assert.equal((await persist(writer, [entry])).deadLetters, 0);
  const rows = await sql`SELECT index, raw, reason FROM dead_letters ORDER BY index`;
  assert.equal(rows[0]?.reason, 'no protobuf:\\0 {odd} "text" \\');
  assert.deepEqual(rows[0].raw, Buffer.from([0, 255]));
  assert.deepEqual(rows[1]?.raw, Buffer.alloc(0));
});

test("an order that stands there without its receipt is taken as written; another in its place is reported", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const entry = makeEntry({ seq: 0, orders: 4 });
  await persist(writer, [entry]);
  await sql`DELETE FROM journal`;
  await sql`DELETE FROM orders WHERE order_id = ${entry.orders[1]!.orderId}`;
  await sql`UPDATE orders SET quantity = 7 WHERE order_id = ${entry.orders[2]!.orderId}`;
  assert.deepEqual(await persist(writer, [entry]), {
    written: 1,
    duplicates: 0,
    rows: 3,
    deadLetters: 1,
    forks: 0,
    orphans: 0,
  });
  assert.deepEqual(await countRows(sql), { journal: 1, orders: 4, deadLetters: 1 });
  const [letter] = await sql`SELECT index, sqlstate FROM dead_letters`;
  assert.deepEqual({ ...letter }, { index: 2, sqlstate: "23505" });
});

test("rows of any day find a partition, also where it was dropped since", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const days = [NOON, NOON - 9 * DAY_MS, NOON + DAY_MS, 0, Date.UTC(9999, 11, 31), Date.UTC(10000, 0, 1)];
  const entries = days.map((ms, seq) => makeEntry({ seq, receipt: { ms } }));
  assert.equal((await persist(writer, entries)).rows, days.length);

  const { dropped } = await dropExpiredPartitions(openWriter(t, url), 7, NOON);
  assert.ok(dropped.includes("orders_20261113"));
  const late = [makeEntry({ seq: 50, receipt: { ms: NOON - 9 * DAY_MS } })];
  await assert.rejects(persist(writer, late), TransientStoreError);
  assert.equal((await persist(writer, late)).written, 1);
  assert.deepEqual(await countRows(sql), { journal: 5, orders: 5, deadLetters: 0 });
});

test("an order id of another day than its entry's is written, not retried for ever", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const { orderId } = makeOrder(NOON + 30 * DAY_MS, 0, 0);
  assert.equal((await persist(writer, [makeEntry({ seq: 0, order: () => ({ orderId }) })])).rows, 1);
  assert.equal((await countRows(sql)).orders, 1);
});

test("instruments commute: whatever the sequence of their commands, the newest stands (I6)", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const define = (seq: number, ...instruments: InstrumentRow[]): EntryRecord =>
    makeEntry({ seq, orders: 0, more: { instruments } });
  const row = (symbol: string, version: number, index: number): InstrumentRow => ({
    index,
    symbol,
    version,
    definition: Buffer.from(`${symbol} ${version} ${index}`),
  });
  const entries = [
    define(0, row("A", 1, 0), row("B", 1, 1)),
    define(1, row("A", 2, 0)),
    define(2, row("B", 2, 0), row("A", 3, 1), row("A", 3, 2)),
  ];
  const sequences = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]; // prettier-ignore
  for (const sequence of sequences) {
    await sql`TRUNCATE journal, instruments`;
    for (const index of sequence) await persist(writer, [entries[index]!]);
    const found = (await listInstruments(sql)).map(({ symbol, version, definition }) => [
      symbol,
      version,
      String(definition),
    ]);
    assert.deepEqual(found, [["A", 3, "A 3 2"], ["B", 2, "B 2 0"]]); // prettier-ignore
  }
  await sql`TRUNCATE journal, instruments`;
  await persist(writer, entries);
  assert.equal((await listInstruments(sql)).length, 2);
});

test("a bad instrument is a dead letter beside its entry's orders", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const instruments = [
    { index: 2, symbol: "GOOD", version: 1, definition: Buffer.from("good") },
    { index: 3, symbol: "B\0D", version: 1, definition: Buffer.from("bad") },
  ];
  const outcome = await persist(writer, [makeEntry({ seq: 0, orders: 2, more: { instruments } })]);
  assert.deepEqual(outcome, { written: 1, duplicates: 0, rows: 2, deadLetters: 1, forks: 0, orphans: 0 });
  assert.deepEqual((await listInstruments(sql)).map(({ symbol }) => symbol), ["GOOD"]); // prettier-ignore
});

test("an error that is not a row's is for later, and never a dead letter", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url, 2000), openSql(t, url)];
  await persist(writer, [makeEntry({ seq: 0 })]);
  const batch = [makeEntry({ seq: 1, orders: 3 })];

  await sql`ALTER TABLE orders RENAME TO elsewhere`;
  await assert.rejects(persist(writer, batch), { name: "TransientStoreError", sqlstate: "42P01" });
  await sql`ALTER TABLE elsewhere RENAME TO orders`;

  const blocker = openWriter(t, url);
  await blocker.transaction(async (transaction) => {
    await transaction.query("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
    await assert.rejects(persist(writer, batch), TransientStoreError);
  });

  assert.equal((await persist(writer, batch)).rows, 3);
  assert.deepEqual(await countRows(sql), { journal: 2, orders: 4, deadLetters: 0 });
});

test("a mistake of this program is not for later", async (t) => {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  const batch = [makeEntry({ seq: 0, order: () => ({ clientKey: 1 as unknown as bigint }) })];
  await assert.rejects(persist(writer, batch), TypeError);
  assert.equal((await persist(writer, [makeEntry({ seq: 0 })])).written, 1);
});
