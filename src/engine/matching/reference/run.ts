import assert from "node:assert/strict";
import { Engine } from "../engine.ts";
import { exact } from "../exact.ts";
import type { Entry, MatchingEvent, OpenOrder, Place } from "../interface.ts";
import { EventKind, ExecType, Side, type TradingStatus } from "../sets.ts";
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
  const mostEvents = Math.max(...Array.from(scale.rules.values(), ({ maxEntryEvents }) => maxEntryEvents));
  const lasting = new Engine(scale.rules);
  let engine = new Engine(scale.rules);
  const apply = (entry: Entry): void => {
    entries.push(entry);
    const outcome = engine.apply(entry);
    lasting.apply(entry);
    const expected = reference.apply(entry);
    const { events, levels } = outcome;
    same(events.count, (i) => events.at(i), expected.events);
    same(levels.count, (i) => levels.at(i), expected.levels);
    for (const { kind, execType, reason } of expected.events) reasons.add(`${kind} ${execType} ${reason}`);
    assert.ok(events.count <= mostEvents, "an entry has as many events as it may");
    assertTradesBalance(expected.events);
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

/** Compares field by field, by which the fields of the expected one count: deepStrictEqual takes thirty times as long. */
function same<T extends object>(count: number, at: (i: number) => T, expected: readonly T[]): void {
  let isSame = count === expected.length;
  for (let i = 0; isSame && i < count; i++) isSame = hasSameFields(at(i), expected[i]!);
  if (isSame) return;
  const plain = (value: T, like: T | undefined) =>
    like === undefined ? value : Object.fromEntries(fieldsOf(like).map((name) => [name, value[name]]));
  assert.deepStrictEqual(
    Array.from({ length: count }, (_, i) => plain(at(i), expected[i])),
    expected,
  );
}

function hasSameFields<T extends object>(actual: T, expected: T): boolean {
  for (const name in expected) if (actual[name] !== expected[name]) return false;
  return true;
}

function fieldsOf<T extends object>(value: T): (keyof T)[] {
  return Object.keys(value) as (keyof T)[];
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
  for (const { symbol, ...state } of engine.symbols()) {
    const expected = reference.symbols.get(symbol)!;
    assert.ok(
      hasSameFields(state, {
        instrumentVersion: expected.instrument.version,
        status: expected.status as TradingStatus,
        bookVersion: expected.version,
        lastPrice: expected.lastPrice,
        trades: expected.trades,
        waitingStops: reference.waiting(symbol).length,
      }),
      symbol,
    );
    for (const side of [Side.BUY, Side.SELL]) {
      const queue = engine.queue(symbol, side);
      resting += queue.length;
      const places = reference.side(symbol, side).map(placeOf);
      same<Place>(queue.length, (i) => queue[i]!, places);
      const levels = new Map<number, { quantity: bigint; orders: number }>();
      for (const { price, visibleQuantity, quantity, cumQuantity, leavesQuantity } of queue) {
        const level = levels.get(price) ?? { quantity: 0n, orders: 0 };
        levels.set(price, { quantity: level.quantity + BigInt(visibleQuantity), orders: level.orders + 1 });
        assert.equal(cumQuantity + leavesQuantity, quantity);
        assert.ok(leavesQuantity > 0 && visibleQuantity > 0 && visibleQuantity <= leavesQuantity);
      }
      const depth = engine.depth(symbol, side, Infinity);
      same(
        depth.length,
        (i) => depth[i]!,
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
    const expected = reference.orders.filter((order) => order.account === account).map(shown);
    same(own.length, (i) => own[i]!, expected);
    for (const order of own) assert.ok(hasSameFields(engine.order(order)!, order));
  }
  assert.equal(resting + stops, reference.orders.length);
}

function placeOf({ epoch, ms, seq, index }: ReferenceOrder): Place {
  return { epoch, ms, seq, index };
}

function shown(rest: ReferenceOrder): OpenOrder {
  const { cum, value, visible } = rest;
  const shown: OpenOrder = {
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
    leavesQuantity: leavesOf(rest),
    valueHigh: high(value),
    valueLow: low(value),
    visibleQuantity: visible,
    priority: rest.turn,
  };
  assert.equal(exact(shown.valueHigh, shown.valueLow), value);
  return shown;
}
