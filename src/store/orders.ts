import type postgres from "postgres";

import type { OrderFacts } from "./entry-record.ts";

export interface StoredOrder extends Omit<OrderFacts, "clientKey"> {
  /** The time of the log entry that holds the order. */
  readonly createdAt: Date;
}

interface Row {
  readonly order_id: string;
  readonly created_at: Date;
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
}

export async function findOrder(sql: postgres.Sql, orderId: string): Promise<StoredOrder | undefined> {
  const [row] = await sql<Row[]>`SELECT ${columns(sql)} FROM orders WHERE order_id = ${orderId}`;
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
      SELECT ${columns(sql)} FROM orders
      WHERE client_key = ${BigInt.asIntN(64, clientKey).toString()}
        AND client_order_id = ${clientOrderId} AND account = ${account} AND symbol = ${symbol}
    )
    SELECT * FROM hits ORDER BY order_id DESC LIMIT 1`;
  return row && toOrder(row);
}

export interface OrderPage {
  readonly account: string;
  readonly symbol?: string | undefined;
  /** The order id at which the page before ended. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** An account's orders, newest first. */
export async function listOrders(sql: postgres.Sql, page: OrderPage): Promise<StoredOrder[]> {
  const rows = await sql<Row[]>`
    SELECT ${columns(sql)} FROM orders
    WHERE account = ${page.account}
      ${page.symbol === undefined ? sql`` : sql`AND symbol = ${page.symbol}`}
      ${page.before === undefined ? sql`` : sql`AND order_id < ${page.before}`}
    ORDER BY order_id DESC LIMIT ${page.limit}`;
  return rows.map(toOrder);
}

function columns(sql: postgres.Sql) {
  return sql`
    order_id, created_at, expire_time, post_only, account, client_order_id, symbol, side, type, time_in_force, quantity,
    price, stop_price, display_quantity, self_trade_prevention`;
}

function toOrder(row: Row): StoredOrder {
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
  };
}
