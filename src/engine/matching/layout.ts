// Open orders as records in one buffer: 160 bytes an order, so that an order is three lines of the cache and the
// collector never sees it. A field is `num[slot * NUM + FIELD]` or `int[slot * INT + FIELD]`.

// V8 folds a constant of the same module into its code, but loads an imported one at each use. So the files on the hot path
// copy what they import (`const { NUM } = layout`): 645 ns an order became 470 (bench/inner/matching.ts, 2 shared cores).

export const NUM = 20;
export const INT = 40;

// 53-bit numbers, in num. From PRICE to PRIORITY lies what changes, from EXPIRE to KEY_LOW what never does: the hash of
// an order covers their words as they lie there.
export const PRICE = 0;
export const QUANTITY = 1;
export const CUM = 2;
/** What all can see of it now. 0 while it is not in the book. */
export const VISIBLE = 3;
export const VALUE_LOW = 4;
export const VALUE_HIGH = 5;
export const STOP_PRICE = 6;
export const DISPLAY = 7;
/** Its turn among orders of one price, or among the stops that wait: a number that its book counts up. */
export const PRIORITY = 8;
export const EXPIRE = 9;
export const MS = 10;

// 32-bit numbers, in int: behind the 11 of num.
export const SEQ = 22;
/** epoch << 16 | index */
export const EPOCH_INDEX = 23;
export const BOOK = 24;
export const ACCOUNT = 25;
export const KEY_HIGH = 26;
export const KEY_LOW = 27;
export const FLAGS = 28;
/** The level in whose queue it is. */
export const LEVEL = 29;
export const NEXT = 30;
export const PREVIOUS = 31;
export const ACCOUNT_NEXT = 32;
export const ACCOUNT_PREVIOUS = 33;
/** The hash of what never changes of the order. */
export const FIXED_A = 34;
export const FIXED_B = 35;
/** The order's share of the state's hash; 0 while it has none. */
export const HASH_A = 36;
export const HASH_B = 37;
/** Where it is in the heap of expiries, plus one; 0 where it is not. */
export const HEAP = 38;
/** 1 while it is on the list of orders that the entry has touched. */
export const DIRTY = 39;

// The flags: side, type, time in force and self-trade prevention as the protocol numbers them, then single bits.
const TYPE_SHIFT = 2;
const TIME_SHIFT = 5;
const PREVENTION_SHIFT = 8;
export const POST_ONLY = 1 << 11;
export const TRIGGERED = 1 << 12;
// Where it is; none of them while it is being matched.
export const RESTING = 1 << 13;
/** A stop that is not triggered. */
export const STOPPED = 1 << 14;
/** A triggered stop that has not had its turn. */
export const WAITING = 1 << 15;
/** It can be found: the tables, its account's list and the expiries have it. */
export const OPEN = 1 << 16;

export function flagsOf(side: number, type: number, time: number, prevention: number, postOnly: boolean): number {
  return (
    side | (type << TYPE_SHIFT) | (time << TIME_SHIFT) | (prevention << PREVENTION_SHIFT) | (postOnly ? POST_ONLY : 0)
  );
}

export function sideOf(flags: number): number {
  return flags & 3;
}

export function typeOf(flags: number): number {
  return (flags >> TYPE_SHIFT) & 7;
}

export function timeOf(flags: number): number {
  return (flags >> TIME_SHIFT) & 7;
}

export function preventionOf(flags: number): number {
  return (flags >> PREVENTION_SHIFT) & 7;
}

export const NIL = -1;

/**
 * The hash under which an order is found by its place. Eight orders that follow each other in an entry lie side by side
 * in the table, in one line of the cache.
 */
export function placeHash(epochIndex: number, ms: number, seq: number): number {
  let h = Math.imul(seq ^ Math.imul(epochIndex >>> 3, 0x9e3779b1), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ (ms | 0), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ ((ms / 0x1_0000_0000) | 0), 0x27d4eb2f);
  return ((h ^ (h >>> 16)) << 3) | (epochIndex & 7);
}
