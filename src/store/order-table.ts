import { escaped, NULL, timestamp } from "./copy.ts";
import type { OrderRow } from "./entry-record.ts";
import type { RowTable } from "./row-table.ts";

/** As `timestamp` writes it; microseconds, which none of ours has, would be shown too. */
function isoTime(column: string): string {
  return `regexp_replace(to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '000Z$', 'Z')`;
}

/** The facts of orders' submission. */
export const ORDERS: RowTable<OrderRow> = {
  name: "orders",
  key: ["order_id"],
  columns: [
    { name: "order_id", type: "uuid", value: ({ orderId }) => orderId },
    { name: "client_key", type: "bigint", value: ({ clientKey }) => BigInt.asIntN(64, clientKey) },
    {
      name: "created_at",
      type: "bigint",
      as: "to_timestamp(created_at / 1000.0)",
      stored: isoTime("created_at"),
      value: (_order, receipt) => receipt.ms,
    },
    {
      name: "expire_time",
      type: "bigint",
      as: "to_timestamp(expire_time / 1000.0)",
      stored: isoTime("expire_time"),
      value: ({ expireTime }) => expireTime,
    },
    {
      name: "post_only",
      type: "boolean",
      stored: "CASE WHEN post_only THEN 't' ELSE 'f' END",
      value: ({ postOnly }) => postOnly,
    },
    { name: "account", type: "text", value: ({ account }) => account },
    { name: "client_order_id", type: "text", value: ({ clientOrderId }) => clientOrderId },
    { name: "symbol", type: "text", value: ({ symbol }) => symbol },
    { name: "side", type: "text", value: ({ side }) => side },
    { name: "type", type: "text", value: ({ type }) => type },
    { name: "time_in_force", type: "text", value: ({ timeInForce }) => timeInForce },
    { name: "quantity", type: "numeric", value: ({ quantity }) => quantity },
    { name: "price", type: "numeric", value: ({ price }) => price },
    { name: "stop_price", type: "numeric", value: ({ stopPrice }) => stopPrice },
    { name: "display_quantity", type: "numeric", value: ({ displayQuantity }) => displayQuantity },
    { name: "self_trade_prevention", type: "text", value: ({ selfTradePrevention }) => selfTradePrevention },
  ],
  rowsOf: ({ orders }) => orders,
  lines({ ms }) {
    const createdAt = timestamp(ms);
    return (order) =>
      `${order.orderId}\t${BigInt.asIntN(64, order.clientKey)}\t${createdAt}\t${
        order.expireTime === null ? NULL : timestamp(order.expireTime)
      }\t${order.postOnly ? "t" : "f"}\t${escaped(order.account)}\t${escaped(order.clientOrderId)}\t${escaped(
        order.symbol,
      )}\t${order.side}\t${order.type}\t${order.timeInForce}\t${order.quantity}\t${order.price ?? NULL}\t${
        order.stopPrice ?? NULL
      }\t${order.displayQuantity ?? NULL}\t${order.selfTradePrevention ?? NULL}\n`;
  },
};
