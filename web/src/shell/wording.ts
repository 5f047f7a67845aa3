import type { UnknownEnum } from "@bufbuild/protobuf";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { Role } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { EnginePartitionStatus_State as EngineState } from "../../../src/gen/penstock/v1/engine_service_pb.ts";
import {
  AckLevel,
  ExecType,
  type ExecutionReport,
  type Order,
  OrderStatus,
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
  TradingStatus,
} from "../../../src/gen/penstock/v1/order_pb.ts";

/** What the page calls the things of the API. */

/** The name of a value; of one that only a newer server knows, its number. */
export function names<E extends number>(
  table: Readonly<Record<Exclude<E, UnknownEnum>, string>>,
): (value: E) => string {
  const known = new Map(Object.entries<string>(table));
  return (value) => known.get(String(value)) ?? `(${value})`;
}

export const sideName = names<Side>({
  [Side.UNSPECIFIED]: "–",
  [Side.BUY]: "Buy",
  [Side.SELL]: "Sell",
});

export const typeName = names<OrderType>({
  [OrderType.UNSPECIFIED]: "–",
  [OrderType.LIMIT]: "Limit",
  [OrderType.MARKET]: "Market",
  [OrderType.STOP]: "Stop",
  [OrderType.STOP_LIMIT]: "Stop limit",
});

export const timeName = names<TimeInForce>({
  [TimeInForce.UNSPECIFIED]: "–",
  [TimeInForce.GTC]: "GTC",
  [TimeInForce.IOC]: "IOC",
  [TimeInForce.FOK]: "FOK",
  [TimeInForce.GTD]: "GTD",
});

export const timeInFull = names<TimeInForce>({
  [TimeInForce.UNSPECIFIED]: "–",
  [TimeInForce.GTC]: "until canceled",
  [TimeInForce.IOC]: "at once; the rest expires",
  [TimeInForce.FOK]: "all at once, or nothing",
  [TimeInForce.GTD]: "until a time",
});

export const preventionName = names<SelfTradePrevention>({
  [SelfTradePrevention.UNSPECIFIED]: "None: it may trade with itself",
  [SelfTradePrevention.CANCEL_NEWEST]: "Cancel the newer order",
  [SelfTradePrevention.CANCEL_OLDEST]: "Cancel the older order",
  [SelfTradePrevention.CANCEL_BOTH]: "Cancel both",
  [SelfTradePrevention.DECREMENT]: "Take the smaller from both",
});

export const ackLevelName = names<AckLevel>({
  [AckLevel.UNSPECIFIED]: "–",
  [AckLevel.MATCHED]: "Matched by the engine",
  [AckLevel.LOGGED]: "Safe in the log",
});

export const statusName = names<OrderStatus>({
  [OrderStatus.UNSPECIFIED]: "–",
  [OrderStatus.PENDING_NEW]: "Pending",
  [OrderStatus.NEW]: "Open",
  [OrderStatus.PARTIALLY_FILLED]: "Part filled",
  [OrderStatus.FILLED]: "Filled",
  [OrderStatus.CANCELED]: "Canceled",
  [OrderStatus.EXPIRED]: "Expired",
  [OrderStatus.REJECTED]: "Rejected",
});

export const execTypeName = names<ExecType>({
  [ExecType.UNSPECIFIED]: "–",
  [ExecType.NEW]: "New",
  [ExecType.TRADE]: "Trade",
  [ExecType.CANCELED]: "Canceled",
  [ExecType.REPLACED]: "Replaced",
  [ExecType.EXPIRED]: "Expired",
  [ExecType.REJECTED]: "Rejected",
  [ExecType.TRIGGERED]: "Triggered",
  [ExecType.RESTATED]: "Restated",
  [ExecType.CANCEL_REJECTED]: "Cancel refused",
  [ExecType.REPLACE_REJECTED]: "Replace refused",
  [ExecType.MASS_CANCEL_REPORT]: "Mass cancel",
});

export const tradingName = names<TradingStatus>({
  [TradingStatus.UNSPECIFIED]: "",
  [TradingStatus.OPEN]: "Open",
  [TradingStatus.CANCEL_ONLY]: "Cancels only",
  [TradingStatus.HALTED]: "Halted",
});

export const engineStateName = names<EngineState>({
  [EngineState.UNSPECIFIED]: "–",
  [EngineState.STARTING]: "Starting",
  [EngineState.ACTIVE]: "Active",
  [EngineState.STANDBY]: "Standby",
  [EngineState.STOPPED]: "Stopped",
});

export const roleName = names<Role>({
  [Role.UNSPECIFIED]: "",
  [Role.TRADER]: "trader",
  [Role.ADMIN]: "admin",
  [Role.READ_ONLY]: "read only",
});

/** "POST_ONLY" as "post only". */
export function reasonOf(name: string): string {
  return name.toLowerCase().replaceAll("_", " ");
}

/** "Buy 0.5 BTC-USD at 100.25" */
export function described(order: Pick<Order, "side" | "quantity" | "symbol" | "type" | "price" | "stopPrice">): string {
  const at = order.price === "" ? "at market" : `at ${order.price}`;
  const from = order.stopPrice === "" ? "" : `, stop ${order.stopPrice}`;
  return `${sideName(order.side)} ${order.quantity} ${order.symbol} ${at}${from}`;
}

/** What a report says to the one whose order it is; undefined where it only confirms what was just asked for. */
export function news({
  execType,
  order,
  reason,
  lastQuantity,
  lastPrice,
  ...report
}: ExecutionReport): string | undefined {
  if (order === undefined) return undefined;
  const what = described(order);
  const why = reason === "" ? "" : `: ${reasonOf(reason)}`;
  switch (execType) {
    case ExecType.TRADE: {
      const verb = order.side === Side.BUY ? "Bought" : "Sold";
      const rest = order.status === OrderStatus.FILLED ? "Filled" : `${order.leavesQuantity} open`;
      return `${verb} ${lastQuantity} ${order.symbol} at ${lastPrice}. ${rest}.`;
    }
    case ExecType.CANCELED:
      return `Canceled${why}. ${what}.`;
    case ExecType.EXPIRED:
      return `Expired${why}. ${what}.`;
    case ExecType.REJECTED:
      return `Rejected${why}. ${what}.`;
    case ExecType.REPLACED:
      return `Replaced. ${what}.`;
    case ExecType.TRIGGERED:
      return `Stop triggered. ${what}.`;
    case ExecType.CANCEL_REJECTED:
      return `Cancel refused${why}. ${what}.`;
    case ExecType.REPLACE_REJECTED:
      return `Replace refused${why}. ${what}.`;
    case ExecType.MASS_CANCEL_REPORT:
      return `${report.affected} orders canceled${report.remaining > 0 ? `, ${report.remaining} left` : ""}.`;
    case ExecType.UNSPECIFIED:
    case ExecType.NEW:
    case ExecType.RESTATED:
      return undefined;
    default:
      // A newer server's.
      return undefined;
  }
}

/** "14:03:59.120", local time. */
export function clockTime(at: Timestamp | undefined, { ms = false } = {}): string {
  return at === undefined ? "" : clockTimeOf(timestampMs(at), { ms });
}

/** `at` in milliseconds since 1970. */
export function clockTimeOf(at: number, { ms = false } = {}): string {
  const date = new Date(at);
  const seconds = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return ms ? `${seconds}.${String(date.getMilliseconds()).padStart(3, "0")}` : seconds;
}

/** "2026-11-22 14:03:59.120", local time. */
export function dateTime(at: Timestamp | undefined, { ms = true } = {}): string {
  return at === undefined ? "" : dateTimeOf(timestampMs(at), { ms });
}

export function dateTimeOf(at: number, { ms = true } = {}): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clockTimeOf(at, { ms })}`;
}

function two(part: number): string {
  return String(part).padStart(2, "0");
}

/** "12 ms", "1.5 s", "3 min". */
export function duration(ms: number): string {
  if (ms < 1) return ms === 0 ? "0 ms" : `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

const COUNTS = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" });

/** "12.3K" */
export function count(value: number | bigint): string {
  return COUNTS.format(value);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number | bigint): string {
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`;
}
