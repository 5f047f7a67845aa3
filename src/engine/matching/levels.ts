import { borrowed, carried, carries } from "./exact.ts";
import { NIL } from "./layout.ts";

const FIRST_CAPACITY = 64;

/**
 * The records of price levels, of all ladders together.
 *
 * Invariant: `visible` is the sum of what is visible of the orders in the level's queue (high × 2^53 + low, as exact.ts
 * has it), and `orders` their number.
 */
export class Levels {
  price = new Float64Array(FIRST_CAPACITY);
  visibleLow = new Float64Array(FIRST_CAPACITY);
  visibleHigh = new Int32Array(FIRST_CAPACITY);
  orders = new Int32Array(FIRST_CAPACITY);
  /** The queue: first and last order. */
  head = new Int32Array(FIRST_CAPACITY);
  tail = new Int32Array(FIRST_CAPACITY);
  /** The number of the ladder whose it is. */
  ladder = new Int32Array(FIRST_CAPACITY);
  /** 1 while it is on the list of levels that the entry has touched. */
  touched = new Uint8Array(FIRST_CAPACITY);
  #capacity = FIRST_CAPACITY;
  #unused = 0;
  #free = NIL;

  allocate(ladder: number, price: number): number {
    let level = this.#free;
    if (level !== NIL) this.#free = this.head[level]!;
    else {
      if (this.#unused === this.#capacity) this.#grow();
      level = this.#unused++;
    }
    this.price[level] = price;
    this.ladder[level] = ladder;
    this.visibleLow[level] = 0;
    this.visibleHigh[level] = 0;
    this.orders[level] = 0;
    this.head[level] = NIL;
    this.tail[level] = NIL;
    return level;
  }

  release(level: number): void {
    this.head[level] = this.#free;
    this.#free = level;
  }

  show(level: number, amount: number): void {
    const low = this.visibleLow[level]!;
    if (!carries(low, amount)) this.visibleLow[level] = low + amount;
    else {
      this.visibleLow[level] = carried(low, amount);
      this.visibleHigh[level]!++;
    }
  }

  hide(level: number, amount: number): void {
    const low = this.visibleLow[level]!;
    if (low >= amount) this.visibleLow[level] = low - amount;
    else {
      this.visibleLow[level] = borrowed(low, amount);
      this.visibleHigh[level]!--;
    }
  }

  #grow(): void {
    const capacity = (this.#capacity *= 2);
    this.price = enlarged(this.price, new Float64Array(capacity));
    this.visibleLow = enlarged(this.visibleLow, new Float64Array(capacity));
    this.visibleHigh = enlarged(this.visibleHigh, new Int32Array(capacity));
    this.orders = enlarged(this.orders, new Int32Array(capacity));
    this.head = enlarged(this.head, new Int32Array(capacity));
    this.tail = enlarged(this.tail, new Int32Array(capacity));
    this.ladder = enlarged(this.ladder, new Int32Array(capacity));
    this.touched = enlarged(this.touched, new Uint8Array(capacity));
  }
}

/** The larger one, which begins with what the smaller one holds. */
export function enlarged<T extends Float64Array | Int32Array | Uint8Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}
