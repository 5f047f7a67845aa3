import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ExecType,
  ExecutionReportSchema,
  OrderSchema,
  OrderStatus,
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
} from "../gen/penstock/v1/order_pb.ts";
import { fromUnits, quotient, type Scale } from "../stream/decimal.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { EVENT_KIND, REASON_NAMES, reportTypeOf } from "../stream/event-names.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import { type EntryPosition, parseOrderId } from "../stream/position.ts";
import { timestampOf } from "./timestamp.ts";

// What the engine says in ticks, lots and numbers, as the API says it. Where the instrument is not known, which only a
// refusal of what names no instrument can be, there are no decimals.

export type OrderInit = MessageInitShape<typeof OrderSchema>;
export type ExecutionReportInit = MessageInitShape<typeof ExecutionReportSchema>;

/** Digits of an average price behind those of the tick. */
const AVERAGE_DIGITS = 8;
const HIGH = 1n << 53n;

/**
 * The order as it is after an event, of which only what the event knows is said. Times are in milliseconds. A cancel or
 * replace that was refused did not touch the order: then it has no reason and no `updated_at`.
 */
export function orderOf(
  event: EngineEvent,
  instrument: TradedInstrument | undefined,
  { createdMs, updatedMs }: { readonly createdMs: number; readonly updatedMs: number },
): OrderInit {
  const isExecution = event.kind === EVENT_KIND.EXECUTION;
  const isKnown = event.status !== 0;
  const { expireTime, cumQuantity } = event;
  return {
    orderId: event.orderId,
    clientOrderId: event.clientOrderId,
    account: event.account,
    symbol: event.symbol,
    side: event.side as Side,
    type: event.type as OrderType,
    timeInForce: event.timeInForce as TimeInForce,
    quantity: unlessZero(event.quantity, instrument?.lot),
    price: unlessZero(event.price, instrument?.tick),
    stopPrice: unlessZero(event.stopPrice, instrument?.tick),
    displayQuantity: unlessZero(event.displayQuantity, instrument?.lot),
    ...(expireTime === 0 ? {} : { expireTime: timestampOf(expireTime) }),
    postOnly: event.postOnly,
    selfTradePrevention: event.selfTradePrevention as SelfTradePrevention,
    status: event.status as OrderStatus,
    cumQuantity: isKnown && instrument ? fromUnits(cumQuantity, instrument.lot) : "",
    leavesQuantity: isKnown && instrument ? fromUnits(event.leavesQuantity, instrument.lot) : "",
    averagePrice: cumQuantity > 0 && instrument ? averagePrice(event, instrument.tick) : "",
    reason: isExecution ? reasonOf(event) : "",
    ...(createdMs === 0 ? {} : { createdAt: timestampOf(createdMs) }),
    ...(isExecution ? { updatedAt: timestampOf(updatedMs) } : {}),
  };
}

/** The name of an event's reason; "" where it has none. */
export function reasonOf({ reason }: EngineEvent): string {
  return REASON_NAMES[reason] ?? String(reason);
}

/** Milliseconds since 1970: the time of the entry that holds the order; 0 where no order is known. */
export function createdMsOf(orderId: string): number {
  return parseOrderId(orderId)?.ms ?? 0;
}

/** The report that an event is, `index` being its place in its entry; undefined where it is no account's. */
export function executionReportOf(
  event: EngineEvent,
  index: number,
  entry: EntryPosition & { readonly id: string },
  partition: number,
  instrument: TradedInstrument | undefined,
): ExecutionReportInit | undefined {
  const execType = reportTypeOf(event);
  if (execType === undefined || execType === 0) return undefined;
  const isTrade = event.trade > 0;
  return {
    position: { partition, epoch: entry.epoch, entryId: entry.id, index },
    sequence: BigInt(event.sequence),
    execType: execType as ExecType,
    order: orderOf(event, instrument, { createdMs: createdMsOf(event.orderId), updatedMs: entry.ms }),
    reason: reasonOf(event),
    lastQuantity: isTrade ? unlessZero(event.lastQuantity, instrument?.lot) : "",
    lastPrice: isTrade ? unlessZero(event.lastPrice, instrument?.tick) : "",
    trade: BigInt(event.trade),
    aggressor: event.aggressor,
    clientRequestId: event.clientRequestId,
    affected: event.affected,
    remaining: event.remaining,
    createdAt: timestampOf(entry.ms),
  };
}

/** The sum of price × quantity over the fills, by what was filled. */
function averagePrice({ valueHigh, valueLow, cumQuantity }: EngineEvent, tick: Scale): string {
  const ticks = BigInt(valueHigh) * HIGH + BigInt(valueLow);
  const filled = BigInt(cumQuantity) * 10n ** BigInt(tick.decimals);
  return quotient(ticks * tick.exactStep, filled, tick.decimals + AVERAGE_DIGITS);
}

/**
 * The same from what Postgres has: two decimals without exponent, the second of which is not 0.
 *
 * @param tradedValue the sum of price × quantity over the fills
 */
export function storedAveragePrice(tradedValue: string, cumQuantity: string, tick: Scale): string {
  const value = partsOf(tradedValue);
  const filled = partsOf(cumQuantity);
  const digits = tick.decimals + AVERAGE_DIGITS;
  return quotient(value.digits * filled.power, filled.digits * value.power, digits);
}

/** A decimal as digits / power. */
function partsOf(decimal: string): { readonly digits: bigint; readonly power: bigint } {
  const [whole = "", fraction = ""] = decimal.split(".");
  return { digits: BigInt(whole + fraction), power: 10n ** BigInt(fraction.length) };
}

function unlessZero(units: number, scale: Scale | undefined): string {
  return units === 0 || scale === undefined ? "" : fromUnits(units, scale);
}
