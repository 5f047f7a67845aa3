import { type Account, Accounts, isName } from "./accounts.ts";
import { Book, type Instrument } from "./book.ts";
import { Events } from "./events.ts";
import { Expiries } from "./expiries.ts";
import type { ClientKey, Place } from "./interface.ts";
import { LevelChanges } from "./level-changes.ts";
import { Levels } from "./levels.ts";
import * as layout from "./layout.ts";
import { placeHash, sideOf } from "./layout.ts";
import { Orders } from "./orders.ts";
import type { Rules } from "./rules.ts";
import { SlotTable } from "./slot-table.ts";
import { StateHash } from "./state-hash.ts";

// See layout.ts: an imported constant would be loaded at each use.
const {
  ACCOUNT,
  BOOK,
  CUM,
  DISPLAY,
  EPOCH_INDEX,
  PRICE,
  PRIORITY,
  QUANTITY,
  STOP_PRICE,
  EXPIRE,
  FLAGS,
  HEAP,
  INT,
  KEY_HIGH,
  KEY_LOW,
  MS,
  NIL,
  NUM,
  OPEN,
  RESTING,
  SEQ,
  STOPPED,
  VISIBLE,
  WAITING,
} = layout;

/**
 * All that the engine knows between two entries, and how an order comes and goes.
 *
 * Invariant: an order with the flag OPEN is in both tables, in its account's list, and in the expiries where it is GTD;
 * one with RESTING, STOPPED or WAITING is in that queue of its book.
 */
export class State {
  rules: Rules;
  rulesNumber: number;
  readonly #allRules: ReadonlyMap<number, Rules>;
  epoch = 0;
  ms = 0;
  seq = 0;
  readonly orders = new Orders();
  readonly levels = new Levels();
  readonly accounts = new Accounts();
  readonly books: Book[] = [];
  readonly expiries = new Expiries(this.orders);
  readonly hash = new StateHash(this.orders);
  readonly events = new Events(this.orders, this.accounts, this.books, this.hash);
  readonly changes = new LevelChanges(this.levels, this.books);
  /** Stops that wait for their turn, in all books. */
  waiting = 0;
  readonly #bySymbol = new Map<string, Book>();
  readonly #byPlace = new SlotTable();
  readonly #byClient = new SlotTable();
  #last: Book | undefined;

  /** An empty one. Throws as `switchTo`. */
  constructor(rules: ReadonlyMap<number, Rules>, number: number) {
    this.#allRules = rules;
    this.rulesNumber = number;
    this.rules = this.#rulesOf(number);
  }

  /** Throws where no rules have that number. */
  switchTo(number: number): void {
    this.rules = this.#rulesOf(number);
    this.rulesNumber = number;
  }

  book(symbol: string): Book | undefined {
    if (this.#last?.symbol === symbol) return this.#last;
    const book = this.#bySymbol.get(symbol);
    if (book !== undefined) this.#last = book;
    return book;
  }

  addBook(symbol: string, instrument: Instrument): Book {
    const book = new Book(this.books.length, symbol, instrument, this.orders, this.levels, this.changes);
    this.books.push(book);
    this.#bySymbol.set(symbol, book);
    this.hash.introduceBook(book);
    return book;
  }

  /** The account of that name, which comes to be where there was none; undefined where it can or may not be. */
  account(name: string): Account | undefined {
    const known = this.accounts.find(name);
    if (known !== undefined || !isName(name) || this.accounts.list.length >= this.rules.maxAccounts) return known;
    const account = this.accounts.add(name);
    this.hash.introduceAccount(account);
    return account;
  }

  /** The open order of that place, or NIL. */
  orderAt({ epoch, ms, seq, index }: Place): number {
    const { num, int } = this.orders;
    if (epoch >> 14 !== 0 || index >> 16 !== 0 || seq >>> 0 !== seq) return NIL;
    const epochIndex = (epoch << 16) | index;
    const hash = placeHash(epochIndex, ms, seq | 0);
    for (let cell = this.#byPlace.first(hash); cell !== -1; cell = this.#byPlace.next(hash, cell)) {
      const slot = this.#byPlace.slotAt(cell);
      const at = slot * INT;
      if (int[at + SEQ] === (seq | 0) && num[slot * NUM + MS] === ms && int[at + EPOCH_INDEX] === epochIndex)
        return slot;
    }
    return NIL;
  }

  /** The open order of an account under a client order id, or NIL. */
  orderOf(account: Account, book: Book, clientOrderId: string, { keyHigh, keyLow }: ClientKey): number {
    const { int, clientOrderIds } = this.orders;
    const hash = keyLow | 0;
    for (let cell = this.#byClient.first(hash); cell !== -1; cell = this.#byClient.next(hash, cell)) {
      const slot = this.#byClient.slotAt(cell);
      const at = slot * INT;
      if (int[at + KEY_HIGH] !== (keyHigh | 0)) continue;
      if (int[at + ACCOUNT] !== account.index || int[at + BOOK] !== book.index) continue;
      if (clientOrderIds[slot] === clientOrderId) return slot;
    }
    return NIL;
  }

  /** An order that will work on past its command can be found from now on. It must be newer than all others. */
  open(slot: number): void {
    const { num, int } = this.orders;
    const at = slot * INT;
    int[at + FLAGS]! |= OPEN;
    this.hash.introduceOrder(slot);
    this.#byPlace.add(placeHash(int[at + EPOCH_INDEX]!, num[slot * NUM + MS]!, int[at + SEQ]!), slot);
    this.#byClient.add(int[at + KEY_LOW]!, slot);
    this.accounts.append(this.orders, slot);
    if (num[slot * NUM + EXPIRE]! > 0) this.expiries.add(slot);
    else int[at + HEAP] = 0;
    this.hash.touchOrder(slot);
  }

  /** Takes an order out of the queue in which it is. */
  withdraw(slot: number): void {
    const { int } = this.orders;
    const flags = int[slot * INT + FLAGS]!;
    const book = this.books[int[slot * INT + BOOK]!]!;
    if ((flags & RESTING) !== 0) book.side(sideOf(flags)).remove(slot);
    else if ((flags & STOPPED) !== 0) book.stops(sideOf(flags)).remove(slot);
    else if ((flags & WAITING) !== 0) {
      book.unawait(this.orders, slot);
      this.waiting--;
    }
    int[slot * INT + FLAGS] = flags & ~(RESTING | STOPPED | WAITING);
  }

  /** Puts an order into the book, behind all others of its price. */
  rest(book: Book, slot: number): void {
    const { num, int } = this.orders;
    const at = slot * NUM;
    const flags = int[slot * INT + FLAGS]!;
    const leaves = num[at + QUANTITY]! - num[at + CUM]!;
    const display = num[at + DISPLAY]!;
    num[at + VISIBLE] = display > 0 && display < leaves ? display : leaves;
    num[at + PRIORITY] = ++book.priority;
    int[slot * INT + FLAGS] = flags | RESTING;
    book.side(sideOf(flags)).append(slot, num[at + PRICE]!);
    this.#kept(book, slot, flags);
  }

  /** Puts a stop among those that wait for their price, behind all others of it. */
  stop(book: Book, slot: number): void {
    const { num, int } = this.orders;
    const flags = int[slot * INT + FLAGS]!;
    num[slot * NUM + PRIORITY] = ++book.priority;
    int[slot * INT + FLAGS] = flags | STOPPED;
    book.stops(sideOf(flags)).append(slot, num[slot * NUM + STOP_PRICE]!);
    this.#kept(book, slot, flags);
  }

  /** Puts a stop whose price was reached, and that is open, at the end of those that wait for their turn. */
  await(book: Book, slot: number): void {
    const { num, int } = this.orders;
    num[slot * NUM + PRIORITY] = ++book.priority;
    int[slot * INT + FLAGS]! |= WAITING;
    book.await(this.orders, slot);
    this.waiting++;
    this.hash.touchOrder(slot);
    this.hash.touchBook(book);
  }

  #kept(book: Book, slot: number, flags: number): void {
    if ((flags & OPEN) === 0) this.open(slot);
    else this.hash.touchOrder(slot);
    this.hash.touchBook(book);
  }

  /** An order that is in no queue is gone. */
  close(slot: number): void {
    const { num, int } = this.orders;
    const at = slot * INT;
    if ((int[at + FLAGS]! & OPEN) !== 0) {
      this.#byPlace.remove(placeHash(int[at + EPOCH_INDEX]!, num[slot * NUM + MS]!, int[at + SEQ]!), slot);
      this.#byClient.remove(int[at + KEY_LOW]!, slot);
      this.accounts.remove(this.orders, slot);
      if (int[at + HEAP] !== 0) this.expiries.remove(slot);
      this.hash.forgetOrder(slot);
    }
    this.orders.release(slot);
  }

  #rulesOf(number: number): Rules {
    const found = this.#allRules.get(number);
    if (found === undefined) throw new Error(`no rules have the number ${number}`);
    return found;
  }
}
