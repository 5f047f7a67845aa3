import type { Account, Accounts } from "./accounts.ts";
import type { Book } from "./book.ts";
import {
  EventKind,
  type EventList,
  ExecType,
  type MatchingEvent,
  NO_COMMAND,
  type OrderRequest,
  OrderStatus,
  type Place,
  Reason,
} from "./interface.ts";
import { enlarged } from "./levels.ts";
import {
  ACCOUNT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  EXPIRE,
  FLAGS,
  flagsOf,
  INT,
  MS,
  NIL,
  NUM,
  type Orders,
  POST_ONLY,
  preventionOf,
  PRICE,
  QUANTITY,
  SEQ,
  sideOf,
  STOP_PRICE,
  timeOf,
  TRIGGERED,
  typeOf,
  VALUE_HIGH,
  VALUE_LOW,
} from "./orders.ts";
import type { StateHash } from "./state-hash.ts";

// An event is a record like an order's: 53-bit numbers, then 32-bit ones in the words behind them. Objects with 35
// fields cost 280 ns each to make, the records 25 (Node 26).
const E_NUM = 20;
const E_INT = 40;

const E_PRICE = 0;
const E_QUANTITY = 1;
const E_CUM = 2;
const E_LEAVES = 3;
const E_VALUE_LOW = 4;
const E_VALUE_HIGH = 5;
const E_STOP_PRICE = 6;
const E_DISPLAY = 7;
const E_EXPIRE = 8;
const E_MS = 9;
const E_SEQUENCE = 10;
/** Of a COMMAND: how many orders it affected. */
const E_LAST_QUANTITY = 11;
/** Of a COMMAND: how many remain. */
const E_LAST_PRICE = 12;
const E_TRADE = 13;
const E_OTHER_MS = 14;

const E_FLAGS = 30;
const E_SEQ = 31;
const E_EPOCH_INDEX = 32;
const E_OTHER_SEQ = 33;
const E_OTHER_EPOCH_INDEX = 34;
const E_COMMAND = 35;
/** kind | execType << 4 | status << 8 | reason << 12 | aggressor << 20 */
const E_CODE = 36;
const E_AGGRESSOR = 1 << 20;
/** Indexes of account and book; NIL where the name stands for itself. */
const E_ACCOUNT = 37;
const E_BOOK = 38;

const FIRST_CAPACITY = 64;

/**
 * The events of the present entry, written one after the other, and read through a view.
 *
 * Invariant: an event that is an account's has the next number of that account.
 */
export class Events implements EventList {
  count = 0;
  /** The index of the command that is being worked, or NO_COMMAND. */
  command: number = NO_COMMAND;
  num = new Float64Array(FIRST_CAPACITY * E_NUM);
  int = new Int32Array(this.num.buffer);
  readonly clientOrderIds: string[] = [];
  #capacity = FIRST_CAPACITY;
  /** Whose place an order has that is rejected. */
  #entry: Omit<Place, "index"> = { epoch: 0, ms: 0, seq: 0 };
  /** Of the events that are not about an order: few. */
  readonly #names: string[] = [];
  readonly #symbols: string[] = [];
  readonly #orders: Orders;
  readonly #accounts: Accounts;
  readonly #books: readonly Book[];
  readonly #hash: StateHash;
  readonly #view: EventView = new EventView(this);

  constructor(orders: Orders, accounts: Accounts, books: readonly Book[], hash: StateHash) {
    this.#orders = orders;
    this.#accounts = accounts;
    this.#books = books;
    this.#hash = hash;
  }

  at(position: number): MatchingEvent {
    if (position >= this.count) throw new RangeError(`there is no event ${position}`);
    this.#view.position = position;
    return this.#view;
  }

  copy(): MatchingEvent[] {
    return Array.from({ length: this.count }, (_, i) => this.#copyOf(this.at(i)));
  }

  accountAt(position: number, account: number): string {
    return account === NIL ? this.#names[position]! : this.#accounts.list[account]!.name;
  }

  symbolAt(position: number, book: number): string {
    return book === NIL ? this.#symbols[position]! : this.#books[book]!.symbol;
  }

  begin(entry: Omit<Place, "index">): void {
    this.#entry = entry;
    this.count = 0;
    this.command = NO_COMMAND;
  }

  /** An order works on: NEW, REPLACED, TRIGGERED or RESTATED. */
  working(execType: ExecType, slot: number, reason: Reason, other: number): void {
    const { num } = this.#orders;
    const cum = num[slot * NUM + CUM]!;
    const status = cum > 0 ? OrderStatus.PARTIALLY_FILLED : OrderStatus.NEW;
    this.#execution(slot, execType, status, reason, num[slot * NUM + QUANTITY]! - cum, other);
  }

  /** An order ends: CANCELED or EXPIRED. */
  ended(
    execType: typeof ExecType.CANCELED | typeof ExecType.EXPIRED,
    slot: number,
    reason: Reason,
    other: number,
  ): void {
    const status = execType === ExecType.CANCELED ? OrderStatus.CANCELED : OrderStatus.EXPIRED;
    this.#execution(slot, execType, status, reason, 0, other);
  }

  /** A fill of an order, which its fields already hold. */
  filled(slot: number, other: number, quantity: number, price: number, trade: number, aggressor: boolean): void {
    const leaves = this.#orders.leaves(slot);
    const status = leaves > 0 ? OrderStatus.PARTIALLY_FILLED : OrderStatus.FILLED;
    const event = this.#execution(slot, ExecType.TRADE, status, Reason.NONE, leaves, other);
    const at = event * E_NUM;
    this.num[at + E_LAST_QUANTITY] = quantity;
    this.num[at + E_LAST_PRICE] = price;
    this.num[at + E_TRADE] = trade;
    if (aggressor) this.int[event * E_INT + E_CODE]! |= E_AGGRESSOR;
  }

  /** An order that does not come to be. `other` is the order in its way, if any. */
  rejected(account: Account | undefined, name: string, request: OrderRequest, reason: Reason, other: number): void {
    const event = this.#blank(account, name, request.symbol, request.clientOrderId);
    const { num, int } = this;
    const at = event * E_NUM;
    num[at + E_PRICE] = shown(request.price);
    num[at + E_QUANTITY] = shown(request.quantity);
    num[at + E_STOP_PRICE] = shown(request.stopPrice);
    num[at + E_DISPLAY] = shown(request.displayQuantity);
    num[at + E_EXPIRE] = shown(request.expireTime);
    const { side, type, timeInForce, selfTradePrevention, postOnly } = request;
    int[event * E_INT + E_FLAGS] = flagsOf(
      known(side, 3),
      known(type, 7),
      known(timeInForce, 7),
      known(selfTradePrevention, 7),
      postOnly,
    );
    const { epoch, ms, seq } = this.#entry;
    this.#place(event, epoch, ms, seq, this.command);
    this.#code(event, EventKind.EXECUTION, ExecType.REJECTED, OrderStatus.REJECTED, reason);
    if (other !== NIL) this.#other(event, other);
  }

  /** A cancel or a replace is refused; the order is open, and stays as it is. */
  refusedOn(kind: EventKind, slot: number, reason: Reason): void {
    const { num } = this.#orders;
    const cum = num[slot * NUM + CUM]!;
    const status = cum > 0 ? OrderStatus.PARTIALLY_FILLED : OrderStatus.NEW;
    const event = this.#execution(slot, ExecType.NEW, status, reason, num[slot * NUM + QUANTITY]! - cum, NIL);
    this.int[event * E_INT + E_CODE] = kind | (status << 8) | (reason << 12);
  }

  /** A cancel or a replace is refused, and there is no order to show: what it named, by place or client order id. */
  refused(
    kind: EventKind,
    account: Account | undefined,
    name: string,
    symbol: string,
    target: Place | string,
    reason: Reason,
  ): void {
    const byId = typeof target === "string";
    const event = this.#blank(account, name, symbol, byId ? target : "");
    if (!byId) this.#place(event, target.epoch, target.ms, target.seq, target.index);
    this.#code(event, kind, 0, 0, reason);
  }

  /** What became of another command. */
  commanded(
    account: Account | undefined,
    name: string,
    symbol: string,
    reason: Reason,
    affected: number,
    remaining: number,
  ): void {
    const event = this.#blank(account, name, symbol, "");
    this.num[event * E_NUM + E_LAST_QUANTITY] = affected;
    this.num[event * E_NUM + E_LAST_PRICE] = remaining;
    this.#code(event, EventKind.COMMAND, 0, 0, reason);
  }

  #execution(
    slot: number,
    execType: ExecType,
    status: OrderStatus,
    reason: Reason,
    leaves: number,
    other: number,
  ): number {
    const { num: from, int: fromInt, clientOrderIds } = this.#orders;
    const source = slot * NUM;
    const sourceInt = slot * INT;
    const account = fromInt[sourceInt + ACCOUNT]!;
    const event = this.#next(clientOrderIds[slot]!);
    const { num, int } = this;
    const at = event * E_NUM;
    const atInt = event * E_INT;
    num[at + E_PRICE] = from[source + PRICE]!;
    num[at + E_QUANTITY] = from[source + QUANTITY]!;
    num[at + E_CUM] = from[source + CUM]!;
    num[at + E_LEAVES] = leaves;
    num[at + E_VALUE_LOW] = from[source + VALUE_LOW]!;
    num[at + E_VALUE_HIGH] = from[source + VALUE_HIGH]!;
    num[at + E_STOP_PRICE] = from[source + STOP_PRICE]!;
    num[at + E_DISPLAY] = from[source + DISPLAY]!;
    num[at + E_EXPIRE] = from[source + EXPIRE]!;
    num[at + E_MS] = from[source + MS]!;
    num[at + E_SEQUENCE] = this.#count(this.#accounts.list[account]!);
    num[at + E_LAST_QUANTITY] = 0;
    num[at + E_LAST_PRICE] = 0;
    num[at + E_TRADE] = 0;
    int[atInt + E_ACCOUNT] = account;
    int[atInt + E_BOOK] = fromInt[sourceInt + BOOK]!;
    int[atInt + E_FLAGS] = fromInt[sourceInt + FLAGS]!;
    int[atInt + E_SEQ] = fromInt[sourceInt + SEQ]!;
    int[atInt + E_EPOCH_INDEX] = fromInt[sourceInt + EPOCH_INDEX]!;
    int[atInt + E_CODE] = EventKind.EXECUTION | (execType << 4) | (status << 8) | (reason << 12);
    if (other !== NIL) this.#other(event, other);
    else {
      num[at + E_OTHER_MS] = 0;
      int[atInt + E_OTHER_SEQ] = 0;
      int[atInt + E_OTHER_EPOCH_INDEX] = 0;
    }
    return event;
  }

  /** The next event, with nothing in it but whose it is. */
  #blank(account: Account | undefined, name: string, symbol: string, clientOrderId: string): number {
    const event = this.#next(clientOrderId);
    this.num.fill(0, event * E_NUM, (event + 1) * E_NUM);
    if (account !== undefined) this.num[event * E_NUM + E_SEQUENCE] = this.#count(account);
    this.int[event * E_INT + E_COMMAND] = this.command;
    this.int[event * E_INT + E_ACCOUNT] = NIL;
    this.int[event * E_INT + E_BOOK] = NIL;
    this.#names[event] = name;
    this.#symbols[event] = symbol;
    return event;
  }

  #next(clientOrderId: string): number {
    if (this.count === this.#capacity) this.#grow();
    const event = this.count++;
    this.clientOrderIds[event] = clientOrderId;
    this.int[event * E_INT + E_COMMAND] = this.command;
    return event;
  }

  #count(account: Account): number {
    this.#hash.touchAccount(account);
    return ++account.sequence;
  }

  #place(event: number, epoch: number, ms: number, seq: number, index: number): void {
    this.num[event * E_NUM + E_MS] = ms;
    this.int[event * E_INT + E_SEQ] = seq | 0;
    this.int[event * E_INT + E_EPOCH_INDEX] = (epoch << 16) | index;
  }

  #code(event: number, kind: EventKind, execType: ExecType | 0, status: OrderStatus | 0, reason: Reason): void {
    this.int[event * E_INT + E_CODE] = kind | (execType << 4) | (status << 8) | (reason << 12);
  }

  #other(event: number, slot: number): void {
    const { num, int } = this.#orders;
    this.num[event * E_NUM + E_OTHER_MS] = num[slot * NUM + MS]!;
    this.int[event * E_INT + E_OTHER_SEQ] = int[slot * INT + SEQ]!;
    this.int[event * E_INT + E_OTHER_EPOCH_INDEX] = int[slot * INT + EPOCH_INDEX]!;
  }

  #grow(): void {
    this.#capacity *= 2;
    this.num = enlarged(this.num, new Float64Array(this.#capacity * E_NUM));
    this.int = new Int32Array(this.num.buffer);
  }

  #copyOf(event: MatchingEvent): MatchingEvent {
    const copy: Record<string, unknown> = {};
    for (const name of FIELDS) copy[name] = event[name];
    return copy as unknown as MatchingEvent;
  }
}

/** A number as an event can show it. */
function shown(value: number): number {
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** A number of a closed set, as the bits of the flags can hold it. */
function known(value: number, most: number): number {
  return Number.isSafeInteger(value) && value > 0 && value <= most ? value : 0;
}

class EventView implements MatchingEvent {
  position = 0;
  readonly #events: Events;

  constructor(events: Events) {
    this.#events = events;
  }

  #num(field: number): number {
    return this.#events.num[this.position * E_NUM + field]!;
  }

  #int(field: number): number {
    return this.#events.int[this.position * E_INT + field]!;
  }

  get kind() {
    return (this.#int(E_CODE) & 0xf) as EventKind;
  }

  get command() {
    return this.#int(E_COMMAND);
  }

  get account() {
    return this.#events.accountAt(this.position, this.#int(E_ACCOUNT));
  }

  get sequence() {
    return this.#num(E_SEQUENCE);
  }

  get reason() {
    return ((this.#int(E_CODE) >> 12) & 0xff) as Reason;
  }

  get symbol() {
    return this.#events.symbolAt(this.position, this.#int(E_BOOK));
  }

  get execType() {
    return ((this.#int(E_CODE) >> 4) & 0xf) as ExecType | 0;
  }

  get status() {
    return ((this.#int(E_CODE) >> 8) & 0xf) as OrderStatus | 0;
  }

  get epoch() {
    return this.#int(E_EPOCH_INDEX) >>> 16;
  }

  get ms() {
    return this.#num(E_MS);
  }

  get seq() {
    return this.#int(E_SEQ) >>> 0;
  }

  get index() {
    return this.#int(E_EPOCH_INDEX) & 0xffff;
  }

  get clientOrderId() {
    return this.#events.clientOrderIds[this.position]!;
  }

  get side() {
    return sideOf(this.#int(E_FLAGS));
  }

  get type() {
    return typeOf(this.#int(E_FLAGS));
  }

  get timeInForce() {
    return timeOf(this.#int(E_FLAGS));
  }

  get selfTradePrevention() {
    return preventionOf(this.#int(E_FLAGS));
  }

  get postOnly() {
    return (this.#int(E_FLAGS) & POST_ONLY) !== 0;
  }

  get triggered() {
    return (this.#int(E_FLAGS) & TRIGGERED) !== 0;
  }

  get quantity() {
    return this.#num(E_QUANTITY);
  }

  get price() {
    return this.#num(E_PRICE);
  }

  get stopPrice() {
    return this.#num(E_STOP_PRICE);
  }

  get displayQuantity() {
    return this.#num(E_DISPLAY);
  }

  get expireTime() {
    return this.#num(E_EXPIRE);
  }

  get cumQuantity() {
    return this.#num(E_CUM);
  }

  get leavesQuantity() {
    return this.#num(E_LEAVES);
  }

  get valueHigh() {
    return this.#num(E_VALUE_HIGH);
  }

  get valueLow() {
    return this.#num(E_VALUE_LOW);
  }

  get lastQuantity() {
    return this.kind === EventKind.COMMAND ? 0 : this.#num(E_LAST_QUANTITY);
  }

  get lastPrice() {
    return this.kind === EventKind.COMMAND ? 0 : this.#num(E_LAST_PRICE);
  }

  get trade() {
    return this.#num(E_TRADE);
  }

  get aggressor() {
    return (this.#int(E_CODE) & E_AGGRESSOR) !== 0;
  }

  get otherEpoch() {
    return this.#int(E_OTHER_EPOCH_INDEX) >>> 16;
  }

  get otherMs() {
    return this.#num(E_OTHER_MS);
  }

  get otherSeq() {
    return this.#int(E_OTHER_SEQ) >>> 0;
  }

  get otherIndex() {
    return this.#int(E_OTHER_EPOCH_INDEX) & 0xffff;
  }

  get affected() {
    return this.kind === EventKind.COMMAND ? this.#num(E_LAST_QUANTITY) : 0;
  }

  get remaining() {
    return this.kind === EventKind.COMMAND ? this.#num(E_LAST_PRICE) : 0;
  }
}

const FIELDS = [
  "kind",
  "command",
  "account",
  "sequence",
  "reason",
  "symbol",
  "execType",
  "status",
  "epoch",
  "ms",
  "seq",
  "index",
  "clientOrderId",
  "side",
  "type",
  "timeInForce",
  "selfTradePrevention",
  "postOnly",
  "triggered",
  "quantity",
  "price",
  "stopPrice",
  "displayQuantity",
  "expireTime",
  "cumQuantity",
  "leavesQuantity",
  "valueHigh",
  "valueLow",
  "lastQuantity",
  "lastPrice",
  "trade",
  "aggressor",
  "otherEpoch",
  "otherMs",
  "otherSeq",
  "otherIndex",
  "affected",
  "remaining",
] as const satisfies readonly (keyof MatchingEvent)[];
