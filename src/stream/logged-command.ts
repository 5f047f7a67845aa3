import { fromBinary } from "@bufbuild/protobuf";
import { type Command, CommandSchema } from "../gen/penstock/v1/log_pb.ts";
import type { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { FIELD, idempotencyKey, type SubmitFields } from "./command.ts";
import { BYTES, FIXED64, Names, VARINT, WireError, WireReader } from "./wire.ts";

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
