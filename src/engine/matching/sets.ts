/**
 * The closed sets of the matching engine: what a field of a command or an event can be. Their numbers are those of the
 * protocol (FIX where it has one), so that they can be passed through.
 */

export const Side = { BUY: 1, SELL: 2 } as const;

export const OrderType = { MARKET: 1, LIMIT: 2, STOP: 3, STOP_LIMIT: 4 } as const;

export const TimeInForce = { GTC: 1, IOC: 3, FOK: 4, GTD: 6 } as const;

/** What happens where an account would trade with itself. The setting of the order that comes in decides. */
export const SelfTradePrevention = {
  NONE: 0,
  CANCEL_NEWEST: 1,
  CANCEL_OLDEST: 2,
  CANCEL_BOTH: 3,
  DECREMENT: 4,
} as const;

/** OPEN: all is taken. CANCEL_ONLY: cancels alone. HALTED: nothing at all, but time goes on and orders expire. */
export const TradingStatus = { OPEN: 1, CANCEL_ONLY: 2, HALTED: 3 } as const;
export type TradingStatus = (typeof TradingStatus)[keyof typeof TradingStatus];

export const EventKind = {
  /** An execution report (FIX 8): a change of an order, with the whole state of the order after it. */
  EXECUTION: 1,
  /** An OrderCancelReject (FIX 9) of a cancel or a replace; the order stays as it was. */
  CANCEL_REJECT: 2,
  REPLACE_REJECT: 3,
  /** What became of a mass cancel, or of a command about an instrument, a status or limits. */
  COMMAND: 4,
} as const;
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

/** FIX 150, by name. */
export const ExecType = {
  NEW: 1,
  TRADE: 2,
  CANCELED: 3,
  REPLACED: 4,
  EXPIRED: 5,
  REJECTED: 6,
  TRIGGERED: 7,
  RESTATED: 8,
} as const;
export type ExecType = (typeof ExecType)[keyof typeof ExecType];

/** FIX 39, by name. */
export const OrderStatus = { NEW: 2, PARTIALLY_FILLED: 3, FILLED: 4, CANCELED: 5, EXPIRED: 6, REJECTED: 7 } as const;
export type OrderStatus = (typeof OrderStatus)[keyof typeof OrderStatus];

/** Why. 0 where an event needs no reason. The first fault in the order of the rules is the one that is told. */
export const Reason = {
  NONE: 0,
  // Why an order, a replace or another command is refused.
  /** The entry has no room for its events, or more orders were due in it than it may expire. Send it again. */
  BUSY: 1,
  UNKNOWN_SYMBOL: 2,
  /** A value, or values together, that no order can have. */
  MALFORMED: 3,
  /** An open order of the account has this symbol and client order id. `other…` names it. */
  DUPLICATE_CLIENT_ORDER_ID: 4,
  /** The instrument does not take this type with this time in force. */
  NOT_TAKEN: 5,
  /** Beyond the instrument's least or greatest quantity. */
  QUANTITY_LIMIT: 6,
  /** Price or stop price beyond the instrument's band. */
  PRICE_BAND: 7,
  /** Price × quantity is 2^63 or more. */
  VALUE_LIMIT: 8,
  /** A GTD order whose time has come already. */
  TOO_LATE: 9,
  /** The symbol's trading status does not allow it. */
  TRADING_STATUS: 10,
  /** Beyond the account's greatest quantity of an order. */
  ACCOUNT_QUANTITY: 11,
  /** The account has as many open orders as it may. */
  ACCOUNT_ORDERS: 12,
  /** The engine holds as many orders, accounts or symbols as the rules allow. */
  FULL: 13,
  /** A post-only order that would trade. */
  POST_ONLY: 14,
  /** Of a cancel or replace: not open, or not the account's. */
  UNKNOWN_ORDER: 15,
  /** Of a replace: the new quantity is filled already. */
  ALREADY_FILLED: 16,
  /** Of an instrument: the version is not beyond the present one, or tick or lot would change. */
  STALE_VERSION: 17,
  /** The engine could not work its entry, and an operator had it passed over. */
  VOIDED: 18,
  // Why an order was canceled or restated.
  REQUESTED: 32,
  MASS_CANCEL: 33,
  SELF_TRADE: 34,
  /** It has met as many orders as one order may. */
  FILL_LIMIT: 35,
  // Why an order expired.
  /** GTD: its time has come. */
  DUE: 48,
  /** IOC: what could not be filled at once. */
  UNFILLED: 49,
  /** FOK: it could not be filled as a whole. */
  UNFILLABLE: 50,
  /** MARKET: there is no order on the other side. */
  NO_LIQUIDITY: 51,
} as const;
export type Reason = (typeof Reason)[keyof typeof Reason];

/** Beside `command`: the event is no command's, but time's (expiry, and stops that waited for an entry). */
export const NO_COMMAND = -1;
