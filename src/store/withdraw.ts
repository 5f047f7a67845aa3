import type postgres from "postgres";
import { EVENTS_STREAM, type LogPosition, ORDERS_STREAM } from "./entry-record.ts";
import { lockPartitionStates } from "./order-states.ts";
import { textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

export interface StrayRange {
  readonly partition: number;
  /** Both inclusive, in ms. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly limit: number;
}

/** Events whose command is not in the journal, in the log's sequence. */
export async function findStrayEvents(
  sql: postgres.Sql,
  { partition, fromMs, toMs, limit }: StrayRange,
): Promise<LogPosition[]> {
  const rows = await sql<{ epoch: number; ms: string; seq: string }[]>`
    SELECT epoch, ms, seq FROM journal AS event
    WHERE stream = ${EVENTS_STREAM} AND partition = ${partition} AND epoch >= 1 AND ms BETWEEN ${fromMs} AND ${toMs}
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

// Of each order the newest report that is left, as a state.
const PUT_BACK = `
  INSERT INTO order_states (order_id, ms, seq, index, epoch, open, triggered, account, symbol, status, reason, quantity, price,
    stop_price, display_quantity, cum_quantity, leaves_quantity, traded_value)
  SELECT DISTINCT ON (order_id) order_id, ms, seq, index, epoch, leaves_quantity <> 0,
    bool_or(exec_type = 'TRIGGERED') OVER (PARTITION BY order_id), account, symbol, status, reason, quantity, price,
    stop_price, display_quantity, cum_quantity, leaves_quantity, traded_value
  FROM executions
  WHERE partition = $1 AND account = ANY($2::text[]) AND order_id = ANY($3::uuid[]) AND exec_type NOT IN ${ANSWERS}
  ORDER BY order_id, epoch DESC, ms DESC, seq DESC, index DESC`;

/**
 * Takes back what was written of the events of an entry that the log has lost: reports, trades, and the receipt. Orders
 * whose state came from there get the one before it, or none where they began there. Several such entries are to be given
 * in the log's sequence. Dead letters stay. Throws as Writer.transaction.
 */
export async function withdrawEvents(transaction: Transaction, partition: number, place: LogPosition): Promise<void> {
  const at = [partition, place.epoch, place.ms, place.seq];
  await lockPartitionStates(transaction, partition);
  const { rows: told } = await transaction.query<{ order_id: string | null }>(
    `DELETE FROM executions WHERE ${AT} RETURNING order_id`,
    at,
  );
  await transaction.query(`DELETE FROM trades WHERE ${AT}`, at);
  const ids = new Set(told.flatMap(({ order_id: id }) => id ?? []));
  const { rows: states } = await transaction.query<{ order_id: string; account: string }>(
    `DELETE FROM order_states WHERE order_id = ANY($1::uuid[]) AND (epoch, ms, seq) = ($2, $3, $4)
     RETURNING order_id, account`,
    [textArray([...ids]), place.epoch, place.ms, place.seq],
  );
  await transaction.query(PUT_BACK, [
    partition,
    textArray([...new Set(states.map(({ account }) => account))]),
    textArray(states.map(({ order_id: id }) => id)),
  ]);
  await transaction.query(`DELETE FROM journal WHERE stream = ${EVENTS_STREAM} AND ${AT}`, at);
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
