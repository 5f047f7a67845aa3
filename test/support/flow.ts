import { create, toBinary } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../../src/gen/penstock/v1/instrument_pb.ts";
import {
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
  TradingStatus,
} from "../../src/gen/penstock/v1/order_pb.ts";
import {
  prepareAccountLimits,
  prepareCancel,
  type PreparedCommand,
  prepareInstrument,
  prepareMassCancel,
  prepareReplace,
  prepareSubmit,
  prepareTradingStatus,
} from "../../src/stream/prepared-command.ts";
import type { InstrumentChange } from "../../src/stream/flush.ts";
import { patient, type TestAppender } from "./log.ts";
import { random } from "./random.ts";

const SYMBOLS = ["BTC-USD", "ETH-USD"];
const ACCOUNTS = ["ann", "bob", "cem"];
const { UNSPECIFIED, CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH, DECREMENT } = SelfTradePrevention;
const PREVENTIONS = [UNSPECIFIED, CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH, DECREMENT];

/** Commands of every kind that clients and operators have, as the seed decides; most of them trade with each other. */
export class Flow {
  readonly #next: () => number;
  #ids = 0;
  #requests = 0;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  /** Defines the two symbols of the flow, in an entry each. */
  static async define(appender: TestAppender): Promise<void> {
    for (const symbol of SYMBOLS) {
      const instrument = create(InstrumentSchema, { symbol, tickSize: "0.01", lotSize: "0.001", version: 1 });
      const next = Buffer.from(toBinary(InstrumentSchema, instrument));
      const change: InstrumentChange = { symbol, present: Buffer.alloc(0), next };
      await appender.appender.append([prepareInstrument("root", instrument)], patient, change);
    }
  }

  /** Appends so many entries of 1 to 12 commands, one after the other. */
  async append(appender: TestAppender, entries: number): Promise<void> {
    for (let i = 0; i < entries; i++) await appender.append(...this.commands(1 + this.#pick(12)));
  }

  commands(count: number): PreparedCommand[] {
    return Array.from({ length: count }, () => this.#command());
  }

  #command(): PreparedCommand {
    const account = this.#one(ACCOUNTS);
    const symbol = this.#pick(4) === 0 ? SYMBOLS[1]! : SYMBOLS[0]!;
    const request = `request-${++this.#requests}`;
    const kind = this.#pick(60);
    if (kind < 6) return prepareCancel(account, request, symbol, this.#target());
    if (kind < 11) {
      const fields = {
        quantity: this.#pick(20),
        price: this.#pick(2) * this.#price(),
        stopPrice: 0,
        displayQuantity: 0,
      };
      return prepareReplace(account, request, symbol, this.#target(), fields);
    }
    if (kind === 11) return prepareMassCancel(account, request, this.#one([symbol, ""]));
    if (kind === 12) {
      const { OPEN, CANCEL_ONLY } = TradingStatus;
      return prepareTradingStatus("root", request, symbol, this.#one([OPEN, OPEN, OPEN, CANCEL_ONLY]));
    }
    if (kind === 13) return prepareAccountLimits("root", request, { account, maxOpenOrders: 30, maxQuantity: 0 });
    return this.#submit(account, symbol);
  }

  #submit(account: string, symbol: string): PreparedCommand {
    const { LIMIT, MARKET, STOP, STOP_LIMIT } = OrderType;
    const { GTC, GTD, IOC, FOK } = TimeInForce;
    const type = this.#one([LIMIT, LIMIT, LIMIT, LIMIT, MARKET, STOP, STOP_LIMIT]);
    const isLimited = type === LIMIT || type === STOP_LIMIT;
    const timeInForce = this.#one(isLimited ? [GTC, GTC, GTC, GTD, IOC, FOK] : [IOC, FOK]);
    const quantity = 1 + this.#pick(20);
    return prepareSubmit(account, {
      clientOrderId: `order-${++this.#ids}`,
      symbol,
      side: this.#one([Side.BUY, Side.SELL]),
      type,
      timeInForce,
      quantity,
      price: isLimited ? this.#price() : 0,
      stopPrice: type === STOP || type === STOP_LIMIT ? this.#price() : 0,
      displayQuantity: timeInForce === GTC && isLimited && this.#pick(5) === 0 ? Math.min(2, quantity) : 0,
      // Some are due while the test runs.
      expireTime: timeInForce === GTD ? Date.now() + 20 + this.#pick(2_000) : 0,
      postOnly: type === LIMIT && timeInForce === GTC && this.#pick(8) === 0,
      selfTradePrevention: this.#one(PREVENTIONS),
    });
  }

  #target(): { case: "clientOrderId"; value: string } {
    return { case: "clientOrderId", value: `order-${Math.max(1, this.#ids - this.#pick(40))}` };
  }

  #price(): number {
    return 10_000 + this.#pick(12);
  }

  #pick(below: number): number {
    return Math.floor(this.#next() * below);
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#pick(of.length)]!;
  }
}
