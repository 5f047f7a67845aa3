import type postgres from "postgres";
import { firstOrderId } from "../store/partitions.ts";
import type { Findings } from "./findings.ts";
import { hasLetterOfOrder, hasLetterOfTrade } from "./letters.ts";

/** Of each question so many answers are told. */
const REPORTED = 100;

/**
 * I9: of all orders that began since then, Cum + Leaves is the quantity while they work and Leaves is 0 at their end; the newest
 * report is the state; what an order has traded is the sum of its trades; and each trade is two reports, of both its sides. Each is
 * one statement, which sees transactions as a whole, so that what is under way does not matter. Returns how many orders have a state.
 */
export async function auditStates(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<number> {
  await auditAmounts(sql, sinceMs, findings);
  await auditNewest(sql, sinceMs, findings);
  await auditSums(sql, sinceMs, findings);
  await auditSides(sql, sinceMs, findings);
  const [row] = await sql<{ count: string }[]>`
    SELECT count(*) AS count FROM order_states WHERE order_id >= ${firstOrderId(sinceMs)}`;
  return Number(row?.count ?? 0);
}

/** Reports that change no order. */
function answers(sql: postgres.Sql) {
  return sql`exec_type IN ('CANCEL_REJECTED', 'REPLACE_REJECTED', 'MASS_CANCEL_REPORT')`;
}

async function auditAmounts(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<void> {
  const rows = await sql<{ order_id: string; ms: string; seq: string; index: number; partition: number }[]>`
    SELECT order_id, ms, seq, index, partition FROM executions
    WHERE ms >= ${sinceMs} AND NOT ${answers(sql)} AND CASE
      WHEN status IN ('NEW', 'PARTIALLY_FILLED') THEN leaves_quantity <= 0 OR cum_quantity + leaves_quantity <> quantity
      WHEN status = 'FILLED' THEN leaves_quantity <> 0 OR cum_quantity <> quantity
      ELSE leaves_quantity <> 0 END
    LIMIT ${REPORTED}`;
  for (const { order_id: id, ms, seq, index, partition } of rows) {
    const where = `partition ${partition}, entry ${ms}-${seq}, report ${index}: order ${id}`;
    findings.add("Cum and Leaves do not fit", where);
  }
}

async function auditNewest(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<void> {
  const since = firstOrderId(sinceMs);
  const facts = sql`epoch, ms, seq, index, account, symbol, status, reason, quantity, price, stop_price, display_quantity,
    cum_quantity, leaves_quantity, traded_value`;
  const rows = await sql<{ order_id: string; told: string | null; kept: string | null }[]>`
    WITH newest AS (
      SELECT DISTINCT ON (order_id) order_id, ms, seq, index, status, (${facts}) AS facts FROM executions
      WHERE ms >= ${sinceMs} AND order_id >= ${since} AND NOT ${answers(sql)}
      ORDER BY order_id, epoch DESC, ms DESC, seq DESC, index DESC
    ), kept AS (
      SELECT order_id, ms, seq, index, status, (${facts}) AS facts, open = (leaves_quantity > 0) AS is_right
      FROM order_states WHERE order_id >= ${since}
    )
    SELECT order_id, newest.ms || '-' || newest.seq || '/' || newest.index || ', ' || newest.status AS told,
           kept.ms || '-' || kept.seq || '/' || kept.index || ', ' || kept.status AS kept
    FROM newest FULL JOIN kept USING (order_id)
    WHERE newest.ms IS NULL OR kept.ms IS NULL OR newest.facts IS DISTINCT FROM kept.facts OR NOT is_right
    LIMIT ${REPORTED}`;
  for (const { order_id: id, told, kept } of rows) {
    if (await hasLetterOfOrder(sql, id)) continue;
    if (kept === null) findings.add("reports, but no state", `order ${id}: its newest report is ${told}`);
    else if (told === null) findings.add("a state, but no reports", `order ${id}: its state is of ${kept}`);
    else
      findings.add("a state is not the newest report", `order ${id}: the state is of ${kept}; the report is ${told}`);
  }
}

async function auditSums(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<void> {
  const rows = await sql<{ order_id: string; traded: string; cum: string; ends: string }[]>`
    WITH sums AS (
      SELECT order_id, coalesce(sum(last_quantity) FILTER (WHERE exec_type = 'TRADE'), 0) AS traded,
             coalesce(sum(last_quantity * last_price) FILTER (WHERE exec_type = 'TRADE'), 0) AS value,
             max(cum_quantity) AS cum, max(traded_value) AS told, count(*) FILTER (WHERE leaves_quantity = 0) AS ends
      FROM executions WHERE ms >= ${sinceMs} AND order_id >= ${firstOrderId(sinceMs)} AND NOT ${answers(sql)}
      GROUP BY order_id
    )
    SELECT order_id, traded, cum, ends FROM sums WHERE traded <> cum OR value <> told OR ends > 1 LIMIT ${REPORTED}`;
  for (const { order_id: id, traded, cum, ends } of rows) {
    if (await hasLetterOfOrder(sql, id)) continue;
    const words = Number(ends) > 1 ? `it ends ${ends} times` : `its trades make ${traded}, and it says ${cum}`;
    findings.add("an order's trades do not add up", `order ${id}: ${words}`);
  }
}

async function auditSides(sql: postgres.Sql, sinceMs: number, findings: Findings): Promise<void> {
  const rows = await sql<{ symbol: string; trade: string; ms: string }[]>`
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
  for (const { symbol, trade, ms } of rows) {
    if (await hasLetterOfTrade(sql, symbol, Number(ms), Number(ms))) continue;
    const where = `trade ${trade} of ${symbol}, ${new Date(Number(ms)).toISOString()}`;
    findings.add("a trade and its reports do not agree", where);
  }
}
