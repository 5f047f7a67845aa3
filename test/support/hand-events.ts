import type { EventSource } from "../../src/stream/event-batch.ts";
import { encodeEventBatch } from "../../src/stream/event-encoder.ts";
import { ACCOUNT } from "./hand-log.ts";

/** The time of the orders that hand-made events are about, in ms. */
export const BORN = Date.UTC(2026, 10, 22, 9);

/** What an event of the tests is, unless they say otherwise: a new order of 3 lots at 100.25. */
const EVENT: EventSource = {
  ...{ kind: 1, command: 0, account: ACCOUNT, sequence: 1, reason: 0, symbol: "BTC-USD", execType: 1, status: 2 },
  ...{ epoch: 1, ms: BORN, seq: 0, index: 0, clientOrderId: "mine", side: 1, type: 2, timeInForce: 1 },
  ...{ selfTradePrevention: 0, postOnly: false, triggered: false, quantity: 3, price: 10_025, stopPrice: 0 },
  ...{ displayQuantity: 0, expireTime: 0, cumQuantity: 0, leavesQuantity: 3, valueHigh: 0, valueLow: 0 },
  ...{ lastQuantity: 0, lastPrice: 0, trade: 0, aggressor: false, otherEpoch: 0, otherMs: 0, otherSeq: 0 },
  ...{ otherIndex: 0, affected: 0, remaining: 0 },
};

/** A trade of one lot: the aggressor's event, which buys, and the resting order's. Their orders are born at seq 1 and 0. */
export function tradeOf(trade: number): Partial<EventSource>[] {
  const filled = { execType: 2, status: 3, cumQuantity: 1, leavesQuantity: 2, valueLow: 10_025, trade };
  const last = { lastQuantity: 1, lastPrice: 10_025, otherEpoch: 1, otherMs: BORN };
  return [
    { ...filled, ...last, seq: 1, otherSeq: 0, aggressor: true },
    { ...filled, ...last, seq: 0, otherSeq: 1, side: 2 },
  ];
}

/** The payload of an entry with these events. */
export function eventBatch(events: readonly Partial<EventSource>[], requestId = ""): Buffer {
  const all = events.map((event) => ({ ...EVENT, ...event }));
  const list = { count: all.length, at: (position: number) => all[position]! };
  const none = { count: 0, at: () => never() };
  return encodeEventBatch(0, { stateHash: 1n, rules: 1, events: list, levels: none }, () => requestId);
}

function never(): never {
  throw new RangeError("there is none");
}
