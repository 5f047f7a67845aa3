import { ExecType } from "../../gen/penstock/v1/order_pb.ts";
import type { ExecutionReport, Side } from "../../gen/penstock/v1/order_pb.ts";
import { toUnits } from "../../stream/decimal.ts";
import type { Scale } from "../../stream/decimal.ts";
import type { Fill, Send } from "./step.ts";

/** Orders that are compared: some 300 bytes each, so that all of it stays below 1 GB. Those beyond are counted. */
const MAX_ORDERS = 2_000_000;
/** A book holds some thousand orders when a recording begins. */
const MAX_BEFORE = 10_000;
/** Differences that are told one by one. */
const MAX_TOLD = 10_000;
/** A venue that reckons with money rounds what is open of an order at each fill. */
const ROUNDING_PER_FILL = 2;
/** How far apart a recording may tell the two sides of a trade, in time and as a share of its quantity. */
const APART_MS = 2_000;
const APART_SHARE = 0.001;

/** Why an order was filled otherwise, as far as the recording shows it: the first that fits. */
export const differences = {
  digits: "in the last digits alone: the venue rounds what is open of an order",
  unsent: "executions of it were not sent (--executions sends them)",
  refused: "it was refused, or canceled before it came",
  gone: "it met an order of which the recording had less left by then",
  before: "it, or whom it met, traded with an order from before the recording",
  foreign: "it met an order of another account",
  canceled: "the recording cancels one side of a trade that the other side shows",
  crossed: "it met an order that the recording shows open as well, and no trade: told late, or prevented",
  partner: "whom it traded with met another order in the engine, or is not in the recording",
} as const;
export type Difference = keyof typeof differences;

/** An order as the recording has it and as the engine has it. Amounts are in units of the recording. */
interface Order {
  readonly line: number;
  readonly side: Side;
  /** The whole order's, as it was last replaced. */
  quantity: number;
  /** Where and when it was canceled; Infinity while it was not. */
  canceledLine: number;
  canceledAt: number;
  recorded: number;
  readonly fills: Fill[];
  engine: number;
  readonly trades: EngineTrade[];
  isRejected: boolean;
}

interface EngineTrade {
  /** "" for one that is not of this recording. */
  readonly other: string;
  /** Of the command that took. */
  readonly line: number;
  readonly quantity: number;
}

export interface Differing {
  readonly order: string;
  readonly line: number;
  readonly recorded: number;
  readonly engine: number;
  readonly why: Difference;
}

export interface Compared {
  readonly orders: number;
  /** Beyond what can be remembered, or fed before. */
  readonly uncompared: number;
  readonly same: number;
  /** Of them, those that were filled, whole or in part. */
  readonly sameFilled: number;
  readonly recordedFilled: number;
  /** Of all orders, filled in all. */
  readonly recordedQuantity: string;
  readonly engineQuantity: string;
  readonly why: Readonly<Partial<Record<Difference, number>>>;
  /** The first of those that differ. */
  readonly differing: readonly Differing[];
}

/**
 * Holds what the engine made of a recording against what was recorded, order by order: how much was filled of each.
 *
 * Always true: an order is known from its submit on; `engine` is the highest filled quantity that a report told.
 */
export class Comparison {
  readonly #unit: Scale;
  readonly #sendsExecutions: boolean;
  readonly #orders = new Map<string, Order>();
  /** Executions of orders from before the recording: the first MAX_BEFORE. */
  readonly #before: Fill[] = [];
  readonly #lineOfReplace = new Map<string, number>();
  /** The first report of a trade, until the second is there. */
  #half: { readonly trade: bigint; readonly order: string } | undefined;
  #uncompared = 0;

  /** `sendsExecutions`: what took liquidity is among what is sent. */
  constructor(unit: Scale, sendsExecutions: boolean) {
    this.#unit = unit;
    this.#sendsExecutions = sendsExecutions;
  }

  /** What the recording says, in its order. */
  recorded(step: Send | Fill): void {
    if (step.kind === "fill") return this.#filled(step);
    const { command, line, at } = step;
    if (command.case === "submit") {
      if (this.#orders.size >= MAX_ORDERS) {
        this.#uncompared++;
        return;
      }
      this.#orders.set(command.value.clientOrderId, {
        line,
        side: command.value.side,
        quantity: this.#units(command.value.quantity),
        canceledLine: Infinity,
        canceledAt: Infinity,
        recorded: 0,
        fills: [],
        engine: 0,
        trades: [],
        isRejected: false,
      });
      return;
    }
    if (command.case === "cancelAll") return;
    const order = this.#orders.get(command.value.clientOrderId);
    if (order === undefined) return;
    if (command.case === "cancel") {
      order.canceledLine = line;
      order.canceledAt = at ?? Infinity;
    } else {
      order.quantity = this.#units(command.value.quantity) || order.quantity;
      if (this.#lineOfReplace.size < MAX_ORDERS) this.#lineOfReplace.set(command.value.clientRequestId, line);
    }
  }

  /** It was fed before: the engine's reports of it are gone by. */
  forget(clientOrderId: string): void {
    if (this.#orders.delete(clientOrderId)) this.#uncompared++;
  }

  /** It never came to the engine. */
  refused(clientOrderId: string): void {
    const order = this.#orders.get(clientOrderId);
    if (order !== undefined) order.isRejected = true;
  }

  /** What the engine says, in its order. */
  report({ execType, order: state, trade, lastQuantity, clientRequestId }: ExecutionReport): void {
    const id = state?.clientOrderId ?? "";
    const order = this.#orders.get(id);
    if (state === undefined || order === undefined) return;
    if (execType === ExecType.REJECTED) order.isRejected = true;
    order.engine = Math.max(order.engine, this.#units(state.cumQuantity));
    if (execType !== ExecType.TRADE) return;
    // The aggressor's report comes first, and right behind it that of the order that rested.
    const quantity = this.#units(lastQuantity);
    const half = this.#half;
    if (half?.trade !== trade) {
      this.#half = { trade, order: id };
      order.trades.push({ other: "", line: order.line, quantity });
      return;
    }
    this.#half = undefined;
    const aggressor = this.#orders.get(half.order);
    const line = this.#lineOfReplace.get(clientRequestId) ?? aggressor?.line ?? order.line;
    aggressor?.trades.splice(-1, 1, { other: id, line, quantity });
    order.trades.push({ other: half.order, line, quantity });
  }

  result(): Compared {
    const why: Partial<Record<Difference, number>> = {};
    const differing: Differing[] = [];
    let same = 0;
    let sameFilled = 0;
    let recordedFilled = 0;
    let recordedQuantity = 0n;
    let engineQuantity = 0n;
    for (const [id, order] of this.#orders) {
      const { line, recorded, engine } = order;
      recordedQuantity += BigInt(recorded);
      engineQuantity += BigInt(engine);
      if (recorded > 0) recordedFilled++;
      if (recorded === engine) {
        same++;
        if (recorded > 0) sameFilled++;
        continue;
      }
      const reason = this.#explain(order);
      why[reason] = (why[reason] ?? 0) + 1;
      if (differing.length < MAX_TOLD) differing.push({ order: id, line, recorded, engine, why: reason });
    }
    return {
      orders: this.#orders.size,
      uncompared: this.#uncompared,
      same,
      sameFilled,
      recordedFilled,
      recordedQuantity: this.#decimal(recordedQuantity),
      engineQuantity: this.#decimal(engineQuantity),
      why,
      differing,
    };
  }

  #filled(fill: Fill): void {
    const order = this.#orders.get(fill.order);
    if (fill.quantity === undefined && this.#before.length < MAX_BEFORE) this.#before.push(fill);
    if (order === undefined || fill.quantity === undefined) return;
    order.recorded += fill.quantity;
    order.fills.push(fill);
  }

  #explain(order: Order): Difference {
    const { recorded, engine, fills, trades } = order;
    const most = ROUNDING_PER_FILL * Math.max(fills.length, trades.length);
    if (Math.abs(recorded - engine) <= most && recorded > 0 && engine > 0 && this.#unit.decimals > 0) return "digits";
    if (recorded > engine) {
      if (!this.#sendsExecutions) return "unsent";
      if (order.isRejected) return "refused";
      return this.#metOneBefore(order) ? "before" : "partner";
    }
    const met = trades.map((trade) => ({ ...trade, other: this.#orders.get(trade.other) }));
    if (met.some(({ other, line, quantity }) => other !== undefined && leftOf(other, line) < quantity)) return "gone";
    const others = met.flatMap(({ other }) => other ?? []);
    if ([order, ...others].some((one) => this.#metOneBefore(one))) return "before";
    if (others.length < met.length) return "foreign";
    return others.some((other) => isCancelOfFill(order, other) || isCancelOfFill(other, order))
      ? "canceled"
      : "crossed";
  }

  /** Whether an order from before the recording was executed on the other side at about the time of one of its fills. */
  #metOneBefore({ fills, side }: Order): boolean {
    return fills.some(({ at }) => this.#before.some((fill) => fill.side !== side && isNear(fill.at, at)));
  }

  #units(decimal: string): number {
    const units = toUnits(decimal, this.#unit);
    return typeof units === "number" ? units : 0;
  }

  #decimal(units: bigint): string {
    const { decimals } = this.#unit;
    if (decimals === 0) return String(units);
    const digits = String(units).padStart(decimals + 1, "0");
    return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
  }
}

/** What the recording had left of an order when it came to a line. */
function leftOf({ quantity, fills, canceledLine }: Order, line: number): number {
  if (canceledLine < line) return 0;
  return fills.reduce((left, fill) => left - (fill.line < line ? (fill.quantity ?? 0) : 0), quantity);
}

/** Whether what was open of an order when it was canceled is what the other one was filled at that time. */
function isCancelOfFill({ quantity, recorded, canceledAt }: Order, { fills }: Order): boolean {
  const open = quantity - recorded;
  return fills.some(
    ({ at, quantity = 0 }) => isNear(at, canceledAt) && Math.abs(quantity - open) <= open * APART_SHARE,
  );
}

function isNear(a: number, b: number): boolean {
  return Math.abs(a - b) <= APART_MS;
}
