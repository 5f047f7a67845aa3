import { Side } from "../gen/penstock/v1/order_pb.ts";
import type { AnswerRow, ChangeRow, DeadLetter, ExecutionRow, TradeRow } from "../store/entry-record.ts";
import { EVENTS_STREAM } from "../store/entry-record.ts";
import { fromUnits, fromValue, type Scale } from "../stream/decimal.ts";
import { type EngineEvent, EVENTS_VERSION } from "../stream/event-batch.ts";
import { decodeEvents, decodeRawEvent, rawEvent } from "../stream/event-decoder.ts";
import {
  EVENT_KIND,
  EXEC_TYPE_NAMES,
  namesOf,
  REASON_NAMES,
  reportTypeOf,
  STATUS_NAMES,
} from "../stream/event-names.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import { deadLetter, instrumentOf, type RecordOptions, type StreamRows, type TradeSide } from "./record.ts";

/** What the engine made of the commands: reports to accounts, and trades. The states of orders are in the reports. */
export const EVENT_ROWS: StreamRows = {
  stream: EVENTS_STREAM,
  name: "events",
  version: EVENTS_VERSION,
  keepsPayload: false,
  rowsOf({ payload }, options) {
    const events = decodeEvents(payload);
    const rows: EventRows = { executions: [], trades: [] };
    const deadLetters: DeadLetter[] = [];
    for (let index = 0; index < events.length; index++) {
      const reason = addRows(events[index]!, index, events[index + 1], options, rows);
      if (reason !== undefined) deadLetters.push(deadLetter(index, rawEvent(payload, index) ?? payload, reason));
    }
    return { count: events.length, ...rows, deadLetters, raw: (index) => rawEvent(payload, index) };
  },
  rowsAt({ payload }, index, options, resting) {
    const rows: EventRows = { executions: [], trades: [] };
    const reason = addRows(decodeRawEvent(payload), index, resting, options, rows);
    const deadLetters = reason === undefined ? [] : [deadLetter(index, payload, reason)];
    return { count: 1, ...rows, deadLetters, raw: () => payload };
  },
};

interface EventRows {
  readonly executions: ExecutionRow[];
  readonly trades: TradeRow[];
}

/** Adds the rows of an event, `resting` being the one behind it; returns why not, where one of them cannot be made. */
function addRows(
  event: EngineEvent,
  index: number,
  resting: TradeSide | undefined,
  options: RecordOptions,
  { executions, trades }: EventRows,
): string | undefined {
  const report = reportTypeOf(event);
  if (report === 0) return undefined; // the system's: what became of a command about an instrument, a status or limits
  const row = executionRow(event, index, report, options);
  if (typeof row === "string") return row;
  executions.push(row);
  if (!event.aggressor || !row.isChange) return undefined;
  const trade = tradeRow(event, row, resting);
  if (typeof trade === "string") return trade;
  trades.push(trade);
  return undefined;
}

const SIDES = namesOf(Side);

/** The row of a report, or why it cannot be one. */
function executionRow(
  event: EngineEvent,
  index: number,
  report: number | undefined,
  options: RecordOptions,
): ExecutionRow | string {
  const execType = report === undefined ? undefined : EXEC_TYPE_NAMES[report];
  if (execType === undefined) return `unknown event: kind ${event.kind}, execution type ${event.execType}`;
  const reason = REASON_NAMES[event.reason];
  if (reason === undefined) return `unknown reason ${event.reason}`;
  const isChange = event.kind === EVENT_KIND.EXECUTION;
  if (!isChange && event.status === 0) return answerRow(event, index, execType, reason, null, undefined);

  const status = STATUS_NAMES[event.status];
  if (status === undefined) return `unknown status ${event.status}`;
  if (event.orderId === "") return "an order without an id";
  const instrument = instrumentOf(event.symbol, options);
  if (typeof instrument === "string") return instrument;
  return isChange
    ? changeRow(event, index, execType, reason, status, instrument)
    : answerRow(event, index, execType, reason, status, instrument);
}

/** Written out, as the next one is: nearly all that the engine tells comes this way, and joining objects takes longer. */
function changeRow(
  event: EngineEvent,
  index: number,
  execType: string,
  reason: string,
  status: string,
  { tick, lot }: TradedInstrument,
): ChangeRow {
  const isTrade = event.trade > 0;
  return {
    isChange: true,
    index,
    command: event.command < 0 ? null : event.command,
    account: event.account,
    sequence: event.sequence,
    symbol: event.symbol,
    execType,
    status,
    reason: textOrNull(reason),
    orderId: event.orderId,
    otherOrderId: isTrade ? null : textOrNull(event.otherOrderId), // of a trade it stands in `trades`
    clientOrderId: null,
    clientRequestId: textOrNull(event.clientRequestId),
    triggered: event.triggered,
    quantity: fromUnits(event.quantity, lot),
    price: amount(event.price, tick),
    stopPrice: amount(event.stopPrice, tick),
    displayQuantity: amount(event.displayQuantity, lot),
    cumQuantity: fromUnits(event.cumQuantity, lot),
    leavesQuantity: fromUnits(event.leavesQuantity, lot),
    tradedValue: fromValue(event.valueHigh, event.valueLow, tick, lot),
    lastQuantity: amount(event.lastQuantity, lot),
    lastPrice: amount(event.lastPrice, tick),
    trade: isTrade ? event.trade : null,
    aggressor: isTrade ? event.aggressor : null,
    affected: null,
    remaining: null,
  };
}

/** Status and instrument are there where the order is known, which is then shown as it stays. */
function answerRow(
  event: EngineEvent,
  index: number,
  execType: string,
  reason: string,
  status: string | null,
  instrument: TradedInstrument | undefined,
): AnswerRow {
  const { tick, lot } = instrument ?? {};
  const isMassCancel = event.kind === EVENT_KIND.COMMAND;
  return {
    isChange: false,
    index,
    command: event.command < 0 ? null : event.command,
    account: event.account,
    sequence: event.sequence,
    symbol: event.symbol,
    execType,
    status,
    reason: textOrNull(reason),
    orderId: textOrNull(event.orderId),
    otherOrderId: null,
    clientOrderId: status === null ? textOrNull(event.clientOrderId) : null,
    clientRequestId: textOrNull(event.clientRequestId),
    quantity: lot === undefined ? null : fromUnits(event.quantity, lot),
    price: amount(event.price, tick),
    stopPrice: amount(event.stopPrice, tick),
    displayQuantity: amount(event.displayQuantity, lot),
    cumQuantity: lot === undefined ? null : fromUnits(event.cumQuantity, lot),
    leavesQuantity: lot === undefined ? null : fromUnits(event.leavesQuantity, lot),
    tradedValue: tick === undefined || lot === undefined ? null : fromValue(event.valueHigh, event.valueLow, tick, lot),
    lastQuantity: null,
    lastPrice: null,
    trade: null,
    aggressor: null,
    affected: isMassCancel ? event.affected : null,
    remaining: isMassCancel ? event.remaining : null,
  };
}

/** The trade of an aggressor's event, which the resting order's follows; or why it cannot be a row. */
function tradeRow(event: EngineEvent, row: ChangeRow, resting: TradeSide | undefined): TradeRow | string {
  const aggressor = SIDES[event.side];
  if (aggressor === undefined) return `unknown side ${event.side}`;
  const { symbol, trade, lastQuantity, lastPrice } = row;
  if (trade === null || lastQuantity === null || lastPrice === null) return "a trade of nothing";
  const isPair = resting !== undefined && resting.trade === trade && resting.symbol === symbol && !resting.aggressor;
  if (!isPair || resting.orderId !== event.otherOrderId) return "a trade without its other side";
  const [bought, sold] = aggressor === "BUY" ? [event, resting] : [resting, event];
  return {
    ...{ index: row.index, symbol, trade, price: lastPrice, quantity: lastQuantity, aggressor },
    ...{ buyOrderId: bought.orderId, sellOrderId: sold.orderId },
    ...{ buyAccount: bought.account, sellAccount: sold.account },
  };
}

/** As a decimal; null for 0, and where no instrument is known. */
function amount(units: number, scale: Scale | undefined): string | null {
  return units === 0 || scale === undefined ? null : fromUnits(units, scale);
}

function textOrNull(text: string): string | null {
  return text === "" ? null : text;
}
