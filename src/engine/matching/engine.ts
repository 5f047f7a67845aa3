import { type Account, isName } from "./accounts.ts";
import type { Book } from "./book.ts";
import { requestFault, replaceFault, instrumentFault, type Values } from "./faults.ts";
import { inspectDepth, inspectOrder, inspectQueues, inspectSymbol } from "./inspect.ts";
import {
  type BookLevel,
  type CancelCommand,
  type ClientKey,
  type Command,
  type Entry,
  EventKind,
  ExecType,
  type InstrumentCommand,
  type LimitsCommand,
  type MassCancelCommand,
  type MatchingEngine,
  type OpenOrder,
  type OrderRequest,
  OrderType,
  type Outcome,
  type Place,
  Reason,
  type ReplaceCommand,
  type StatusCommand,
  type SubmitCommand,
  type SymbolState,
  type Target,
  TradingStatus,
} from "./interface.ts";
import { Matcher } from "./matcher.ts";
import {
  ACCOUNT,
  ACCOUNT_NEXT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  EXPIRE,
  FLAGS,
  flagsOf,
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
  sideOf,
  STOP_PRICE,
  STOPPED,
  TRIGGERED,
  VALUE_HIGH,
  VALUE_LOW,
  VISIBLE,
  WAITING,
} from "./orders.ts";
import { FIRST_RULES, type Rules, RULES } from "./rules.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";
import { State } from "./state.ts";

const MAX_EPOCH = 2 ** 14 - 1;
const MAX_MS = 2 ** 48 - 1;
const MAX_SEQ = 2 ** 32 - 1;
const MAX_INDEX = 2 ** 16 - 1;

/**
 * The matching engine (interface.ts says what it takes and gives).
 *
 * Invariant, between two entries: every open order is in exactly one queue, and nothing that is due is left but what the
 * rules' bounds put off; in the middle of an entry that threw, nothing holds, and nothing goes on.
 */
export class Engine implements MatchingEngine {
  readonly #state: State;
  readonly #matcher: Matcher;
  readonly #rules: ReadonlyMap<number, Rules>;
  readonly #outcome: Outcome;
  /** An entry is being applied; still so after it threw. */
  #isApplying = false;
  /** More orders were due in this entry than it may expire: none may trade until they are gone. */
  #isOverdue = false;

  /** An empty engine. `rules` are those that it may be switched to, the first ones included. */
  constructor(rules: ReadonlyMap<number, Rules> = RULES, state = new State(rulesOf(rules, FIRST_RULES), FIRST_RULES)) {
    this.#rules = rules;
    this.#state = state;
    this.#matcher = new Matcher(state);
    this.#outcome = Object.freeze({ events: state.events, levels: state.changes });
  }

  /** The engine whose snapshot it is. Throws a RangeError where the bytes are damaged, or newer than this code. */
  static restore(bytes: Uint8Array, rules: ReadonlyMap<number, Rules> = RULES): Engine {
    return new Engine(
      rules,
      readSnapshot(bytes, (number) => rulesOf(rules, number)),
    );
  }

  apply(entry: Entry): Outcome {
    this.#assertWhole();
    this.#assertNext(entry);
    const { events, changes, hash } = this.#state;
    const { commands } = entry;
    this.#isApplying = true;
    events.begin(entry);
    changes.begin();
    this.#state.epoch = entry.epoch;
    this.#state.ms = entry.ms;
    this.#state.seq = entry.seq;
    this.#matcher.reserved = commands.length;
    this.#expire();
    this.#drainAll();
    for (let i = 0; i < commands.length; i++) {
      this.#matcher.reserved = commands.length - 1 - i;
      events.command = i;
      this.#apply(commands[i]!);
    }
    changes.end((book) => hash.touchBook(book));
    hash.settle();
    this.#isApplying = false;
    return this.#outcome;
  }

  get position(): Omit<Place, "index"> {
    const { epoch, ms, seq } = this.#state;
    return { epoch, ms, seq };
  }

  get rules(): number {
    return this.#state.rulesNumber;
  }

  get openOrders(): number {
    return this.#state.orders.count;
  }

  get nextDue(): number {
    const { books, waiting, ms, expiries } = this.#state;
    const isWaiting = waiting > 0 && books.some((book) => book.waiting > 0 && book.status === TradingStatus.OPEN);
    return isWaiting ? ms : expiries.due;
  }

  get stateHash(): bigint {
    const { hash, epoch, ms, seq, rulesNumber } = this.#state;
    return hash.value(epoch, ms, seq, rulesNumber);
  }

  snapshot(): Uint8Array {
    this.#assertWhole();
    return writeSnapshot(this.#state, this.stateHash);
  }

  symbols(): SymbolState[] {
    return this.#state.books.map(inspectSymbol);
  }

  depth(symbol: string, side: number, limit: number): BookLevel[] {
    const book = this.#state.book(symbol);
    return book === undefined ? [] : inspectDepth(this.#state, book.side(side), limit);
  }

  queue(symbol: string, side: number): OpenOrder[] {
    const book = this.#state.book(symbol);
    return book === undefined ? [] : inspectQueues(this.#state, book.side(side));
  }

  order(place: Place): OpenOrder | undefined {
    return this.#inspect(this.#state.orderAt(place));
  }

  orderOf(account: string, symbol: string, clientOrderId: string, key: ClientKey): OpenOrder | undefined {
    const owner = this.#state.accounts.find(account);
    const book = this.#state.book(symbol);
    if (owner === undefined || book === undefined) return undefined;
    return this.#inspect(this.#state.orderOf(owner, book, clientOrderId, key));
  }

  ordersOf(account: string): OpenOrder[] {
    const { accounts, orders } = this.#state;
    const found: OpenOrder[] = [];
    for (let slot = accounts.find(account)?.head ?? NIL; slot !== NIL; slot = orders.int[slot * INT + ACCOUNT_NEXT]!) {
      found.push(inspectOrder(this.#state, slot));
    }
    return found;
  }

  sequenceOf(account: string): number {
    return this.#state.accounts.find(account)?.sequence ?? 0;
  }

  #inspect(slot: number): OpenOrder | undefined {
    return slot === NIL ? undefined : inspectOrder(this.#state, slot);
  }

  #assertWhole(): void {
    if (this.#isApplying) throw new Error("an entry ended in the middle: the engine's state is worthless");
  }

  #assertNext({ epoch, ms, seq, commands }: Entry): void {
    const { epoch: lastEpoch, ms: lastMs, seq: lastSeq, rules } = this.#state;
    if (!isUpTo(epoch, MAX_EPOCH) || !isUpTo(ms, MAX_MS) || !isUpTo(seq, MAX_SEQ)) {
      throw new RangeError(`not a position: ${epoch}, ${ms}-${seq}`);
    }
    if ((epoch - lastEpoch || ms - lastMs || seq - lastSeq) <= 0) {
      throw new RangeError(`${epoch}, ${ms}-${seq} is not beyond ${lastEpoch}, ${lastMs}-${lastSeq}`);
    }
    if (commands.length > Math.min(rules.maxCommands, MAX_INDEX)) {
      throw new RangeError(`an entry has at most ${rules.maxCommands} commands`);
    }
  }

  /** What is due leaves before any command, by due time, then by place. */
  #expire(): void {
    const { expiries, events, ms, rules } = this.#state;
    for (let n = 0; n < rules.maxExpiries && expiries.due <= ms; n++) {
      const slot = expiries.next;
      this.#state.withdraw(slot);
      events.ended(ExecType.EXPIRED, slot, Reason.DUE, NIL);
      this.#state.close(slot);
    }
    this.#isOverdue = expiries.due <= ms;
  }

  /** Stops that earlier entries left waiting. */
  #drainAll(): void {
    if (this.#state.waiting === 0 || this.#isOverdue) return;
    for (const book of this.#state.books) this.#matcher.drain(book);
  }

  #apply(command: Command): void {
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
        this.#state.rules = rulesOf(this.#rules, command.rules);
        this.#state.rulesNumber = command.rules;
        return;
      case "idle":
        return;
      default: {
        const never: never = command;
        throw new Error(`no such command: ${String(never)}`);
      }
    }
  }

  #isBusy(): boolean {
    return this.#isOverdue || !this.#matcher.hasRoom();
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
      hash.touchBook(book);
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
    if (!this.#isOverdue) this.#matcher.drain(book);
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

function rulesOf(rules: ReadonlyMap<number, Rules>, number: number): Rules {
  const found = rules.get(number);
  if (found === undefined) throw new Error(`no rules have the number ${number}`);
  return found;
}

function isUpTo(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most;
}

/** How an event shows a target that was not found. */
function named(target: Target): Place | string {
  return target.by === "client" ? target.clientOrderId : target;
}
