import {
  ExecType,
  OrderStatus,
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
} from "../gen/penstock/v1/order_pb.ts";
import type { FixedFacts, StoredExecution } from "../store/executions.ts";
import type { SubmitFields } from "../stream/command.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import type { Instruments, TradedInstrument } from "../stream/instrument.ts";
import { type EntryPosition, formatEntryId } from "../stream/position.ts";
import { createdMsOf, type ExecutionReportInit, executionReportOf, storedAveragePrice } from "./execution-reports.ts";
import { encodeReport } from "./report-codec.ts";
import { timestampOf } from "./timestamp.ts";

/** The place of a report: that of its entry, and its index among those of the entry. */
export interface ReportPlace extends EntryPosition {
  readonly index: number;
}

/** Behind all reports of an entry: an order id has 16 bits for an index, and so many events no entry has. */
export const WHOLE_ENTRY = 0xffff;

/** An execution report as it is sent to whoever watches its account. */
export interface Report extends ReportPlace {
  readonly account: string;
  readonly symbol: string;
  /** The account's number of it in the partition; 0 where the engine had no room for the account. */
  readonly sequence: number;
  /** A WatchOrdersResponse. */
  readonly bytes: Uint8Array;
}

/** Whose reports are wanted; undefined for all. */
export interface ReportFilter {
  readonly account: string | undefined;
  readonly symbol: string | undefined;
}

export function isWanted(of: Pick<Report, "account" | "symbol">, { account, symbol }: ReportFilter): boolean {
  return (account === undefined || of.account === account) && (symbol === undefined || of.symbol === symbol);
}

/** The report that an event is, `index` being its place in its entry; undefined where it is no account's. */
export function reportOf(
  event: EngineEvent,
  index: number,
  entry: EntryPosition & { readonly id: string },
  partition: number,
  instruments: Instruments,
): Report | undefined {
  const report = executionReportOf(event, index, entry, partition, instruments.get(event.symbol));
  if (report === undefined) return undefined;
  const { account, symbol, sequence } = event;
  const { epoch, ms, seq } = entry;
  return { epoch, ms, seq, index, account, symbol, sequence, bytes: encodeReport(report) };
}

/** What an order keeps from its submission. */
type Facts = Pick<
  SubmitFields,
  "clientOrderId" | "side" | "type" | "timeInForce" | "expireTime" | "postOnly" | "selfTradePrevention"
>;

/** The same from what Postgres has of it; `submitted` where that lacks the order. */
export function storedReportOf(stored: StoredExecution, instruments: Instruments, submitted?: Facts): Report {
  const { account, symbol, sequence, epoch, ms, seq, index, order } = stored;
  const facts = order === null ? submitted : factsOf(order);
  const bytes = encodeReport(fromStored(stored, facts, instruments.get(symbol)));
  return { epoch, ms, seq, index, account, symbol, sequence, bytes };
}

function factsOf({ side, type, timeInForce, expireTime, selfTradePrevention, ...rest }: FixedFacts): Facts {
  return {
    ...rest,
    side: Side[side],
    type: OrderType[type],
    timeInForce: TimeInForce[timeInForce],
    expireTime: expireTime ?? 0,
    selfTradePrevention: SelfTradePrevention[selfTradePrevention ?? "UNSPECIFIED"],
  };
}

function fromStored(
  stored: StoredExecution,
  facts: Facts | undefined,
  instrument: TradedInstrument | undefined,
): ExecutionReportInit {
  const execType = ExecType[stored.execType as keyof typeof ExecType];
  const isExecution = execType <= ExecType.RESTATED;
  const isKnown = stored.status !== null && instrument !== undefined;
  const cumQuantity = stored.cumQuantity ?? "0";
  const reason = stored.reason ?? "";
  const orderId = stored.orderId ?? "";
  const createdMs = createdMsOf(orderId);
  return {
    position: { partition: stored.partition, epoch: stored.epoch, entryId: formatEntryId(stored), index: stored.index },
    sequence: BigInt(stored.sequence),
    execType,
    order: {
      orderId,
      clientOrderId: facts?.clientOrderId ?? stored.clientOrderId ?? "",
      account: stored.account,
      symbol: stored.symbol,
      side: facts?.side ?? Side.UNSPECIFIED,
      type: facts?.type ?? OrderType.UNSPECIFIED,
      timeInForce: facts?.timeInForce ?? TimeInForce.UNSPECIFIED,
      quantity: stored.quantity ?? "",
      price: stored.price ?? "",
      stopPrice: stored.stopPrice ?? "",
      displayQuantity: stored.displayQuantity ?? "",
      ...(facts?.expireTime ? { expireTime: timestampOf(facts.expireTime) } : {}),
      postOnly: facts?.postOnly ?? false,
      selfTradePrevention: facts?.selfTradePrevention ?? SelfTradePrevention.UNSPECIFIED,
      status: OrderStatus[(stored.status ?? "UNSPECIFIED") as keyof typeof OrderStatus],
      cumQuantity: isKnown ? cumQuantity : "",
      leavesQuantity: isKnown ? (stored.leavesQuantity ?? "0") : "",
      averagePrice:
        isKnown && cumQuantity !== "0" && stored.tradedValue !== null
          ? storedAveragePrice(stored.tradedValue, cumQuantity, instrument.tick)
          : "",
      reason: isExecution ? reason : "",
      ...(createdMs === 0 ? {} : { createdAt: timestampOf(createdMs) }),
      ...(isExecution ? { updatedAt: timestampOf(stored.ms) } : {}),
    },
    reason,
    lastQuantity: stored.lastQuantity ?? "",
    lastPrice: stored.lastPrice ?? "",
    trade: BigInt(stored.trade ?? 0),
    aggressor: stored.aggressor ?? false,
    clientRequestId: stored.clientRequestId ?? "",
    affected: stored.affected ?? 0,
    remaining: stored.remaining ?? 0,
    createdAt: timestampOf(stored.ms),
  };
}
