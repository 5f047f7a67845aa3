/**
 * What the store takes and gives: neutral shapes that know nothing of Redis or protobuf.
 *
 * An entry is one element of a partition's log, named by `EntryKey`. Its receipt is its row in the journal: rows of an entry
 * are written in the transaction that first writes its receipt, and never again.
 */

/** 0: commands, `{p}:orders`. 1: events, `{p}:events`. */
export type StreamNumber = 0 | 1;
export const ORDERS_STREAM: StreamNumber = 0;
export const EVENTS_STREAM: StreamNumber = 1;

/** Compared as numbers: epoch, ms, seq. Partition is 12 bits, epoch 14, ms 48, seq 32. */
export interface LogPosition {
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
}

export interface EntryKey extends LogPosition {
  readonly stream: StreamNumber;
  readonly partition: number;
}

export interface Receipt extends EntryKey {
  /** The entry ID before this one in its stream, 0-0 for the first. */
  readonly prevMs: number;
  readonly prevSeq: number;
  /** Of the payload's schema. */
  readonly version: number;
  /** How many commands, or events, the payload holds. */
  readonly commands: number;
  /** SHA-256 of the payload, 32 bytes. */
  readonly hash: Buffer;
  /** Null for events, which are made again from the commands. */
  readonly payload: Buffer | null;
}

export type Side = "BUY" | "SELL";
export type OrderType = "MARKET" | "LIMIT" | "STOP" | "STOP_LIMIT";
export type TimeInForce = "GTC" | "IOC" | "FOK" | "GTD";
export type SelfTradePrevention = "CANCEL_NEWEST" | "CANCEL_OLDEST" | "CANCEL_BOTH" | "DECREMENT";

/** The facts of an order's submission, all but its time, which is its entry's. Decimals are plain digits, no exponent. */
export interface OrderFacts {
  /** UUID text, as the log's place gives it. */
  readonly orderId: string;
  /** The first 64 bits of a hash of account, symbol and client order id; signed or unsigned. */
  readonly clientKey: bigint;
  readonly account: string;
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly side: Side;
  readonly type: OrderType;
  readonly timeInForce: TimeInForce;
  readonly quantity: string;
  readonly price: string | null;
  readonly stopPrice: string | null;
  readonly displayQuantity: string | null;
  /** Milliseconds since 1970. */
  readonly expireTime: number | null;
  readonly postOnly: boolean;
  readonly selfTradePrevention: SelfTradePrevention | null;
}

export interface OrderRow extends OrderFacts {
  /** The command's place in its entry, which names it in a dead letter. */
  readonly index: number;
}

export interface InstrumentRow {
  /** The command's place in its entry. */
  readonly index: number;
  readonly symbol: string;
  readonly version: number;
  /** penstock.v1.Instrument, encoded. */
  readonly definition: Buffer;
}

/** A report to an account. Decimals are plain digits; null is what a report of its kind does not say. */
interface ReportRow {
  /** The place of the event in its entry. */
  readonly index: number;
  /** The index of the command that caused it; null where it is time's. */
  readonly command: number | null;
  readonly account: string;
  /** The account's reports in the partition, from 1 without a gap; 0 where the engine has no room for the account. */
  readonly sequence: number;
  readonly symbol: string;
  /** As in the API: NEW, TRADE … MASS_CANCEL_REPORT. */
  readonly execType: string;
  readonly reason: string | null;
  readonly otherOrderId: string | null;
  readonly clientRequestId: string | null;
  readonly price: string | null;
  readonly stopPrice: string | null;
  readonly displayQuantity: string | null;
  readonly lastQuantity: string | null;
  readonly lastPrice: string | null;
  readonly trade: number | null;
  readonly aggressor: boolean | null;
  readonly affected: number | null;
  readonly remaining: number | null;
  /** What is named, where no order is known. */
  readonly clientOrderId: string | null;
}

/** A change of an order, with all that it is after it: where it is the newest, that is the order's state. */
export interface ChangeRow extends ReportRow {
  readonly isChange: true;
  readonly orderId: string;
  readonly status: string;
  readonly triggered: boolean;
  readonly quantity: string;
  readonly cumQuantity: string;
  /** "0" where the order has ended, and only there. */
  readonly leavesQuantity: string;
  readonly tradedValue: string;
}

/** A cancel or replace that was refused, or what became of a mass cancel: no order is another one after it. */
export interface AnswerRow extends ReportRow {
  readonly isChange: false;
  readonly orderId: string | null;
  readonly status: string | null;
  readonly quantity: string | null;
  readonly cumQuantity: string | null;
  readonly leavesQuantity: string | null;
  readonly tradedValue: string | null;
}

export type ExecutionRow = ChangeRow | AnswerRow;

export interface TradeRow {
  /** The place of the aggressor's event in its entry. */
  readonly index: number;
  readonly symbol: string;
  /** The symbol's trades are counted from 1 without a gap. */
  readonly trade: number;
  readonly price: string;
  readonly quantity: string;
  /** The side that took liquidity. */
  readonly aggressor: Side;
  readonly buyOrderId: string;
  readonly sellOrderId: string;
  readonly buyAccount: string;
  readonly sellAccount: string;
}

/** A command or an event (or with index -1 the whole entry) that cannot become rows. `sqlstate` is null where Postgres was not asked. */
export interface DeadLetter {
  readonly index: number;
  readonly raw: Buffer;
  readonly sqlstate: string | null;
  readonly reason: string;
}

export interface EntryRecord {
  readonly receipt: Receipt;
  readonly orders: readonly OrderRow[];
  readonly instruments: readonly InstrumentRow[];
  readonly executions: readonly ExecutionRow[];
  readonly trades: readonly TradeRow[];
  /** What the decoder found to be undecodable. */
  readonly deadLetters: readonly DeadLetter[];
  /** How often the entry has been delivered, this time included: the `attempts` of its dead letters. */
  readonly deliveries: number;
  /** The bytes of one command or event, of the whole payload for -1: asked for only where it becomes a dead letter. */
  raw(index: number): Buffer;
}

/** Negative where a comes before b in the sequence in which keys are written. */
export function compareKeys(a: EntryKey, b: EntryKey): number {
  return a.stream - b.stream || a.partition - b.partition || a.epoch - b.epoch || a.ms - b.ms || a.seq - b.seq;
}
