/**
 * What entries of the events stream hold (proto/penstock/v1/event_log.proto). Its codec, `event-encoder.ts` and
 * `event-decoder.ts`, is written by hand because an order makes one to three events.
 */

/** The version of the schema that this code writes, and the newest that it reads. */
export const EVENTS_VERSION = 1;

/** What the engine tells of an event, as src/engine/matching has it. */
export interface EventSource {
  readonly kind: number;
  readonly command: number;
  readonly account: string;
  readonly sequence: number;
  readonly reason: number;
  readonly symbol: string;
  readonly execType: number;
  readonly status: number;
  readonly epoch: number;
  readonly ms: number;
  readonly seq: number;
  readonly index: number;
  readonly clientOrderId: string;
  readonly side: number;
  readonly type: number;
  readonly timeInForce: number;
  readonly selfTradePrevention: number;
  readonly postOnly: boolean;
  readonly triggered: boolean;
  readonly quantity: number;
  readonly price: number;
  readonly stopPrice: number;
  readonly displayQuantity: number;
  readonly expireTime: number;
  readonly cumQuantity: number;
  readonly leavesQuantity: number;
  readonly valueHigh: number;
  readonly valueLow: number;
  readonly lastQuantity: number;
  readonly lastPrice: number;
  readonly trade: number;
  readonly aggressor: boolean;
  readonly otherEpoch: number;
  readonly otherMs: number;
  readonly otherSeq: number;
  readonly otherIndex: number;
  readonly affected: number;
  readonly remaining: number;
}

/** A level of the book that an entry touched, as it is after it. */
export interface LevelChange {
  readonly symbol: string;
  readonly version: number;
  readonly side: number;
  readonly price: number;
  /** quantityHigh × 2^53 + quantityLow; 0 where the level is gone. */
  readonly quantityHigh: number;
  readonly quantityLow: number;
  readonly orders: number;
}

/** An event as it is read. Numbers of closed sets are those of src/engine/matching; ticks and lots; 0 and "" for absent. */
export interface EngineEvent extends Omit<
  EventSource,
  "epoch" | "ms" | "seq" | "index" | "otherEpoch" | "otherMs" | "otherSeq" | "otherIndex"
> {
  /** The text of an order id; "" where no order is known. */
  readonly orderId: string;
  readonly otherOrderId: string;
  readonly clientRequestId: string;
}

export interface EventBatch {
  readonly stateHash: bigint;
  readonly rules: number;
  readonly events: readonly EngineEvent[];
  readonly levels: readonly LevelChange[];
}
