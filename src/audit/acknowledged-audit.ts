import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import { UsageError } from "../runtime/errors.ts";
import { textArray } from "../store/parameters.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry } from "../stream/lookup.ts";
import { parseOrderId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";

const CHUNK = 10_000;

interface Acknowledged {
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly orderId: string;
}

export interface AcknowledgedFigures {
  readonly acknowledged: number;
  readonly rows: number;
  /** Still in the log only. */
  readonly underWay: number;
}

/**
 * I1, I2: every order of a client's own record is a row, under the id that was answered, and no client order id of it stands
 * for two. A line is client_order_id, symbol, order_id and what else the client noted, with tabs between.
 */
export async function auditAcknowledged(
  file: string,
  redis: Redis,
  sql: postgres.Sql,
  partitions: readonly PartitionKeys[],
  findings: Findings,
): Promise<AcknowledgedFigures> {
  const figures = { acknowledged: 0, rows: 0, underWay: 0 };
  let chunk: Acknowledged[] = [];
  const check = async () => {
    await checkChunk(chunk, redis, sql, partitions, findings, figures);
    chunk = [];
  };
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    if (line === "") continue;
    const [clientOrderId, symbol, orderId] = line.split("\t");
    if (clientOrderId === undefined || symbol === undefined || orderId === undefined) {
      throw new UsageError(
        `${file}: not a line of client_order_id, symbol and order_id with tabs between: ${line.slice(0, 80)}`,
      );
    }
    chunk.push({ clientOrderId, symbol, orderId });
    if (chunk.length === CHUNK) await check();
  }
  await check();
  return figures;
}

async function checkChunk(
  chunk: readonly Acknowledged[],
  redis: Redis,
  sql: postgres.Sql,
  partitions: readonly PartitionKeys[],
  findings: Findings,
  figures: { acknowledged: number; rows: number; underWay: number },
): Promise<void> {
  if (chunk.length === 0) return;
  figures.acknowledged += chunk.length;
  const ids = textArray(chunk.map(({ orderId }) => orderId));
  const rows = await sql<{ order_id: string; client_order_id: string; symbol: string }[]>`
    SELECT order_id, client_order_id, symbol FROM orders WHERE order_id = ANY(${ids}::uuid[])`;
  const byId = new Map(rows.map((row) => [row.order_id, row]));
  for (const { clientOrderId, symbol, orderId } of chunk) {
    const row = byId.get(orderId);
    if (row === undefined) {
      const place = parseOrderId(orderId);
      const keys = place && partitions[place.partition];
      const logged = place && keys && (await findEntry(redis, keys, place));
      if (logged === undefined) findings.add("ACKNOWLEDGED AND LOST", `${clientOrderId} ${symbol} ${orderId}`);
      else figures.underWay++;
    } else if (row.client_order_id !== clientOrderId || row.symbol !== symbol) {
      findings.add("another order under the id that was answered", `${orderId}: ${row.client_order_id} ${row.symbol}`);
    } else figures.rows++;
  }
  // The same chunk by the client's ids: each must stand for one order only.
  const doubled = await sql<{ client_order_id: string; symbol: string; account: string; orders: number }[]>`
    WITH keys AS (SELECT DISTINCT client_key FROM orders WHERE order_id = ANY(${ids}::uuid[]))
    SELECT client_order_id, symbol, account, count(*)::integer AS orders FROM orders JOIN keys USING (client_key)
    GROUP BY client_order_id, symbol, account HAVING count(*) > 1`;
  for (const row of doubled)
    findings.add("DOUBLED", `${row.account} ${row.symbol} ${row.client_order_id}: ${row.orders} orders`);
}
