// Sums that pass 2^53, as two numbers: high × 2^53 + low, low below 2^53. They are plain additions nearly always.

const RADIX = 2 ** 53;
const EXACT_RADIX = 1n << 53n;

/** The number that two parts stand for. */
export function exact(high: number, low: number): bigint {
  return BigInt(high) * EXACT_RADIX + BigInt(low);
}

export function highOf(value: bigint): number {
  return Number(value / EXACT_RADIX);
}

export function lowOf(value: bigint): number {
  return Number(value % EXACT_RADIX);
}

/** Whether low + amount has to be carried. Both are below 2^53. */
export function carries(low: number, amount: number): boolean {
  return low >= RADIX - amount;
}

/** low + amount - 2^53, where it carries. */
export function carried(low: number, amount: number): number {
  return low - (RADIX - amount);
}

/** low - amount + 2^53, where amount is more than low. */
export function borrowed(low: number, amount: number): number {
  return low + (RADIX - amount);
}

/** Whether price × quantity is 2^63 or more. */
export function isBeyondValue(price: number, quantity: number): boolean {
  // Rounding keeps the order of numbers, and 2^63 is a double: a product that rounds to less is less.
  return price * quantity >= 2 ** 63 && BigInt(price) * BigInt(quantity) >= 1n << 63n;
}
