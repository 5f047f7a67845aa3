// An event is a record like an order's: 53-bit numbers, then 32-bit ones in the words behind them. An object of 36 fields
// costs 65 ns to make, a record 12 (Node 26, a loop of nothing else).

export const E_NUM = 20;
export const E_INT = 40;

export const E_PRICE = 0;
export const E_QUANTITY = 1;
export const E_CUM = 2;
export const E_LEAVES = 3;
export const E_VALUE_LOW = 4;
export const E_VALUE_HIGH = 5;
export const E_STOP_PRICE = 6;
export const E_DISPLAY = 7;
export const E_EXPIRE = 8;
export const E_MS = 9;
export const E_SEQUENCE = 10;
/** Of a COMMAND: how many orders it affected. */
export const E_LAST_QUANTITY = 11;
/** Of a COMMAND: how many remain. */
export const E_LAST_PRICE = 12;
export const E_TRADE = 13;
export const E_OTHER_MS = 14;

export const E_FLAGS = 30;
export const E_SEQ = 31;
export const E_EPOCH_INDEX = 32;
export const E_OTHER_SEQ = 33;
export const E_OTHER_EPOCH_INDEX = 34;
export const E_COMMAND = 35;
/** kind | execType << 4 | status << 8 | reason << 12 | aggressor << 20 */
export const E_CODE = 36;
export const E_AGGRESSOR = 1 << 20;
/** Indexes of account and book; NIL where the name stands for itself. */
export const E_ACCOUNT = 37;
export const E_BOOK = 38;

/** Where the records of events are, for who reads them. */
export interface EventRecords {
  readonly count: number;
  readonly num: Float64Array;
  readonly int: Int32Array;
  readonly clientOrderIds: readonly string[];
  accountAt(position: number): string;
  symbolAt(position: number): string;
}
