// The state as it is shown to who asks: objects of their own, which later entries do not change.

import type { Book } from "./book.ts";
import type { BookLevel, OpenOrder, SymbolState } from "./interface.ts";
import { OrderStatus } from "./sets.ts";
import type { Ladder } from "./ladder.ts";
import {
  ACCOUNT,
  BOOK,
  CUM,
  DISPLAY,
  EXPIRE,
  FLAGS,
  INT,
  MS,
  NEXT,
  NIL,
  NUM,
  POST_ONLY,
  preventionOf,
  PRICE,
  PRIORITY,
  QUANTITY,
  sideOf,
  STOP_PRICE,
  timeOf,
  TRIGGERED,
  typeOf,
  VALUE_HIGH,
  VALUE_LOW,
  VISIBLE,
} from "./layout.ts";
import type { State } from "./state.ts";

export function inspectOrder({ orders, accounts, books }: State, slot: number): OpenOrder {
  const { num, int, clientOrderIds } = orders;
  const at = slot * NUM;
  const flags = int[slot * INT + FLAGS]!;
  const cumQuantity = num[at + CUM]!;
  return {
    epoch: orders.epoch(slot),
    ms: num[at + MS]!,
    seq: orders.seq(slot),
    index: orders.index(slot),
    account: accounts.list[int[slot * INT + ACCOUNT]!]!.name,
    symbol: books[int[slot * INT + BOOK]!]!.symbol,
    clientOrderId: clientOrderIds[slot]!,
    status: cumQuantity > 0 ? OrderStatus.PARTIALLY_FILLED : OrderStatus.NEW,
    side: sideOf(flags),
    type: typeOf(flags),
    timeInForce: timeOf(flags),
    selfTradePrevention: preventionOf(flags),
    postOnly: (flags & POST_ONLY) !== 0,
    triggered: (flags & TRIGGERED) !== 0,
    quantity: num[at + QUANTITY]!,
    price: num[at + PRICE]!,
    stopPrice: num[at + STOP_PRICE]!,
    displayQuantity: num[at + DISPLAY]!,
    expireTime: num[at + EXPIRE]!,
    cumQuantity,
    leavesQuantity: orders.leaves(slot),
    valueHigh: num[at + VALUE_HIGH]!,
    valueLow: num[at + VALUE_LOW]!,
    visibleQuantity: num[at + VISIBLE]!,
    priority: num[at + PRIORITY]!,
  };
}

export function inspectDepth({ levels }: State, ladder: Ladder, limit: number): BookLevel[] {
  return Array.from({ length: Math.min(limit, ladder.count) }, (_, n) => {
    const level = ladder.level(n);
    return {
      price: levels.price[level]!,
      quantityHigh: levels.visibleHigh[level]!,
      quantityLow: levels.visibleLow[level]!,
      orders: levels.orders[level]!,
    };
  });
}

export function inspectQueues(state: State, ladder: Ladder): OpenOrder[] {
  const { levels, orders } = state;
  const found: OpenOrder[] = [];
  for (let n = 0; n < ladder.count; n++) {
    for (let slot = levels.head[ladder.level(n)]!; slot !== NIL; slot = orders.int[slot * INT + NEXT]!) {
      found.push(inspectOrder(state, slot));
    }
  }
  return found;
}

export function inspectSymbol(book: Book): SymbolState {
  return {
    symbol: book.symbol,
    instrumentVersion: book.instrument.version,
    status: book.status,
    bookVersion: book.version,
    lastPrice: book.lastPrice,
    trades: book.trades,
    waitingStops: book.waiting,
  };
}
