// A slow, obvious engine, for tests only: one list of orders, sorted whenever it is asked for, and sums in BigInt. It is
// written from the rules in docs/matching.md, and shares nothing with the engine but the interface.

import type {
  CancelCommand,
  Command,
  Entry,
  InstrumentCommand,
  LevelChange,
  LimitsCommand,
  MassCancelCommand,
  MatchingEvent,
  OrderRequest,
  RefusedCommand,
  ReplaceCommand,
  StatusCommand,
  SubmitCommand,
  Target,
} from "../interface.ts";
import {
  EventKind,
  ExecType,
  NO_COMMAND,
  OrderStatus,
  OrderType,
  Reason,
  SelfTradePrevention,
  Side,
  TimeInForce,
  TradingStatus,
} from "../sets.ts";
import type { Rules } from "../rules.ts";

/** An order and where it is. "none" while it is being matched, and once it has ended. */
export interface ReferenceOrder {
  epoch: number;
  ms: number;
  seq: number;
  index: number;
  account: string;
  clientOrderId: string;
  symbol: string;
  side: number;
  type: number;
  timeInForce: number;
  selfTradePrevention: number;
  postOnly: boolean;
  triggered: boolean;
  quantity: number;
  price: number;
  stopPrice: number;
  displayQuantity: number;
  expireTime: number;
  cum: number;
  value: bigint;
  visible: number;
  turn: number;
  where: "book" | "stops" | "waiting" | "none";
}

interface Symbol {
  instrument: InstrumentCommand;
  status: number;
  lastPrice: number;
  trades: number;
  version: number;
  turns: number;
}

interface Account {
  sequence: number;
  maxOpenOrders: number;
  maxQuantity: number;
}

const RADIX = 1n << 53n;

const NOTHING: MatchingEvent = {
  kind: EventKind.EXECUTION,
  command: NO_COMMAND,
  account: "",
  sequence: 0,
  reason: Reason.NONE,
  symbol: "",
  execType: 0,
  status: 0,
  epoch: 0,
  ms: 0,
  seq: 0,
  index: 0,
  clientOrderId: "",
  side: 0,
  type: 0,
  timeInForce: 0,
  selfTradePrevention: 0,
  postOnly: false,
  triggered: false,
  quantity: 0,
  price: 0,
  stopPrice: 0,
  displayQuantity: 0,
  expireTime: 0,
  cumQuantity: 0,
  leavesQuantity: 0,
  valueHigh: 0,
  valueLow: 0,
  lastQuantity: 0,
  lastPrice: 0,
  trade: 0,
  aggressor: false,
  otherEpoch: 0,
  otherMs: 0,
  otherSeq: 0,
  otherIndex: 0,
  affected: 0,
  remaining: 0,
};

export class ReferenceEngine {
  /** All open orders, in the order in which they came. */
  orders: ReferenceOrder[] = [];
  symbols = new Map<string, Symbol>();
  accounts = new Map<string, Account>();
  events: MatchingEvent[] = [];
  /** The levels that the entry has touched: symbol, side and price. */
  #touched = new Map<string, readonly [symbol: string, side: number, price: number]>();
  #rules: Rules;
  readonly #allRules: ReadonlyMap<number, Rules>;
  #now = { epoch: 0, ms: 0, seq: 0 };
  #command = NO_COMMAND;
  #commandsLeft = 0;
  #overdue = false;

  constructor(allRules: ReadonlyMap<number, Rules>, rules = allRules.get(1)!) {
    this.#allRules = allRules;
    this.#rules = rules;
  }

  apply(entry: Entry): { events: MatchingEvent[]; levels: LevelChange[] } {
    this.events = [];
    this.#touched.clear();
    this.#now = { epoch: entry.epoch, ms: entry.ms, seq: entry.seq };
    this.#command = NO_COMMAND;
    this.#commandsLeft = entry.commands.length;

    const due = this.orders.filter((order) => order.expireTime > 0 && order.expireTime <= entry.ms);
    due.sort((a, b) => a.expireTime - b.expireTime || comparePlaces(a, b));
    for (const order of due.slice(0, this.#rules.maxExpiries)) this.#end(order, ExecType.EXPIRED, Reason.DUE);
    this.#overdue = due.length > this.#rules.maxExpiries;
    if (!this.#overdue) for (const symbol of this.symbols.keys()) this.#drain(symbol);

    for (const [index, command] of entry.commands.entries()) {
      this.#command = index;
      this.#commandsLeft = entry.commands.length - 1 - index;
      this.#work(command);
    }

    for (const symbol of new Set(Array.from(this.#touched.values(), ([symbol]) => symbol))) {
      this.symbols.get(symbol)!.version++;
    }
    const levels = Array.from(this.#touched.values(), ([symbol, side, price]) => {
      const { quantity, orders } = this.level(symbol, side, price);
      const version = this.symbols.get(symbol)!.version;
      return { symbol, version, side, price, quantityHigh: high(quantity), quantityLow: low(quantity), orders };
    });
    return { events: this.events, levels };
  }

  /** The orders of a side of the book: the best price first, then the first come. */
  side(symbol: string, side: number): ReferenceOrder[] {
    return this.orders
      .filter((order) => order.where === "book" && order.symbol === symbol && order.side === side)
      .sort((a, b) => (side === Side.BUY ? b.price - a.price : a.price - b.price) || a.turn - b.turn);
  }

  waiting(symbol: string): ReferenceOrder[] {
    return this.orders
      .filter((order) => order.where === "waiting" && order.symbol === symbol)
      .sort((a, b) => a.turn - b.turn);
  }

  level(symbol: string, side: number, price: number): { quantity: bigint; orders: number } {
    const orders = this.side(symbol, side).filter((order) => order.price === price);
    return { quantity: orders.reduce((sum, { visible }) => sum + BigInt(visible), 0n), orders: orders.length };
  }

  #work(command: Command): void {
    switch (command.kind) {
      case "submit":
        return this.#submit(command);
      case "cancel":
        return this.#cancel(command);
      case "replace":
        return this.#replace(command);
      case "mass-cancel":
        return this.#massCancel(command);
      case "instrument":
        return this.#define(command);
      case "status":
        return this.#setStatus(command);
      case "limits":
        return this.#setLimits(command);
      case "rules":
        this.#rules = this.#allRules.get(command.rules)!;
        return;
      case "idle":
        return;
      case "refused":
        return this.#void(command);
      default:
        throw new Error("no such command");
    }
  }

  // ------------------------------------------------------------------------------------------------------ commands

  #submit(command: SubmitCommand): void {
    const { submit } = command;
    this.#account(command.account);
    const reason = this.#faultOf(command);
    if (reason !== Reason.NONE) return this.#reject(command, reason);
    const { type, timeInForce, clientOrderId, symbol, side } = submit;
    const order: ReferenceOrder = {
      ...this.#now,
      index: this.#command,
      account: command.account,
      clientOrderId,
      symbol,
      side,
      type,
      timeInForce,
      selfTradePrevention: submit.selfTradePrevention,
      postOnly: submit.postOnly,
      triggered: false,
      quantity: submit.quantity,
      price: submit.price,
      stopPrice: submit.stopPrice,
      displayQuantity: submit.displayQuantity,
      expireTime: submit.expireTime,
      cum: 0,
      value: 0n,
      visible: 0,
      turn: 0,
      where: "none",
    };
    this.orders.push(order);
    this.#report(order, ExecType.NEW, Reason.NONE);
    if (isStop(type)) this.#arm(order);
    else this.#enter(order);
    this.#drain(symbol);
  }

  #faultOf({ account, submit }: SubmitCommand): Reason {
    if (this.#overdue || !this.#hasRoom()) return Reason.BUSY;
    const symbol = this.symbols.get(submit.symbol);
    if (symbol === undefined) return Reason.UNKNOWN_SYMBOL;
    if (!isName(account) || !isPossible(submit)) return Reason.MALFORMED;
    if (this.#named(account, submit.symbol, submit.clientOrderId) !== undefined) {
      return Reason.DUPLICATE_CLIENT_ORDER_ID;
    }
    const { instrument } = symbol;
    const { quantity, price, stopPrice, type, timeInForce } = submit;
    if ((instrument.timesInForce[type]! & (1 << timeInForce)) === 0) return Reason.NOT_TAKEN;
    if (quantity < instrument.minQuantity || quantity > instrument.maxQuantity) return Reason.QUANTITY_LIMIT;
    for (const each of [price, stopPrice]) {
      if (each > 0 && (each < instrument.minPrice || each > instrument.maxPrice)) return Reason.PRICE_BAND;
    }
    if (BigInt(price) * BigInt(quantity) >= 1n << 63n) return Reason.VALUE_LIMIT;
    if (timeInForce === TimeInForce.GTD && submit.expireTime <= this.#now.ms) return Reason.TOO_LATE;
    if (symbol.status !== TradingStatus.OPEN) return Reason.TRADING_STATUS;
    const owner = this.accounts.get(account);
    if (owner === undefined) return Reason.FULL;
    if (quantity > (owner.maxQuantity === 0 ? this.#rules.maxQuantity : owner.maxQuantity)) {
      return Reason.ACCOUNT_QUANTITY;
    }
    if (isStop(type) || timeInForce === TimeInForce.GTC || timeInForce === TimeInForce.GTD) {
      const most = owner.maxOpenOrders === 0 ? this.#rules.maxOpenOrders : owner.maxOpenOrders;
      if (this.orders.filter((order) => order.account === account).length >= most) return Reason.ACCOUNT_ORDERS;
      if (this.orders.length >= this.#rules.maxOrders) return Reason.FULL;
    }
    if (submit.postOnly && this.#wouldTrade(submit.symbol, submit.side, price)) return Reason.POST_ONLY;
    return Reason.NONE;
  }

  #wouldTrade(symbol: string, side: number, price: number): boolean {
    const best = this.side(symbol, other(side))[0];
    if (best === undefined) return false;
    return side === Side.BUY ? best.price <= price : best.price >= price;
  }

  #cancel(command: CancelCommand): void {
    this.#account(command.account);
    const order = this.#target(command.account, command.symbol, command.target);
    if (order === undefined) return this.#refuse(EventKind.CANCEL_REJECT, command);
    if (this.symbols.get(command.symbol)!.status === TradingStatus.HALTED) {
      return this.#refuseOn(EventKind.CANCEL_REJECT, order, Reason.TRADING_STATUS);
    }
    this.#end(order, ExecType.CANCELED, Reason.REQUESTED);
  }

  #replace(command: ReplaceCommand): void {
    this.#account(command.account);
    const order = this.#target(command.account, command.symbol, command.target);
    if (order === undefined) return this.#refuse(EventKind.REPLACE_REJECT, command);
    const wanted = {
      quantity: command.quantity > 0 ? command.quantity : order.quantity,
      price: command.price > 0 ? command.price : order.price,
      stopPrice: command.stopPrice > 0 ? command.stopPrice : order.stopPrice,
    };
    const displayQuantity =
      command.displayQuantity > 0 ? command.displayQuantity : Math.min(order.displayQuantity, wanted.quantity);
    const reason = this.#replaceFault(command, order, wanted);
    if (reason !== Reason.NONE) return this.#refuseOn(EventKind.REPLACE_REJECT, order, reason);

    const keeps =
      wanted.quantity <= order.quantity &&
      wanted.price === order.price &&
      wanted.stopPrice === order.stopPrice &&
      (command.displayQuantity === 0 || command.displayQuantity === order.displayQuantity);
    const { where } = order;
    if (!keeps) this.#takeOut(order);
    Object.assign(order, wanted, { displayQuantity });
    if (keeps && where === "book" && order.visible > leavesOf(order)) {
      order.visible = leavesOf(order);
      this.#touch(order);
    }
    this.#report(order, ExecType.REPLACED, Reason.NONE);
    if (!keeps) {
      if (where === "book") this.#enter(order);
      else if (where === "stops") this.#arm(order);
      else this.#queue(order, "waiting");
    }
    this.#drain(order.symbol);
  }

  #replaceFault(
    command: ReplaceCommand,
    order: ReferenceOrder,
    wanted: { readonly quantity: number; readonly price: number; readonly stopPrice: number },
  ): Reason {
    const { instrument, status } = this.symbols.get(order.symbol)!;
    if (this.#overdue || !this.#hasRoom()) return Reason.BUSY;
    if (status !== TradingStatus.OPEN) return Reason.TRADING_STATUS;
    const given = [command.quantity, command.price, command.stopPrice, command.displayQuantity];
    if (!given.every((value) => Number.isSafeInteger(value) && value >= 0)) return Reason.MALFORMED;
    if (given.every((value) => value === 0)) return Reason.MALFORMED;
    if (command.price > 0 && !hasPrice(order.type)) return Reason.MALFORMED;
    if (command.stopPrice > 0 && order.where !== "stops") return Reason.MALFORMED;
    if (command.displayQuantity > 0 && !mayRest(order)) return Reason.MALFORMED;
    if (command.displayQuantity > wanted.quantity) return Reason.MALFORMED;
    if (wanted.quantity <= order.cum) return Reason.ALREADY_FILLED;
    if (command.quantity > 0) {
      if (command.quantity < instrument.minQuantity) return Reason.QUANTITY_LIMIT;
      if (command.quantity > instrument.maxQuantity) return Reason.QUANTITY_LIMIT;
    }
    for (const each of [command.price, command.stopPrice]) {
      if (each > 0 && (each < instrument.minPrice || each > instrument.maxPrice)) return Reason.PRICE_BAND;
    }
    if (BigInt(wanted.price) * BigInt(wanted.quantity) >= 1n << 63n) return Reason.VALUE_LIMIT;
    const owner = this.accounts.get(order.account)!;
    const most = owner.maxQuantity === 0 ? this.#rules.maxQuantity : owner.maxQuantity;
    if (command.quantity > most) return Reason.ACCOUNT_QUANTITY;
    if (order.postOnly && this.#wouldTrade(order.symbol, order.side, wanted.price)) return Reason.POST_ONLY;
    return Reason.NONE;
  }

  #massCancel(command: MassCancelCommand): void {
    this.#account(command.account);
    let reason: Reason = Reason.NONE;
    let affected = 0;
    let remaining = 0;
    if (command.symbol !== "" && !this.symbols.has(command.symbol)) reason = Reason.UNKNOWN_SYMBOL;
    else if (!isName(command.account)) reason = Reason.MALFORMED;
    else {
      const own = this.orders.filter(({ account, symbol }) => {
        return account === command.account && (command.symbol === "" || symbol === command.symbol);
      });
      for (const order of own) {
        const isFull = this.events.length + 1 >= this.#rules.maxEntryEvents - this.#commandsLeft;
        if (isFull || this.symbols.get(order.symbol)!.status === TradingStatus.HALTED) {
          reason = isFull ? Reason.BUSY : Reason.TRADING_STATUS;
          remaining++;
        } else {
          this.#end(order, ExecType.CANCELED, Reason.MASS_CANCEL);
          affected++;
        }
      }
    }
    this.#emit(command.account, {
      kind: EventKind.COMMAND,
      symbol: command.symbol,
      reason,
      affected,
      remaining,
    });
  }

  #define(command: InstrumentCommand): void {
    const present = this.symbols.get(command.symbol);
    let reason: Reason = Reason.NONE;
    if (!isDefinition(command)) reason = Reason.MALFORMED;
    else if (present === undefined) {
      if (this.symbols.size >= this.#rules.maxSymbols) reason = Reason.FULL;
      else {
        const symbol = {
          instrument: command,
          status: TradingStatus.OPEN,
          lastPrice: 0,
          trades: 0,
          version: 0,
          turns: 0,
        };
        this.symbols.set(command.symbol, symbol);
      }
    } else {
      const { version, tickSize, lotSize } = present.instrument;
      if (command.version <= version || command.tickSize !== tickSize || command.lotSize !== lotSize) {
        reason = Reason.STALE_VERSION;
      } else present.instrument = command;
    }
    this.#emit("", { kind: EventKind.COMMAND, symbol: command.symbol, reason });
  }

  #setStatus({ symbol, status }: StatusCommand): void {
    const present = this.symbols.get(symbol);
    let reason: Reason = Reason.NONE;
    if (present === undefined) reason = Reason.UNKNOWN_SYMBOL;
    else if (![TradingStatus.OPEN, TradingStatus.CANCEL_ONLY, TradingStatus.HALTED].some((known) => known === status)) {
      reason = Reason.MALFORMED;
    } else present.status = status;
    this.#emit("", { kind: EventKind.COMMAND, symbol, reason });
    if (reason === Reason.NONE && !this.#overdue) this.#drain(symbol);
  }

  #setLimits({ account, maxOpenOrders, maxQuantity }: LimitsCommand): void {
    let reason: Reason = Reason.NONE;
    const isRight = [maxOpenOrders, maxQuantity].every((value) => Number.isSafeInteger(value) && value >= 0);
    if (!isName(account) || !isRight) reason = Reason.MALFORMED;
    else {
      this.#account(account);
      const owner = this.accounts.get(account);
      if (owner === undefined) reason = Reason.FULL;
      else Object.assign(owner, { maxOpenOrders, maxQuantity });
    }
    this.#emit("", { kind: EventKind.COMMAND, reason });
  }

  #void({ command }: RefusedCommand): void {
    const reason = Reason.VOIDED;
    if ("account" in command && command.kind !== "limits") this.#account(command.account);
    if (command.kind === "submit") this.#reject(command, reason);
    else if (command.kind === "cancel") this.#refuse(EventKind.CANCEL_REJECT, command, reason);
    else if (command.kind === "replace") this.#refuse(EventKind.REPLACE_REJECT, command, reason);
    else {
      const symbol = command.kind === "limits" ? "" : command.symbol;
      this.#emit(command.kind === "mass-cancel" ? command.account : "", { kind: EventKind.COMMAND, symbol, reason });
    }
  }

  // ------------------------------------------------------------------------------------------------------ matching

  #enter(order: ReferenceOrder): void {
    const isFree = !hasPrice(order.type);
    if (isFree && this.side(order.symbol, other(order.side)).length === 0) {
      return this.#end(order, ExecType.EXPIRED, Reason.NO_LIQUIDITY);
    }
    if (order.timeInForce === TimeInForce.FOK && !this.#wouldFill(order)) {
      return this.#end(order, ExecType.EXPIRED, Reason.UNFILLABLE);
    }
    this.#match(order);
    if (!this.orders.includes(order)) return;
    if (mayRest(order)) this.#queue(order, "book");
    else this.#end(order, ExecType.EXPIRED, Reason.UNFILLED);
  }

  /** Tries it on a copy of everything. */
  #wouldFill(order: ReferenceOrder): boolean {
    const trial = new ReferenceEngine(this.#allRules, this.#rules);
    trial.orders = structuredClone(this.orders);
    trial.symbols = structuredClone(this.symbols);
    trial.accounts = structuredClone(this.accounts);
    const copy = trial.orders[this.orders.indexOf(order)]!;
    trial.#match(copy);
    return copy.cum === order.quantity;
  }

  #match(order: ReferenceOrder): void {
    for (let met = 0; ; met++) {
      const maker = this.side(order.symbol, other(order.side))[0];
      if (maker === undefined) return;
      if (hasPrice(order.type)) {
        if (order.side === Side.BUY ? maker.price > order.price : maker.price < order.price) return;
      }
      if (met === this.#rules.maxFills) return this.#end(order, ExecType.CANCELED, Reason.FILL_LIMIT);
      if (order.selfTradePrevention !== SelfTradePrevention.NONE && maker.account === order.account) {
        this.#prevent(order, maker);
      } else this.#trade(order, maker);
      if (!this.orders.includes(order)) return;
    }
  }

  #trade(order: ReferenceOrder, maker: ReferenceOrder): void {
    const symbol = this.symbols.get(order.symbol)!;
    const lastQuantity = Math.min(leavesOf(order), maker.visible);
    const lastPrice = maker.price;
    symbol.trades++;
    symbol.lastPrice = lastPrice;
    for (const each of [order, maker]) {
      each.cum += lastQuantity;
      each.value += BigInt(lastQuantity) * BigInt(lastPrice);
    }
    maker.visible -= lastQuantity;
    this.#touch(maker);
    const fill = { lastQuantity, lastPrice, trade: symbol.trades };
    this.#report(order, ExecType.TRADE, Reason.NONE, maker, { ...fill, aggressor: true });
    this.#report(maker, ExecType.TRADE, Reason.NONE, order, fill);
    if (leavesOf(maker) === 0) this.#remove(maker);
    else if (maker.visible === 0) {
      maker.visible = Math.min(maker.displayQuantity, leavesOf(maker));
      maker.turn = ++symbol.turns;
    }

    const reached = this.orders
      .filter((each) => each.where === "stops" && each.symbol === order.symbol && this.#isReached(each))
      .sort(
        (a, b) =>
          a.side - b.side || Math.abs(lastPrice - b.stopPrice) - Math.abs(lastPrice - a.stopPrice) || a.turn - b.turn,
      );
    for (const stop of reached) this.#queue(stop, "waiting");
    if (leavesOf(order) === 0) this.#remove(order);
  }

  #prevent(order: ReferenceOrder, maker: ReferenceOrder): void {
    const { selfTradePrevention } = order;
    if (selfTradePrevention === SelfTradePrevention.DECREMENT) {
      const amount = Math.min(leavesOf(order), leavesOf(maker));
      for (const [each, opponent] of [
        [maker, order],
        [order, maker],
      ] as const) {
        if (leavesOf(each) === amount) this.#end(each, ExecType.CANCELED, Reason.SELF_TRADE, opponent);
        else {
          each.quantity -= amount;
          if (each === maker && maker.visible > leavesOf(maker)) {
            maker.visible = leavesOf(maker);
            this.#touch(maker);
          }
          this.#report(each, ExecType.RESTATED, Reason.SELF_TRADE, opponent);
        }
      }
      return;
    }
    if (selfTradePrevention !== SelfTradePrevention.CANCEL_NEWEST) {
      this.#end(maker, ExecType.CANCELED, Reason.SELF_TRADE, order);
    }
    if (selfTradePrevention !== SelfTradePrevention.CANCEL_OLDEST) {
      this.#end(order, ExecType.CANCELED, Reason.SELF_TRADE, maker);
    }
  }

  #isReached({ symbol, side, stopPrice }: ReferenceOrder): boolean {
    const { lastPrice } = this.symbols.get(symbol)!;
    return lastPrice > 0 && (side === Side.BUY ? stopPrice <= lastPrice : stopPrice >= lastPrice);
  }

  #arm(order: ReferenceOrder): void {
    if (this.#isReached(order)) this.#trigger(order);
    else this.#queue(order, "stops");
  }

  #trigger(order: ReferenceOrder): void {
    order.triggered = true;
    this.#report(order, ExecType.TRIGGERED, Reason.NONE);
    this.#enter(order);
  }

  #drain(symbol: string): void {
    for (let n = 0; n < this.#rules.maxTriggered; n++) {
      const next = this.waiting(symbol)[0];
      if (next === undefined || this.symbols.get(symbol)!.status !== TradingStatus.OPEN || !this.#hasRoom()) return;
      this.#takeOut(next);
      this.#trigger(next);
    }
  }

  #hasRoom(): boolean {
    const mostOfOne = 2 * this.#rules.maxFills + 3;
    return this.events.length + mostOfOne + this.#commandsLeft <= this.#rules.maxEntryEvents;
  }

  // --------------------------------------------------------------------------------------------------------- parts

  #account(name: string): void {
    if (!isName(name) || this.accounts.has(name) || this.accounts.size >= this.#rules.maxAccounts) return;
    this.accounts.set(name, { sequence: 0, maxOpenOrders: 0, maxQuantity: 0 });
  }

  #named(account: string, symbol: string, clientOrderId: string): ReferenceOrder | undefined {
    return this.orders.find((order) => {
      return order.account === account && order.symbol === symbol && order.clientOrderId === clientOrderId;
    });
  }

  #target(account: string, symbol: string, target: Target): ReferenceOrder | undefined {
    if (target.by === "client") return this.#named(account, symbol, target.clientOrderId);
    return this.orders.find((order) => {
      return order.account === account && order.symbol === symbol && comparePlaces(order, target) === 0;
    });
  }

  #queue(order: ReferenceOrder, where: "book" | "stops" | "waiting"): void {
    order.where = where;
    order.turn = ++this.symbols.get(order.symbol)!.turns;
    if (where !== "book") return;
    const leaves = leavesOf(order);
    order.visible = order.displayQuantity > 0 ? Math.min(order.displayQuantity, leaves) : leaves;
    this.#touch(order);
  }

  #takeOut(order: ReferenceOrder): void {
    if (order.where === "book") this.#touch(order);
    order.where = "none";
    order.visible = 0;
  }

  #remove(order: ReferenceOrder): void {
    this.#takeOut(order);
    this.orders = this.orders.filter((each) => each !== order);
  }

  #end(
    order: ReferenceOrder,
    execType: typeof ExecType.CANCELED | typeof ExecType.EXPIRED,
    reason: Reason,
    opponent?: ReferenceOrder,
  ): void {
    this.#remove(order);
    this.#report(order, execType, reason, opponent);
  }

  #touch({ symbol, side, price }: ReferenceOrder): void {
    this.#touched.set(`${symbol} ${side} ${price}`, [symbol, side, price]);
  }

  #report(
    order: ReferenceOrder,
    execType: ExecType,
    reason: Reason,
    opponent?: ReferenceOrder,
    fill: Partial<MatchingEvent> = {},
  ): void {
    const isEnd = execType === ExecType.CANCELED || execType === ExecType.EXPIRED;
    const leavesQuantity = isEnd ? 0 : leavesOf(order);
    this.#emit(order.account, {
      ...shownOf(order),
      execType,
      reason,
      status:
        execType === ExecType.CANCELED
          ? OrderStatus.CANCELED
          : execType === ExecType.EXPIRED
            ? OrderStatus.EXPIRED
            : leavesQuantity === 0
              ? OrderStatus.FILLED
              : workingStatus(order),
      leavesQuantity,
      ...otherOf(opponent),
      ...fill,
    });
  }

  #reject({ account, submit }: SubmitCommand, reason: Reason): void {
    const isDuplicate = reason === Reason.DUPLICATE_CLIENT_ORDER_ID;
    this.#emit(account, {
      ...this.#now,
      index: this.#command,
      execType: ExecType.REJECTED,
      status: OrderStatus.REJECTED,
      reason,
      symbol: submit.symbol,
      clientOrderId: submit.clientOrderId,
      side: possible(submit.side, 3),
      type: possible(submit.type, 7),
      timeInForce: possible(submit.timeInForce, 7),
      selfTradePrevention: possible(submit.selfTradePrevention, 7),
      postOnly: submit.postOnly,
      quantity: possible(submit.quantity),
      price: possible(submit.price),
      stopPrice: possible(submit.stopPrice),
      displayQuantity: possible(submit.displayQuantity),
      expireTime: possible(submit.expireTime),
      ...otherOf(isDuplicate ? this.#named(account, submit.symbol, submit.clientOrderId) : undefined),
    });
  }

  #refuse(
    kind: EventKind,
    { account, symbol, target }: CancelCommand | ReplaceCommand,
    reason: Reason = this.symbols.has(symbol) ? Reason.UNKNOWN_ORDER : Reason.UNKNOWN_SYMBOL,
  ): void {
    const { epoch, ms, seq, index } = target.by === "order" ? target : NOTHING;
    const clientOrderId = target.by === "client" ? target.clientOrderId : "";
    this.#emit(account, { kind, symbol, reason, epoch, ms, seq, index, clientOrderId });
  }

  #refuseOn(kind: EventKind, order: ReferenceOrder, reason: Reason): void {
    const leavesQuantity = leavesOf(order);
    this.#emit(order.account, { ...shownOf(order), kind, reason, status: workingStatus(order), leavesQuantity });
  }

  #emit(account: string, event: Partial<MatchingEvent>): void {
    const owner = this.accounts.get(account);
    if (owner !== undefined) owner.sequence++;
    this.events.push({ ...NOTHING, command: this.#command, account, sequence: owner?.sequence ?? 0, ...event });
  }
}

export function high(value: bigint): number {
  return Number(value / RADIX);
}

export function low(value: bigint): number {
  return Number(value % RADIX);
}

export function leavesOf(order: ReferenceOrder): number {
  return order.quantity - order.cum;
}

function workingStatus(order: ReferenceOrder): OrderStatus {
  return order.cum === 0 ? OrderStatus.NEW : OrderStatus.PARTIALLY_FILLED;
}

function shownOf(order: ReferenceOrder): Partial<MatchingEvent> {
  const { cum, value, visible: _visible, turn: _turn, where: _where, ...shown } = order;
  return { ...shown, cumQuantity: cum, valueHigh: high(value), valueLow: low(value) };
}

function otherOf(order: ReferenceOrder | undefined): Partial<MatchingEvent> {
  if (order === undefined) return {};
  return { otherEpoch: order.epoch, otherMs: order.ms, otherSeq: order.seq, otherIndex: order.index };
}

function comparePlaces(
  a: { epoch: number; ms: number; seq: number; index: number },
  b: { epoch: number; ms: number; seq: number; index: number },
): number {
  return a.epoch - b.epoch || a.ms - b.ms || a.seq - b.seq || a.index - b.index;
}

function other(side: number): number {
  return side === Side.BUY ? Side.SELL : Side.BUY;
}

function isStop(type: number): boolean {
  return type === OrderType.STOP || type === OrderType.STOP_LIMIT;
}

function hasPrice(type: number): boolean {
  return type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
}

function mayRest({ type, timeInForce }: { readonly type: number; readonly timeInForce: number }): boolean {
  return hasPrice(type) && (timeInForce === TimeInForce.GTC || timeInForce === TimeInForce.GTD);
}

function isName(name: string): boolean {
  return name.length >= 1 && name.length <= 64;
}

function isUnits(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}

function possible(value: number, most = Number.MAX_SAFE_INTEGER): number {
  return isUnits(value) && value <= most ? value : 0;
}

const TIMES: Readonly<Record<number, readonly number[]>> = {
  [OrderType.MARKET]: [TimeInForce.IOC, TimeInForce.FOK],
  [OrderType.LIMIT]: [TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD],
  [OrderType.STOP]: [TimeInForce.IOC, TimeInForce.FOK],
  [OrderType.STOP_LIMIT]: [TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD],
};

function isPossible(submit: OrderRequest): boolean {
  const isRight = [
    submit.clientOrderId.length >= 1 && submit.clientOrderId.length <= 64,
    submit.side === Side.BUY || submit.side === Side.SELL,
    TIMES[submit.type]?.includes(submit.timeInForce) ?? false,
    isUnits(submit.quantity),
    hasPrice(submit.type) ? isUnits(submit.price) : submit.price === 0,
    isStop(submit.type) ? isUnits(submit.stopPrice) : submit.stopPrice === 0,
    submit.timeInForce === TimeInForce.GTD ? isUnits(submit.expireTime) : submit.expireTime === 0,
    submit.displayQuantity === 0 ||
      (mayRest(submit) && isUnits(submit.displayQuantity) && submit.displayQuantity <= submit.quantity),
    !submit.postOnly || (submit.type === OrderType.LIMIT && mayRest(submit)),
    [0, 1, 2, 3, 4].includes(submit.selfTradePrevention),
  ];
  return isRight.every((each) => each);
}

function isDefinition(command: InstrumentCommand): boolean {
  const { symbol, version, minQuantity, maxQuantity, minPrice, maxPrice, timesInForce } = command;
  return (
    symbol.length >= 1 &&
    symbol.length <= 32 &&
    [command.tickSize, command.lotSize].every(({ length }) => length >= 1 && length <= 64) &&
    [version, minQuantity, maxQuantity, minPrice, maxPrice].every(isUnits) &&
    minQuantity <= maxQuantity &&
    minPrice <= maxPrice &&
    timesInForce.length === 5 &&
    timesInForce.every((set, type) => {
      const bits = (TIMES[type] ?? []).reduce((bits, time) => bits | (1 << time), 0);
      return (set & bits) === set;
    })
  );
}
