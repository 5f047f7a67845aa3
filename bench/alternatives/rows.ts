import postgres from "postgres";
import { clientOptions } from "../../src/store/client.ts";
import { migrate } from "../../src/store/migrate.ts";
import { ensurePartitions } from "../../src/store/partitions.ts";
import { Writer } from "../../src/store/writer.ts";

/** An order as it waits in an alternative's queue, as JSON, and as a row of `orders`. */
export interface QueuedOrder {
  readonly orderId: string;
  /** Signed, 64 bits: too many for a number of JSON. */
  readonly clientKey: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly postOnly: boolean;
  readonly account: string;
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly side: string;
  readonly type: string;
  readonly timeInForce: string;
  readonly quantity: string;
  readonly price: string;
}

/**
 * Any number of orders by one statement, whose text is always the same, so that it is prepared once. A row that stands
 * already is left as it is: a job that comes again makes no second row.
 */
export const INSERT_ORDERS = `
  INSERT INTO orders (order_id, client_key, created_at, post_only, account, client_order_id, symbol, side, type,
    time_in_force, quantity, price)
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[]::boolean[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::numeric[], $12::numeric[])
  ON CONFLICT (order_id) DO NOTHING`;

/** The parameters of INSERT_ORDERS: text, because postgres.js takes an array of Dates or booleans for a single one. */
export function insertParameters(orders: readonly QueuedOrder[]) {
  return [
    orders.map((order) => order.orderId),
    orders.map((order) => order.clientKey),
    orders.map((order) => new Date(order.createdAt).toISOString()),
    orders.map((order) => String(order.postOnly)),
    orders.map((order) => order.account),
    orders.map((order) => order.clientOrderId),
    orders.map((order) => order.symbol),
    orders.map((order) => order.side),
    orders.map((order) => order.type),
    orders.map((order) => order.timeInForce),
    orders.map((order) => order.quantity),
    orders.map((order) => order.price),
  ];
}

const TRANSACTION_TIMEOUT_MS = 20_000;

/** Gives a new database Penstock's schema, with the partitions of today: the same table with the same indexes. */
export async function prepareDatabase(url: string): Promise<void> {
  await migrate(url);
  const writer = new Writer(url, { timeoutMs: TRANSACTION_TIMEOUT_MS });
  try {
    await ensurePartitions(writer, [Date.now()]);
  } finally {
    await writer.close();
  }
}

// A commit flushes once for however many rows; two at a time, so that one gathers rows while another is flushed.
const STATEMENTS_AT_ONCE = 2;
// What a worker has in its hands is bounded by its concurrency; this bounds one statement, as Penstock's transactions are.
const ROWS_LIMIT = 5_000;

interface Waiting {
  readonly orders: readonly QueuedOrder[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Writes rows for jobs that run at the same time, as few statements as they fit in: what such workers do whose library hands
 * them one job at a time.
 *
 * Always true: orders are either in `#waiting` or in one of at most two running statements; who gave them is answered
 * after that statement's commit, or with its error.
 */
export class RowWriter {
  readonly #sql: postgres.Sql;
  #waiting: Waiting[] = [];
  #running = 0;

  constructor(databaseUrl: string) {
    // Lists of values are parameters here, so it has to know the types of arrays.
    const options = { ...clientOptions(TRANSACTION_TIMEOUT_MS), fetch_types: true, max: STATEMENTS_AT_ONCE };
    this.#sql = postgres(databaseUrl, options);
  }

  /** Resolves when all of them are committed. */
  write(orders: readonly QueuedOrder[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ orders, resolve, reject });
    // Not at once: jobs that were fetched together begin in the same turn of the loop.
    setImmediate(() => void this.#next());
    return promise;
  }

  async #next(): Promise<void> {
    if (this.#running === STATEMENTS_AT_ONCE || this.#waiting.length === 0) return;
    const taken: Waiting[] = [];
    const orders: QueuedOrder[] = [];
    for (const waiting of this.#waiting) {
      if (orders.length > 0 && orders.length + waiting.orders.length > ROWS_LIMIT) break;
      taken.push(waiting);
      orders.push(...waiting.orders);
    }
    this.#waiting = this.#waiting.slice(taken.length);
    this.#running++;
    try {
      await this.#sql.unsafe(INSERT_ORDERS, insertParameters(orders), { prepare: true });
      for (const { resolve } of taken) resolve();
    } catch (error) {
      for (const { reject } of taken) reject(error);
    } finally {
      this.#running--;
      void this.#next();
    }
  }
}
