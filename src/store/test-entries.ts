import { createHash } from "node:crypto";

import postgres from "postgres";
import type { TestContext } from "node:test";

import { clientOptions } from "./client.ts";
import { findLetter, listLetters, type StoredLetter } from "./dead-letter-shelf.ts";
import type { ChangeRow, EntryRecord, OrderRow, Receipt } from "./entry-record.ts";
import { Writer } from "./writer.ts";

/** What the tests of this folder write: entries of made-up orders, told apart by seq. */
export const NOON = Date.UTC(2026, 10, 22, 12);

export interface EntryOptions {
  readonly seq: number;
  readonly orders?: number;
  readonly receipt?: Partial<Receipt>;
  /** Changes the order at this index. */
  readonly order?: (index: number) => Partial<OrderRow>;
  readonly more?: Partial<EntryRecord>;
}

export function makeEntry({ seq, orders = 1, receipt, order = () => ({}), more }: EntryOptions): EntryRecord {
  const ms = receipt?.ms ?? NOON;
  const payload = receipt?.payload ?? Buffer.from(`payload ${ms}-${seq}`);
  return {
    receipt: {
      stream: 0,
      partition: 0,
      epoch: 1,
      ms,
      seq,
      prevMs: seq === 0 ? 0 : ms,
      prevSeq: seq === 0 ? 0 : seq - 1,
      version: 1,
      commands: orders,
      hash: createHash("sha256").update(payload).digest(),
      payload,
      ...receipt,
    },
    orders: Array.from({ length: orders }, (_, index) => ({ ...makeOrder(ms, seq, index), ...order(index) })),
    instruments: [],
    executions: [],
    trades: [],
    deadLetters: [],
    deliveries: 1,
    raw: (index) => (index < 0 ? payload : Buffer.from(`command ${seq}/${index}`)),
    ...more,
  };
}

export function makeOrder(ms: number, seq: number, index: number): OrderRow {
  const time = ms.toString(16).padStart(12, "0");
  const place = seq.toString(16).padStart(8, "0") + index.toString(16).padStart(4, "0");
  const number = seq * 1000 + index;
  return {
    index,
    orderId: `${time.slice(0, 8)}-${time.slice(8)}-7000-8001-${place}`,
    clientKey: BigInt.asUintN(64, BigInt(number) * 0x9e3779b97f4a7c15n),
    account: `trader-${number % 3}`,
    clientOrderId: `order-${number}`,
    symbol: "BTC-USD",
    side: number % 2 === 0 ? "BUY" : "SELL",
    type: "LIMIT",
    timeInForce: "GTC",
    quantity: "0.00000001",
    price: "20000.01",
    stopPrice: null,
    displayQuantity: null,
    expireTime: null,
    postOnly: false,
    selfTradePrevention: null,
  };
}

/** The entry of the events stream in which these orders are new, or what else is said of them. */
export function makeEvents(
  seq: number,
  orders: readonly OrderRow[],
  { ms = NOON, ...more }: Partial<ChangeRow> & { ms?: number } = {},
): EntryRecord {
  const executions = orders.map((order, index): ChangeRow => ({
    ...{ isChange: true, index, command: index, account: order.account, sequence: seq + 1, symbol: order.symbol },
    ...{ execType: "NEW", status: "NEW", reason: null, orderId: order.orderId, otherOrderId: null },
    ...{ clientOrderId: null, clientRequestId: null, triggered: false, quantity: order.quantity, price: order.price },
    ...{ stopPrice: null, displayQuantity: null, cumQuantity: "0", leavesQuantity: order.quantity, tradedValue: "0" },
    ...{ lastQuantity: null, lastPrice: null, trade: null, aggressor: null, affected: null, remaining: null },
    ...more,
  }));
  const entry = makeEntry({ seq, orders: 0, receipt: { stream: 1, ms }, more: { executions } });
  return { ...entry, receipt: { ...entry.receipt, payload: null, commands: executions.length } };
}

/** A writer that is closed with the test. */
export function openWriter(t: TestContext, url: string, timeoutMs = 20_000): Writer {
  const writer = new Writer(url, { timeoutMs });
  t.after(() => writer.close());
  return writer;
}

/** A pool of the test's own, to look and to meddle with. */
export function openSql(t: TestContext, url: string): postgres.Sql {
  const options = { ...clientOptions(20_000), connection: { application_name: "test" }, max: 2 };
  const sql = postgres(url, options);
  t.after(() => sql.end({ timeout: 1 }));
  return sql;
}

export async function countRows(sql: postgres.Sql): Promise<{ journal: number; orders: number; deadLetters: number }> {
  const [row] = await sql<{ journal: number; orders: number; deadLetters: number }[]>`
    SELECT (SELECT count(*)::int FROM journal) AS journal, (SELECT count(*)::int FROM orders) AS orders,
           (SELECT count(*)::int FROM dead_letters) AS "deadLetters"`;
  return row!;
}

/** All dead letters with their bytes, newest first. */
export async function allLetters(sql: postgres.Sql): Promise<StoredLetter[]> {
  const known = await listLetters(sql, { limit: 10_000 });
  return await Promise.all(known.map(async ({ id }) => (await findLetter(sql, id))!));
}
