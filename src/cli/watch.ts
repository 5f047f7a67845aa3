import { once } from "node:events";

import { toJson } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";

import { ExecType, ExecutionReportSchema, OrderStatus, Side } from "../gen/penstock/v1/order_pb.ts";
import type { ExecutionReport } from "../gen/penstock/v1/order_pb.ts";
import { ApiClient } from "./client.ts";
import { interruption } from "./interruption.ts";
import { Positions, startOfLog, watchOrders } from "./order-watch.ts";
import { apiOf } from "./stack-file.ts";
import { enumName } from "./table.ts";

export interface WatchOptions {
  readonly url?: string;
  readonly token?: string;
  readonly from?: string;
  readonly all?: true;
  readonly symbol?: string;
  readonly json?: true;
}

/**
 * Prints execution reports as they come, a line each, until Ctrl-C; after a cut it goes on behind the last one.
 * @throws UsageError where `from` is no position; CallError where the server refuses, or is away for too long.
 */
export async function watch(options: WatchOptions): Promise<void> {
  const allAccounts = options.all ?? false;
  const given = options.from === undefined || options.from === "start" ? undefined : Positions.read(options.from);
  const api = new ApiClient(apiOf(options, allAccounts ? "admin" : "trader"));
  const { signal, release } = interruption();
  try {
    const positions = given ?? (options.from === "start" ? await startOfLog(api, signal) : new Positions());
    const symbol = options.symbol ?? "";
    const onCut = (error: Error): void => {
      process.stderr.write(
        `penstock: cut off, going on behind ${positions.text() || "what comes"}: ${error.message}\n`,
      );
    };
    for await (const { update } of watchOrders(api, { positions, symbol, allAccounts, signal, onCut })) {
      if (update.case !== "execution") continue;
      const line = options.json ? jsonLine(update.value, positions) : textLine(update.value, allAccounts);
      if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
    }
  } finally {
    release();
    api.close();
  }
}

/** As protobuf's JSON has it, with `from`: where a watch goes on that has seen all up to this one. */
function jsonLine(report: ExecutionReport, positions: Positions): string {
  const json = toJson(ExecutionReportSchema, report) as object;
  return JSON.stringify({ ...json, from: positions.text() });
}

/** `2026-01-31T12:00:00.000Z  BTC-USD  my-1  BUY  TRADE 0.1 @ 100.25  0.1 of 0.5  PARTIALLY_FILLED` */
function textLine(report: ExecutionReport, allAccounts: boolean): string {
  const { execType, order, reason, lastQuantity, lastPrice, clientRequestId, createdAt } = report;
  const name = enumName(ExecType, execType);
  const cells = [createdAt === undefined ? "" : timestampDate(createdAt).toISOString()];
  if (allAccounts) cells.push(order?.account ?? "");
  if (execType === ExecType.MASS_CANCEL_REPORT) {
    cells.push(order?.symbol ?? "", clientRequestId, `${name}: ${report.affected} canceled, ${report.remaining} left`);
  } else if (order !== undefined) {
    const what = execType === ExecType.TRADE ? `${name} ${lastQuantity} @ ${lastPrice}` : name;
    // Of an order that the engine does not know there is nothing to tell.
    const filled = order.quantity === "" ? "" : `${order.cumQuantity || "0"} of ${order.quantity}`;
    const status = enumName(OrderStatus, order.status);
    cells.push(order.symbol, order.clientOrderId, enumName(Side, order.side), what, filled, status, clientRequestId);
  }
  cells.push(reason);
  return cells.filter((cell) => cell !== "").join("  ");
}
