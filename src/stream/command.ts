import { hash } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AccountLimitsCommandSchema,
  CancelCommandSchema,
  type Command,
  CommandSchema,
  MassCancelCommandSchema,
  ReplaceCommandSchema,
  RulesCommandSchema,
  TradingStatusCommandSchema,
  VoidCommandSchema,
} from "../gen/penstock/v1/log_pb.ts";
import { type Instrument, InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { OrderType, SelfTradePrevention, Side, TimeInForce, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { BYTES, FIXED64, Names, VARINT, varintLength, WireError, WireReader, WireWriter } from "./wire.ts";

/**
 * The one codec of what entries hold (proto/penstock/v1/log.proto).
 *
 * Submits are nearly all of it, so they are written and read by hand; the rest goes through the generated code.
 * Measured by `npm run bench`: bench/RESULTS.md, inner loops.
 */

/** The version of the schema that this code writes, and the newest that it reads. */
export const SCHEMA_VERSION = 1;

/** From "at most 1 MiB an entry" and 1 to 500 commands (DESIGN, the log). */
export const MAX_ENTRY_COMMANDS = 500;
export const MAX_ENTRY_BYTES = 1024 * 1024;

/** A submitted order in ticks and lots; 0 stands for absent. A number read from the log may be one that no enum has. */
export interface SubmitFields {
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly side: Side;
  readonly type: OrderType;
  readonly timeInForce: TimeInForce;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  /** Milliseconds since 1970. */
  readonly expireTime: number;
  readonly postOnly: boolean;
  readonly selfTradePrevention: SelfTradePrevention;
}

/** What a cancel or a replace is aimed at. */
export type Target =
  | { readonly case: "orderId"; readonly value: Uint8Array }
  | { readonly case: "clientOrderId"; readonly value: string };

/** A command as the commit script takes it. */
export interface PreparedCommand {
  /** One encoded element of CommandBatch.commands, tag and length included. */
  readonly element: Buffer;
  /** 24 characters of latin1: 16 bytes of idempotency key, 8 bytes of payload hash. */
  readonly identity: string;
}

const FIELD = {
  submit: 4,
  cancel: 5,
  replace: 6,
  mass_cancel: 7,
  instrument: 8,
  trading_status: 9,
  rules: 11,
  void: 12,
  account_limits: 13,
} as const;

type Kind = keyof typeof FIELD;

/**
 * The idempotency key of a command, 16 characters of latin1: the first half of SHA-256 over kind, account, symbol and
 * client id, which no one can make collide with another account's.
 */
export function idempotencyKey(kind: Kind, account: string, symbol: string, clientId: string): string {
  return sha256(`${kind}\0${account}\0${symbol}\0${clientId}`).slice(0, 16);
}

/** The two halves of the 64-bit key under which the engine finds an order by its client order id. */
export function orderKeyOf(
  account: string,
  symbol: string,
  clientOrderId: string,
): { keyHigh: number; keyLow: number } {
  const key = Buffer.from(idempotencyKey("submit", account, symbol, clientOrderId).slice(0, 8), "latin1");
  return { keyHigh: key.readInt32LE(4), keyLow: key.readInt32LE(0) };
}

/** The 64-bit key under which the rows of an order are found, as Postgres' bigint takes it. */
export function clientKeyOf(idempotencyKey: string): string {
  return Buffer.from(idempotencyKey.slice(0, 8), "latin1").readBigInt64LE().toString();
}

// hash() with "latin1" costs 0.35 µs, with a Buffer 1.4 µs (Node 26): it makes no ArrayBuffer.
function sha256(data: string | Buffer): string {
  return hash("sha256", data, "latin1");
}

// The longest strings that the door lets through, their tags, and all numbers, with room to spare.
const body = new WireWriter(4096);

export function prepareSubmit(account: string, fields: SubmitFields): PreparedCommand {
  body.length = 0;
  body.string(1, fields.clientOrderId);
  body.string(2, fields.symbol);
  body.uint(3, fields.side);
  body.uint(4, fields.type);
  body.uint(5, fields.timeInForce);
  body.uint(6, fields.quantity);
  body.uint(7, fields.price);
  body.uint(8, fields.stopPrice);
  body.uint(9, fields.displayQuantity);
  body.uint(10, fields.expireTime);
  body.uint(11, fields.postOnly ? 1 : 0);
  body.uint(12, fields.selfTradePrevention);
  const key = idempotencyKey("submit", account, fields.symbol, fields.clientOrderId);
  return prepare("submit", account, key, body.bytes());
}

export function prepareCancel(account: string, requestId: string, symbol: string, target: Target): PreparedCommand {
  const message = create(CancelCommandSchema, { clientRequestId: requestId, symbol, target });
  const key = idempotencyKey("cancel", account, symbol, requestId);
  return prepare("cancel", account, key, toBinary(CancelCommandSchema, message));
}

/** The values that a replace sets, in lots and ticks; 0 leaves one as it is. */
export interface ReplaceFields {
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
}

export function prepareReplace(
  account: string,
  requestId: string,
  symbol: string,
  target: Target,
  fields: ReplaceFields,
): PreparedCommand {
  const message = create(ReplaceCommandSchema, {
    clientRequestId: requestId,
    symbol,
    target,
    quantity: BigInt(fields.quantity),
    price: BigInt(fields.price),
    stopPrice: BigInt(fields.stopPrice),
    displayQuantity: BigInt(fields.displayQuantity),
  });
  const key = idempotencyKey("replace", account, symbol, requestId);
  return prepare("replace", account, key, toBinary(ReplaceCommandSchema, message));
}

export function prepareMassCancel(account: string, requestId: string, symbol: string): PreparedCommand {
  const message = create(MassCancelCommandSchema, { clientRequestId: requestId, symbol });
  const key = idempotencyKey("mass_cancel", account, symbol, requestId);
  return prepare("mass_cancel", account, key, toBinary(MassCancelCommandSchema, message));
}

/** A version of an instrument is defined once: symbol and version are its idempotency. */
export function prepareInstrument(account: string, instrument: Instrument): PreparedCommand {
  const key = idempotencyKey("instrument", "", instrument.symbol, String(instrument.version));
  return prepare("instrument", account, key, toBinary(InstrumentSchema, instrument));
}

// The commands of operators: `account` is whose call it was, and their request ids are idempotent like a client's.

export function prepareTradingStatus(
  account: string,
  requestId: string,
  symbol: string,
  status: TradingStatus,
): PreparedCommand {
  const message = create(TradingStatusCommandSchema, { requestId, symbol, status });
  const key = idempotencyKey("trading_status", account, symbol, requestId);
  return prepare("trading_status", account, key, toBinary(TradingStatusCommandSchema, message));
}

/** The limits of an account in one partition; 0 stands for the default of the rules. */
export interface AccountLimits {
  readonly account: string;
  readonly maxOpenOrders: number;
  /** Of one order, in lots. */
  readonly maxQuantity: number;
}

export function prepareAccountLimits(account: string, requestId: string, limits: AccountLimits): PreparedCommand {
  const { maxOpenOrders, maxQuantity } = limits;
  const values = { account: limits.account, maxOpenOrders, maxQuantity: BigInt(maxQuantity) };
  const message = create(AccountLimitsCommandSchema, { requestId, ...values });
  const key = idempotencyKey("account_limits", account, limits.account, requestId);
  return prepare("account_limits", account, key, toBinary(AccountLimitsCommandSchema, message));
}

/** `entryId` is "<ms>-<seq>", of an entry that the engine cannot process. */
export function prepareVoid(account: string, requestId: string, entryId: string, reason: string): PreparedCommand {
  const message = create(VoidCommandSchema, { requestId, entryId, reason });
  const key = idempotencyKey("void", account, entryId, requestId);
  return prepare("void", account, key, toBinary(VoidCommandSchema, message));
}

export function prepareRules(account: string, requestId: string, rules: number): PreparedCommand {
  const message = create(RulesCommandSchema, { requestId, rules });
  const key = idempotencyKey("rules", account, "", requestId);
  return prepare("rules", account, key, toBinary(RulesCommandSchema, message));
}

const head = new WireWriter(512);
const frame = new WireWriter(16);

function prepare(kind: Kind, account: string, key: string, message: Uint8Array): PreparedCommand {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  const payloadHash = sha256(bytes).slice(0, 8);
  head.length = 0;
  head.string(1, account);
  head.fixed64(2, payloadHash);
  head.fixed64(3, key);
  head.header(FIELD[kind], bytes.length);
  const length = head.length + bytes.length;
  const element = Buffer.allocUnsafe(1 + varintLength(length) + length);
  frame.length = 0;
  frame.header(1, length);
  let at = frame.bytes().copy(element);
  at += head.bytes().copy(element, at);
  bytes.copy(element, at);
  return { element, identity: key + payloadHash };
}

/** A command as it was read from an entry. */
export type LoggedCommand = LoggedSubmit | LoggedOther;

interface Logged {
  readonly account: string;
  /** 16 hexadecimal digits would do as well: 8 characters of latin1, for the idempotency keys. */
  readonly payloadHash: string;
  /** The encoded Command, a view of the entry. */
  readonly raw: Buffer;
}

export interface LoggedSubmit extends Logged {
  readonly kind: "submit";
  /** As Postgres' bigint takes it. */
  readonly clientKey: bigint;
  /** The same as two signed halves, as the engine takes it. */
  readonly keyHigh: number;
  readonly keyLow: number;
  readonly submit: SubmitFields;
}

export interface LoggedOther extends Logged {
  readonly kind: "other";
  readonly command: Command;
}

/** What cannot be decoded, in place of the command that it should have been. */
export interface Undecodable {
  readonly kind: "undecodable";
  readonly reason: string;
  readonly raw: Buffer;
}

/**
 * The commands of an entry, in their order. One that cannot be decoded stands in its place as such, so that the others
 * keep their index. Throws a WireError where the batch itself cannot be taken apart.
 */
export function decodeBatch(batch: Buffer): (LoggedCommand | Undecodable)[] {
  const reader = new WireReader(batch);
  const commands: (LoggedCommand | Undecodable)[] = [];
  while (reader.position < reader.end) {
    const tag = reader.varint();
    if (tag !== ((1 << 3) | BYTES)) throw new WireError(`a batch has no field ${tag >> 3}`);
    const start = reader.bytes();
    commands.push(readCommand(batch.subarray(start, reader.position)));
  }
  return commands;
}

/** One command by its bytes. */
export function readCommand(raw: Buffer): LoggedCommand | Undecodable {
  try {
    return decodeCommand(raw);
  } catch (error) {
    return { kind: "undecodable", reason: error instanceof Error ? error.message : String(error), raw };
  }
}

/** Accounts and symbols. */
const names = new Names();

function decodeCommand(raw: Buffer): LoggedCommand {
  const reader = new WireReader(raw);
  let account = "";
  let hashAt = NOWHERE;
  let keyAt = NOWHERE;
  let submit: SubmitFields | undefined;
  while (reader.position < reader.end) {
    const tag = reader.varint();
    if (tag === ((1 << 3) | BYTES)) account = reader.name(names);
    else if (tag === ((2 << 3) | FIXED64)) hashAt = reader.fixed64();
    else if (tag === ((3 << 3) | FIXED64)) keyAt = reader.fixed64();
    else if (tag === ((FIELD.submit << 3) | BYTES)) {
      const start = reader.bytes();
      submit = decodeSubmit(new WireReader(raw, start, reader.position));
    } else reader.skip(tag & 7);
  }
  if (submit !== undefined) return new ReadSubmit(account, submit, raw, hashAt, keyAt);
  const command = fromBinary(CommandSchema, raw);
  if (command.kind.case === undefined) throw new WireError("a command of an unknown kind");
  return { kind: "other", account, payloadHash: latin1At(raw, hashAt), command, raw };
}

/** A field that a command does not have. */
const NOWHERE = -1;

function latin1At(buffer: Buffer, start: number): string {
  return start === NOWHERE ? "" : buffer.toString("latin1", start, start + 8);
}

/** What the engine does not ask for is taken out of the bytes when somebody does: it is a third of the time. */
class ReadSubmit implements LoggedSubmit {
  readonly kind = "submit";
  readonly account: string;
  readonly submit: SubmitFields;
  readonly keyHigh: number;
  readonly keyLow: number;
  readonly raw: Buffer;
  readonly #hashAt: number;
  readonly #keyAt: number;

  constructor(account: string, submit: SubmitFields, raw: Buffer, hashAt: number, keyAt: number) {
    this.account = account;
    this.submit = submit;
    this.keyHigh = keyAt === NOWHERE ? 0 : raw.readInt32LE(keyAt + 4);
    this.keyLow = keyAt === NOWHERE ? 0 : raw.readInt32LE(keyAt);
    this.raw = raw;
    this.#hashAt = hashAt;
    this.#keyAt = keyAt;
  }

  get payloadHash(): string {
    return latin1At(this.raw, this.#hashAt);
  }

  get clientKey(): bigint {
    return this.#keyAt === NOWHERE ? 0n : this.raw.readBigInt64LE(this.#keyAt);
  }
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function decodeSubmit(reader: WireReader): SubmitFields {
  const fields: Writable<SubmitFields> = {
    clientOrderId: "",
    symbol: "",
    side: 0,
    type: 0,
    timeInForce: 0,
    quantity: 0,
    price: 0,
    stopPrice: 0,
    displayQuantity: 0,
    expireTime: 0,
    postOnly: false,
    selfTradePrevention: 0,
  };
  while (reader.position < reader.end) {
    const tag = reader.varint();
    switch (tag) {
      case (1 << 3) | BYTES:
        fields.clientOrderId = reader.string();
        break;
      case (2 << 3) | BYTES:
        fields.symbol = reader.name(names);
        break;
      case (3 << 3) | VARINT:
        fields.side = reader.varint() as Side;
        break;
      case (4 << 3) | VARINT:
        fields.type = reader.varint() as OrderType;
        break;
      case (5 << 3) | VARINT:
        fields.timeInForce = reader.varint() as TimeInForce;
        break;
      case (6 << 3) | VARINT:
        fields.quantity = reader.varint();
        break;
      case (7 << 3) | VARINT:
        fields.price = reader.varint();
        break;
      case (8 << 3) | VARINT:
        fields.stopPrice = reader.varint();
        break;
      case (9 << 3) | VARINT:
        fields.displayQuantity = reader.varint();
        break;
      case (10 << 3) | VARINT:
        fields.expireTime = reader.varint();
        break;
      case (11 << 3) | VARINT:
        fields.postOnly = reader.varint() !== 0;
        break;
      case (12 << 3) | VARINT:
        fields.selfTradePrevention = reader.varint() as SelfTradePrevention;
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  return fields;
}

/** The idempotency key of a logged command, 16 characters of latin1: how keys are rebuilt from the log. */
export function keyOfLogged(logged: LoggedCommand): string | undefined {
  if (logged.kind === "submit") {
    return idempotencyKey("submit", logged.account, logged.submit.symbol, logged.submit.clientOrderId);
  }
  const { kind } = logged.command;
  switch (kind.case) {
    case "cancel":
      return idempotencyKey("cancel", logged.account, kind.value.symbol, kind.value.clientRequestId);
    case "replace":
      return idempotencyKey("replace", logged.account, kind.value.symbol, kind.value.clientRequestId);
    case "massCancel":
      return idempotencyKey("mass_cancel", logged.account, kind.value.symbol, kind.value.clientRequestId);
    case "instrument":
      return idempotencyKey("instrument", "", kind.value.symbol, String(kind.value.version));
    case "tradingStatus":
      return idempotencyKey("trading_status", logged.account, kind.value.symbol, kind.value.requestId);
    case "accountLimits":
      return idempotencyKey("account_limits", logged.account, kind.value.account, kind.value.requestId);
    case "void":
      return idempotencyKey("void", logged.account, kind.value.entryId, kind.value.requestId);
    case "rules":
      return idempotencyKey("rules", logged.account, "", kind.value.requestId);
    case "submit": // Read by hand: it comes as the other kind.
    case "tick":
    case undefined:
      return undefined;
    default: {
      const never: never = kind;
      return never;
    }
  }
}
