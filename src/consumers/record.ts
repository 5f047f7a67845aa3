import { hash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import type {
  DeadLetter,
  EntryRecord,
  InstrumentRow,
  OrderRow,
  OrderType as OrderTypeName,
  Receipt,
  SelfTradePrevention as SelfTradePreventionName,
  Side as SideName,
  TimeInForce as TimeInForceName,
} from "../store/entry-record.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import {
  decodeBatch,
  type LoggedCommand,
  type LoggedSubmit,
  SCHEMA_VERSION,
  type Undecodable,
} from "../stream/command.ts";
import { fromUnits } from "../stream/decimal.ts";
import { type Entry, EntryError, readEntry, versionOf } from "../stream/entry.ts";
import type { Delivered } from "../stream/group-reader.ts";
import { type Instruments, prepareInstrument } from "../stream/instrument.ts";
import { orderIdAt, orderIdPrefix, parseEntryId, START } from "../stream/position.ts";

/** The entry was written by a newer Penstock: this worker must leave it to one that knows it, and not guess. */
export class NewerVersionError extends Error {
  override readonly name = "NewerVersionError";
}

/** A symbol that the instruments at hand do not have. They may be older than the entry: read them again. */
export class UnknownSymbolError extends Error {
  override readonly name = "UnknownSymbolError";
}

export interface RecordOptions {
  readonly partition: number;
  readonly instruments: Instruments;
  /** True where the instruments were just read: a symbol that is still unknown then makes a dead letter. */
  readonly instrumentsAreFresh: boolean;
}

/** What an entry of the orders stream becomes in Postgres. Throws a NewerVersionError or an UnknownSymbolError. */
export function recordOf(delivered: Delivered, options: RecordOptions): EntryRecord {
  // Before anything else: of a newer version nothing is known, not even the other fields.
  const version = versionOf(delivered.fields);
  if (version > SCHEMA_VERSION) {
    const words = `entry ${delivered.id} has schema version ${version}; this worker knows ${SCHEMA_VERSION}`;
    throw new NewerVersionError(words);
  }
  let entry: Entry;
  try {
    entry = readEntry(delivered.id, delivered.fields);
  } catch (error) {
    if (!(error instanceof EntryError)) throw error;
    return strangeRecord(delivered, options.partition, error.message);
  }

  let commands: readonly (LoggedCommand | Undecodable)[];
  try {
    commands = decodeBatch(entry.payload);
  } catch (error) {
    commands = [];
    const letter = deadLetter(-1, entry.payload, `the batch cannot be decoded: ${messageOf(error)}`);
    return entryRecord(receiptOf(entry, options.partition, 0), delivered, [letter], [], [], () => entry.payload);
  }

  const prefix = orderIdPrefix(options.partition, entry);
  const orders: OrderRow[] = [];
  const instruments: InstrumentRow[] = [];
  const letters: DeadLetter[] = [];
  for (const [index, command] of commands.entries()) {
    if (command.kind === "undecodable") {
      letters.push(deadLetter(index, command.raw, `the command cannot be decoded: ${command.reason}`));
    } else if (command.kind === "submit") {
      const row = orderRow(command, index, prefix, options);
      if (typeof row === "string") letters.push(deadLetter(index, command.raw, row));
      else orders.push(row);
    } else if (command.command.kind.case === "instrument") {
      const { value } = command.command.kind;
      try {
        prepareInstrument(value); // a definition that makes no instrument would stop all who read it
        const definition = Buffer.from(toBinary(InstrumentSchema, value));
        instruments.push({ index, symbol: value.symbol, version: value.version, definition });
      } catch (error) {
        letters.push(deadLetter(index, command.raw, `the instrument cannot be defined so: ${messageOf(error)}`));
      }
    }
    // Cancels and replaces are the engine's; here they are kept in the journal only.
  }
  const rawCommand = (index: number): Buffer => commands[index]?.raw ?? entry.payload;
  return entryRecord(
    receiptOf(entry, options.partition, commands.length),
    delivered,
    letters,
    orders,
    instruments,
    rawCommand,
  );
}

/** For an entry that the group still had to process and that is gone from the stream. */
export function lostRecord(id: string, partition: number): EntryRecord {
  return strangeRecord(
    { id, fields: [], deliveries: 1 },
    partition,
    "LOST: the entry was removed from the stream before it was written",
  );
}

/** For what stands in the stream and is none of our entries: kept as it is, at epoch 0, which no entry has. */
function strangeRecord(delivered: Delivered, partition: number, reason: string): EntryRecord {
  const payload = Buffer.concat(delivered.fields);
  const entry = { id: delivered.id, ...parseEntryId(delivered.id), epoch: 0, previous: START, version: 0, payload };
  const letter = deadLetter(-1, payload, reason);
  return entryRecord(receiptOf(entry, partition, 0), delivered, [letter], [], [], () => payload);
}

function entryRecord(
  receipt: Receipt,
  delivered: Delivered,
  deadLetters: DeadLetter[],
  orders: OrderRow[],
  instruments: InstrumentRow[],
  rawCommand: (index: number) => Buffer,
): EntryRecord {
  return { receipt, deadLetters, orders, instruments, deliveries: delivered.deliveries, rawCommand };
}

function receiptOf(entry: Entry, partition: number, commands: number): Receipt {
  return {
    stream: ORDERS_STREAM,
    partition,
    epoch: entry.epoch,
    ms: entry.ms,
    seq: entry.seq,
    prevMs: entry.previous.ms,
    prevSeq: entry.previous.seq,
    version: entry.version,
    commands,
    hash: hash("sha256", entry.payload, "buffer"),
    payload: entry.payload,
  };
}

function deadLetter(index: number, raw: Buffer, reason: string): DeadLetter {
  return { index, raw, sqlstate: null, reason };
}

/** By their numbers in penstock.v1; what is not listed is refused at the door and becomes a dead letter here. */
const SIDES: readonly (SideName | undefined)[] = named({ [Side.BUY]: "BUY", [Side.SELL]: "SELL" });
const TYPES: readonly (OrderTypeName | undefined)[] = named({
  [OrderType.MARKET]: "MARKET",
  [OrderType.LIMIT]: "LIMIT",
  [OrderType.STOP]: "STOP",
  [OrderType.STOP_LIMIT]: "STOP_LIMIT",
});
const TIMES: readonly (TimeInForceName | undefined)[] = named({
  [TimeInForce.GTC]: "GTC",
  [TimeInForce.IOC]: "IOC",
  [TimeInForce.FOK]: "FOK",
  [TimeInForce.GTD]: "GTD",
});
const PREVENTIONS: readonly (SelfTradePreventionName | null | undefined)[] = named<SelfTradePreventionName | null>({
  [SelfTradePrevention.UNSPECIFIED]: null,
  [SelfTradePrevention.CANCEL_NEWEST]: "CANCEL_NEWEST",
  [SelfTradePrevention.CANCEL_OLDEST]: "CANCEL_OLDEST",
  [SelfTradePrevention.CANCEL_BOTH]: "CANCEL_BOTH",
  [SelfTradePrevention.DECREMENT]: "DECREMENT",
});

function named<Name>(names: Readonly<Record<number, Name>>): readonly (Name | undefined)[] {
  const list: (Name | undefined)[] = [];
  for (const [number, name] of Object.entries(names)) list[Number(number)] = name;
  return list;
}

/** The row of an order, or why it cannot be one. */
function orderRow(command: LoggedSubmit, index: number, prefix: string, options: RecordOptions): OrderRow | string {
  const { submit } = command;
  const instrument = options.instruments.get(submit.symbol);
  if (instrument === undefined) {
    if (!options.instrumentsAreFresh) throw new UnknownSymbolError(submit.symbol);
    return "the symbol is unknown";
  }
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
