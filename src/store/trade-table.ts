import { escaped } from "./copy.ts";
import type { TradeRow } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";

/** Trades, both sides in one row. */
export const TRADES: RowTable<TradeRow> = {
  name: "trades",
  key: ["symbol", "trade", "ms"],
  columns: [
    { name: "partition", type: "smallint", value: (_row, { partition }) => partition },
    { name: "epoch", type: "smallint", value: (_row, { epoch }) => epoch },
    { name: "ms", type: "bigint", value: (_row, { ms }) => ms },
    { name: "seq", type: "bigint", value: (_row, { seq }) => seq },
    { name: "trade", type: "bigint", value: ({ trade }) => trade },
    { name: "symbol", type: "text", value: ({ symbol }) => symbol },
    { name: "aggressor", type: "text", value: ({ aggressor }) => aggressor },
    { name: "price", type: "numeric", value: ({ price }) => price },
    { name: "quantity", type: "numeric", value: ({ quantity }) => quantity },
    { name: "buy_order_id", type: "uuid", value: ({ buyOrderId }) => buyOrderId },
    { name: "sell_order_id", type: "uuid", value: ({ sellOrderId }) => sellOrderId },
    { name: "buy_account", type: "text", value: ({ buyAccount }) => buyAccount },
    { name: "sell_account", type: "text", value: ({ sellAccount }) => sellAccount },
  ],
  rowsOf: ({ trades }) => trades,
  lines({ partition, epoch, ms, seq }) {
    const place = `${partition}\t${epoch}\t${ms}\t${seq}`;
    return (row) =>
      `${place}\t${row.trade}\t${escaped(row.symbol)}\t${row.aggressor}\t${row.price}\t${row.quantity}\t${
        row.buyOrderId
      }\t${row.sellOrderId}\t${escaped(row.buyAccount)}\t${escaped(row.sellAccount)}\n`;
  },
};
