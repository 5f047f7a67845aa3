/**
 * What goes into the matching engine and what comes out: all that the process around it has to know.
 *
 * The engine is a function of its log. It takes one entry at a time, in the order of their positions, and changes its
 * state at once; nothing else reaches it: no clock, no chance, no I/O. Prices are whole ticks and quantities whole lots,
 * 1 to 2^53 - 1; 0 stands for absent. An order is named by its place in the log: epoch, ms and seq of the entry, and the
 * command's index there.
 */

import type { EventKind, ExecType, OrderStatus, Reason, TradingStatus } from "./sets.ts";

/** A place in the log. Compared as numbers: epoch, ms, seq, index. */
export interface Place {
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly index: number;
}

// ---------------------------------------------------------------------------------------------------------------- in

/** One entry of the log. Its position is beyond that of the entry before; `ms` is the time, and the only one there is. */
export interface Entry {
  /** 0 to 2^14 - 1. */
  readonly epoch: number;
  /** Milliseconds since 1970, less than 2^48. */
  readonly ms: number;
  /** Less than 2^32. */
  readonly seq: number;
  /** A command's index here is its index in the entry. Their number is bounded by the rules. */
  readonly commands: readonly Command[];
}

export type Command =
  | SubmitCommand
  | CancelCommand
  | ReplaceCommand
  | MassCancelCommand
  | InstrumentCommand
  | StatusCommand
  | LimitsCommand
  | RulesCommand
  | IdleCommand
  | RefusedCommand;

/** An order as it was asked for. Nothing here is trusted: a number may be one that no set has. */
export interface OrderRequest {
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly side: number;
  readonly type: number;
  readonly timeInForce: number;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  /** Milliseconds since 1970. */
  readonly expireTime: number;
  readonly postOnly: boolean;
  readonly selfTradePrevention: number;
}

/**
 * The 64 bits under which a client order id is found: a hash of account, symbol and client order id that is the same
 * for a submit and for whatever names its order later. Two halves of 32 bits; signed ones (`readInt32LE`) are small
 * integers to V8, and cost no allocation. Where two orders share one by chance, the texts are compared.
 */
export interface ClientKey {
  readonly keyHigh: number;
  readonly keyLow: number;
}

export interface SubmitCommand extends ClientKey {
  readonly kind: "submit";
  readonly account: string;
  readonly submit: OrderRequest;
}

/** The order that a cancel or a replace is aimed at. */
export type Target = OrderTarget | ClientTarget;

export interface OrderTarget extends Place {
  readonly by: "order";
}

export interface ClientTarget extends ClientKey {
  readonly by: "client";
  readonly clientOrderId: string;
}

export interface CancelCommand {
  readonly kind: "cancel";
  readonly account: string;
  /** The target's, in both ways of naming it. */
  readonly symbol: string;
  readonly target: Target;
}

/** New values of an order; 0 leaves one as it is. `quantity` is the whole order's, what is filled included. */
export interface ReplaceCommand {
  readonly kind: "replace";
  readonly account: string;
  readonly symbol: string;
  readonly target: Target;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
}

export interface MassCancelCommand {
  readonly kind: "mass-cancel";
  readonly account: string;
  /** "": all symbols. */
  readonly symbol: string;
}

/** A new instrument, or new limits of one. Its tick and lot never change. */
export interface InstrumentCommand {
  readonly kind: "instrument";
  readonly symbol: string;
  /** More than that of the definition before. */
  readonly version: number;
  /** As text: only whether it stays the same matters here. */
  readonly tickSize: string;
  readonly lotSize: string;
  readonly minQuantity: number;
  readonly maxQuantity: number;
  readonly minPrice: number;
  readonly maxPrice: number;
  /** Per order type (its number is the index) the times in force that it can have, as a set of bits; 0: not taken. */
  readonly timesInForce: readonly number[];
}

export interface StatusCommand {
  readonly kind: "status";
  readonly symbol: string;
  readonly status: number;
}

/** The limits of an account, over all its symbols; 0 stands for the default of the rules. */
export interface LimitsCommand {
  readonly kind: "limits";
  readonly account: string;
  /** How many orders may be open at once. */
  readonly maxOpenOrders: number;
  /** Of one order, in lots of whatever symbol. */
  readonly maxQuantity: number;
}

/** From here on other rules hold. Apply throws where it does not know the number. */
export interface RulesCommand {
  readonly kind: "rules";
  readonly rules: number;
}

/** A command that changes nothing here: a tick (its entry's time is what counts), a void, or what could not be decoded. */
export interface IdleCommand {
  readonly kind: "idle";
}

/**
 * A command of an entry that was voided: it is refused (VOIDED) and not looked at any further. To void an entry is to apply
 * it with its commands of these kinds like this, and idle ones for the others.
 */
export interface RefusedCommand {
  readonly kind: "refused";
  readonly command:
    | SubmitCommand
    | CancelCommand
    | ReplaceCommand
    | MassCancelCommand
    | InstrumentCommand
    | StatusCommand
    | LimitsCommand;
}

// --------------------------------------------------------------------------------------------------------------- out

/**
 * One event. Which fields say something depends on the kind; the others are 0, "" or false.
 *
 * An EXECUTION carries the whole state of the order. A TRADE comes as two events, the aggressor's and then the resting
 * order's, with one trade number. An order that was refused, and the target of a cancel that was, is shown as it was
 * asked for; what is no possible value is shown as 0.
 */
export interface MatchingEvent {
  readonly kind: EventKind;
  /** The index of the command that caused it, or NO_COMMAND. */
  readonly command: number;
  /** Whose event it is; "" where it is the system's. */
  readonly account: string;
  /** The account's events of this engine, counted from 1 without a gap; 0 where it is no account's. */
  readonly sequence: number;
  readonly reason: Reason;
  readonly symbol: string;

  /** EXECUTION. 0 in the other kinds. */
  readonly execType: ExecType | 0;
  /** 0 where no order is known. */
  readonly status: OrderStatus | 0;
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly index: number;
  readonly clientOrderId: string;
  readonly side: number;
  readonly type: number;
  readonly timeInForce: number;
  readonly selfTradePrevention: number;
  readonly postOnly: boolean;
  /** STOP and STOP_LIMIT: whether it has been triggered. */
  readonly triggered: boolean;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  readonly expireTime: number;
  readonly cumQuantity: number;
  /** While it works, quantity - cumQuantity; at an end 0. */
  readonly leavesQuantity: number;
  /** The sum of price × quantity over its fills is valueHigh × 2^53 + valueLow (`exact`). AvgPx is it by cumQuantity. */
  readonly valueHigh: number;
  readonly valueLow: number;

  /** TRADE. The trades of a symbol are counted from 1 without a gap. */
  readonly lastQuantity: number;
  readonly lastPrice: number;
  readonly trade: number;
  /** Whether the order came in and took liquidity. */
  readonly aggressor: boolean;
  /** The other order: of a trade, of a self-trade that was prevented, or the one that holds the client order id. */
  readonly otherEpoch: number;
  readonly otherMs: number;
  readonly otherSeq: number;
  readonly otherIndex: number;

  /** COMMAND, of a mass cancel: how many orders were canceled, and how many it left (entry full, or symbol halted). */
  readonly affected: number;
  readonly remaining: number;
}

/** The events of one entry. Valid until the next entry is applied. */
export interface EventList {
  readonly count: number;
  /** The event at 0 … count - 1, as a view that is valid until the next call. */
  at(position: number): MatchingEvent;
  /** All of them, as objects that stay valid. For tests and tools: it costs more than to make the events. */
  copy(): MatchingEvent[];
}

/** A level of the book that the entry touched, as it is after the entry. */
export interface LevelChange {
  readonly symbol: string;
  /**
   * The number of entries that touched the symbol's book, this one included: each entry that touches it has the next
   * number, so a feed notices a gap.
   */
  readonly version: number;
  readonly side: number;
  readonly price: number;
  /** What all can see of it: quantityHigh × 2^53 + quantityLow (`exact`); 0 where the level is gone. */
  readonly quantityHigh: number;
  readonly quantityLow: number;
  readonly orders: number;
}

/** The levels that an entry touched, each once, in the order in which they were touched first. */
export interface LevelChangeList {
  readonly count: number;
  /** As a view that is valid until the next call. */
  at(position: number): LevelChange;
  copy(): LevelChange[];
}

/** What an entry came to. Valid until the next entry is applied. */
export interface Outcome {
  readonly events: EventList;
  readonly levels: LevelChangeList;
}

/** An open order, as it stands. */
export interface OpenOrder extends Place {
  readonly account: string;
  readonly symbol: string;
  readonly clientOrderId: string;
  readonly status: OrderStatus;
  readonly side: number;
  readonly type: number;
  readonly timeInForce: number;
  readonly selfTradePrevention: number;
  readonly postOnly: boolean;
  readonly triggered: boolean;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  readonly expireTime: number;
  readonly cumQuantity: number;
  readonly leavesQuantity: number;
  readonly valueHigh: number;
  readonly valueLow: number;
  /** What all can see of it in the book now; 0 where it is not there. */
  readonly visibleQuantity: number;
  /** Its turn among the orders of its price, or among the stops that wait: the lower one is first. */
  readonly priority: number;
}

/** A symbol, as it stands. */
export interface SymbolState {
  readonly symbol: string;
  readonly instrumentVersion: number;
  readonly status: TradingStatus;
  /** See LevelChange. */
  readonly bookVersion: number;
  /** Of the last trade; 0 where there was none. */
  readonly lastPrice: number;
  readonly trades: number;
  /** Stops that were triggered and wait for their turn, since a command may set off a bounded number only. */
  readonly waitingStops: number;
}

export interface BookLevel {
  readonly price: number;
  readonly quantityHigh: number;
  readonly quantityLow: number;
  readonly orders: number;
}

/** The engine as the process around it sees it (`Engine` in engine.ts). */
export interface MatchingEngine {
  /**
   * Applies the next entry.
   *
   * Throws a RangeError, and nothing has changed, where the entry is not beyond the one before or is no possible entry.
   * Whatever else is thrown is a mistake of this code or an unknown number of rules: the state is then worthless, and
   * every later call of `apply` and `snapshot` throws.
   */
  apply(entry: Entry): Outcome;

  /** The last entry that was applied; all 0 before the first. */
  readonly position: Omit<Place, "index">;
  /** The number of the rules that hold. */
  readonly rules: number;
  /** How many orders are open. */
  readonly openOrders: number;

  /**
   * From when on an entry is wanted even if no one asks for anything, in milliseconds: where a GTD order is due, or at
   * once (the present entry's ms) where more was due than one entry may do. Infinity where nothing waits.
   */
  readonly nextDue: number;

  /**
   * 64 bits over the whole state after the last entry: orders with their priority, counters, limits, position, rules.
   * Engines with the same history have the same; one and the same in a restored engine.
   */
  readonly stateHash: bigint;

  /** The whole state, the same bytes for the same state. */
  snapshot(): Uint8Array;

  symbols(): SymbolState[];
  symbol(symbol: string): SymbolState | undefined;
  /** The best levels of a side, best first. */
  depth(symbol: string, side: number, limit: number): BookLevel[];
  /** All orders of a side of the book, in the order in which they would trade. */
  queue(symbol: string, side: number): OpenOrder[];
  order(place: Place): OpenOrder | undefined;
  /** Where `key` is that of account, symbol and client order id. */
  orderOf(account: string, symbol: string, clientOrderId: string, key: ClientKey): OpenOrder | undefined;
  /** Of an account, oldest first. */
  ordersOf(account: string): OpenOrder[];
  /** The account's newest `sequence`; 0 where it had no event. */
  sequenceOf(account: string): number;
}
