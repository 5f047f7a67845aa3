// What is wrong with a command. The engine does not trust the door: all that a client can send is judged here again, by
// the instrument's version at hand. The first fault in the order of the checks is the one that is told.

import { type Account, isName } from "./accounts.ts";
import type { Book } from "./book.ts";
import { isBeyondValue } from "./exact.ts";
import * as sets from "./sets.ts";
import type { InstrumentCommand, ReplaceCommand, SubmitCommand, OrderRequest } from "./interface.ts";
import * as layout from "./layout.ts";
import { sideOf, timeOf } from "./layout.ts";
import type { State } from "./state.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { OrderType, Reason, SelfTradePrevention, Side, TimeInForce, TradingStatus } = sets;
type Reason = sets.Reason;
const { CUM, DISPLAY, FLAGS, INT, NIL, NUM, POST_ONLY, PRICE, QUANTITY, STOP_PRICE, STOPPED } = layout;

const MAX_CLIENT_ORDER_ID = 64;
const MAX_SYMBOL = 32;
/** Of a tick or lot size, as text. */
const MAX_SIZE = 64;

const GTC = 1 << TimeInForce.GTC;
const IOC = 1 << TimeInForce.IOC;
const FOK = 1 << TimeInForce.FOK;
const GTD = 1 << TimeInForce.GTD;

/** By order type. A MARKET order has no price at which it could rest, and a STOP order turns into one. */
const TIMES = [0, IOC | FOK, GTC | IOC | FOK | GTD, IOC | FOK, GTC | IOC | FOK | GTD];

export function requestFault(state: State, book: Book, account: Account | undefined, command: SubmitCommand): Reason {
  const request = command.submit;
  const { instrument } = book;
  const { rules } = state;
  const { side, type, quantity, price, stopPrice } = request;
  if (!isName(command.account) || !isPossible(request)) return Reason.MALFORMED;
  if (account !== undefined && state.orderOf(account, book, request.clientOrderId, command) !== NIL) {
    return Reason.DUPLICATE_CLIENT_ORDER_ID;
  }
  if ((((instrument.timesInForce[type] ?? 0) >> request.timeInForce) & 1) === 0) return Reason.NOT_TAKEN;
  if (quantity < instrument.minQuantity || quantity > instrument.maxQuantity) return Reason.QUANTITY_LIMIT;
  if (isBeyondBand(price, book) || isBeyondBand(stopPrice, book)) return Reason.PRICE_BAND;
  if (isBeyondValue(price, quantity)) return Reason.VALUE_LIMIT;
  if (request.expireTime > 0 && request.expireTime <= state.ms) return Reason.TOO_LATE;
  if (book.status !== TradingStatus.OPEN) return Reason.TRADING_STATUS;
  if (account === undefined) return Reason.FULL;
  if (quantity > (account.maxQuantity || rules.maxQuantity)) return Reason.ACCOUNT_QUANTITY;
  if (mayStay(type, request.timeInForce)) {
    if (account.open >= (account.maxOpenOrders || rules.maxOpenOrders)) return Reason.ACCOUNT_ORDERS;
    if (state.orders.count >= rules.maxOrders) return Reason.FULL;
  }
  return request.postOnly && book.crosses(side, price) ? Reason.POST_ONLY : Reason.NONE;
}

/** Whether an order can have these values anywhere. */
function isPossible(request: OrderRequest): boolean {
  const { clientOrderId, side, type, timeInForce, quantity, displayQuantity, expireTime, selfTradePrevention } =
    request;
  if (clientOrderId === "" || clientOrderId.length > MAX_CLIENT_ORDER_ID) return false;
  if (side !== Side.BUY && side !== Side.SELL) return false;
  if (!isUnits(type) || !isUnits(timeInForce) || timeInForce > TimeInForce.GTD) return false;
  if ((((TIMES[type] ?? 0) >> timeInForce) & 1) === 0) return false;
  if (!isUnits(quantity)) return false;
  const hasPrice = type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
  const hasStop = type === OrderType.STOP || type === OrderType.STOP_LIMIT;
  if (hasPrice ? !isUnits(request.price) : request.price !== 0) return false;
  if (hasStop ? !isUnits(request.stopPrice) : request.stopPrice !== 0) return false;
  const rests = hasPrice && (timeInForce === TimeInForce.GTC || timeInForce === TimeInForce.GTD);
  if (displayQuantity !== 0 && !(rests && isUnits(displayQuantity) && displayQuantity <= quantity)) return false;
  if (timeInForce === TimeInForce.GTD ? !isUnits(expireTime) : expireTime !== 0) return false;
  if (request.postOnly && !(rests && type === OrderType.LIMIT)) return false;
  return (
    Number.isSafeInteger(selfTradePrevention) &&
    selfTradePrevention >= 0 &&
    selfTradePrevention <= SelfTradePrevention.DECREMENT
  );
}

function isUnits(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}

function isBeyondBand(price: number, { instrument }: Book): boolean {
  return price !== 0 && (price < instrument.minPrice || price > instrument.maxPrice);
}

/** Whether an order can be open after its command. */
function mayStay(type: number, time: number): boolean {
  const isStop = type === OrderType.STOP || type === OrderType.STOP_LIMIT;
  return isStop || time === TimeInForce.GTC || time === TimeInForce.GTD;
}

/** An order's values after a replace. */
export interface Values {
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  readonly keepsPriority: boolean;
}

/** The values that an open order gets, or what is wrong with them. */
export function replaceFault(
  state: State,
  book: Book,
  account: Account,
  slot: number,
  command: ReplaceCommand,
): Values | Reason {
  const { num, int } = state.orders;
  const { instrument } = book;
  const at = slot * NUM;
  const flags = int[slot * INT + FLAGS]!;
  const cum = num[at + CUM]!;
  const present = {
    quantity: num[at + QUANTITY]!,
    price: num[at + PRICE]!,
    stopPrice: num[at + STOP_PRICE]!,
    displayQuantity: num[at + DISPLAY]!,
  };
  if (book.status !== TradingStatus.OPEN) return Reason.TRADING_STATUS;
  const asked = [command.quantity, command.price, command.stopPrice, command.displayQuantity];
  if (!asked.every((value) => value === 0 || isUnits(value))) return Reason.MALFORMED;
  if (asked.every((value) => value === 0)) return Reason.MALFORMED;
  if (command.price !== 0 && present.price === 0) return Reason.MALFORMED;
  if (command.stopPrice !== 0 && (flags & STOPPED) === 0) return Reason.MALFORMED;
  const time = timeOf(flags);
  const canHide = present.price !== 0 && (time === TimeInForce.GTC || time === TimeInForce.GTD);
  if (command.displayQuantity !== 0 && !canHide) return Reason.MALFORMED;

  const quantity = command.quantity || present.quantity;
  const price = command.price || present.price;
  const stopPrice = command.stopPrice || present.stopPrice;
  if (command.displayQuantity > quantity) return Reason.MALFORMED;
  const displayQuantity = command.displayQuantity || Math.min(present.displayQuantity, quantity);
  if (quantity <= cum) return Reason.ALREADY_FILLED;
  if (command.quantity !== 0 && (quantity < instrument.minQuantity || quantity > instrument.maxQuantity)) {
    return Reason.QUANTITY_LIMIT;
  }
  if (isBeyondBand(command.price, book) || isBeyondBand(command.stopPrice, book)) return Reason.PRICE_BAND;
  if (isBeyondValue(price, quantity)) return Reason.VALUE_LIMIT;
  if (command.quantity !== 0 && quantity > (account.maxQuantity || state.rules.maxQuantity)) {
    return Reason.ACCOUNT_QUANTITY;
  }
  if ((flags & POST_ONLY) !== 0 && book.crosses(sideOf(flags), price)) return Reason.POST_ONLY;
  const keepsPriority =
    quantity <= present.quantity &&
    price === present.price &&
    stopPrice === present.stopPrice &&
    (command.displayQuantity === 0 || displayQuantity === present.displayQuantity);
  return { quantity, price, stopPrice, displayQuantity, keepsPriority };
}

export function instrumentFault(state: State, command: InstrumentCommand, present: Book | undefined): Reason {
  const { symbol, version, tickSize, lotSize, minQuantity, maxQuantity, minPrice, maxPrice, timesInForce } = command;
  if (symbol === "" || symbol.length > MAX_SYMBOL) return Reason.MALFORMED;
  if ([tickSize, lotSize].some((size) => size === "" || size.length > MAX_SIZE)) return Reason.MALFORMED;
  if (![version, minQuantity, maxQuantity, minPrice, maxPrice].every(isUnits)) return Reason.MALFORMED;
  if (minQuantity > maxQuantity || minPrice > maxPrice) return Reason.MALFORMED;
  if (timesInForce.length !== TIMES.length) return Reason.MALFORMED;
  if (timesInForce.some((times, type) => (times & ~TIMES[type]!) !== 0)) return Reason.MALFORMED;
  if (present === undefined) return state.books.length >= state.rules.maxSymbols ? Reason.FULL : Reason.NONE;
  const { instrument } = present;
  const isNext = version > instrument.version && tickSize === instrument.tickSize && lotSize === instrument.lotSize;
  return isNext ? Reason.NONE : Reason.STALE_VERSION;
}
