import { escaped, NULL } from "./copy.ts";
import type { ExecutionRow } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";

/** What accounts were told. */
export const EXECUTIONS: RowTable<ExecutionRow> = {
  name: "executions",
  key: ["partition", "epoch", "ms", "seq", "index"],
  columns: [
    { name: "partition", type: "smallint", value: (_row, { partition }) => partition },
    { name: "epoch", type: "smallint", value: (_row, { epoch }) => epoch },
    { name: "ms", type: "bigint", value: (_row, { ms }) => ms },
    { name: "seq", type: "bigint", value: (_row, { seq }) => seq },
    { name: "index", type: "integer", value: ({ index }) => index },
    { name: "command", type: "integer", value: ({ command }) => command },
    { name: "sequence", type: "bigint", value: ({ sequence }) => sequence },
    { name: "account", type: "text", value: ({ account }) => account },
    { name: "symbol", type: "text", value: ({ symbol }) => symbol },
    { name: "exec_type", type: "text", value: ({ execType }) => execType },
    { name: "status", type: "text", value: ({ status }) => status },
    { name: "reason", type: "text", value: ({ reason }) => reason },
    { name: "order_id", type: "uuid", value: ({ orderId }) => orderId },
    { name: "other_order_id", type: "uuid", value: ({ otherOrderId }) => otherOrderId },
    { name: "client_order_id", type: "text", value: ({ clientOrderId }) => clientOrderId },
    { name: "client_request_id", type: "text", value: ({ clientRequestId }) => clientRequestId },
    { name: "quantity", type: "numeric", value: ({ quantity }) => quantity },
    { name: "price", type: "numeric", value: ({ price }) => price },
    { name: "stop_price", type: "numeric", value: ({ stopPrice }) => stopPrice },
    { name: "display_quantity", type: "numeric", value: ({ displayQuantity }) => displayQuantity },
    { name: "cum_quantity", type: "numeric", value: ({ cumQuantity }) => cumQuantity },
    { name: "leaves_quantity", type: "numeric", value: ({ leavesQuantity }) => leavesQuantity },
    { name: "traded_value", type: "numeric", value: ({ tradedValue }) => tradedValue },
    { name: "last_quantity", type: "numeric", value: ({ lastQuantity }) => lastQuantity },
    { name: "last_price", type: "numeric", value: ({ lastPrice }) => lastPrice },
    { name: "trade", type: "bigint", value: ({ trade }) => trade },
    { name: "aggressor", type: "boolean", value: ({ aggressor }) => aggressor },
    { name: "affected", type: "integer", value: ({ affected }) => affected },
    { name: "remaining", type: "integer", value: ({ remaining }) => remaining },
  ],
  rowsOf: ({ executions }) => executions,
  lines({ partition, epoch, ms, seq }) {
    const place = `${partition}\t${epoch}\t${ms}\t${seq}`;
    return (row) =>
      `${place}\t${row.index}\t${row.command ?? NULL}\t${row.sequence}\t${escaped(row.account)}\t${escaped(
        row.symbol,
      )}\t${row.execType}\t${row.status ?? NULL}\t${row.reason ?? NULL}\t${row.orderId ?? NULL}\t${
        row.otherOrderId ?? NULL
      }\t${row.clientOrderId === null ? NULL : escaped(row.clientOrderId)}\t${
        row.clientRequestId === null ? NULL : escaped(row.clientRequestId)
      }\t${row.quantity ?? NULL}\t${row.price ?? NULL}\t${row.stopPrice ?? NULL}\t${row.displayQuantity ?? NULL}\t${
        row.cumQuantity ?? NULL
      }\t${row.leavesQuantity ?? NULL}\t${row.tradedValue ?? NULL}\t${row.lastQuantity ?? NULL}\t${
        row.lastPrice ?? NULL
      }\t${row.trade ?? NULL}\t${row.aggressor ?? NULL}\t${row.affected ?? NULL}\t${row.remaining ?? NULL}\n`;
  },
};
