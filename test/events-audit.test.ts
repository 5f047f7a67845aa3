/** What `penstock audit` says of the engine's events: nothing where all is well, and the right thing where anything is not. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type postgres from "postgres";

import { auditChain } from "../src/audit/chain-audit.ts";
import { auditEvents } from "../src/audit/event-audit.ts";
import { Findings } from "../src/audit/findings.ts";
import { EventRows } from "../src/audit/event-rows-audit.ts";
import { Kept, type Scope } from "../src/audit/scope.ts";
import { auditStates } from "../src/audit/state-audit.ts";
import { EVENT_ROWS } from "../src/consumers/event-rows.ts";
import { recordOf } from "../src/consumers/record.ts";
import { persist } from "../src/store/batch.ts";
import { type EntryRecord, EVENTS_STREAM, ORDERS_STREAM } from "../src/store/entry-record.ts";
import { makeEntry, openSql, openWriter } from "../src/store/test-entries.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { eventFlow, flowInstruments } from "./support/event-flow.ts";
import { createTestDatabase } from "./support/servers.ts";

const KEYS = new PartitionKeys(0);
const flow = eventFlow(0xa0d17, 500);
const last = flow.at(-1)!;
const middle = flow[flow.length >> 1]!;
const ROLLBACK = new Error("the damage is undone");

async function scopeOf(sql: postgres.Sql): Promise<Scope> {
  const finished = { ms: last.ms + 1, seq: 0 };
  const stream = { settled: finished, delivered: finished, newest: finished, stuck: undefined };
  return {
    ...{ partition: 0, partitions: 1, keys: KEYS, sql, redis: undefined, head: undefined, cuts: [] },
    orders: { ...stream, key: KEYS.orders, stream: ORDERS_STREAM },
    events: { ...stream, key: KEYS.events, stream: EVENTS_STREAM },
    kept: await Kept.read(sql),
  };
}

/** What the audit finds, each kind once. */
async function audited(sql: postgres.Sql): Promise<string[]> {
  const findings = new Findings();
  const scope = await scopeOf(sql);
  await auditChain(scope, "orders", findings);
  await auditChain(scope, "events", findings);
  const figures = await auditEvents(scope, findings);
  const states = await auditStates({ sql, scopes: [scope], kept: scope.kept }, findings);
  assert.ok(figures.reports > 400 && figures.trades > 10 && states > 200);
  return findings.verdicts().flatMap(({ found }) => found.map(({ kind }) => kind)).sort(); // prettier-ignore
}

/** SQL that spoils something, and what is to be found then. */
const DAMAGES: readonly (readonly [damage: string, ...found: string[]])[] = [
  [
    `DELETE FROM journal WHERE stream = 1 AND ms = ${middle.ms} AND seq = ${middle.seq}`,
    ...["a gap in the events", "a row of no event", "no events"],
  ],
  [
    `DELETE FROM journal WHERE stream = 0 AND ms = ${middle.ms} AND seq = ${middle.seq}`,
    ...["a gap in the journal", "events of no entry"],
  ],
  [
    `INSERT INTO orders SELECT '00000000-03f2-7000-8001-000000009999', 1, now(), NULL, false, 'ann', 'x', 'A-B', 'BUY', 'LIMIT', 'GTC', 1`,
    "an order without a state",
  ],
  [
    `DELETE FROM executions WHERE (ms, seq, index) IN (
       SELECT ms, seq, index FROM executions WHERE account = 'ann' AND exec_type = 'CANCEL_REJECTED' ORDER BY ms, seq, index LIMIT 1)`,
    "a gap in an account's reports",
  ],
  [
    `UPDATE executions SET leaves_quantity = leaves_quantity + 1 WHERE exec_type = 'NEW' AND order_id = (
       SELECT order_id FROM order_states WHERE status = 'FILLED' LIMIT 1)`,
    "Cum and Leaves do not fit",
  ],
  [
    "UPDATE order_states SET triggered = NOT triggered WHERE order_id = (SELECT min(order_id::text)::uuid FROM order_states)",
    "a state is not the newest report",
  ],
  ["UPDATE order_states SET reason = 'DUE' WHERE status = 'FILLED'", "a state is not the newest report"],
  ["UPDATE order_states SET open = NOT open WHERE status = 'FILLED'", "a state is not the newest report"],
  ["DELETE FROM order_states WHERE status = 'FILLED'", "reports, but no state"],
  [
    `INSERT INTO order_states SELECT '00000000-03f2-7000-8001-000000009999', ms, seq, index, epoch, open, triggered, account, symbol,
       status, reason, quantity, price, stop_price, display_quantity, cum_quantity, leaves_quantity, traded_value
     FROM order_states LIMIT 1`,
    "a state, but no reports",
  ],
  ["UPDATE trades SET price = price + 1 WHERE trade = 3", "a trade and its reports do not agree"],
  ["UPDATE trades SET buy_account = 'zoe' WHERE trade = 3", "a trade and its reports do not agree"],
  ["DELETE FROM trades WHERE trade = 3", ...["a gap in a symbol's trades", "a trade and its reports do not agree"]],
  [
    "UPDATE executions SET last_quantity = 9 WHERE trade = 3 AND aggressor",
    ...["a trade and its reports do not agree", "an order's trades do not add up"],
  ],
];

test("I4, I8, I9: nothing is found where all is well, and each damage is", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const options = { partition: 0, instruments: flowInstruments, instrumentsAreFresh: true };
  const records = flow.flatMap((entry, i): EntryRecord[] => {
    const { ms, seq } = entry;
    const { ms: prevMs, seq: prevSeq } = flow[i - 1] ?? { ms: 0, seq: 0 };
    return [makeEntry({ seq, orders: 0, receipt: { ms, prevMs, prevSeq } }), recordOf(EVENT_ROWS, entry, options)];
  });
  await persist(writer, records);
  assert.deepEqual(await audited(sql), []);
  for (const [damage, ...found] of DAMAGES) {
    const spoiling = sql.begin(async (transaction) => {
      const { count } = await transaction.unsafe(damage);
      assert.ok(count > 0, damage);
      assert.deepEqual(await audited(transaction as unknown as postgres.Sql), found, damage);
      throw ROLLBACK;
    });
    await assert.rejects(spoiling, ROLLBACK);
  }
  assert.deepEqual(await audited(sql), []);
});

test("a report that became a dead letter is no gap", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const options = { partition: 0, instruments: flowInstruments, instrumentsAreFresh: true };
  const records = flow.map((entry) => recordOf(EVENT_ROWS, entry, options));
  await sql.unsafe("ALTER TABLE executions ADD CONSTRAINT none CHECK (exec_type <> 'CANCEL_REJECTED')");
  await persist(writer, records);
  const [row] = await sql`SELECT count(*)::int AS letters FROM dead_letters`;
  assert.ok(Number(row?.["letters"]) > 0);
  assert.deepEqual(await audited(sql), ["events of no entry"]); // no commands were written here
});

test("I5: of entries that make no rows no more wait than of others", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const findings = new Findings();
  const rows = new EventRows(await scopeOf(sql), findings);
  const deadLetters = [{ index: 0, raw: Buffer.alloc(0), sqlstate: null, reason: "the symbol is unknown" }];
  // Nobody has written their letters: that is found when they are compared.
  for (let seq = 0; seq < 9_999; seq++)
    await rows.add(makeEntry({ seq, orders: 0, receipt: { stream: EVENTS_STREAM }, more: { deadLetters } }));
  assert.equal(findings.count, 0);
  await rows.add(makeEntry({ seq: 9_999, orders: 0, receipt: { stream: EVENTS_STREAM }, more: { deadLetters } }));
  assert.equal(findings.count, 10_000);
});
