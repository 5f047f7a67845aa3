import { enlarged, type Levels } from "./levels.ts";
import * as layout from "./layout.ts";
import type { Orders } from "./orders.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { INT, LEVEL, NEXT, NIL, NUM, PREVIOUS, VISIBLE } = layout;

const FIRST_CAPACITY = 16;

/** Below it a loop beats two calls into native code. */
const SHORT_MOVE = 32;

/** Which price comes first. */
export const HIGHEST_FIRST = 1;
export const LOWEST_FIRST = -1;

/**
 * Price levels in the order of their price, each with a queue of orders: a side of a book, or stops by their stop price.
 *
 * Invariants: `#keys` ascends (price, or minus price where the lowest comes first), so that the best level is the last
 * one; each level in it has at least one order. In a side of a book, a level that the entry emptied stays reserved until
 * the entry is over, so that one that comes back is the same.
 *
 * A sorted array, because most happens near its end: there a level costs a few moves, and a search looks at a few keys.
 * The worst case, a level far from the best price among 100,000, moves 600 KB.
 */
export class Ladder {
  readonly number: number;
  readonly order: typeof HIGHEST_FIRST | typeof LOWEST_FIRST;
  count = 0;
  readonly #orders: Orders;
  readonly #levels: Levels;
  /** Where touched levels are told; undefined for stops, which no one sees. */
  readonly #touched: TouchedLevels | undefined;
  #keys = new Float64Array(FIRST_CAPACITY);
  #ids = new Int32Array(FIRST_CAPACITY);
  readonly #emptied: number[] = [];

  constructor(
    number: number,
    order: typeof HIGHEST_FIRST | typeof LOWEST_FIRST,
    orders: Orders,
    levels: Levels,
    touched: TouchedLevels | undefined,
  ) {
    this.number = number;
    this.order = order;
    this.#orders = orders;
    this.#levels = levels;
    this.#touched = touched;
  }

  /** The n-th best level, from 0 to count - 1. */
  level(n: number): number {
    return this.#ids[this.count - 1 - n]!;
  }

  /** The best price; where there is none, one that is worse than all. */
  bestPrice(): number {
    if (this.count > 0) return this.#keys[this.count - 1]! * this.order;
    return this.order > 0 ? 0 : Infinity;
  }

  /** Puts an order at the end of the queue of a price. Its VISIBLE counts for the level. */
  append(slot: number, price: number): void {
    this.#link(slot, this.#levelAt(price));
  }

  remove(slot: number): void {
    const { int, num } = this.#orders;
    const level = int[slot * INT + LEVEL]!;
    this.#unlink(slot, level);
    this.#levels.hide(level, num[slot * NUM + VISIBLE]!);
    if (--this.#levels.orders[level]! === 0) this.#drop(level);
    this.touch(level);
  }

  /** Puts an order at the end of its own queue. What is visible of it was 0, and is now `visible`. */
  refill(slot: number, visible: number): void {
    const { int, num } = this.#orders;
    const level = int[slot * INT + LEVEL]!;
    this.#unlink(slot, level);
    this.#levels.orders[level]!--;
    num[slot * NUM + VISIBLE] = visible;
    this.#link(slot, level);
  }

  /** What is visible of an order goes down. */
  reduce(slot: number, amount: number): void {
    const { int, num } = this.#orders;
    const level = int[slot * INT + LEVEL]!;
    num[slot * NUM + VISIBLE]! -= amount;
    this.#levels.hide(level, amount);
    this.touch(level);
  }

  touch(level: number): void {
    if (this.#touched !== undefined && this.#levels.touched[level] === 0) this.#touched.add(level);
  }

  /** The entry is over: the levels that it emptied, and that did not come back, are free. */
  forget(): void {
    for (const level of this.#emptied) this.#levels.release(level);
    this.#emptied.length = 0;
  }

  #link(slot: number, level: number): void {
    const { int, num } = this.#orders;
    const { head, tail, orders } = this.#levels;
    const last = tail[level]!;
    int[slot * INT + LEVEL] = level;
    int[slot * INT + NEXT] = NIL;
    int[slot * INT + PREVIOUS] = last;
    if (last === NIL) head[level] = slot;
    else int[last * INT + NEXT] = slot;
    tail[level] = slot;
    orders[level]!++;
    this.#levels.show(level, num[slot * NUM + VISIBLE]!);
    this.touch(level);
  }

  #unlink(slot: number, level: number): void {
    const { int } = this.#orders;
    const next = int[slot * INT + NEXT]!;
    const previous = int[slot * INT + PREVIOUS]!;
    if (previous === NIL) this.#levels.head[level] = next;
    else int[previous * INT + NEXT] = next;
    if (next === NIL) this.#levels.tail[level] = previous;
    else int[next * INT + PREVIOUS] = previous;
  }

  #levelAt(price: number): number {
    const key = price * this.order;
    const at = this.#search(key);
    if (at < this.count && this.#keys[at] === key) return this.#ids[at]!;
    const level = this.#returning(price);
    if (this.count === this.#keys.length) {
      this.#keys = enlarged(this.#keys, new Float64Array(this.count * 2));
      this.#ids = enlarged(this.#ids, new Int32Array(this.count * 2));
    }
    this.#move(at, at + 1);
    this.#keys[at] = key;
    this.#ids[at] = level;
    this.count++;
    return level;
  }

  #drop(level: number): void {
    const at = this.#search(this.#levels.price[level]! * this.order);
    this.#move(at + 1, at);
    this.count--;
    if (this.#touched === undefined) this.#levels.release(level);
    else {
      if (this.#emptied.length === 0) this.#touched.emptied(this);
      this.#emptied.push(level);
    }
  }

  /** Moves the levels from a place on by one. */
  #move(from: number, to: number): void {
    const keys = this.#keys;
    const ids = this.#ids;
    if (this.count - from > SHORT_MOVE) {
      keys.copyWithin(to, from, this.count);
      ids.copyWithin(to, from, this.count);
    } else if (to < from) {
      for (let i = from; i < this.count; i++) {
        keys[i - 1] = keys[i]!;
        ids[i - 1] = ids[i]!;
      }
    } else {
      for (let i = this.count; i > from; i--) {
        keys[i] = keys[i - 1]!;
        ids[i] = ids[i - 1]!;
      }
    }
  }

  /** A new level, or the one of this price that the entry has emptied. */
  #returning(price: number): number {
    const emptied = this.#emptied;
    for (let i = emptied.length - 1; i >= 0; i--) {
      const level = emptied[i]!;
      if (this.#levels.price[level] !== price) continue;
      emptied[i] = emptied[emptied.length - 1]!;
      emptied.pop();
      return level;
    }
    return this.#levels.allocate(this.number, price);
  }

  /** Where a key is or belongs: the first place whose key is not below it. Looks from the best price, in growing steps. */
  #search(key: number): number {
    const keys = this.#keys;
    let high = this.count;
    let low = high - 1;
    for (let step = 1; low >= 0 && keys[low]! >= key; step *= 2) {
      high = low;
      low -= step;
    }
    if (low < 0) low = -1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (keys[middle]! < key) low = middle;
      else high = middle;
    }
    return high;
  }
}

/** What a side of a book tells of its levels while an entry is applied. */
export interface TouchedLevels {
  /** A level that was not touched before. */
  add(level: number): void;
  /** A ladder has emptied its first level in the entry, or its first again. */
  emptied(ladder: Ladder): void;
}
