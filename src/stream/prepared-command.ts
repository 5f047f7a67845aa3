import { create, toBinary } from "@bufbuild/protobuf";
import { type Instrument, InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import {
  AccountLimitsCommandSchema,
  CancelCommandSchema,
  MassCancelCommandSchema,
  ReplaceCommandSchema,
  RulesCommandSchema,
  TradingStatusCommandSchema,
  VoidCommandSchema,
} from "../gen/penstock/v1/log_pb.ts";
import type { TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { FIELD, idempotencyKey, type Kind, sha256, type SubmitFields, type Target } from "./command.ts";
import { varintLength, WireWriter } from "./wire.ts";

/**
 * Commands on their way into the log. Submits are nearly all of it, so they are written and read by hand; the rest goes
 * through the generated code. Measured by `npm run bench`: bench/RESULTS.md, inner loops.
 */

/** A command as the commit script takes it. */
export interface PreparedCommand {
  /** One encoded element of CommandBatch.commands, tag and length included. */
  readonly element: Buffer;
  /** 24 characters of latin1: 16 bytes of idempotency key, 8 bytes of payload hash. */
  readonly identity: string;
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
