import type { Account, Accounts } from "./accounts.ts";
import type { Book } from "./book.ts";
import * as record from "./event-record.ts";
import type { EventRecords } from "./event-record.ts";
import { copyOf, EventView } from "./event-view.ts";
import * as sets from "./sets.ts";
import type { EventList, MatchingEvent, OrderRequest, Place } from "./interface.ts";
import { enlarged } from "./levels.ts";
import * as layout from "./layout.ts";
import { flagsOf } from "./layout.ts";
import type { Orders } from "./orders.ts";
import type { StateHash } from "./state-hash.ts";

// See layout.ts: an imported constant would be loaded at each use.
const {
  E_ACCOUNT,
  E_AGGRESSOR,
  E_BOOK,
  E_CODE,
  E_COMMAND,
  E_CUM,
  E_DISPLAY,
  E_EPOCH_INDEX,
  E_EXPIRE,
  E_FLAGS,
  E_INT,
  E_LAST_PRICE,
  E_LAST_QUANTITY,
  E_LEAVES,
  E_MS,
  E_NUM,
  E_OTHER_EPOCH_INDEX,
  E_OTHER_MS,
  E_OTHER_SEQ,
  E_PRICE,
  E_QUANTITY,
  E_SEQ,
  E_SEQUENCE,
  E_STOP_PRICE,
  E_TRADE,
  E_VALUE_HIGH,
  E_VALUE_LOW,
} = record;
const { EventKind, ExecType, NO_COMMAND, OrderStatus, Reason } = sets;
type EventKind = sets.EventKind;
type ExecType = sets.ExecType;
type OrderStatus = sets.OrderStatus;
type Reason = sets.Reason;
const {
  ACCOUNT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  EXPIRE,
  FLAGS,
  INT,
  MS,
  NIL,
  NUM,
  PRICE,
  QUANTITY,
  SEQ,
  STOP_PRICE,
  VALUE_HIGH,
  VALUE_LOW,
} = layout;

const FIRST_CAPACITY = 64;

/**
 * The events of the present entry, written one after the other, and read through a view.
 *
 * Invariant: an event that is an account's has the next number of that account.
 */
export class Events implements EventList, EventRecords {
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
    return Array.from({ length: this.count }, (_, i) => copyOf(this.at(i)));
  }

  accountAt(position: number): string {
    const account = this.int[position * E_INT + E_ACCOUNT]!;
    return account === NIL ? this.#names[position]! : this.#accounts.list[account]!.name;
  }

  symbolAt(position: number): string {
    const book = this.int[position * E_INT + E_BOOK]!;
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
}

/** A number as an event can show it. */
function shown(value: number): number {
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** A number of a closed set, as the bits of the flags can hold it. */
function known(value: number, most: number): number {
  return Number.isSafeInteger(value) && value > 0 && value <= most ? value : 0;
}
