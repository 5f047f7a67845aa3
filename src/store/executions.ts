import type postgres from "postgres";

import type { LogPosition, OrderFacts } from "./entry-record.ts";

/** A place among the events of a partition. Compared as numbers: epoch, ms, seq, index. */
export interface EventPosition extends LogPosition {
  readonly index: number;
}

/** What an order was submitted with and keeps for ever. */
export type FixedFacts = Pick<
  OrderFacts,
  "clientOrderId" | "side" | "type" | "timeInForce" | "expireTime" | "postOnly" | "selfTradePrevention"
>;

/** An execution report as it was told. Decimals are text; null is what a report of its kind does not say. */
export interface StoredExecution extends EventPosition {
  readonly partition: number;
  readonly account: string;
  /** The account's reports in the partition, from 1 without a gap; 0 where the engine had no room for the account. */
  readonly sequence: number;
  /** "" of a mass cancel of all symbols. */
  readonly symbol: string;
  /** As in the API: NEW, TRADE … MASS_CANCEL_REPORT. */
  readonly execType: string;
  /** Of the order after it, as in the API: NEW … REJECTED. */
  readonly status: string | null;
  /** As in docs/matching.md. */
  readonly reason: string | null;
  readonly orderId: string | null;
  /** What a refused cancel or replace named, where no order is known. */
  readonly clientOrderId: string | null;
  readonly clientRequestId: string | null;
  readonly quantity: string | null;
  readonly price: string | null;
  readonly stopPrice: string | null;
  readonly displayQuantity: string | null;
  readonly cumQuantity: string | null;
  readonly leavesQuantity: string | null;
  /** The sum of price × quantity over all fills of the order. */
  readonly tradedValue: string | null;
  readonly lastQuantity: string | null;
  readonly lastPrice: string | null;
  readonly trade: number | null;
  readonly aggressor: boolean | null;
  readonly affected: number | null;
  readonly remaining: number | null;
  /** Null where no order is known, or its own row is not written (the orders stream has its own workers). */
  readonly order: FixedFacts | null;
}

export interface ExecutionFilter {
  /** All accounts where it is absent. */
  readonly account?: string | undefined;
  readonly symbol?: string | undefined;
  readonly limit: number;
}

/** Reports of a partition behind a place, in their order: the next `limit`, or all there are where they are fewer. */
export async function readExecutions(
  sql: postgres.Sql,
  partition: number,
  after: EventPosition,
  { account, symbol, limit }: ExecutionFilter,
): Promise<StoredExecution[]> {
  const found: StoredExecution[] = [];
  // Epoch by epoch: compared as a whole, a place would make the planner sort all that is behind it (journal.ts).
  for (let place: EventPosition | undefined = after; place !== undefined;) {
    const { epoch, ms, seq, index }: EventPosition = place;
    const page = sql`
      SELECT * FROM executions
      WHERE partition = ${partition} AND epoch = ${epoch}
        AND ms >= ${ms} AND (ms, seq, index) > (${ms}::bigint, ${seq}::bigint, ${index}::integer)
        ${account === undefined ? sql`` : sql`AND account = ${account}`}
        ${symbol === undefined ? sql`` : sql`AND symbol = ${symbol}`}
      ORDER BY ms, seq, index LIMIT ${limit - found.length}`;
    const rows = await sql<Row[]>`
      SELECT execution.*, facts.client_order_id AS facts_client_order_id, facts.side, facts.type, facts.time_in_force,
             facts.expire_time, facts.post_only, facts.self_trade_prevention
      FROM (${page}) AS execution LEFT JOIN orders AS facts USING (order_id)
      ORDER BY execution.ms, execution.seq, execution.index`;
    found.push(...rows.map(toExecution));
    if (found.length === limit) break;
    const next = await nextEpoch(sql, partition, epoch);
    place = next === undefined ? undefined : { epoch: next, ms: -1, seq: 0, index: 0 };
  }
  return found;
}

async function nextEpoch(sql: postgres.Sql, partition: number, epoch: number): Promise<number | undefined> {
  const [row] = await sql<{ epoch: number | null }[]>`
    SELECT min(epoch) AS epoch FROM executions WHERE partition = ${partition} AND epoch > ${epoch}`;
  return row?.epoch ?? undefined;
}

/** An order whose reports are wanted: they lie between its own place and its newest event. */
export interface ReportedOrder extends LogPosition {
  readonly partition: number;
  readonly account: string;
  readonly orderId: string;
  /** Of its newest event, in ms. */
  readonly untilMs: number;
}

/**
 * The newest `limit` reports of one order, oldest first. By order they have no index, so at most `looks` of its account's are looked
 * at, the newest ones of that time: where there are more of them, some may be missing.
 */
export async function readOrderExecutions(
  sql: postgres.Sql,
  { partition, account, orderId, epoch, ms, untilMs }: ReportedOrder,
  { limit, looks }: { readonly limit: number; readonly looks: number },
): Promise<{ readonly executions: StoredExecution[]; readonly isComplete: boolean }> {
  const looked = sql`
    SELECT * FROM executions
    WHERE account = ${account} AND partition = ${partition} AND (epoch, ms) >= (${epoch}::smallint, ${ms}::bigint)
      AND ms BETWEEN ${ms} AND ${untilMs}
    ORDER BY epoch DESC, ms DESC LIMIT ${looks}`;
  const rows = await sql<(Row & { readonly looked: number; readonly partition: number | null })[]>`
    WITH looked AS MATERIALIZED (${looked})
    SELECT (SELECT count(*) FROM looked)::integer AS looked, execution.*, facts.client_order_id AS facts_client_order_id,
           facts.side, facts.type, facts.time_in_force, facts.expire_time, facts.post_only, facts.self_trade_prevention
    FROM (VALUES (true)) AS always
    LEFT JOIN (SELECT * FROM looked WHERE order_id = ${orderId} ORDER BY epoch DESC, ms DESC, seq DESC, index DESC
               LIMIT ${limit}) AS execution ON true
    LEFT JOIN orders AS facts USING (order_id)
    ORDER BY execution.epoch, execution.ms, execution.seq, execution.index`;
  const found = rows.filter((row) => row.partition !== null);
  return { executions: found.map(toExecution), isComplete: rows[0]!.looked < looks && found.length < limit };
}

interface Row {
  readonly partition: number;
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly index: number;
  readonly account: string;
  readonly sequence: string;
  readonly symbol: string;
  readonly exec_type: string;
  readonly status: string | null;
  readonly reason: string | null;
  readonly order_id: string | null;
  readonly client_order_id: string | null;
  readonly client_request_id: string | null;
  readonly quantity: string | null;
  readonly price: string | null;
  readonly stop_price: string | null;
  readonly display_quantity: string | null;
  readonly cum_quantity: string | null;
  readonly leaves_quantity: string | null;
  readonly traded_value: string | null;
  readonly last_quantity: string | null;
  readonly last_price: string | null;
  readonly trade: string | null;
  readonly aggressor: boolean | null;
  readonly affected: number | null;
  readonly remaining: number | null;
  /** Null where the order has no row; it is not nullable there. */
  readonly facts_client_order_id: string | null;
  readonly side: FixedFacts["side"];
  readonly type: FixedFacts["type"];
  readonly time_in_force: FixedFacts["timeInForce"];
  readonly expire_time: Date | null;
  readonly post_only: boolean;
  readonly self_trade_prevention: FixedFacts["selfTradePrevention"];
}

function toExecution(row: Row): StoredExecution {
  return {
    partition: row.partition,
    epoch: row.epoch,
    ms: Number(row.ms),
    seq: Number(row.seq),
    index: row.index,
    account: row.account,
    sequence: Number(row.sequence),
    symbol: row.symbol,
    execType: row.exec_type,
    status: row.status,
    reason: row.reason,
    orderId: row.order_id,
    clientOrderId: row.client_order_id,
    clientRequestId: row.client_request_id,
    quantity: row.quantity,
    price: row.price,
    stopPrice: row.stop_price,
    displayQuantity: row.display_quantity,
    cumQuantity: row.cum_quantity,
    leavesQuantity: row.leaves_quantity,
    tradedValue: row.traded_value,
    lastQuantity: row.last_quantity,
    lastPrice: row.last_price,
    trade: row.trade === null ? null : Number(row.trade),
    aggressor: row.aggressor,
    affected: row.affected,
    remaining: row.remaining,
    order: row.facts_client_order_id === null ? null : toFacts(row, row.facts_client_order_id),
  };
}

function toFacts(row: Row, clientOrderId: string): FixedFacts {
  return {
    clientOrderId,
    side: row.side,
    type: row.type,
    timeInForce: row.time_in_force,
    expireTime: row.expire_time === null ? null : row.expire_time.getTime(),
    postOnly: row.post_only,
    selfTradePrevention: row.self_trade_prevention,
  };
}

/** One side of a trade, as its report tells it; 0 and "" of a report that is of none. */
export interface StoredTradeSide {
  readonly account: string;
  readonly symbol: string;
  readonly trade: number;
  readonly aggressor: boolean;
  readonly orderId: string;
}

/** The side that the report at a place tells of; undefined where no report stands there. */
export async function findTradeSide(
  sql: postgres.Sql,
  { partition, epoch, ms, seq, index }: EventPosition & { readonly partition: number },
): Promise<StoredTradeSide | undefined> {
  const [row] = await sql<(Omit<StoredTradeSide, "trade"> & { readonly trade: string })[]>`
    SELECT account, symbol, coalesce(trade, 0) AS trade, coalesce(aggressor, false) AS aggressor,
           coalesce(order_id::text, '') AS "orderId"
    FROM executions
    WHERE partition = ${partition} AND epoch = ${epoch} AND ms = ${ms} AND seq = ${seq} AND index = ${index}`;
  return row && { ...row, trade: Number(row.trade) };
}
