import type postgres from "postgres";
import { firstOrderId, orderTime } from "../store/partitions.ts";
import type { Findings } from "./findings.ts";
import { withoutLetters, withoutTradeLetters } from "./letters.ts";
import { settledEvents, type Tables } from "./scope.ts";
import { NO_ORDER, REPORTED, suspectsOf } from "./suspects.ts";

/**
 * I9: of all orders that are kept, Cum + Leaves is the quantity while they work and Leaves is 0 at their end; the newest
 * report is the state; what an order has traded is the sum of its trades; and each trade is two reports, of both its sides. Each is
 * one statement, which sees transactions as a whole, so that what is under way does not matter. Returns how many orders have a state.
 */
export async function auditStates(tables: Tables, findings: Findings): Promise<number> {
  const { sql, kept } = tables;
  await auditAmounts(tables, findings);
  await auditNewest(tables, findings);
  await auditSums(tables, findings);
  await auditSides(tables, findings);
  const [row] = await sql<{ count: string }[]>`
    SELECT count(*) AS count FROM order_states WHERE order_id >= ${firstOrderId(kept.sinceMs)}`;
  return Number(row?.count ?? 0);
}

/** Reports that change no order. */
function answers(sql: postgres.Sql) {
  return sql`exec_type IN ('CANCEL_REJECTED', 'REPLACE_REJECTED', 'MASS_CANCEL_REPORT')`;
}

async function auditAmounts({ sql, kept }: Tables, findings: Findings): Promise<void> {
  const rows = await sql<{ order_id: string; ms: string; seq: string; index: number; partition: number }[]>`
    SELECT order_id, ms, seq, index, partition FROM executions
    WHERE ms >= ${kept.sinceMs} AND NOT ${answers(sql)} AND CASE
      WHEN status IN ('NEW', 'PARTIALLY_FILLED') THEN leaves_quantity <= 0 OR cum_quantity + leaves_quantity <> quantity
      WHEN status = 'FILLED' THEN leaves_quantity <> 0 OR cum_quantity <> quantity
      ELSE leaves_quantity <> 0 END
    LIMIT ${REPORTED}`;
  for (const { order_id: id, ms, seq, index, partition } of rows) {
    const where = `partition ${partition}, entry ${ms}-${seq}, report ${index}: order ${id}`;
    findings.add("Cum and Leaves do not fit", where);
  }
}

const idOf = ({ order_id: id }: { readonly order_id: string }) => id;
/** None of an order's reports is older than the order. */
const byOrder = { keyOf: idOf, timeOf: (row: { readonly order_id: string }) => orderTime(idOf(row)) };

async function auditNewest({ sql, kept }: Tables, findings: Findings): Promise<void> {
  const facts = sql`epoch, ms, seq, index, account, symbol, status, reason, quantity, price, stop_price, display_quantity,
    cum_quantity, leaves_quantity, traded_value`;
  type Row = { readonly order_id: string; readonly told: string | null; readonly kept: string | null };
  const suspects = await suspectsOf<Row>(kept, {
    ...byOrder,
    ask({ sinceMs, after, limit }) {
      const behind = sql`order_id >= ${firstOrderId(sinceMs)} AND order_id > ${after?.order_id ?? NO_ORDER}`;
      return sql<Row[]>`
        WITH newest AS (
          SELECT DISTINCT ON (order_id) order_id, ms, seq, index, status, (${facts}) AS facts FROM executions
          WHERE ms >= ${sinceMs} AND ${behind} AND NOT ${answers(sql)}
          ORDER BY order_id, epoch DESC, ms DESC, seq DESC, index DESC
        ), kept AS (
          SELECT order_id, ms, seq, index, status, (${facts}) AS facts, open = (leaves_quantity > 0) AS is_right
          FROM order_states WHERE ${behind}
        )
        SELECT order_id, newest.ms || '-' || newest.seq || '/' || newest.index || ', ' || newest.status AS told,
               kept.ms || '-' || kept.seq || '/' || kept.index || ', ' || kept.status AS kept
        FROM newest FULL JOIN kept USING (order_id)
        WHERE newest.ms IS NULL OR kept.ms IS NULL OR newest.facts IS DISTINCT FROM kept.facts OR NOT is_right
        ORDER BY order_id LIMIT ${limit}`;
    },
    unexplained: (rows) => withoutLetters(sql, rows, idOf),
  });
  for (const { order_id: id, told, kept: state } of suspects) {
    if (state === null) findings.add("reports, but no state", `order ${id}: its newest report is ${told}`);
    else if (told === null) findings.add("a state, but no reports", `order ${id}: its state is of ${state}`);
    else
      findings.add("a state is not the newest report", `order ${id}: the state is of ${state}; the report is ${told}`);
  }
}

/**
 * Of what is written in any case: a worker that is quicker than another one writes later reports of an order before earlier ones,
 * and the newest says what all of them make together.
 */
async function auditSums({ sql, scopes, kept }: Tables, findings: Findings): Promise<void> {
  type Row = {
    readonly order_id: string;
    readonly traded: string;
    readonly cum: string;
    readonly ends: string;
    readonly adds_up: boolean;
  };
  const suspects = await suspectsOf<Row>(kept, {
    ...byOrder,
    ask: ({ sinceMs, after, limit }) => sql<Row[]>`
      WITH sums AS (
        SELECT order_id, until_ms, until_seq,
               coalesce(sum(last_quantity) FILTER (WHERE exec_type = 'TRADE'), 0) AS traded,
               coalesce(sum(last_quantity * last_price) FILTER (WHERE exec_type = 'TRADE'), 0) AS value,
               max(cum_quantity) AS cum, max(traded_value) AS told, count(*) FILTER (WHERE leaves_quantity = 0) AS ends,
               bool_or(exec_type = 'TRIGGERED') AS triggered
        FROM executions JOIN ${settledEvents(sql, scopes)} USING (partition)
        WHERE ms >= ${sinceMs} AND (ms, seq) <= (until_ms, until_seq) AND NOT ${answers(sql)}
          AND order_id >= ${firstOrderId(sinceMs)} AND order_id > ${after?.order_id ?? NO_ORDER}
        GROUP BY order_id, until_ms, until_seq
      ), checked AS (
        SELECT order_id, traded, cum, ends, traded = cum AND value = told AND ends <= 1 AS adds_up,
               state.triggered IS DISTINCT FROM sums.triggered AND (state.ms, state.seq) <= (until_ms, until_seq) AS other
        FROM sums LEFT JOIN order_states AS state USING (order_id)
      )
      SELECT order_id, traded, cum, ends, adds_up FROM checked WHERE NOT adds_up OR other
      ORDER BY order_id LIMIT ${limit}`,
    unexplained: (rows) => withoutLetters(sql, rows, idOf),
  });
  for (const { order_id: id, traded, cum, ends, adds_up: addsUp } of suspects) {
    const words = Number(ends) > 1 ? `it ends ${ends} times` : `its trades make ${traded}, and it says ${cum}`;
    if (addsUp) findings.add("a state is not the newest report", `order ${id}: whether it was triggered`);
    else findings.add("an order's trades do not add up", `order ${id}: ${words}`);
  }
}

async function auditSides({ sql, kept }: Tables, findings: Findings): Promise<void> {
  type Row = { readonly symbol: string; readonly trade: string; readonly ms: string };
  const suspects = await suspectsOf<Row>(kept, {
    keyOf: ({ symbol, trade, ms }) => `${symbol} ${trade} ${ms}`,
    timeOf: ({ ms }) => Number(ms),
    ask: ({ sinceMs, after, limit }) => sql<Row[]>`
      WITH sides AS (
        SELECT symbol COLLATE "C" AS symbol, trade, ms, count(*) AS reports, count(*) FILTER (WHERE aggressor) AS aggressors,
               array_agg(order_id ORDER BY order_id) AS orders, array_agg(account ORDER BY order_id) AS accounts,
               min(last_quantity) AS quantity, max(last_quantity) AS most, min(last_price) AS price, max(last_price) AS highest
        FROM executions WHERE ms >= ${sinceMs} AND exec_type = 'TRADE' GROUP BY symbol, trade, ms
      ), pairs AS (
        SELECT symbol, trade, ms, price, quantity, buy_order_id < sell_order_id AS bought_first, buy_order_id, sell_order_id,
               buy_account, sell_account
        FROM trades WHERE ms >= ${sinceMs}
      )
      SELECT symbol, trade, ms FROM sides FULL JOIN pairs USING (symbol, trade, ms)
      WHERE (sides.reports IS DISTINCT FROM 2 OR aggressors <> 1 OR sides.quantity <> most OR sides.price <> highest
        OR pairs.price IS DISTINCT FROM sides.price OR pairs.quantity IS DISTINCT FROM sides.quantity
        OR orders <> CASE WHEN bought_first THEN ARRAY[buy_order_id, sell_order_id] ELSE ARRAY[sell_order_id, buy_order_id] END
        OR accounts <> CASE WHEN bought_first THEN ARRAY[buy_account, sell_account] ELSE ARRAY[sell_account, buy_account] END)
        AND (ms, trade, symbol) > (${after?.ms ?? "-1"}::bigint, ${after?.trade ?? "0"}::bigint, ${after?.symbol ?? ""}::text)
      ORDER BY ms, trade, symbol LIMIT ${limit}`,
    unexplained: (rows) =>
      withoutTradeLetters(sql, rows, ({ symbol, ms }) => ({ symbol, fromMs: Number(ms), toMs: Number(ms) })),
  });
  for (const { symbol, trade, ms } of suspects) {
    const where = `trade ${trade} of ${symbol}, ${new Date(Number(ms)).toISOString()}`;
    findings.add("a trade and its reports do not agree", where);
  }
}
