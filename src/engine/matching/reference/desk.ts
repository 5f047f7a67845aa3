import { Engine } from "../engine.ts";
import { exact } from "../exact.ts";
import type {
  Command,
  InstrumentCommand,
  LevelChange,
  MatchingEvent,
  Place,
  ReplaceCommand,
  Target,
} from "../interface.ts";
import {
  EventKind,
  ExecType,
  OrderType,
  Reason,
  SelfTradePrevention,
  Side,
  TimeInForce,
  TradingStatus,
} from "../sets.ts";
import { RULES, type Rules } from "../rules.ts";
import { keyOf } from "./workload.ts";

const SYMBOL = "A-B";
const ALL_TIMES = [0, 0b11000, 0b1011010, 0b11000, 0b1011010];

const TIMES: Readonly<Record<string, number>> = {
  gtc: TimeInForce.GTC,
  ioc: TimeInForce.IOC,
  fok: TimeInForce.FOK,
};
const PREVENTIONS: Readonly<Record<string, number>> = {
  "cancel-newest": SelfTradePrevention.CANCEL_NEWEST,
  "cancel-oldest": SelfTradePrevention.CANCEL_OLDEST,
  "cancel-both": SelfTradePrevention.CANCEL_BOTH,
  decrement: SelfTradePrevention.DECREMENT,
};

/**
 * An engine with which tests talk in words. An order is written as
 *
 *     ann 1 buy 10 @ 100 fok stop 99 show 3 until 2000 post-only decrement on C-D
 *
 * account, client order id, side and quantity first, the rest as needed: without a price it is MARKET or STOP (IOC), with
 * one LIMIT or STOP_LIMIT (GTC). What happens comes back as lines; `say` below makes them. Each call is an entry of its
 * own, a millisecond after the one before.
 */
export class Desk {
  engine: Engine;
  /** The time of the last entry. */
  ms = 1_000;
  levels: LevelChange[] = [];
  events: MatchingEvent[] = [];
  readonly #places = new Map<string, Place>();

  constructor(instrument: Partial<InstrumentCommand> = {}, rules: ReadonlyMap<number, Rules> = RULES) {
    this.engine = new Engine(rules);
    this.define(instrument);
  }

  define(instrument: Partial<InstrumentCommand> = {}): string[] {
    return this.apply({
      kind: "instrument",
      symbol: SYMBOL,
      version: 1,
      tickSize: "0.01",
      lotSize: "0.001",
      minQuantity: 1,
      maxQuantity: Number.MAX_SAFE_INTEGER,
      minPrice: 1,
      maxPrice: Number.MAX_SAFE_INTEGER,
      timesInForce: ALL_TIMES,
      ...instrument,
    });
  }

  order(text: string): string[] {
    return this.apply(order(text));
  }

  /** Several orders in one entry. */
  orders(...texts: readonly string[]): string[] {
    return this.apply(...texts.map(order));
  }

  cancel(account: string, clientOrderId: string, symbol = SYMBOL): string[] {
    return this.apply({ kind: "cancel", account, symbol, target: byClient(account, clientOrderId, symbol) });
  }

  cancelAt(account: string, place: Place, symbol = SYMBOL): string[] {
    return this.apply({ kind: "cancel", account, symbol, target: { by: "order", ...place } });
  }

  replace(account: string, clientOrderId: string, values: Partial<ReplaceCommand>): string[] {
    const target = byClient(account, clientOrderId, SYMBOL);
    const unchanged = { quantity: 0, price: 0, stopPrice: 0, displayQuantity: 0 };
    return this.apply({ kind: "replace", account, symbol: SYMBOL, target, ...unchanged, ...values });
  }

  massCancel(account: string, symbol = ""): string[] {
    return this.apply({ kind: "mass-cancel", account, symbol });
  }

  status(status: keyof typeof TradingStatus, symbol = SYMBOL): string[] {
    return this.apply({ kind: "status", symbol, status: TradingStatus[status] });
  }

  limits(account: string, maxOpenOrders: number, maxQuantity: number): string[] {
    return this.apply({ kind: "limits", account, maxOpenOrders, maxQuantity });
  }

  /** An entry at a time, or a millisecond later, with nothing in it. */
  tick(ms = this.ms + 1): string[] {
    this.ms = ms - 1;
    return this.apply({ kind: "idle" });
  }

  apply(...commands: readonly Command[]): string[] {
    const { events, levels } = this.engine.apply({ epoch: 1, ms: ++this.ms, seq: 0, commands });
    this.events = events.copy();
    this.levels = levels.copy();
    for (const event of this.events) {
      if (event.execType === ExecType.NEW) this.#places.set(`${event.account} ${event.clientOrderId}`, event);
    }
    return this.events.map(say);
  }

  /** The place of an order that was accepted, by account and client order id. */
  placeOf(name: string): Place {
    const place = this.#places.get(name);
    if (place === undefined) throw new Error(`no order ${name} was accepted`);
    const { epoch, ms, seq, index } = place;
    return { epoch, ms, seq, index };
  }

  /** A side of the book: "<quantity> @ <price>" of each level, the best first. */
  depth(side: "buy" | "sell"): string[] {
    return this.engine
      .depth(SYMBOL, side === "buy" ? Side.BUY : Side.SELL, Infinity)
      .map(({ price, quantityHigh, quantityLow }) => `${exact(quantityHigh, quantityLow)} @ ${price}`);
  }

  /** The orders of a side, in the order in which they would trade: "<account> <id> <visible> of <leaves>". */
  queue(side: "buy" | "sell"): string[] {
    return this.engine
      .queue(SYMBOL, side === "buy" ? Side.BUY : Side.SELL)
      .map((order) => `${order.account} ${order.clientOrderId} ${order.visibleQuantity} of ${order.leavesQuantity}`);
  }
}

export function order(text: string): Command {
  const [account = "", clientOrderId = "", side, quantity, ...rest] = text.split(" ");
  let symbol = SYMBOL;
  let price = 0;
  let stopPrice = 0;
  let displayQuantity = 0;
  let expireTime = 0;
  let postOnly = false;
  let selfTradePrevention = 0;
  let time: number | undefined;
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i]!;
    if (word === "@") price = Number(rest[++i]);
    else if (word === "stop") stopPrice = Number(rest[++i]);
    else if (word === "show") displayQuantity = Number(rest[++i]);
    else if (word === "until") expireTime = Number(rest[++i]);
    else if (word === "on") symbol = rest[++i]!;
    else if (word === "post-only") postOnly = true;
    else if (word in TIMES) time = TIMES[word];
    else if (word in PREVENTIONS) selfTradePrevention = PREVENTIONS[word]!;
    else throw new Error(`what is "${word}" in "${text}"?`);
  }
  const isLimited = price > 0;
  const usual = expireTime > 0 ? TimeInForce.GTD : isLimited ? TimeInForce.GTC : TimeInForce.IOC;
  const stopType = isLimited ? OrderType.STOP_LIMIT : OrderType.STOP;
  return {
    kind: "submit",
    account,
    submit: {
      clientOrderId,
      symbol,
      side: side === "buy" ? Side.BUY : Side.SELL,
      type: stopPrice > 0 ? stopType : isLimited ? OrderType.LIMIT : OrderType.MARKET,
      timeInForce: time ?? usual,
      quantity: Number(quantity),
      price,
      stopPrice,
      displayQuantity,
      expireTime,
      postOnly,
      selfTradePrevention,
    },
    ...keyOf(account, symbol, clientOrderId),
  };
}

function byClient(account: string, clientOrderId: string, symbol: string): Target {
  return { by: "client", clientOrderId, ...keyOf(account, symbol, clientOrderId) };
}

/** An event in words. */
function say(event: MatchingEvent): string {
  const { kind, account, clientOrderId, symbol, execType, quantity, price, leavesQuantity } = event;
  const why = event.reason === Reason.NONE ? "" : ` ${nameOf(Reason, event.reason)}`;
  const who = `${account} ${clientOrderId}`;
  if (kind === EventKind.CANCEL_REJECT) return `${who}: cancel refused${why}`;
  if (kind === EventKind.REPLACE_REJECT) return `${who}: replace refused${why}`;
  if (kind === EventKind.COMMAND) {
    const counts =
      event.affected > 0 || event.remaining > 0 ? ` ${event.affected} canceled, ${event.remaining} left` : "";
    return `${account || symbol || "system"}:${counts}${why}` + (counts === "" && why === "" ? " done" : "");
  }
  if (execType === ExecType.TRADE) {
    return `${who}: ${event.lastQuantity} @ ${event.lastPrice}, ${leavesQuantity} left`;
  }
  const verb = nameOf(ExecType, execType).toLowerCase();
  const shows = execType === ExecType.REPLACED || execType === ExecType.RESTATED;
  return `${who}: ${verb}${why}${shows ? `, ${quantity} @ ${price}, ${leavesQuantity} left` : ""}`;
}

function nameOf(names: Readonly<Record<string, number>>, number: number): string {
  return Object.entries(names).find(([, known]) => known === number)?.[0] ?? String(number);
}
