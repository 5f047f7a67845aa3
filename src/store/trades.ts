import type postgres from "postgres";

import type { Side } from "./entry-record.ts";

export interface StoredTrade {
  readonly symbol: string;
  /** The symbol's trades are counted from 1 without a gap. */
  readonly trade: number;
  /** The time of the entry that caused it. */
  readonly ms: number;
  readonly price: string;
  readonly quantity: string;
  /** The side that took liquidity. */
  readonly aggressor: Side;
}

export interface TradePage {
  /** The trade's number at which the page before ended. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** A symbol's trades, newest first. */
export async function listTrades(sql: postgres.Sql, symbol: string, page: TradePage): Promise<StoredTrade[]> {
  const rows = await sql<Row[]>`
    SELECT symbol, trade, ms, price, quantity, aggressor FROM trades
    WHERE symbol = ${symbol} AND trade < ${page.before ?? Number.MAX_SAFE_INTEGER}
    ORDER BY trade DESC LIMIT ${page.limit}`;
  return rows.map(({ trade, ms, ...rest }) => ({ ...rest, trade: Number(trade), ms: Number(ms) }));
}

type Row = Omit<StoredTrade, "trade" | "ms"> & { readonly trade: string; readonly ms: string };
