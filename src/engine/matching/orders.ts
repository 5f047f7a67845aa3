import * as layout from "./layout.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { CUM, EPOCH_INDEX, FLAGS, INT, MS, NEXT, NIL, NUM, QUANTITY, SEQ } = layout;

const FIRST_CAPACITY = 64;

/**
 * The slots of orders.
 *
 * Invariants: a slot is either free or an order's, from `allocate` to `release`. Slots say nothing: no result may depend
 * on which slot an order has.
 */
export class Orders {
  num: Float64Array<ArrayBuffer>;
  int: Int32Array<ArrayBuffer>;
  readonly clientOrderIds: string[] = [];
  /** How many slots are taken. */
  count = 0;
  #capacity = FIRST_CAPACITY;
  /** Slots from here on were never taken. */
  #unused = 0;
  /** The free slots before, linked by NEXT. */
  #free = NIL;

  constructor() {
    this.num = new Float64Array(FIRST_CAPACITY * NUM);
    this.int = new Int32Array(this.num.buffer);
  }

  /** A slot whose fields hold anything, but HASH and DIRTY, which the state's hash keeps. May replace num and int. */
  allocate(): number {
    this.count++;
    const free = this.#free;
    if (free !== NIL) {
      this.#free = this.int[free * INT + NEXT]!;
      return free;
    }
    if (this.#unused === this.#capacity) this.#grow();
    return this.#unused++;
  }

  release(slot: number): void {
    this.count--;
    this.clientOrderIds[slot] = "";
    this.int[slot * INT + FLAGS] = 0;
    this.int[slot * INT + NEXT] = this.#free;
    this.#free = slot;
  }

  /** All slots that were ever taken are below. */
  get slots(): number {
    return this.#unused;
  }

  leaves(slot: number): number {
    return this.num[slot * NUM + QUANTITY]! - this.num[slot * NUM + CUM]!;
  }

  epoch(slot: number): number {
    return this.int[slot * INT + EPOCH_INDEX]! >>> 16;
  }

  seq(slot: number): number {
    return this.int[slot * INT + SEQ]! >>> 0;
  }

  index(slot: number): number {
    return this.int[slot * INT + EPOCH_INDEX]! & 0xffff;
  }

  /** Negative where a was submitted before b. */
  compare(a: number, b: number): number {
    return (
      this.epoch(a) - this.epoch(b) ||
      this.num[a * NUM + MS]! - this.num[b * NUM + MS]! ||
      this.seq(a) - this.seq(b) ||
      this.index(a) - this.index(b)
    );
  }

  #grow(): void {
    this.#capacity *= 2;
    const { num } = this;
    this.num = new Float64Array(this.#capacity * NUM);
    this.num.set(num);
    this.int = new Int32Array(this.num.buffer);
  }
}
