import assert from "node:assert/strict";
import { Engine } from "../engine.ts";
import { exact } from "../exact.ts";
import { type Entry, EventKind, ExecType, type MatchingEvent, Side } from "../interface.ts";
import { leavesOf, ReferenceEngine, type ReferenceOrder, high, low } from "./book.ts";
import { type Scale, type Step, Workload } from "./workload.ts";

/** What a run has seen, so that a test can tell that it saw all. */
export interface Seen {
  readonly commands: number;
  readonly reasons: ReadonlySet<string>;
}

/**
 * Feeds engine and reference with the same entries, and compares events, book and hash after each: most hold one
 * command. Throws where anything differs.
 */
export function run(steps: readonly Step[], scale: Scale): Seen {
  const reference = new ReferenceEngine(scale.rules);
  const workload = new Workload(scale, reference);
  const entries: Entry[] = [];
  const reasons = new Set<string>();
  const lasting = new Engine(scale.rules);
  let engine = new Engine(scale.rules);
  const apply = (entry: Entry): void => {
    entries.push(entry);
    const outcome = engine.apply(entry);
    lasting.apply(entry);
    const expected = reference.apply(entry);
    const events = outcome.events.copy();
    same(events, expected.events);
    same(outcome.levels.copy(), expected.levels);
    for (const { kind, execType, reason } of events) reasons.add(`${kind} ${execType} ${reason}`);
    assertTradesBalance(events);
    assertBook(engine, reference);
    // What goes on is the restored engine, so that every snapshot is one to go on from.
    const bytes = engine.snapshot();
    const restored = Engine.restore(bytes, scale.rules);
    assert.equal(restored.stateHash, engine.stateHash, "the hash is that of the canonical form");
    engine = restored;
  };
  apply(workload.begin());
  for (let at = 0; at < steps.length;) {
    const { entry, took } = workload.next(steps, at);
    apply(entry);
    at += took;
  }
  assert.equal(lasting.stateHash, engine.stateHash, "an engine that was never restored has the same hash");
  assert.deepEqual(lasting.snapshot(), engine.snapshot());
  const replayed = new Engine(scale.rules);
  for (const entry of entries) replayed.apply(entry);
  assert.deepEqual(replayed.snapshot(), engine.snapshot());
  return { commands: steps.length, reasons };
}

/** By their texts first: it is a tenth of the time, and all keys stand in one order. */
function same<T>(actual: readonly T[], expected: readonly T[]): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) assert.deepStrictEqual(actual, expected);
}

function assertTradesBalance(events: readonly MatchingEvent[]): void {
  for (let i = 0; i < events.length; i++) {
    const taker = events[i]!;
    if (taker.kind !== EventKind.EXECUTION || taker.execType !== ExecType.TRADE) continue;
    const maker = events[++i]!;
    const isPair =
      taker.aggressor &&
      maker.execType === ExecType.TRADE &&
      !maker.aggressor &&
      maker.side !== taker.side &&
      maker.trade === taker.trade &&
      maker.lastQuantity === taker.lastQuantity &&
      maker.lastPrice === taker.lastPrice;
    assert.ok(isPair, "a trade has two sides of one quantity and price");
  }
}

function assertBook(engine: Engine, reference: ReferenceEngine): void {
  let resting = 0;
  for (const { symbol, bookVersion, lastPrice, trades, waitingStops, status } of engine.symbols()) {
    const expected = reference.symbols.get(symbol)!;
    same(
      [bookVersion, lastPrice, trades, waitingStops, status],
      [expected.version, expected.lastPrice, expected.trades, reference.waiting(symbol).length, expected.status],
    );
    for (const side of [Side.BUY, Side.SELL]) {
      const queue = engine.queue(symbol, side);
      resting += queue.length;
      same(queue, reference.side(symbol, side).map(shown));
      const levels = new Map<number, { quantity: bigint; orders: number }>();
      for (const { price, visibleQuantity, quantity, cumQuantity, leavesQuantity } of queue) {
        const level = levels.get(price) ?? { quantity: 0n, orders: 0 };
        levels.set(price, { quantity: level.quantity + BigInt(visibleQuantity), orders: level.orders + 1 });
        assert.equal(cumQuantity + leavesQuantity, quantity);
        assert.ok(leavesQuantity > 0 && visibleQuantity > 0 && visibleQuantity <= leavesQuantity);
      }
      same(
        engine.depth(symbol, side, Infinity),
        Array.from(levels, ([price, { quantity, orders }]) => {
          return { price, quantityHigh: high(quantity), quantityLow: low(quantity), orders };
        }),
      );
    }
    const bid = engine.depth(symbol, Side.BUY, 1)[0];
    const ask = engine.depth(symbol, Side.SELL, 1)[0];
    assert.ok(bid === undefined || ask === undefined || bid.price < ask.price, "the book is crossed");
  }
  assert.equal(engine.openOrders, reference.orders.length);
  let stops = 0;
  for (const [account, { sequence }] of reference.accounts) {
    assert.equal(engine.sequenceOf(account), sequence);
    const own = engine.ordersOf(account);
    stops += own.filter((order) => order.visibleQuantity === 0).length;
    same(own, reference.orders.filter((order) => order.account === account).map(shown));
    for (const order of own) assert.deepEqual(engine.order(order), order);
  }
  assert.equal(resting + stops, reference.orders.length);
}

function shown(order: ReferenceOrder) {
  const { cum, value, visible, turn: _turn, where: _where, ...rest } = order;
  const shown = {
    epoch: rest.epoch,
    ms: rest.ms,
    seq: rest.seq,
    index: rest.index,
    account: rest.account,
    symbol: rest.symbol,
    clientOrderId: rest.clientOrderId,
    status: cum === 0 ? 2 : 3,
    side: rest.side,
    type: rest.type,
    timeInForce: rest.timeInForce,
    selfTradePrevention: rest.selfTradePrevention,
    postOnly: rest.postOnly,
    triggered: rest.triggered,
    quantity: rest.quantity,
    price: rest.price,
    stopPrice: rest.stopPrice,
    displayQuantity: rest.displayQuantity,
    expireTime: rest.expireTime,
    cumQuantity: cum,
    leavesQuantity: leavesOf(order),
    valueHigh: high(value),
    valueLow: low(value),
    visibleQuantity: visible,
  };
  assert.equal(exact(shown.valueHigh, shown.valueLow), value);
  return shown;
}
