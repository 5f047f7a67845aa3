import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { firstOrderId } from "../store/partitions.ts";
import { type EntryId, formatEntryId, orderIdPrefix } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { auditChain } from "./journal-audit.ts";

/** Of each question so many answers are told. */
const REPORTED = 100;

export interface EventFigures {
  readonly entries: number;
  readonly reports: number;
  readonly trades: number;
}

export interface EventRange {
  readonly partition: number;
  /** Up to these everything is written. */
  readonly orders: EntryId;
  readonly events: EntryId;
  /** From this moment on (ms) every table has its days. */
  readonly sinceMs: number;
}

/**
 * I4, I8: every journaled entry has its events and nothing else has, their chain is unbroken, every order has a state, and
 * accounts' reports and symbols' trades are numbered without a gap. Undefined where the engine has not begun.
 */
export async function auditEvents(
  sql: postgres.Sql,
  { partition, orders, events, sinceMs }: EventRange,
  findings: Findings,
): Promise<EventFigures | undefined> {
  const firstMs = await auditChain(sql, EVENTS_STREAM, partition, events, findings);
  if (firstMs === undefined) return undefined;
  // What is under way may be written here and not yet there.
  const range = { partition, fromMs: Math.max(firstMs, sinceMs), toMs: Math.min(orders.ms, events.ms) - 1 };
  await auditPairs(sql, range, findings);
  await auditOrders(sql, range, findings);
  await auditReports(sql, range, findings);
  await auditTradeNumbers(sql, range, findings);
  const [row] = await sql<{ entries: string; reports: string; trades: string }[]>`
    SELECT (SELECT count(*) FROM journal WHERE stream = ${EVENTS_STREAM} AND partition = ${partition}) AS entries,
           (SELECT count(*) FROM executions WHERE partition = ${partition}) AS reports,
           (SELECT count(*) FROM trades WHERE partition = ${partition}) AS trades`;
  return { entries: Number(row?.entries), reports: Number(row?.reports), trades: Number(row?.trades) };
}

interface Range {
  readonly partition: number;
  /** Both inclusive. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** Entries with no events, and events of no entry. */
async function auditPairs(sql: postgres.Sql, { partition, fromMs, toMs }: Range, findings: Findings): Promise<void> {
  const journaled = (stream: number) => sql`
    SELECT ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch > 0 AND ms BETWEEN ${fromMs} AND ${toMs}`;
  const rows = await sql<{ ms: string; seq: string; commanded: boolean }[]>`
    SELECT ms, seq, command.there IS NOT NULL AS commanded
    FROM (SELECT *, true AS there FROM (${journaled(ORDERS_STREAM)}) AS c) AS command
    FULL JOIN (SELECT *, true AS there FROM (${journaled(EVENTS_STREAM)}) AS e) AS event USING (ms, seq)
    WHERE command.there IS NULL OR event.there IS NULL ORDER BY ms, seq LIMIT ${REPORTED}`;
  for (const { ms, seq, commanded } of rows) {
    const kind = commanded ? "journaled, but it has no events" : "events of an entry that is not journaled";
    findings.add(kind, `partition ${partition}, entry ${ms}-${seq}`);
  }
}

/** Orders that the engine never told of. */
async function auditOrders(sql: postgres.Sql, { partition, fromMs, toMs }: Range, findings: Findings): Promise<void> {
  const digits = orderIdPrefix(partition, { ms: 0, seq: 0, epoch: 0 }).slice(15, 18);
  const rows = await sql<{ order_id: string }[]>`
    SELECT order_id FROM orders LEFT JOIN order_states AS state USING (order_id)
    WHERE order_id >= ${firstOrderId(fromMs)} AND order_id < ${firstOrderId(toMs + 1)} AND state.ms IS NULL
      AND substr(order_id::text, 16, 3) = ${digits} LIMIT ${REPORTED}`;
  for (const { order_id: id } of rows) findings.add("an order without a state", `order ${id}`);
}

/** What an account was told, in the order of the log. Where reports became dead letters, their numbers are missing. */
async function auditReports(sql: postgres.Sql, { partition, fromMs, toMs }: Range, findings: Findings): Promise<void> {
  const rows = await sql<{ account: string; before: string; sequence: string; ms: string; seq: string }[]>`
    WITH told AS (
      SELECT account, sequence, epoch, ms, seq, index, lag(sequence) OVER log AS before, lag(epoch) OVER log AS before_epoch,
             lag(ms) OVER log AS before_ms, lag(seq) OVER log AS before_seq, lag(index) OVER log AS before_index
      FROM executions WHERE partition = ${partition} AND sequence > 0 AND ms BETWEEN ${fromMs} AND ${toMs}
      WINDOW log AS (PARTITION BY account ORDER BY epoch, ms, seq, index)
    )
    SELECT account, before, sequence, ms, seq FROM told
    WHERE sequence <> before + 1 AND NOT EXISTS (
      SELECT FROM dead_letters AS letter
      WHERE letter.stream = ${EVENTS_STREAM} AND letter.partition = ${partition} AND letter.state <> 'redriven'
        AND (letter.epoch, letter.ms, letter.seq, letter.index) > (before_epoch, before_ms, before_seq, before_index)
        AND (letter.epoch, letter.ms, letter.seq, letter.index) < (told.epoch, told.ms, told.seq, told.index)
    )
    ORDER BY account, epoch, ms, seq LIMIT ${REPORTED}`;
  for (const { account, before, sequence, ms, seq } of rows) {
    const place = `partition ${partition}, entry ${formatEntryId({ ms: Number(ms), seq: Number(seq) })}`;
    findings.add("a gap in an account's reports", `${place}: report ${sequence} of ${account} follows ${before}`);
  }
}

async function auditTradeNumbers(sql: postgres.Sql, { partition, fromMs, toMs }: Range, findings: Findings) {
  const rows = await sql<{ symbol: string; before: string; trade: string }[]>`
    WITH traded AS (
      SELECT symbol, trade, lag(trade) OVER (PARTITION BY symbol ORDER BY trade, ms) AS before
      FROM trades WHERE partition = ${partition} AND ms BETWEEN ${fromMs} AND ${toMs}
    )
    SELECT symbol, before, trade FROM traded WHERE trade <> before + 1 ORDER BY symbol, trade LIMIT ${REPORTED}`;
  for (const { symbol, before, trade } of rows)
    findings.add("a gap in a symbol's trades", `trade ${trade} of ${symbol} follows ${before}`);
}

/**
 * I9: of all orders that began since then, Cum + Leaves is the quantity while they work and Leaves is 0 at their end; the newest
 * report is the state; and each trade is two reports, of both its sides. All of it within one statement each, which sees
 * transactions as a whole, so that what is under way does not matter. Returns how many orders have a state.
 */
export async function auditStates(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<number> {
  const since = firstOrderId(sinceMs);
  const answers = sql`exec_type IN ('CANCEL_REJECTED', 'REPLACE_REJECTED', 'MASS_CANCEL_REPORT')`;
  const unbalanced = await sql<{ order_id: string; ms: string; seq: string; index: number }[]>`
    SELECT order_id, ms, seq, index FROM executions
    WHERE ms >= ${sinceMs} AND NOT ${answers} AND CASE
      WHEN status IN ('NEW', 'PARTIALLY_FILLED') THEN leaves_quantity <= 0 OR cum_quantity + leaves_quantity <> quantity
      WHEN status = 'FILLED' THEN leaves_quantity <> 0 OR cum_quantity <> quantity
      ELSE leaves_quantity <> 0 END
    LIMIT ${REPORTED}`;
  for (const { order_id: id, ms, seq, index } of unbalanced)
    findings.add("Cum and Leaves are not what they must be", `order ${id}, entry ${ms}-${seq}, report ${index}`);

  const facts = sql`epoch, ms, seq, index, account, symbol, status, reason, quantity, price, stop_price, display_quantity,
    cum_quantity, leaves_quantity, traded_value`;
  const different = await sql<{ order_id: string; told: boolean; kept: boolean }[]>`
    WITH newest AS (
      SELECT DISTINCT ON (order_id) order_id, true AS there, (${facts}) AS facts FROM executions
      WHERE ms >= ${sinceMs} AND order_id >= ${since} AND NOT ${answers}
      ORDER BY order_id, epoch DESC, ms DESC, seq DESC, index DESC
    ), kept AS (
      SELECT order_id, true AS there, (${facts}) AS facts, open = (leaves_quantity > 0) AS is_right FROM order_states
      WHERE order_id >= ${since}
    )
    SELECT order_id, newest.there IS NOT NULL AS told, kept.there IS NOT NULL AS kept
    FROM newest FULL JOIN kept USING (order_id)
    WHERE newest.there IS NULL OR kept.there IS NULL OR newest.facts IS DISTINCT FROM kept.facts OR NOT is_right
    LIMIT ${REPORTED}`;
  for (const { order_id: id, told, kept } of different) {
    const what = !kept
      ? "reports, but no state"
      : !told
        ? "a state, but no reports"
        : "a state that is not the newest report";
    findings.add(what, `order ${id}`);
  }

  const halves = await sql<{ symbol: string; trade: string; ms: string }[]>`
    WITH sides AS (
      SELECT symbol, trade, ms, count(*) AS reports, count(*) FILTER (WHERE aggressor) AS aggressors,
             array_agg(order_id ORDER BY order_id) AS orders, array_agg(account ORDER BY order_id) AS accounts,
             min(last_quantity) AS quantity, max(last_quantity) AS most, min(last_price) AS price, max(last_price) AS highest
      FROM executions WHERE ms >= ${sinceMs} AND exec_type = 'TRADE' GROUP BY symbol, trade, ms
    ), pairs AS (
      SELECT symbol, trade, ms, price, quantity, buy_order_id < sell_order_id AS bought_first, buy_order_id, sell_order_id,
             buy_account, sell_account
      FROM trades WHERE ms >= ${sinceMs}
    )
    SELECT symbol, trade, ms FROM sides FULL JOIN pairs USING (symbol, trade, ms)
    WHERE sides.reports IS DISTINCT FROM 2 OR aggressors <> 1 OR sides.quantity <> most OR sides.price <> highest
      OR pairs.price IS DISTINCT FROM sides.price OR pairs.quantity IS DISTINCT FROM sides.quantity
      OR orders <> CASE WHEN bought_first THEN ARRAY[buy_order_id, sell_order_id] ELSE ARRAY[sell_order_id, buy_order_id] END
      OR accounts <> CASE WHEN bought_first THEN ARRAY[buy_account, sell_account] ELSE ARRAY[sell_account, buy_account] END
    LIMIT ${REPORTED}`;
  for (const { symbol, trade, ms } of halves)
    findings.add(
      "a trade and its two reports do not agree",
      `trade ${trade} of ${symbol}, ${new Date(Number(ms)).toISOString()}`,
    );

  const [row] = await sql<{ count: string }[]>`SELECT count(*) AS count FROM order_states WHERE order_id >= ${since}`;
  return Number(row?.count ?? 0);
}
