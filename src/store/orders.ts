import type postgres from "postgres";

import type { OrderFacts } from "./entry-record.ts";
import type { EventPosition } from "./executions.ts";

export interface StoredOrder extends Omit<OrderFacts, "clientKey"> {
  /** The time of the log entry that holds the order. */
  readonly createdAt: Date;
  /** What the engine made of it; null where no event of it is written. */
  readonly state: StoredState | null;
}

/** An order after the newest of its events that is written, which stands at this place. Decimals are text. */
export interface StoredState extends EventPosition {
  /** As in the API: NEW … REJECTED. */
  readonly status: string;
  /** Of the newest event, as in docs/matching.md. */
  readonly reason: string | null;
  /** Of a stop. */
  readonly triggered: boolean;
  readonly quantity: string;
  readonly price: string | null;
  readonly stopPrice: string | null;
  readonly displayQuantity: string | null;
  readonly cumQuantity: string;
  readonly leavesQuantity: string;
  /** The sum of price × quantity over all its fills. */
  readonly tradedValue: string;
}

interface Row {
  readonly order_id: string;
  /** Null where the order has no row; it is not nullable there. */
  readonly created_at: Date | null;
  readonly expire_time: Date | null;
  readonly post_only: boolean;
  readonly account: string;
  readonly client_order_id: string;
  readonly symbol: string;
  readonly side: OrderFacts["side"];
  readonly type: OrderFacts["type"];
  readonly time_in_force: OrderFacts["timeInForce"];
  readonly quantity: string;
  readonly price: string | null;
  readonly stop_price: string | null;
  readonly display_quantity: string | null;
  readonly self_trade_prevention: OrderFacts["selfTradePrevention"];
  readonly state_epoch: number | null;
  readonly state_ms: string;
  readonly state_seq: string;
  readonly state_index: number;
  readonly status: string;
  readonly reason: string | null;
  readonly triggered: boolean;
  readonly state_quantity: string;
  readonly state_price: string | null;
  readonly state_stop_price: string | null;
  readonly state_display_quantity: string | null;
  readonly cum_quantity: string;
  readonly leaves_quantity: string;
  readonly traded_value: string;
}

export async function findOrder(sql: postgres.Sql, orderId: string): Promise<StoredOrder | undefined> {
  const [row] = await sql<Row[]>`
    SELECT ${columns(sql)} FROM orders LEFT JOIN order_states AS state USING (order_id) WHERE order_id = ${orderId}`;
  return row && toOrder(row);
}

/** The newest order of that id; beyond the idempotency horizon there may be several. `clientKey` as in OrderFacts. */
export async function findOrderByClientId(
  sql: postgres.Sql,
  account: string,
  symbol: string,
  clientOrderId: string,
  clientKey: bigint,
): Promise<StoredOrder | undefined> {
  // MATERIALIZED: with the LIMIT in one query the planner may walk all orders from the newest on instead.
  const [row] = await sql<Row[]>`
    WITH hits AS MATERIALIZED (
      SELECT * FROM orders
      WHERE client_key = ${BigInt.asIntN(64, clientKey).toString()}
        AND client_order_id = ${clientOrderId} AND account = ${account} AND symbol = ${symbol}
    ), newest AS (SELECT * FROM hits ORDER BY order_id DESC LIMIT 1)
    SELECT ${columns(sql)} FROM newest AS orders LEFT JOIN order_states AS state USING (order_id)`;
  return row && toOrder(row);
}

export interface OrderPage {
  readonly account: string;
  readonly symbol?: string | undefined;
  /** The order id at which the page before ended. */
  readonly before?: string | undefined;
  /** Those alone that were open at their newest event; what has no state yet is left out. */
  readonly openOnly?: boolean | undefined;
  readonly limit: number;
}

export interface OrderList {
  readonly orders: readonly StoredOrder[];
  /** The order id at which the page ended; undefined where it is the last one. */
  readonly end: string | undefined;
}

/** An account's orders, newest first. An open one may be missing whose own row is not written yet. */
export async function listOrders(sql: postgres.Sql, page: OrderPage): Promise<OrderList> {
  // The page is cut in the table whose index begins with the account, with one more to tell whether there is another page. What the
  // other table lacks may be missing there only until its workers have come to it: that ends no list.
  const cut = (table: postgres.Fragment) => sql`
    SELECT * FROM ${table}
    WHERE account = ${page.account}
      ${page.symbol === undefined ? sql`` : sql`AND symbol = ${page.symbol}`}
      ${page.before === undefined ? sql`` : sql`AND order_id < ${page.before}`}
      ${page.openOnly === true ? sql`AND open` : sql``}
    ORDER BY order_id DESC LIMIT ${page.limit + 1}`;
  const found =
    page.openOnly === true
      ? await sql<Row[]>`
          SELECT ${columns(sql)} FROM (${cut(sql`order_states`)}) AS state LEFT JOIN orders USING (order_id)
          ORDER BY order_id DESC`
      : await sql<Row[]>`
          SELECT ${columns(sql)} FROM (${cut(sql`orders`)}) AS orders LEFT JOIN order_states AS state USING (order_id)
          ORDER BY order_id DESC`;
  const rows = found.slice(0, page.limit);
  return {
    orders: rows.flatMap((row) => toOrder(row) ?? []),
    end: found.length > page.limit ? rows.at(-1)?.order_id : undefined,
  };
}

function columns(sql: postgres.Sql) {
  return sql`
    order_id, orders.created_at, orders.expire_time, orders.post_only, orders.account, orders.client_order_id, orders.symbol,
    orders.side, orders.type, orders.time_in_force, orders.quantity, orders.price, orders.stop_price, orders.display_quantity,
    orders.self_trade_prevention,
    state.epoch AS state_epoch, state.ms AS state_ms, state.seq AS state_seq, state.index AS state_index, state.status,
    state.reason, state.triggered, state.quantity AS state_quantity, state.price AS state_price,
    state.stop_price AS state_stop_price, state.display_quantity AS state_display_quantity, state.cum_quantity,
    state.leaves_quantity, state.traded_value`;
}

/** Undefined where the order has no row of its own. */
function toOrder(row: Row): StoredOrder | undefined {
  if (row.created_at === null) return undefined;
  return {
    orderId: row.order_id,
    createdAt: row.created_at,
    account: row.account,
    clientOrderId: row.client_order_id,
    symbol: row.symbol,
    side: row.side,
    type: row.type,
    timeInForce: row.time_in_force,
    quantity: row.quantity,
    price: row.price,
    stopPrice: row.stop_price,
    displayQuantity: row.display_quantity,
    expireTime: row.expire_time === null ? null : row.expire_time.getTime(),
    postOnly: row.post_only,
    selfTradePrevention: row.self_trade_prevention,
    state: row.state_epoch === null ? null : toState(row, row.state_epoch),
  };
}

function toState(row: Row, epoch: number): StoredState {
  return {
    epoch,
    ms: Number(row.state_ms),
    seq: Number(row.state_seq),
    index: row.state_index,
    status: row.status,
    reason: row.reason,
    triggered: row.triggered,
    quantity: row.state_quantity,
    price: row.state_price,
    stopPrice: row.state_stop_price,
    displayQuantity: row.state_display_quantity,
    cumQuantity: row.cum_quantity,
    leavesQuantity: row.leaves_quantity,
    tradedValue: row.traded_value,
  };
}
