import type { DeadLetter, EntryRecord, OrderRow } from "./entry-record.ts";
import { isPoison } from "./errors.ts";
import { plainArray, textArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

/** Something that Postgres refuses by itself, with its error. */
export interface Refused<T> {
  readonly item: T;
  readonly sqlstate: string;
  readonly reason: string;
}

/**
 * Writes items in one statement where that goes, else in halves, down to those that are refused alone. Each try stands under
 * a savepoint, so what could be written stays. Throws every error that is not an item's own.
 *
 * n items with k bad ones take at most about 2k·log2(n) tries.
 */
export async function writeIsolated<T>(
  transaction: Transaction,
  items: readonly T[],
  write: (items: readonly T[]) => Promise<void>,
): Promise<Refused<T>[]> {
  const [item] = items;
  if (item === undefined) return [];
  await transaction.query("SAVEPOINT isolated");
  try {
    await write(items);
    await transaction.query("RELEASE isolated");
    return [];
  } catch (error) {
    if (!isPoison(error)) throw error;
    await transaction.query("ROLLBACK TO isolated; RELEASE isolated");
    if (items.length === 1) return [{ item, sqlstate: error.code, reason: error.message }];
  }
  const middle = items.length >> 1;
  return [
    ...(await writeIsolated(transaction, items.slice(0, middle), write)),
    ...(await writeIsolated(transaction, items.slice(middle), write)),
  ];
}

const NEW_ROWS = `
  unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[],
         $10::text[], $11::text[], $12::numeric[], $13::numeric[], $14::numeric[], $15::numeric[], $16::text[])
    AS raw (order_id, client_key, created_ms, expire_ms, post_only, account, client_order_id, symbol, side, type,
            time_in_force, quantity, price, stop_price, display_quantity, self_trade_prevention)`;

const FACTS = `client_key, created_at, expire_time, post_only, account, client_order_id, symbol, side, type, time_in_force,
  quantity, price, stop_price, display_quantity, self_trade_prevention`;

const NEW_ORDERS = `
  SELECT *, to_timestamp(created_ms / 1000.0) AS created_at, to_timestamp(expire_ms / 1000.0) AS expire_time FROM ${NEW_ROWS}`;

const INSERT = `
  INSERT INTO orders (order_id, ${FACTS}) SELECT order_id, ${FACTS} FROM (${NEW_ORDERS}) AS new
  ON CONFLICT (order_id) DO NOTHING`;

/** Orders in whose place another one stands. */
const FIND_TAKEN = `
  SELECT order_id FROM (${NEW_ORDERS}) AS new JOIN orders USING (order_id)
  WHERE (${qualified("new")}) IS DISTINCT FROM (${qualified("orders")})`;

/**
 * Writes the orders of one entry by plain INSERTs and gives the ones that cannot be written as dead letters. An order that stands
 * there already, as after a replay from the journal, is written; another one in its place is reported.
 */
export async function writeOrdersIsolated(transaction: Transaction, entry: EntryRecord): Promise<DeadLetter[]> {
  const taken = new Set<string>();
  const refused = await writeIsolated(transaction, entry.orders, async (orders) => {
    const columns = orderColumns(orders, entry.receipt.ms);
    const { count } = await transaction.query(INSERT, columns);
    if (count === orders.length) return;
    const { rows } = await transaction.query<{ order_id: string }>(FIND_TAKEN, columns);
    for (const row of rows) taken.add(row.order_id);
  });
  const letters = refused.map(({ item, sqlstate, reason }) => ({
    index: item.index,
    raw: entry.rawCommand(item.index),
    sqlstate,
    reason,
  }));
  for (const { orderId, index } of entry.orders) {
    if (!taken.has(orderId)) continue;
    letters.push({
      index,
      raw: entry.rawCommand(index),
      sqlstate: "23505",
      reason: `another order stands in the place ${orderId}`,
    });
  }
  return letters;
}

function orderColumns(orders: readonly OrderRow[], ms: number): string[] {
  return [
    textArray(orders.map(({ orderId }) => orderId)),
    plainArray(orders.map(({ clientKey }) => BigInt.asIntN(64, clientKey))),
    plainArray(orders.map(() => ms)),
    plainArray(orders.map(({ expireTime }) => expireTime)),
    plainArray(orders.map(({ postOnly }) => postOnly)),
    textArray(orders.map(({ account }) => account)),
    textArray(orders.map(({ clientOrderId }) => clientOrderId)),
    textArray(orders.map(({ symbol }) => symbol)),
    textArray(orders.map(({ side }) => side)),
    textArray(orders.map(({ type }) => type)),
    textArray(orders.map(({ timeInForce }) => timeInForce)),
    textArray(orders.map(({ quantity }) => quantity)),
    textArray(orders.map(({ price }) => price)),
    textArray(orders.map(({ stopPrice }) => stopPrice)),
    textArray(orders.map(({ displayQuantity }) => displayQuantity)),
    textArray(orders.map(({ selfTradePrevention }) => selfTradePrevention)),
  ];
}

function qualified(table: string): string {
  return FACTS.replace(/\w+/g, (column) => `${table}.${column}`);
}
