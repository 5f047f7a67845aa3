/**
 * From what the engine told to rows, and back to readers:
 *
 * - I5 the rows of an entry are written once, however often it comes
 * - I6 whatever the order of delivery, the rows are the same
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { EVENT_ROWS } from "../src/consumers/event-rows.ts";
import { recordOf } from "../src/consumers/record.ts";
import type { MatchingEvent } from "../src/engine/matching/interface.ts";
import { EventKind, ExecType, OrderStatus, Reason } from "../src/engine/matching/sets.ts";
import { persist } from "../src/store/batch.ts";
import type { EntryRecord } from "../src/store/entry-record.ts";
import { type EventPosition, readExecutions, type StoredExecution } from "../src/store/executions.ts";
import { openSql, openWriter } from "../src/store/test-entries.ts";
import { listTrades } from "../src/store/trades.ts";
import { formatOrderId } from "../src/stream/position.ts";
import { eventFlow, type FlowEntry, flowInstruments, random } from "./support/event-flow.ts";
import { createTestDatabase } from "./support/servers.ts";

const PARTITION = 0;
const START: EventPosition = { epoch: 0, ms: 0, seq: 0, index: 0 };

function recordsOf(flow: readonly FlowEntry[]): EntryRecord[] {
  const options = { partition: PARTITION, instruments: flowInstruments, instrumentsAreFresh: true };
  return flow.map((entry) => recordOf(EVENT_ROWS, entry, options));
}

async function openDatabase(t: TestContext) {
  const { url } = await createTestDatabase(t);
  return { url, sql: openSql(t, url) };
}

/** All rows of the tables that events become, each as text. */
async function dump(sql: postgres.Sql): Promise<Record<string, string[]>> {
  const tables: Record<string, string[]> = {};
  for (const table of ["journal", "executions", "trades", "order_states", "dead_letters"]) {
    const rows = await sql<{ row: string }[]>`SELECT t::text AS row FROM ${sql(table)} AS t ORDER BY 1`;
    tables[table] = rows.map(({ row }) => row);
  }
  return tables;
}

/** Shuffled batches of 1 to 12 entries, in which a third of the entries come more than once. */
function deliveries(records: readonly EntryRecord[], seed: number): EntryRecord[][] {
  const next = random(seed);
  const given = [...records, ...records.filter(() => next() % 3 === 0)];
  for (let i = given.length - 1; i > 0; i--) {
    const other = next() % (i + 1);
    [given[i], given[other]] = [given[other]!, given[i]!];
  }
  const batches: EntryRecord[][] = [];
  while (given.length > 0) batches.push(given.splice(0, 1 + (next() % 12)));
  return batches;
}

test("I5, I6: whatever the order of delivery, the batches and the repetitions, and with two writers at once: the same rows", async (t) => {
  for (const seed of [1, 0xbeef, 0x1234_5678]) {
    const records = recordsOf(eventFlow(seed, 300));
    const inOrder = await openDatabase(t);
    const writer = openWriter(t, inOrder.url);
    for (const record of records) await persist(writer, [record]);
    const expected = await dump(inOrder.sql);
    assert.equal(expected["journal"]?.length, records.length, `seed ${seed}`);
    assert.deepEqual(expected["dead_letters"], []);

    const shuffled = await openDatabase(t);
    const writers = [openWriter(t, shuffled.url), openWriter(t, shuffled.url)];
    const batches = deliveries(records, seed);
    await Promise.all(
      writers.map(async (each) => {
        for (let batch = batches.pop(); batch !== undefined; batch = batches.pop()) await persist(each, batch);
      }),
    );
    assert.deepEqual(await dump(shuffled.sql), expected, `seed ${seed}`);
  }
});

const decimal = (units: number, digits: number) =>
  String(units)
    .padStart(digits + 1, "0")
    .replace(new RegExp(`(\\d{${digits}})$`), ".$1")
    .replace(/\.?0+$/, "");
const price = (ticks: number) => (ticks === 0 ? null : decimal(ticks, 2));
const lots = (quantity: number) => decimal(quantity, 3);
const idOf = ({ epoch, ms, seq, index }: EventPosition) =>
  formatOrderId({ partition: PARTITION, epoch, ms, seq, index });
const nameOf = (set: Readonly<Record<string, number>>, number: number) =>
  Object.entries(set).find(([, value]) => value === number)?.[0] ?? null;

/** What a row of a report must say, made from the engine's own event in another way. */
function expectedReport(event: MatchingEvent, { ms, seq }: FlowEntry, index: number): StoredExecution | undefined {
  const isChange = event.kind === EventKind.EXECUTION;
  const execType = isChange
    ? nameOf(ExecType, event.execType)
    : [null, null, "CANCEL_REJECTED", "REPLACE_REJECTED", "MASS_CANCEL_REPORT"][event.kind];
  if (!execType || (event.kind === EventKind.COMMAND && event.account === "")) return undefined;
  const isKnown = event.status !== 0;
  const isTrade = event.trade > 0;
  return {
    ...{ partition: PARTITION, epoch: 1, ms, seq, index, account: event.account, sequence: event.sequence },
    ...{ symbol: event.symbol, execType, status: nameOf(OrderStatus, event.status) },
    reason: event.reason === 0 ? null : nameOf(Reason, event.reason),
    orderId: event.ms === 0 ? null : idOf(event),
    clientOrderId: isKnown || event.clientOrderId === "" ? null : event.clientOrderId,
    clientRequestId: event.command < 0 ? null : `request-${event.command}`,
    quantity: isKnown ? lots(event.quantity) : null,
    price: price(event.price),
    stopPrice: price(event.stopPrice),
    displayQuantity: event.displayQuantity === 0 ? null : lots(event.displayQuantity),
    cumQuantity: isKnown ? lots(event.cumQuantity) : null,
    leavesQuantity: isKnown ? lots(event.leavesQuantity) : null,
    tradedValue: isKnown ? decimal(event.valueLow, 5) : null,
    lastQuantity: isTrade ? lots(event.lastQuantity) : null,
    lastPrice: price(event.lastPrice),
    trade: isTrade ? event.trade : null,
    aggressor: isTrade ? event.aggressor : null,
    affected: event.kind === EventKind.COMMAND ? event.affected : null,
    remaining: event.kind === EventKind.COMMAND ? event.remaining : null,
    order: null,
  };
}

test("every report is read back, of one account and of all, page by page from any place; states and trades agree with them", async (t) => {
  const flow = eventFlow(77, 600);
  const { url, sql } = await openDatabase(t);
  await persist(openWriter(t, url), recordsOf(flow));
  const expected = flow.flatMap((entry) =>
    entry.events.flatMap((event, index) => expectedReport(event, entry, index) ?? []),
  );
  assert.ok(new Set(expected.map(({ execType }) => execType)).size >= 10, "all kinds but one occur");

  const pages = async (from: EventPosition, filter: { account?: string; symbol?: string }, limit: number) => {
    const found: StoredExecution[] = [];
    for (let after = from; ; after = found.at(-1)!) {
      const page = await readExecutions(sql, PARTITION, after, { ...filter, limit });
      found.push(...page);
      if (page.length < limit) return found;
    }
  };
  assert.deepEqual(await pages(START, {}, 100), expected);
  const accounts = new Set(expected.map(({ account }) => account));
  for (const account of accounts) {
    const own = expected.filter((report) => report.account === account);
    assert.deepEqual(await pages(START, { account }, 7), own);
    const middle = own[own.length >> 1]!;
    assert.deepEqual(await pages(middle, { account }, 1000), own.slice((own.length >> 1) + 1));
    const ofSymbol = own.filter(({ symbol }) => symbol === "A-B");
    assert.deepEqual(await pages(START, { account, symbol: "A-B" }, 5), ofSymbol);
  }
  for (let at = 0; at < expected.length; at += 53) {
    const page = await readExecutions(sql, PARTITION, expected[at]!, { limit: 3 });
    assert.deepEqual(page, expected.slice(at + 1, at + 4));
  }
  assert.deepEqual(await readExecutions(sql, PARTITION + 1, START, { limit: 3 }), []);

  const newest = new Map<string, StoredExecution>();
  const answers = new Set(["CANCEL_REJECTED", "REPLACE_REJECTED", "MASS_CANCEL_REPORT"]);
  for (const report of expected) if (!answers.has(report.execType)) newest.set(report.orderId!, report);
  const states = await sql<{ order_id: string; status: string; open: boolean; at: string }[]>`
    SELECT order_id, status, open, concat_ws('/', epoch, ms, seq, index) AS at FROM order_states`;
  assert.equal(states.length, newest.size);
  for (const { order_id: orderId, ...state } of states) {
    const { epoch, ms, seq, index, status } = newest.get(orderId)!;
    const open = status === "NEW" || status === "PARTIALLY_FILLED";
    assert.deepEqual(state, { status, open, at: `${epoch}/${ms}/${seq}/${index}` });
  }

  for (const symbol of ["A-B", "C-D"]) {
    const told = expected.filter((report) => report.symbol === symbol && report.aggressor === true).toReversed();
    const found = await listTrades(sql, symbol, { limit: 1000 });
    assert.deepEqual(
      found.map(({ trade, ms, price, quantity }) => ({ trade, ms, price, quantity })),
      told.map(({ trade, ms, lastPrice, lastQuantity }) => ({ trade, ms, price: lastPrice, quantity: lastQuantity })),
    );
    const before = found[3]?.trade;
    assert.deepEqual(await listTrades(sql, symbol, { before, limit: 2 }), found.slice(4, 6));
  }
});
