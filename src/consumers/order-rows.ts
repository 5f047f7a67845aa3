import { toBinary } from "@bufbuild/protobuf";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { messageOf } from "../runtime/errors.ts";
import type {
  DeadLetter,
  InstrumentRow,
  OrderRow,
  SelfTradePrevention as SelfTradePreventionName,
} from "../store/entry-record.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { SCHEMA_VERSION } from "../stream/command.ts";
import {
  decodeBatch,
  type LoggedCommand,
  type LoggedSubmit,
  readCommand,
  type Undecodable,
} from "../stream/logged-command.ts";
import { fromUnits } from "../stream/decimal.ts";
import { namesOf } from "../stream/event-names.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { orderIdAt, orderIdPrefix } from "../stream/position.ts";
import { deadLetter, instrumentOf, type RecordOptions, type StreamRows } from "./record.ts";

/** Commands: the facts of orders, and definitions of instruments. The rest is the engine's; here the journal keeps it. */
export const ORDER_ROWS: StreamRows = {
  stream: ORDERS_STREAM,
  name: "orders",
  version: SCHEMA_VERSION,
  keepsPayload: true,
  rowsOf(entry, options) {
    const commands = decodeBatch(entry.payload);
    const prefix = orderIdPrefix(options.partition, entry);
    const rows: CommandRows = { orders: [], instruments: [], deadLetters: [] };
    for (const [index, command] of commands.entries()) addRows(command, index, prefix, options, rows);
    return { count: commands.length, ...rows, raw: (index) => commands[index]?.raw };
  },
  rowsAt(entry, index, options) {
    const rows: CommandRows = { orders: [], instruments: [], deadLetters: [] };
    addRows(readCommand(entry.payload), index, orderIdPrefix(options.partition, entry), options, rows);
    return { count: 1, ...rows, raw: () => entry.payload };
  },
};

interface CommandRows {
  readonly orders: OrderRow[];
  readonly instruments: InstrumentRow[];
  readonly deadLetters: DeadLetter[];
}

function addRows(
  command: LoggedCommand | Undecodable,
  index: number,
  prefix: string,
  options: RecordOptions,
  { orders, instruments, deadLetters }: CommandRows,
): void {
  if (command.kind === "undecodable") {
    deadLetters.push(deadLetter(index, command.raw, `the command cannot be decoded: ${command.reason}`));
  } else if (command.kind === "submit") {
    const row = orderRow(command, index, prefix, options);
    if (typeof row === "string") deadLetters.push(deadLetter(index, command.raw, row));
    else orders.push(row);
  } else if (command.command.kind.case === "instrument") {
    const { value } = command.command.kind;
    try {
      prepareInstrument(value); // a definition that makes no instrument would stop all who read it
      const definition = Buffer.from(toBinary(InstrumentSchema, value));
      instruments.push({ index, symbol: value.symbol, version: value.version, definition });
    } catch (error) {
      deadLetters.push(deadLetter(index, command.raw, `the instrument cannot be defined so: ${messageOf(error)}`));
    }
  }
}

/** By their numbers in penstock.v1; what is not listed is refused at the door and becomes a dead letter here. */
const SIDES = namesOf(Side);
const TYPES = namesOf(OrderType);
const TIMES = namesOf(TimeInForce);
const PREVENTIONS: readonly (SelfTradePreventionName | null | undefined)[] = [
  null,
  ...namesOf(SelfTradePrevention).slice(1),
];

/** The row of an order, or why it cannot be one. */
function orderRow(command: LoggedSubmit, index: number, prefix: string, options: RecordOptions): OrderRow | string {
  const { submit } = command;
  const instrument = instrumentOf(submit.symbol, options);
  if (typeof instrument === "string") return instrument;
  const side = SIDES[submit.side];
  const type = TYPES[submit.type];
  const timeInForce = TIMES[submit.timeInForce];
  const selfTradePrevention = PREVENTIONS[submit.selfTradePrevention];
  if (side === undefined) return `unknown side ${submit.side}`;
  if (type === undefined) return `unknown order type ${submit.type}`;
  if (timeInForce === undefined) return `unknown time in force ${submit.timeInForce}`;
  if (selfTradePrevention === undefined) return `unknown self-trade prevention ${submit.selfTradePrevention}`;
  return {
    index,
    orderId: orderIdAt(prefix, index),
    clientKey: command.clientKey,
    account: command.account,
    clientOrderId: submit.clientOrderId,
    symbol: submit.symbol,
    side,
    type,
    timeInForce,
    quantity: fromUnits(submit.quantity, instrument.lot),
    price: submit.price === 0 ? null : fromUnits(submit.price, instrument.tick),
    stopPrice: submit.stopPrice === 0 ? null : fromUnits(submit.stopPrice, instrument.tick),
    displayQuantity: submit.displayQuantity === 0 ? null : fromUnits(submit.displayQuantity, instrument.lot),
    expireTime: submit.expireTime === 0 ? null : submit.expireTime,
    postOnly: submit.postOnly,
    selfTradePrevention,
  };
}
