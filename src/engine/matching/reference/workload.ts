import type { Command, Entry, InstrumentCommand, OrderRequest, Place, ReplaceCommand, Target } from "../interface.ts";
import { OrderType, Side, TimeInForce, TradingStatus } from "../sets.ts";
import { checked, type Rules } from "../rules.ts";
import type { ReferenceEngine } from "./book.ts";

/** What a command is made of: any four numbers below 2^31. Smaller ones make simpler commands. */
export type Step = readonly [number, number, number, number];

/** What the commands of a run have in common. */
export interface Scale {
  /** What a quantity is a multiple of. */
  readonly lot: number;
  readonly rules: ReadonlyMap<number, Rules>;
}

/** Every bound is met again and again. */
export function narrow(lot: number): Scale {
  const rules = checked({
    maxCommands: 16,
    maxFills: 4,
    maxTriggered: 2,
    maxExpiries: 2,
    maxEntryEvents: 36,
    maxOpenOrders: 8,
    maxQuantity: 11 * lot,
    maxOrders: 20,
    maxAccounts: 4,
    maxSymbols: 2,
  });
  const others = checked({ ...rules, maxFills: 3, maxTriggered: 1, maxEntryEvents: 30, maxOrders: 24 });
  return {
    lot,
    rules: new Map([
      [1, rules],
      [2, others],
    ]),
  };
}

/** No bound is met, and the book grows. */
export function wide(lot: number): Scale {
  const rules = checked({
    maxCommands: 16,
    maxFills: 100,
    maxTriggered: 100,
    maxExpiries: 100,
    maxEntryEvents: 10_000,
    maxOpenOrders: 100,
    maxQuantity: 12 * lot,
    maxOrders: 400,
    maxAccounts: 10,
    maxSymbols: 10,
  });
  return {
    lot,
    rules: new Map([
      [1, rules],
      [2, rules],
    ]),
  };
}

const SYMBOLS = ["A-B", "C-D", "E-F"];
const ACCOUNTS = ["ann", "bob", "cem", "dee", "eve"];
const STATUSES = [1, 1, 1, 1, 1, 1, 1, 1, TradingStatus.CANCEL_ONLY, TradingStatus.HALTED, 7];
const TYPES = [
  OrderType.LIMIT,
  OrderType.LIMIT,
  OrderType.LIMIT,
  OrderType.MARKET,
  OrderType.STOP,
  OrderType.STOP_LIMIT,
];
const LIMIT_TIMES = [TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTD, TimeInForce.IOC, TimeInForce.FOK];
const OTHER_TIMES = [TimeInForce.IOC, TimeInForce.FOK];
const ALL_TIMES = [0, 0b11000, 0b1011010, 0b11000, 0b1011010];
const LOWEST = 46;
const PRICES = 9;

/** The mixed digits of a number: each pick takes one off. */
class Digits {
  #rest: number;

  constructor(number: number) {
    this.#rest = number;
  }

  pick(base: number): number {
    const digit = this.#rest % base;
    this.#rest = Math.floor(this.#rest / base);
    return digit;
  }

  one<T>(of: readonly T[]): T {
    return of[this.pick(of.length)]!;
  }
}

/** Makes entries of steps: commands of every kind, aimed at what is there. */
export class Workload {
  #ms = 1_000;
  #seq = 0;
  #ids = 0;
  #version = 1;
  readonly #scale: Scale;
  readonly #reference: ReferenceEngine;

  constructor(scale: Scale, reference: ReferenceEngine) {
    this.#scale = scale;
    this.#reference = reference;
  }

  /** The first entry, which defines two symbols. */
  begin(): Entry {
    return this.#entry([definition("A-B", 1, this.#scale.lot), definition("C-D", 1, this.#scale.lot)]);
  }

  /** The entry of the next steps, and how many of them it took. */
  next(steps: readonly Step[], from: number): { readonly entry: Entry; readonly took: number } {
    const how = new Digits(steps[from]![0]);
    const size = Math.min(how.one([1, 1, 1, 1, 1, 1, 2, 5, 12]), steps.length - from);
    const passes = how.one([0, 0, 0, 1, 1, 2, 9]);
    if (passes > 0) this.#seq = -1;
    this.#ms += passes;
    const commands: Command[] = [];
    for (let i = 0; i < size; i++) commands.push(this.#command(steps[from + i]!, i));
    return { entry: this.#entry(commands), took: size };
  }

  #entry(commands: readonly Command[]): Entry {
    return { epoch: 1, ms: this.#ms, seq: ++this.#seq, commands };
  }

  #command([first, second, third, fourth]: Step, index: number): Command {
    const how = new Digits(Math.floor(first / 64));
    const kind = how.pick(41);
    const account = how.one(ACCOUNTS.slice(0, 3 + (how.pick(8) === 7 ? 2 : 0)));
    const symbol = SYMBOLS[how.pick(16) === 15 ? 2 : how.pick(3) === 2 ? 1 : 0]!;
    if (kind < 24) return this.#submit(account, symbol, new Digits(second), new Digits(third), new Digits(fourth));
    const what = new Digits(second);
    if (kind < 28) return { kind: "cancel", ...this.#target(account, symbol, what, index) };
    if (kind < 33) return this.#replace(account, symbol, what, new Digits(third), index);
    if (kind === 33) return { kind: "mass-cancel", account, symbol: what.one([symbol, ""]) };
    if (kind === 34) return this.#define(symbol, what);
    if (kind === 35) return { kind: "status", symbol, status: what.one(STATUSES) };
    if (kind === 36) {
      const maxQuantity = what.one([0, 5, 9]) * this.#scale.lot;
      return { kind: "limits", account, maxOpenOrders: what.one([0, 0, 5, 12]), maxQuantity };
    }
    if (kind === 37) return { kind: "rules", rules: what.one([1, 2]) };
    if (kind === 38) return { kind: "idle" };
    if (kind === 40) return this.#voided([second, third, fourth, 0], index);
    return this.#spoilt(account, symbol, what, new Digits(third));
  }

  /** Another command, of an entry that was voided. */
  #voided(step: Step, index: number): Command {
    const command = this.#command(step, index);
    if (command.kind === "idle" || command.kind === "rules") return { kind: "idle" };
    return command.kind === "refused" ? command : { kind: "refused", command };
  }

  #submit(account: string, symbol: string, what: Digits, amounts: Digits, extras: Digits): Command {
    const side = what.one([Side.BUY, Side.SELL]);
    const type = what.one(TYPES);
    const isLimited = type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
    const timeInForce = what.one(isLimited ? LIMIT_TIMES : OTHER_TIMES);
    const rests = timeInForce === TimeInForce.GTC || timeInForce === TimeInForce.GTD;
    const selfTradePrevention = what.one([0, 0, 0, 0, 1, 2, 3, 4]);
    const isStop = type === OrderType.STOP || type === OrderType.STOP_LIMIT;
    const quantity = (1 + amounts.pick(12)) * this.#scale.lot;
    const request: OrderRequest = {
      clientOrderId: this.#clientOrderId(extras),
      symbol,
      side,
      type,
      timeInForce,
      quantity,
      price: isLimited ? LOWEST + amounts.pick(PRICES) : 0,
      stopPrice: isStop ? LOWEST + amounts.pick(PRICES) : 0,
      displayQuantity: rests && extras.pick(4) === 3 ? Math.min(quantity, (1 + amounts.pick(3)) * this.#scale.lot) : 0,
      expireTime: timeInForce === TimeInForce.GTD ? this.#ms + extras.pick(9) : 0,
      postOnly: rests && type === OrderType.LIMIT && extras.pick(8) === 7,
      selfTradePrevention,
    };
    return { kind: "submit", account, submit: request, ...keyOf(account, symbol, request.clientOrderId) };
  }

  /** A new one nearly always. */
  #clientOrderId(extras: Digits): string {
    return extras.pick(16) === 15 ? `c${Math.max(0, this.#ids - extras.pick(8))}` : `c${++this.#ids}`;
  }

  /** An open order nearly always; or one of another account; or the one before in the entry; or none. */
  #target(account: string, symbol: string, what: Digits, index: number) {
    const { orders } = this.#reference;
    const byClient = what.pick(2) === 1;
    const which = what.pick(16);
    const order = orders[what.pick(Math.max(1, orders.length))];
    if (order === undefined || which === 15) {
      const place = { epoch: 1, ms: this.#ms, seq: this.#seq + 1, index: Math.max(0, index - 1) };
      return { account, symbol, target: targetAt(place) };
    }
    const owner = which === 14 ? account : order.account;
    const of = which === 13 ? symbol : order.symbol;
    const target: Target = byClient
      ? { by: "client", clientOrderId: order.clientOrderId, ...keyOf(owner, of, order.clientOrderId) }
      : targetAt(order);
    return { account: owner, symbol: of, target };
  }

  #replace(account: string, symbol: string, what: Digits, amounts: Digits, index: number): ReplaceCommand {
    const aim = this.#target(account, symbol, what, index);
    const { lot } = this.#scale;
    return {
      kind: "replace",
      ...aim,
      quantity: amounts.pick(4) === 0 ? 0 : (1 + amounts.pick(12)) * lot,
      price: amounts.pick(2) === 0 ? 0 : LOWEST - 1 + amounts.pick(PRICES + 2),
      stopPrice: amounts.pick(4) < 3 ? 0 : LOWEST + amounts.pick(PRICES),
      displayQuantity: amounts.pick(4) < 3 ? 0 : (1 + amounts.pick(4)) * lot,
    };
  }

  #define(symbol: string, what: Digits): InstrumentCommand {
    if (what.pick(3) === 0) return definition(symbol, this.#version, this.#scale.lot);
    const base = definition(symbol, ++this.#version, this.#scale.lot);
    switch (what.pick(6)) {
      case 0:
        return { ...base, minQuantity: 2 * this.#scale.lot };
      case 1:
        return { ...base, minPrice: LOWEST + 1, maxPrice: LOWEST + PRICES };
      case 2:
        return { ...base, timesInForce: [0, 0b1000, 0b1000010, 0b11000, 0] };
      case 3:
        return { ...base, tickSize: "0.5" };
      case 4:
        return { ...base, minPrice: base.maxPrice + 1 };
      default:
        return base;
    }
  }

  /** An order with values that none can have. */
  #spoilt(account: string, symbol: string, what: Digits, amounts: Digits): Command {
    const command = this.#submit(account, symbol, new Digits(what.pick(1 << 20)), amounts, new Digits(0));
    if (command.kind !== "submit") return command;
    const faults: readonly Partial<OrderRequest>[] = [
      { quantity: 0 },
      { quantity: 1.5 },
      { quantity: 2 ** 53 },
      { quantity: -1 },
      { price: Number.NaN },
      { price: 2 ** 53 - 1, quantity: 2 ** 53 - 1 },
      { side: 3 },
      { side: -1 },
      { type: 9 },
      { type: 2.5 },
      { timeInForce: 33 },
      { timeInForce: 0 },
      { stopPrice: 3 },
      { displayQuantity: 2 ** 52 },
      { expireTime: 5 },
      { selfTradePrevention: 5 },
      { clientOrderId: "" },
      { clientOrderId: "x".repeat(65) },
    ];
    const submit = { ...command.submit, ...what.one(faults) };
    return { ...command, account: what.one([account, account, account, account, account, "", "n".repeat(65)]), submit };
  }
}

function targetAt({ epoch, ms, seq, index }: Place): Target {
  return { by: "order", epoch, ms, seq, index };
}

export function definition(symbol: string, version: number, lot = 1): InstrumentCommand {
  return {
    kind: "instrument",
    symbol,
    version,
    tickSize: "0.01",
    lotSize: "0.001",
    minQuantity: 1,
    maxQuantity: 12 * lot,
    minPrice: LOWEST - 1,
    maxPrice: LOWEST + PRICES,
    timesInForce: ALL_TIMES,
  };
}

/** So few bits that orders share them all the time. */
export function keyOf(account: string, symbol: string, clientOrderId: string) {
  let sum = 0;
  for (const letter of account + symbol + clientOrderId) sum += letter.codePointAt(0)!;
  return { keyHigh: sum & 1, keyLow: sum % 5 };
}
