import { enlarged } from "./levels.ts";
import * as layout from "./layout.ts";
import type { Orders } from "./orders.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { EXPIRE, HEAP, INT, NIL, NUM } = layout;

/**
 * The open GTD orders by due time, then by their place: a binary heap.
 *
 * Invariant: no slot is due before its parent at (i - 1) >> 1, and an order's HEAP says where it is.
 */
export class Expiries {
  readonly #orders: Orders;
  #heap = new Int32Array(64);
  #count = 0;

  constructor(orders: Orders) {
    this.#orders = orders;
  }

  /** When the next one is due, or Infinity. */
  get due(): number {
    return this.#count === 0 ? Infinity : this.#orders.num[this.#heap[0]! * NUM + EXPIRE]!;
  }

  /** The next one, or NIL. */
  get next(): number {
    return this.#count === 0 ? NIL : this.#heap[0]!;
  }

  add(slot: number): void {
    if (this.#count === this.#heap.length) this.#heap = enlarged(this.#heap, new Int32Array(this.#count * 2));
    this.#rise(slot, this.#count++);
  }

  remove(slot: number): void {
    const at = this.#orders.int[slot * INT + HEAP]! - 1;
    const last = this.#heap[--this.#count]!;
    if (last === slot) return;
    if (at > 0 && this.#isBefore(last, this.#heap[(at - 1) >> 1]!)) this.#rise(last, at);
    else this.#sink(last, at);
  }

  #rise(slot: number, from: number): void {
    let at = from;
    while (at > 0) {
      const parent = this.#heap[(at - 1) >> 1]!;
      if (!this.#isBefore(slot, parent)) break;
      this.#put(parent, at);
      at = (at - 1) >> 1;
    }
    this.#put(slot, at);
  }

  #sink(slot: number, from: number): void {
    let at = from;
    for (let child = 2 * at + 1; child < this.#count; child = 2 * at + 1) {
      if (child + 1 < this.#count && this.#isBefore(this.#heap[child + 1]!, this.#heap[child]!)) child++;
      if (!this.#isBefore(this.#heap[child]!, slot)) break;
      this.#put(this.#heap[child]!, at);
      at = child;
    }
    this.#put(slot, at);
  }

  #put(slot: number, at: number): void {
    this.#heap[at] = slot;
    this.#orders.int[slot * INT + HEAP] = at + 1;
  }

  #isBefore(a: number, b: number): boolean {
    const { num } = this.#orders;
    return (num[a * NUM + EXPIRE]! - num[b * NUM + EXPIRE]! || this.#orders.compare(a, b)) < 0;
  }
}
