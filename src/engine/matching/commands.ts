import { type Account, isName } from "./accounts.ts";
import type { Book } from "./book.ts";
import { instrumentFault, replaceFault, requestFault, type Values } from "./faults.ts";
import * as sets from "./sets.ts";
import type {
  CancelCommand,
  ClientKey,
  Command,
  InstrumentCommand,
  LimitsCommand,
  MassCancelCommand,
  OrderRequest,
  Place,
  RefusedCommand,
  ReplaceCommand,
  StatusCommand,
  SubmitCommand,
  Target,
} from "./interface.ts";
import type { Matcher } from "./matcher.ts";
import * as layout from "./layout.ts";
import { flagsOf, sideOf } from "./layout.ts";
import type { State } from "./state.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { EventKind, ExecType, OrderType, Reason, TradingStatus } = sets;
type Reason = sets.Reason;
const {
  ACCOUNT,
  ACCOUNT_NEXT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  EXPIRE,
  FLAGS,
  INT,
  KEY_HIGH,
  KEY_LOW,
  MS,
  NIL,
  NUM,
  PRICE,
  PRIORITY,
  QUANTITY,
  RESTING,
  SEQ,
  STOP_PRICE,
  STOPPED,
  TRIGGERED,
  VALUE_HIGH,
  VALUE_LOW,
  VISIBLE,
  WAITING,
} = layout;

/** What each command does. Every command but an idle one and a switch of rules has one event at least. */
export class Commands {
  /** More orders were due in this entry than it may expire: none may trade until they are gone. */
  isOverdue = false;
  readonly #state: State;
  readonly #matcher: Matcher;

  constructor(state: State, matcher: Matcher) {
    this.#state = state;
    this.#matcher = matcher;
  }

  /** Works the command whose index the events have. */
  apply(command: Command): void {
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
        this.#state.switchTo(command.rules);
        return;
      case "idle":
        return;
      case "refused":
        return this.#refuse(command);
      default: {
        const never: never = command;
        throw new Error(`no such command: ${String(never)}`);
      }
    }
  }

  /** Its answer, without a look at anything that the command names. */
  #refuse({ command }: RefusedCommand): void {
    const { events } = this.#state;
    switch (command.kind) {
      case "submit": {
        const account = this.#state.account(command.account);
        return events.rejected(account, command.account, command.submit, Reason.VOIDED, NIL);
      }
      case "cancel":
      case "replace": {
        const kind = command.kind === "cancel" ? EventKind.CANCEL_REJECT : EventKind.REPLACE_REJECT;
        const { account: name, symbol, target } = command;
        return events.refused(kind, this.#state.account(name), name, symbol, named(target), Reason.VOIDED);
      }
      case "mass-cancel": {
        const account = this.#state.account(command.account);
        return events.commanded(account, command.account, command.symbol, Reason.VOIDED, 0, 0);
      }
      case "instrument":
      case "status":
        return events.commanded(undefined, "", command.symbol, Reason.VOIDED, 0, 0);
      case "limits":
        return events.commanded(undefined, "", "", Reason.VOIDED, 0, 0);
    }
  }

  #isBusy(): boolean {
    return this.isOverdue || !this.#matcher.hasRoom();
  }

  #submit(command: SubmitCommand): void {
    const { events } = this.#state;
    const request = command.submit;
    const account = this.#state.account(command.account);
    const book = this.#state.book(request.symbol);
    if (this.#isBusy()) return events.rejected(account, command.account, request, Reason.BUSY, NIL);
    if (book === undefined) return events.rejected(account, command.account, request, Reason.UNKNOWN_SYMBOL, NIL);
    const reason = requestFault(this.#state, book, account, command);
    if (reason !== Reason.NONE || account === undefined) {
      const isDuplicate = reason === Reason.DUPLICATE_CLIENT_ORDER_ID && account !== undefined;
      const other = isDuplicate ? this.#state.orderOf(account, book, request.clientOrderId, command) : NIL;
      return events.rejected(account, command.account, request, reason, other);
    }
    const slot = this.#accept(book, account, request, command);
    events.working(ExecType.NEW, slot, Reason.NONE, NIL);
    if (request.type === OrderType.STOP || request.type === OrderType.STOP_LIMIT) this.#arm(book, slot);
    else this.#matcher.enter(book, slot);
    this.#matcher.drain(book);
  }

  #accept(book: Book, account: Account, request: OrderRequest, key: ClientKey): number {
    const { orders, epoch, ms, seq, events } = this.#state;
    const slot = orders.allocate();
    const { num, int } = orders;
    const at = slot * NUM;
    num[at + PRICE] = request.price;
    num[at + QUANTITY] = request.quantity;
    num[at + CUM] = 0;
    num[at + VISIBLE] = 0;
    num[at + VALUE_LOW] = 0;
    num[at + VALUE_HIGH] = 0;
    num[at + STOP_PRICE] = request.stopPrice;
    num[at + DISPLAY] = request.displayQuantity;
    num[at + PRIORITY] = 0;
    num[at + EXPIRE] = request.expireTime;
    num[at + MS] = ms;
    const atInt = slot * INT;
    const { side, type, timeInForce, selfTradePrevention, postOnly } = request;
    int[atInt + FLAGS] = flagsOf(side, type, timeInForce, selfTradePrevention, postOnly);
    int[atInt + SEQ] = seq | 0;
    int[atInt + EPOCH_INDEX] = (epoch << 16) | events.command;
    int[atInt + BOOK] = book.index;
    int[atInt + ACCOUNT] = account.index;
    int[atInt + KEY_HIGH] = key.keyHigh | 0;
    int[atInt + KEY_LOW] = key.keyLow | 0;
    orders.clientOrderIds[slot] = request.clientOrderId;
    return slot;
  }

  /** A stop that is in no queue: it waits for its price, or enters at once where the last price has reached it. */
  #arm(book: Book, slot: number): void {
    const { num, int } = this.#state.orders;
    const flags = int[slot * INT + FLAGS]!;
    if (!book.hasReached(sideOf(flags), num[slot * NUM + STOP_PRICE]!)) return this.#state.stop(book, slot);
    int[slot * INT + FLAGS] = flags | TRIGGERED;
    this.#state.events.working(ExecType.TRIGGERED, slot, Reason.NONE, NIL);
    this.#matcher.enter(book, slot);
  }

  /** The open order that a command is aimed at, where it is the account's and of that symbol; or NIL. */
  #find(account: Account | undefined, book: Book, target: Target): number {
    if (account === undefined) return NIL;
    if (target.by === "client") return this.#state.orderOf(account, book, target.clientOrderId, target);
    const slot = this.#state.orderAt(target);
    if (slot === NIL) return NIL;
    const { int } = this.#state.orders;
    return int[slot * INT + ACCOUNT] === account.index && int[slot * INT + BOOK] === book.index ? slot : NIL;
  }

  #cancel(command: CancelCommand): void {
    const { events } = this.#state;
    const { symbol, target } = command;
    const account = this.#state.account(command.account);
    const book = this.#state.book(symbol);
    const slot = book === undefined ? NIL : this.#find(account, book, target);
    if (book === undefined || slot === NIL) {
      const reason = book === undefined ? Reason.UNKNOWN_SYMBOL : Reason.UNKNOWN_ORDER;
      return events.refused(EventKind.CANCEL_REJECT, account, command.account, symbol, named(target), reason);
    }
    if (book.status === TradingStatus.HALTED) {
      return events.refusedOn(EventKind.CANCEL_REJECT, slot, Reason.TRADING_STATUS);
    }
    this.#state.withdraw(slot);
    this.#matcher.cancel(slot, Reason.REQUESTED, NIL);
  }

  #replace(command: ReplaceCommand): void {
    const { events } = this.#state;
    const { symbol, target } = command;
    const account = this.#state.account(command.account);
    const book = this.#state.book(symbol);
    const slot = book === undefined ? NIL : this.#find(account, book, target);
    if (account === undefined || book === undefined || slot === NIL) {
      const reason = book === undefined ? Reason.UNKNOWN_SYMBOL : Reason.UNKNOWN_ORDER;
      return events.refused(EventKind.REPLACE_REJECT, account, command.account, symbol, named(target), reason);
    }
    if (this.#isBusy()) return events.refusedOn(EventKind.REPLACE_REJECT, slot, Reason.BUSY);
    const values = replaceFault(this.#state, book, account, slot, command);
    if (typeof values === "number") return events.refusedOn(EventKind.REPLACE_REJECT, slot, values);
    this.#change(book, slot, values);
    this.#matcher.drain(book);
  }

  #change(book: Book, slot: number, { quantity, price, stopPrice, displayQuantity, keepsPriority }: Values): void {
    const { orders, events, hash } = this.#state;
    const { num, int } = orders;
    const at = slot * NUM;
    const flags = int[slot * INT + FLAGS]!;
    if (!keepsPriority) this.#state.withdraw(slot);
    num[at + QUANTITY] = quantity;
    num[at + PRICE] = price;
    num[at + STOP_PRICE] = stopPrice;
    num[at + DISPLAY] = displayQuantity;
    hash.touchOrder(slot);
    if (keepsPriority && (flags & RESTING) !== 0) {
      const hidden = num[at + VISIBLE]! - orders.leaves(slot);
      if (hidden > 0) book.side(sideOf(flags)).reduce(slot, hidden);
    }
    events.working(ExecType.REPLACED, slot, Reason.NONE, NIL);
    if (keepsPriority) return;
    if ((flags & STOPPED) !== 0) this.#arm(book, slot);
    else if ((flags & WAITING) !== 0) this.#state.await(book, slot);
    else this.#matcher.enter(book, slot);
  }

  #massCancel(command: MassCancelCommand): void {
    const { orders, books, events, rules } = this.#state;
    const account = this.#state.account(command.account);
    const only = command.symbol === "" ? undefined : this.#state.book(command.symbol);
    if (command.symbol !== "" && only === undefined) {
      return events.commanded(account, command.account, command.symbol, Reason.UNKNOWN_SYMBOL, 0, 0);
    }
    let affected = 0;
    let remaining = 0;
    let reason: Reason = isName(command.account) ? Reason.NONE : Reason.MALFORMED;
    for (let slot = account?.head ?? NIL, next = NIL; slot !== NIL; slot = next) {
      next = orders.int[slot * INT + ACCOUNT_NEXT]!;
      const book = books[orders.int[slot * INT + BOOK]!]!;
      if (only !== undefined && book !== only) continue;
      const isFull = events.count + 1 + this.#matcher.reserved >= rules.maxEntryEvents;
      if (isFull || book.status === TradingStatus.HALTED) {
        remaining++;
        reason = isFull ? Reason.BUSY : Reason.TRADING_STATUS;
        continue;
      }
      this.#state.withdraw(slot);
      this.#matcher.cancel(slot, Reason.MASS_CANCEL, NIL);
      affected++;
    }
    events.commanded(account, command.account, command.symbol, reason, affected, remaining);
  }

  #define(command: InstrumentCommand): void {
    const { events, hash } = this.#state;
    const { kind: _, symbol, ...instrument } = command;
    const present = this.#state.book(symbol);
    const reason = instrumentFault(this.#state, command, present);
    if (reason === Reason.NONE) {
      const book = present ?? this.#state.addBook(symbol, instrument);
      book.instrument = instrument;
      hash.introduceBook(book);
    }
    events.commanded(undefined, "", symbol, reason, 0, 0);
  }

  #setStatus({ symbol, status }: StatusCommand): void {
    const { events, hash } = this.#state;
    const book = this.#state.book(symbol);
    const known = Object.values(TradingStatus).find((known) => known === status);
    if (book === undefined) return events.commanded(undefined, "", symbol, Reason.UNKNOWN_SYMBOL, 0, 0);
    if (known === undefined) return events.commanded(undefined, "", symbol, Reason.MALFORMED, 0, 0);
    book.status = known;
    hash.touchBook(book);
    events.commanded(undefined, "", symbol, Reason.NONE, 0, 0);
    if (!this.isOverdue) this.#matcher.drain(book);
  }

  #setLimits(command: LimitsCommand): void {
    const { events, hash } = this.#state;
    const { maxOpenOrders, maxQuantity } = command;
    const isRight = isUpTo(maxOpenOrders, Number.MAX_SAFE_INTEGER) && isUpTo(maxQuantity, Number.MAX_SAFE_INTEGER);
    if (!isName(command.account) || !isRight) return events.commanded(undefined, "", "", Reason.MALFORMED, 0, 0);
    const account = this.#state.account(command.account);
    if (account === undefined) return events.commanded(undefined, "", "", Reason.FULL, 0, 0);
    account.maxOpenOrders = maxOpenOrders;
    account.maxQuantity = maxQuantity;
    hash.touchAccount(account);
    events.commanded(undefined, "", "", Reason.NONE, 0, 0);
  }
}

function isUpTo(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most;
}

/** How an event shows a target that was not found. */
function named(target: Target): Place | string {
  return target.by === "client" ? target.clientOrderId : target;
}
