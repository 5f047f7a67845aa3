import { toJson } from "@bufbuild/protobuf";
import { CommandSchema } from "../gen/penstock/v1/log_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { messageOf } from "../runtime/errors.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import type { StoredLetter } from "../store/dead-letter-shelf.ts";
import { decodeBatch, type LoggedOther, type LoggedSubmit, readCommand } from "../stream/logged-command.ts";
import { fromUnits, type Scale } from "../stream/decimal.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { decodeEvents, decodeRawEvent } from "../stream/event-decoder.ts";
import { EXEC_TYPE_NAMES, REASON_NAMES, reportTypeOf, STATUS_NAMES } from "../stream/event-names.ts";
import type { Instruments } from "../stream/instrument.ts";
import { formatOrderId, orderIdText } from "../stream/position.ts";

/** Names and values as a person reads them; what is absent is left out. */
export type LetterFields = Readonly<Record<string, string>>;

/** What can be read out of a letter's bytes: of a command or event its fields, of an entry how many there are, or why nothing. */
export function fieldsOf(letter: StoredLetter, instruments: Instruments): LetterFields {
  try {
    if (letter.kind === "lost" || letter.kind === "foreign") return {};
    return written(letter.stream === ORDERS_STREAM ? ofOrders(letter, instruments) : ofEvents(letter, instruments));
  } catch (error) {
    return { undecodable: messageOf(error) };
  }
}

type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

function written(fields: Fields): LetterFields {
  const said = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  return Object.fromEntries(said.map(([name, value]) => [name, String(value)]));
}

function ofOrders(letter: StoredLetter, instruments: Instruments): Fields {
  if (letter.index < 0) return ofEntry(letter);
  const command = readCommand(letter.raw);
  if (command.kind === "undecodable") return { undecodable: command.reason };
  const fields = command.kind === "submit" ? ofSubmit(command, instruments) : ofOther(command);
  return { ...fields, [command.kind === "submit" ? "order_id" : "command_id"]: formatOrderId(letter) };
}

function ofEntry(letter: StoredLetter): Fields {
  const commands = decodeBatch(letter.raw);
  const orders = commands.flatMap((command, index) => {
    if (command.kind !== "submit") return [];
    const { account, submit } = command;
    return [`${account} ${submit.symbol} ${submit.clientOrderId} ${formatOrderId({ ...letter, index })}`];
  });
  return { commands: commands.length, orders: orders.join("; ") };
}

function ofSubmit({ account, submit }: LoggedSubmit, instruments: Instruments): Fields {
  const { tick, lot } = instruments.get(submit.symbol) ?? {};
  return {
    command: "submit",
    account,
    client_order_id: submit.clientOrderId,
    symbol: submit.symbol,
    side: nameOf(Side, submit.side),
    type: nameOf(OrderType, submit.type),
    time_in_force: nameOf(TimeInForce, submit.timeInForce),
    quantity: amount(submit.quantity, lot, "lots"),
    price: amount(submit.price, tick, "ticks"),
    stop_price: amount(submit.stopPrice, tick, "ticks"),
    display_quantity: amount(submit.displayQuantity, lot, "lots"),
    expire_time: submit.expireTime === 0 ? undefined : time(submit.expireTime),
    post_only: submit.postOnly,
    self_trade_prevention:
      submit.selfTradePrevention === 0 ? undefined : nameOf(SelfTradePrevention, submit.selfTradePrevention),
  };
}

/** As protobuf's JSON has it; amounts of a replace are in lots and ticks. */
function ofOther({ account, command }: LoggedOther): Fields {
  const { kind } = command;
  if (kind.case === undefined) return { account };
  const json = toJson(CommandSchema, command, { useProtoFieldName: true }) as Record<string, unknown>;
  const [name = "", values = {}] = Object.entries(json).find(([, value]) => typeof value === "object") ?? [];
  const fields: Record<string, string> = {};
  for (const [field, value] of Object.entries(values as Record<string, unknown>))
    fields[field] = typeof value === "string" ? value : JSON.stringify(value);
  if ((kind.case === "cancel" || kind.case === "replace") && kind.value.target.case === "orderId")
    fields["order_id"] = orderIdText(kind.value.target.value);
  return { command: name, account, ...fields };
}

function ofEvents(letter: StoredLetter, instruments: Instruments): Fields {
  if (letter.index < 0) return { events: decodeEvents(letter.raw).length };
  return ofEvent(decodeRawEvent(letter.raw), instruments);
}

function ofEvent(event: EngineEvent, instruments: Instruments): Fields {
  const { tick, lot } = instruments.get(event.symbol) ?? {};
  const report = reportTypeOf(event);
  return {
    exec_type: EXEC_TYPE_NAMES[report ?? 0] ?? `kind ${event.kind}, execution type ${event.execType}`,
    account: event.account,
    sequence: event.sequence,
    symbol: event.symbol,
    order_id: event.orderId,
    client_order_id: event.clientOrderId,
    client_request_id: event.clientRequestId,
    side: event.side === 0 ? undefined : nameOf(Side, event.side),
    status: event.status === 0 ? undefined : (STATUS_NAMES[event.status] ?? event.status),
    reason: REASON_NAMES[event.reason] ?? event.reason,
    quantity: amount(event.quantity, lot, "lots"),
    price: amount(event.price, tick, "ticks"),
    stop_price: amount(event.stopPrice, tick, "ticks"),
    display_quantity: amount(event.displayQuantity, lot, "lots"),
    cum_quantity: amount(event.cumQuantity, lot, "lots"),
    leaves_quantity: amount(event.leavesQuantity, lot, "lots"),
    trade: event.trade || undefined,
    last_quantity: amount(event.lastQuantity, lot, "lots"),
    last_price: amount(event.lastPrice, tick, "ticks"),
    aggressor: event.aggressor,
    other_order_id: event.otherOrderId,
    affected: event.affected || undefined,
    remaining: event.remaining || undefined,
  };
}

function nameOf(numbers: Readonly<Record<string, number>>, number: number): string {
  return Object.keys(numbers).find((name) => numbers[name] === number) ?? `unknown number ${number}`;
}

/** As a decimal; in units of the log where the instrument is not known. */
function amount(units: number, scale: Scale | undefined, unit: string): string | undefined {
  if (units === 0) return undefined;
  return scale === undefined ? `${units} ${unit}` : fromUnits(units, scale);
}

/** A number that no date is of stays as it is. */
function time(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}
