import type { Book } from "./book.ts";
import { carried, carries, exact, highOf, lowOf } from "./exact.ts";
import * as sets from "./sets.ts";
import type { Ladder } from "./ladder.ts";
import * as layout from "./layout.ts";
import { preventionOf, sideOf, timeOf, typeOf } from "./layout.ts";
import { eventsOfOrder } from "./rules.ts";
import type { State } from "./state.ts";

// See layout.ts: an imported constant would be loaded at each use.
const { ExecType, OrderType, Reason, SelfTradePrevention, Side, TimeInForce, TradingStatus } = sets;
type Reason = sets.Reason;
const {
  ACCOUNT,
  CUM,
  DISPLAY,
  FLAGS,
  INT,
  NEXT,
  NIL,
  NUM,
  PRICE,
  PRIORITY,
  QUANTITY,
  TRIGGERED,
  VALUE_HIGH,
  VALUE_LOW,
  VISIBLE,
} = layout;

/** Matches orders that come in with those that rest, and sets off the stops that their trades reach. */
export class Matcher {
  /** Events of the entry that are kept free for the commands to come: each has one at least. */
  reserved = 0;
  readonly #state: State;

  constructor(state: State) {
    this.#state = state;
  }

  /** Whether the entry has room for all that an order can cause. */
  hasRoom(): boolean {
    const { rules, events } = this.#state;
    return events.count + this.reserved + eventsOfOrder(rules) <= rules.maxEntryEvents;
  }

  /** An order that was accepted, replaced or triggered, and is in no queue: it is matched, then rests or ends. */
  enter(book: Book, slot: number): void {
    const { num, int } = this.#state.orders;
    const flags = int[slot * INT + FLAGS]!;
    const side = sideOf(flags);
    const type = typeOf(flags);
    const time = timeOf(flags);
    const isLimited = type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
    const opposite = book.opposite(side);
    if (!isLimited && opposite.count === 0) return this.#expire(slot, Reason.NO_LIQUIDITY);

    const limit = isLimited ? num[slot * NUM + PRICE]! : side === Side.BUY ? Infinity : 0;
    if (time === TimeInForce.FOK && !this.#canFill(opposite, slot, limit)) return this.#expire(slot, Reason.UNFILLABLE);
    if (!this.#match(book, opposite, slot, limit)) return;
    if (time === TimeInForce.GTC || time === TimeInForce.GTD) this.#state.rest(book, slot);
    else this.#expire(slot, Reason.UNFILLED);
  }

  /** The stops whose turn has come, as many as may be. */
  drain(book: Book): void {
    const { events, rules, orders } = this.#state;
    for (let n = 0; n < rules.maxTriggered; n++) {
      const slot = book.waitingHead;
      if (slot === NIL || book.status !== TradingStatus.OPEN || !this.hasRoom()) return;
      this.#state.withdraw(slot);
      orders.int[slot * INT + FLAGS]! |= TRIGGERED;
      events.working(ExecType.TRIGGERED, slot, Reason.NONE, NIL);
      this.enter(book, slot);
    }
  }

  /** Ends an order that is in no queue. */
  cancel(slot: number, reason: Reason, other: number): void {
    this.#state.events.ended(ExecType.CANCELED, slot, reason, other);
    this.#state.close(slot);
  }

  #expire(slot: number, reason: Reason): void {
    this.#state.events.ended(ExecType.EXPIRED, slot, reason, NIL);
    this.#state.close(slot);
  }

  /** Whether something is left of the order that works on. Where it is not, the order has ended. */
  #match(book: Book, opposite: Ladder, slot: number, limit: number): boolean {
    const { orders, levels, rules } = this.#state;
    const { int } = orders; // No order comes to be meanwhile: they stay the same.
    const flags = int[slot * INT + FLAGS]!;
    const isBuy = sideOf(flags) === Side.BUY;
    const prevention = preventionOf(flags);
    const account = int[slot * INT + ACCOUNT]!;
    for (let met = 0; opposite.count > 0; met++) {
      const level = opposite.level(0);
      const price = levels.price[level]!;
      if (isBuy ? price > limit : price < limit) break;
      const maker = levels.head[level]!;
      if (met === rules.maxFills) {
        this.cancel(slot, Reason.FILL_LIMIT, NIL);
        return false;
      }
      if (prevention !== SelfTradePrevention.NONE && int[maker * INT + ACCOUNT] === account) {
        if (!this.#preventSelfTrade(opposite, slot, maker, prevention)) return false;
      } else if (!this.#trade(book, opposite, slot, maker, price)) return false;
    }
    return true;
  }

  /** Whether something is left of the order that came in. */
  #trade(book: Book, opposite: Ladder, slot: number, maker: number, price: number): boolean {
    const { orders, events, hash } = this.#state;
    const { num } = orders;
    const leaves = num[slot * NUM + QUANTITY]! - num[slot * NUM + CUM]!;
    const visible = num[maker * NUM + VISIBLE]!;
    const quantity = leaves < visible ? leaves : visible;
    const trade = ++book.trades;
    book.lastPrice = price;
    hash.touchBook(book);
    this.#fill(slot, quantity, price);
    this.#fill(maker, quantity, price);
    opposite.reduce(maker, quantity);
    events.filled(slot, maker, quantity, price, trade, true);
    events.filled(maker, slot, quantity, price, trade, false);

    const rest = num[maker * NUM + QUANTITY]! - num[maker * NUM + CUM]!;
    if (rest === 0) {
      this.#state.withdraw(maker);
      this.#state.close(maker);
    } else {
      hash.touchOrder(maker);
      if (quantity === visible) {
        const display = num[maker * NUM + DISPLAY]!;
        num[maker * NUM + PRIORITY] = ++book.priority;
        opposite.refill(maker, display < rest ? display : rest);
      }
    }
    if (price >= book.buyStops.bestPrice()) this.#reach(book, book.buyStops);
    if (price <= book.sellStops.bestPrice()) this.#reach(book, book.sellStops);
    if (quantity < leaves) return true;
    this.#state.close(slot);
    return false;
  }

  #fill(slot: number, quantity: number, price: number): void {
    const { num } = this.#state.orders;
    const at = slot * NUM;
    num[at + CUM]! += quantity;
    const value = quantity * price;
    const low = num[at + VALUE_LOW]!;
    if (value <= Number.MAX_SAFE_INTEGER) {
      if (!carries(low, value)) {
        num[at + VALUE_LOW] = low + value;
        return;
      }
      num[at + VALUE_LOW] = carried(low, value);
      num[at + VALUE_HIGH]! += 1;
      return;
    }
    const sum = exact(num[at + VALUE_HIGH]!, low) + BigInt(quantity) * BigInt(price);
    num[at + VALUE_HIGH] = highOf(sum);
    num[at + VALUE_LOW] = lowOf(sum);
  }

  /** All stops that the last price has reached leave for the queue: the nearest first, then the oldest. */
  #reach(book: Book, stops: Ladder): void {
    const { levels, orders } = this.#state;
    const isBuy = stops === book.buyStops;
    while (stops.count > 0) {
      const level = stops.level(0);
      const stopPrice = levels.price[level]!;
      if (isBuy ? stopPrice > book.lastPrice : stopPrice < book.lastPrice) return;
      for (let slot = levels.head[level]!; slot !== NIL;) {
        const next = orders.int[slot * INT + NEXT]!;
        this.#state.withdraw(slot);
        this.#state.await(book, slot);
        slot = next;
      }
    }
  }

  /** Whether something is left of the order that came in. The order that rests is told first. */
  #preventSelfTrade(opposite: Ladder, slot: number, maker: number, prevention: number): boolean {
    if (prevention === SelfTradePrevention.DECREMENT) return this.#decrement(opposite, slot, maker);
    if (prevention !== SelfTradePrevention.CANCEL_NEWEST) {
      const { events } = this.#state;
      this.#state.withdraw(maker);
      events.ended(ExecType.CANCELED, maker, Reason.SELF_TRADE, slot);
    }
    const goesOn = prevention === SelfTradePrevention.CANCEL_OLDEST;
    if (!goesOn) this.#state.events.ended(ExecType.CANCELED, slot, Reason.SELF_TRADE, maker);
    if (prevention !== SelfTradePrevention.CANCEL_NEWEST) this.#state.close(maker);
    if (!goesOn) this.#state.close(slot);
    return goesOn;
  }

  /** Both go down by what the smaller one has left, hidden quantity included; that one ends. */
  #decrement(opposite: Ladder, slot: number, maker: number): boolean {
    const { orders, events, hash } = this.#state;
    const { num } = orders;
    const leaves = orders.leaves(slot);
    const makerLeaves = orders.leaves(maker);
    const amount = Math.min(leaves, makerLeaves);
    if (makerLeaves > amount) {
      num[maker * NUM + QUANTITY]! -= amount;
      const hidden = num[maker * NUM + VISIBLE]! - (makerLeaves - amount);
      if (hidden > 0) opposite.reduce(maker, hidden);
      hash.touchOrder(maker);
      events.working(ExecType.RESTATED, maker, Reason.SELF_TRADE, slot);
    } else {
      this.#state.withdraw(maker);
      events.ended(ExecType.CANCELED, maker, Reason.SELF_TRADE, slot);
    }
    const goesOn = leaves > amount;
    if (goesOn) {
      num[slot * NUM + QUANTITY]! -= amount;
      events.working(ExecType.RESTATED, slot, Reason.SELF_TRADE, maker);
    } else events.ended(ExecType.CANCELED, slot, Reason.SELF_TRADE, maker);
    if (makerLeaves === amount) this.#state.close(maker);
    if (!goesOn) this.#state.close(slot);
    return goesOn;
  }

  /**
   * Whether an order would be filled as a whole: the same walk as `#match`, in which nothing changes. Where the order
   * would meet one of its own account, it is not, unless that one would be canceled and passed over.
   */
  #canFill(opposite: Ladder, slot: number, limit: number): boolean {
    const { orders, levels, rules } = this.#state;
    const { num, int } = orders;
    const flags = int[slot * INT + FLAGS]!;
    const isBuy = sideOf(flags) === Side.BUY;
    const prevention = preventionOf(flags);
    const account = int[slot * INT + ACCOUNT]!;
    let need = orders.leaves(slot);
    let meets = rules.maxFills;
    for (let n = 0; n < opposite.count; n++) {
      const level = opposite.level(n);
      const price = levels.price[level]!;
      if (isBuy ? price > limit : price < limit) return false;
      /** Icebergs that come again, and what is hidden of them: pairs. */
      const again: number[] = [];
      for (let maker = levels.head[level]!; maker !== NIL; maker = int[maker * INT + NEXT]!) {
        if (meets-- === 0) return false;
        if (prevention !== SelfTradePrevention.NONE && int[maker * INT + ACCOUNT] === account) {
          if (prevention !== SelfTradePrevention.CANCEL_OLDEST) return false;
          continue;
        }
        const visible = num[maker * NUM + VISIBLE]!;
        if (need <= visible) return true;
        need -= visible;
        const hidden = orders.leaves(maker) - visible;
        if (hidden > 0) again.push(num[maker * NUM + DISPLAY]!, hidden);
      }
      for (let i = 0; i < again.length; i += 2) {
        if (meets-- === 0) return false;
        const display = again[i]!;
        const hidden = again[i + 1]!;
        const peak = Math.min(display, hidden);
        if (need <= peak) return true;
        need -= peak;
        if (hidden > peak) again.push(display, hidden - peak);
      }
    }
    return false;
  }
}
