import type { Account } from "./accounts.ts";
import type { Book } from "./book.ts";
import * as layout from "./layout.ts";
import type { Orders } from "./orders.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { DIRTY, EXPIRE, FIXED_A, FIXED_B, FLAGS, HASH_A, HASH_B, INT, KEY_LOW, PRIORITY } = layout;

/**
 * A hash of 64 bits over the whole state, kept up to date entry by entry: the sum of the hashes of all open orders,
 * accounts and books, each mixed over all its fields. So it does not depend on where anything lies, and an entry costs
 * what it has touched: an order that came and went within it costs nothing.
 *
 * Two states that differ have the same hash by a chance of 1 in 2^64. That finds bugs, damage and chance in what should
 * be a function; it is no seal against someone who makes a state to fit a hash, who would have to own the process.
 *
 * Invariant, once an entry is over: the sum holds the HASH of every open order and the hash of every account and book,
 * and each is that of its present fields.
 */
export class StateHash {
  #sumA = 0;
  #sumB = 0;
  readonly #orders: Orders;
  readonly #dirtyOrders: number[] = [];
  readonly #dirtyAccounts: Account[] = [];
  readonly #dirtyBooks: Book[] = [];
  readonly #mixer = new Mixer();

  constructor(orders: Orders) {
    this.#orders = orders;
  }

  /** A new order has its fields: what of them never changes is hashed here once. By hand, as `#settleOrder`. */
  introduceOrder(slot: number): void {
    const { int, clientOrderIds } = this.#orders;
    const at = slot * INT;
    const text = clientOrderIds[slot]!;
    let a = Math.imul(text.length, C3);
    let b = Math.imul(text.length, C4);
    for (let i = at + 2 * EXPIRE; i <= at + KEY_LOW; i += 2) {
      const first = int[i]!;
      const second = int[i + 1]!;
      a = Math.imul(a ^ (Math.imul(first, C3) + second), C1);
      a = (a << 13) | (a >>> 19);
      b = (Math.imul(b, C2) + (first ^ Math.imul(second, C4))) | 0;
      b ^= b >>> 15;
    }
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      a = Math.imul(a ^ unit, C1);
      b = (Math.imul(b, C2) + unit) | 0;
    }
    int[at + FIXED_A] = a;
    int[at + FIXED_B] = b;
  }

  /** A new account: its name never changes. */
  introduceAccount(account: Account): void {
    const mixer = this.#mixer;
    mixer.begin(2, 0);
    mixer.word(account.index);
    mixer.text(account.name);
    account.fixedA = mixer.a;
    account.fixedB = mixer.b;
    this.touchAccount(account);
  }

  /** A new book, or one whose instrument has changed. */
  introduceBook(book: Book): void {
    const { instrument } = book;
    const mixer = this.#mixer;
    mixer.begin(3, 0);
    mixer.word(book.index);
    mixer.text(book.symbol);
    mixer.number(instrument.version);
    mixer.text(instrument.tickSize);
    mixer.text(instrument.lotSize);
    mixer.number(instrument.minQuantity);
    mixer.number(instrument.maxQuantity);
    mixer.number(instrument.minPrice);
    mixer.number(instrument.maxPrice);
    for (const times of instrument.timesInForce) mixer.word(times);
    book.fixedA = mixer.a;
    book.fixedB = mixer.b;
    this.touchBook(book);
  }

  /** An open order changes, or has become one. */
  touchOrder(slot: number): void {
    const { int } = this.#orders;
    if (int[slot * INT + DIRTY] === 1) return;
    int[slot * INT + DIRTY] = 1;
    this.#dirtyOrders.push(slot);
  }

  /** An order is gone, before its slot is free. A slot that is taken again in the same entry is still on the list. */
  forgetOrder(slot: number): void {
    const { int } = this.#orders;
    this.#sumA = (this.#sumA - int[slot * INT + HASH_A]!) | 0;
    this.#sumB = (this.#sumB - int[slot * INT + HASH_B]!) | 0;
    int[slot * INT + HASH_A] = 0;
    int[slot * INT + HASH_B] = 0;
  }

  touchAccount(account: Account): void {
    if (account.dirty) return;
    account.dirty = true;
    this.#dirtyAccounts.push(account);
  }

  touchBook(book: Book): void {
    if (book.dirty) return;
    book.dirty = true;
    this.#dirtyBooks.push(book);
  }

  /** The entry is over. */
  settle(): void {
    for (let i = 0; i < this.#dirtyOrders.length; i++) this.#settleOrder(this.#dirtyOrders[i]!);
    this.#dirtyOrders.length = 0;
    for (const account of this.#dirtyAccounts) {
      account.dirty = false;
      this.#mixAccount(account);
      this.#replace(account);
    }
    this.#dirtyAccounts.length = 0;
    for (const book of this.#dirtyBooks) {
      book.dirty = false;
      this.#mixBook(book);
      this.#replace(book);
    }
    this.#dirtyBooks.length = 0;
  }

  /** The hash of the state at a position, under some rules. Nothing may be unsettled. */
  value(epoch: number, ms: number, seq: number, rules: number): bigint {
    const mixer = this.#mixer;
    mixer.begin(4, 0);
    mixer.word(this.#sumA);
    mixer.word(this.#sumB);
    mixer.number(epoch);
    mixer.number(ms);
    mixer.number(seq);
    mixer.number(rules);
    mixer.end();
    return (BigInt(mixer.a >>> 0) << 32n) | BigInt(mixer.b >>> 0);
  }

  // By hand, not by the mixer: every order that an entry touches comes through here.
  #settleOrder(slot: number): void {
    const { int } = this.#orders;
    const at = slot * INT;
    int[at + DIRTY] = 0;
    const flags = int[at + FLAGS]!;
    if (flags === 0) return; // it is gone
    let a = int[at + FIXED_A]! ^ Math.imul(flags, C1);
    let b = int[at + FIXED_B]! ^ Math.imul(flags, C2);
    for (let i = at; i < at + 2 * (PRIORITY + 1); i += 2) {
      const first = int[i]!;
      const second = int[i + 1]!;
      a = Math.imul(a ^ (Math.imul(first, C3) + second), C1);
      a = (a << 13) | (a >>> 19);
      b = (Math.imul(b, C2) + (first ^ Math.imul(second, C4))) | 0;
      b ^= b >>> 15;
    }
    a ^= Math.imul(b, C3);
    b ^= Math.imul(a, C4);
    a = finished(a);
    b = finished(b);
    this.#sumA = (this.#sumA - int[at + HASH_A]! + a) | 0;
    this.#sumB = (this.#sumB - int[at + HASH_B]! + b) | 0;
    int[at + HASH_A] = a;
    int[at + HASH_B] = b;
  }

  #mixAccount(account: Account): void {
    const mixer = this.#mixer;
    mixer.begin(account.fixedA, account.fixedB);
    mixer.number(account.sequence);
    mixer.number(account.maxOpenOrders);
    mixer.number(account.maxQuantity);
    mixer.end();
  }

  #mixBook(book: Book): void {
    const mixer = this.#mixer;
    mixer.begin(book.fixedA, book.fixedB);
    mixer.word(book.status);
    mixer.number(book.lastPrice);
    mixer.number(book.trades);
    mixer.number(book.version);
    mixer.number(book.priority);
    mixer.end();
  }

  #replace(part: Account | Book): void {
    this.#sumA = (this.#sumA - part.hashA + this.#mixer.a) | 0;
    this.#sumB = (this.#sumB - part.hashB + this.#mixer.b) | 0;
    part.hashA = this.#mixer.a;
    part.hashB = this.#mixer.b;
  }
}

// The odd constants of xxHash and MurmurHash3.
const C1 = 0x9e3779b1;
const C2 = 0x85ebca77;
const C3 = 0xc2b2ae3d;
const C4 = 0x27d4eb2f;

/** Two lanes of 32 bits, into which fields are mixed one after the other. */
class Mixer {
  a = 0;
  b = 0;

  /** Begins with two words: what differs by what is hashed, so that an order cannot stand for an account. */
  begin(first: number, second: number): void {
    this.a = Math.imul(first, C3);
    this.b = Math.imul(first, C4) ^ second;
  }

  word(word: number): void {
    const a = Math.imul(this.a ^ word, C1);
    this.a = (a << 13) | (a >>> 19);
    const b = (Math.imul(this.b, C2) + word) | 0;
    this.b = b ^ (b >>> 15);
  }

  /** 0 to 2^53 - 1. */
  number(value: number): void {
    this.word(value | 0);
    this.word((value / 0x1_0000_0000) | 0);
  }

  text(text: string): void {
    this.word(text.length);
    let i = 0;
    for (; i + 1 < text.length; i += 2) this.word(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16));
    if (i < text.length) this.word(text.charCodeAt(i));
  }

  end(): void {
    const a = this.a ^ Math.imul(this.b, C3);
    const b = this.b ^ Math.imul(a, C4);
    this.a = finished(a);
    this.b = finished(b);
  }
}

function finished(h: number): number {
  let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
