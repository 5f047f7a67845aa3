import type postgres from "postgres";
import { EVENTS_STREAM, type LogPosition, ORDERS_STREAM } from "./entry-record.ts";
import { lockPartitionStates } from "./order-states.ts";
import { plainArray, textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

export interface StrayRange {
  readonly partition: number;
  /** Both inclusive, in ms. */
  readonly fromMs: number;
  readonly toMs: number;
  /** None up to this place; undefined where there is no page before. */
  readonly after: LogPosition | undefined;
  readonly limit: number;
}

/** Events whose command is not in the journal, in the log's sequence. */
export async function findStrayEvents(
  sql: postgres.Sql,
  { partition, fromMs, toMs, after = { epoch: 0, ms: 0, seq: 0 }, limit }: StrayRange,
): Promise<LogPosition[]> {
  const rows = await sql<{ epoch: number; ms: string; seq: string }[]>`
    SELECT epoch, ms, seq FROM journal AS event
    WHERE stream = ${EVENTS_STREAM} AND partition = ${partition} AND epoch >= 1 AND ms BETWEEN ${fromMs} AND ${toMs}
      AND (epoch, ms, seq) > (${after.epoch}::smallint, ${after.ms}::bigint, ${after.seq}::bigint)
      AND NOT EXISTS (
        SELECT FROM journal AS command
        WHERE command.stream = ${ORDERS_STREAM} AND command.partition = event.partition AND command.epoch = event.epoch
          AND command.ms = event.ms AND command.seq = event.seq)
    ORDER BY epoch, ms, seq LIMIT ${limit}`;
  return rows.map(({ epoch, ms, seq }) => ({ epoch, ms: Number(ms), seq: Number(seq) }));
}

const AT = "partition = $1 AND epoch = $2 AND ms = $3 AND seq = $4";

/** Reports that tell no state of an order. */
const ANSWERS = "('CANCEL_REJECTED', 'REPLACE_REJECTED', 'MASS_CANCEL_REPORT')";

/** With these an order begins: there is no state before. */
const BEGINS = ["NEW", "REJECTED"];

const TAKE_REPORTS = `DELETE FROM executions WHERE ${AT} RETURNING order_id, exec_type, symbol, trade`;

// By their key: a day has many millions, and no index by place. Each trade has reports.
const TAKE_TRADES = `
  DELETE FROM trades USING unnest($5::text[], $6::bigint[]) AS told (symbol, number)
  WHERE trades.symbol = told.symbol AND trade = number AND ${AT}`;

// Of each order the newest report that is left, as a state: looked for from the lost place backwards, to where the order began.
const PUT_BACK = `
  INSERT INTO order_states (order_id, ms, seq, index, epoch, open, triggered, account, symbol, status, reason, quantity, price,
    stop_price, display_quantity, cum_quantity, leaves_quantity, traded_value)
  SELECT gone.order_id, ms, seq, index, epoch, leaves_quantity <> 0, triggered, told.account, symbol, status, reason, quantity,
    price, stop_price, display_quantity, cum_quantity, leaves_quantity, traded_value
  FROM unnest($3::uuid[], $4::text[], $5::boolean[]) AS gone (order_id, account, triggered)
  CROSS JOIN LATERAL (
    SELECT * FROM executions
    WHERE partition = $1 AND executions.account = gone.account AND executions.order_id = gone.order_id
      AND ms BETWEEN ('x' || translate(left(gone.order_id::text, 13), '-', ''))::bit(48)::bigint AND $2
      AND exec_type NOT IN ${ANSWERS}
    ORDER BY epoch DESC, ms DESC, seq DESC, index DESC LIMIT 1
  ) AS told`;

interface TakenReport {
  readonly order_id: string | null;
  readonly exec_type: string;
  readonly symbol: string;
  readonly trade: string | null;
}

/**
 * Takes back what was written of the events of an entry that the log has lost: reports, trades, and the receipt. Orders
 * whose state came from there get the one before it, or none where they began there. Several such entries are to be given
 * in the log's sequence. Dead letters stay. Throws as Writer.transaction.
 */
export async function withdrawEvents(transaction: Transaction, partition: number, place: LogPosition): Promise<void> {
  const at = [partition, place.epoch, place.ms, place.seq];
  await lockPartitionStates(transaction, partition);
  const { rows: reports } = await transaction.query<TakenReport>(TAKE_REPORTS, at);
  const trades = reports.filter(({ trade }) => trade !== null);
  if (trades.length > 0) {
    const numbers = plainArray(trades.map(({ trade }) => BigInt(trade ?? 0)));
    await transaction.query(TAKE_TRADES, [...at, textArray(trades.map(({ symbol }) => symbol)), numbers]);
  }
  await withdrawStates(transaction, partition, place, reports);
  await transaction.query(`DELETE FROM journal WHERE stream = ${EVENTS_STREAM} AND ${AT}`, at);
}

async function withdrawStates(
  transaction: Transaction,
  partition: number,
  place: LogPosition,
  reports: readonly TakenReport[],
): Promise<void> {
  const ordersOf = (types?: readonly string[]) =>
    new Set(reports.flatMap((told) => (types?.includes(told.exec_type) === false ? [] : (told.order_id ?? []))));
  const { rows: states } = await transaction.query<{ order_id: string; account: string; triggered: boolean }>(
    `DELETE FROM order_states WHERE order_id = ANY($1::uuid[]) AND (epoch, ms, seq) = ($2, $3, $4)
     RETURNING order_id, account, triggered`,
    [textArray([...ordersOf()]), place.epoch, place.ms, place.seq],
  );
  const begun = ordersOf(BEGINS);
  const older = states.filter(({ order_id: id }) => !begun.has(id));
  if (older.length === 0) return;
  const triggered = ordersOf(["TRIGGERED"]);
  await transaction.query(PUT_BACK, [
    ...[partition, place.ms],
    textArray(older.map(({ order_id: id }) => id)),
    textArray(older.map(({ account }) => account)),
    plainArray(older.map((state) => state.triggered && !triggered.has(state.order_id))),
  ]);
}

/**
 * Takes back what was written of a command entry that the log has lost: its orders, which are those with ids in these bounds,
 * and its place in the journal. Its bytes are kept as a dead letter, as where a worker meets a fence. Throws as Writer.transaction.
 */
export async function withdrawCommands(
  transaction: Transaction,
  partition: number,
  place: LogPosition,
  orderIds: { readonly first: string; readonly last: string },
): Promise<void> {
  const at = [partition, place.epoch, place.ms, place.seq];
  await transaction.query("DELETE FROM orders WHERE order_id BETWEEN $1 AND $2", [orderIds.first, orderIds.last]);
  await transaction.query(
    `WITH gone AS (DELETE FROM journal WHERE stream = ${ORDERS_STREAM} AND ${AT} RETURNING ms, seq, payload)
     INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, sqlstate, reason, attempts)
     SELECT ${ORDERS_STREAM}, $1, $2, ms, seq, -1, payload, NULL, 'ORPHANED: the log lost the entry, and went on without it', 1
     FROM gone
     ON CONFLICT DO NOTHING`,
    at,
  );
}
