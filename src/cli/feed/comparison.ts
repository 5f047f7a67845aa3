import { ExecType, Side } from "../../gen/penstock/v1/order_pb.ts";
import type { ExecutionReport } from "../../gen/penstock/v1/order_pb.ts";
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
/** How far apart a recording may tell the two sides of a trade. */
const APART_MS = 2_000;

/** Why an order was filled otherwise, as far as the recording shows it: the first that fits. */
export const differences = {
  digits: "in the last digits alone: the venue rounds what is open of an order",
  unsent: "executions of it were not sent (--executions sends them)",
  refused: "it was refused, or canceled before it came",
  before: "it traded with an order from before the recording",
  gone: "it met an order that the recording had ended by then",
  foreign: "it met an order of another account",
  crossed: "it met an order that the recording shows open at that time as well, and no trade: told late, or prevented",
  partner: "whom it traded with had traded otherwise before, or is not in the recording",
} as const;
export type Difference = keyof typeof differences;

/** An order as the recording has it and as the engine has it. Amounts are in units of the recording. */
interface Order {
  readonly line: number;
  readonly side: Side;
  readonly quantity: number;
  /** The line of its cancel, or of the fill that ended it; Infinity while it is open. */
  endLine: number;
  recorded: number;
  readonly fills: Fill[];
  engine: number;
  readonly trades: { readonly other: string; readonly line: number }[];
  isRejected: boolean;
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
    const { command, line } = step;
    if (command.case === "submit") {
      if (this.#orders.size >= MAX_ORDERS) {
        this.#uncompared++;
        return;
      }
      this.#orders.set(command.value.clientOrderId, {
        line,
        side: command.value.side,
        quantity: this.#units(command.value.quantity),
        endLine: Infinity,
        recorded: 0,
        fills: [],
        engine: 0,
        trades: [],
        isRejected: false,
      });
    } else if (command.case === "cancel") {
      const order = this.#orders.get(command.value.clientOrderId);
      if (order !== undefined) order.endLine = line;
    } else if (command.case === "replace" && this.#lineOfReplace.size < MAX_ORDERS) {
      this.#lineOfReplace.set(command.value.clientRequestId, line);
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
  report({ execType, order: state, trade, clientRequestId }: ExecutionReport): void {
    const id = state?.clientOrderId ?? "";
    const order = this.#orders.get(id);
    if (state === undefined || order === undefined) return;
    if (execType === ExecType.REJECTED) order.isRejected = true;
    order.engine = Math.max(order.engine, this.#units(state.cumQuantity));
    if (execType !== ExecType.TRADE) return;
    // The aggressor's report comes first, and right behind it that of the order that rested.
    const half = this.#half;
    if (half?.trade !== trade) {
      this.#half = { trade, order: id };
      order.trades.push({ other: "", line: order.line });
      return;
    }
    this.#half = undefined;
    const aggressor = this.#orders.get(half.order);
    const line = this.#lineOfReplace.get(clientRequestId) ?? aggressor?.line ?? order.line;
    aggressor?.trades.splice(-1, 1, { other: id, line });
    order.trades.push({ other: half.order, line });
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
    if (order.recorded >= order.quantity) order.endLine = fill.line;
  }

  #explain(order: Order): Difference {
    const { recorded, engine, fills, trades } = order;
    const most = ROUNDING_PER_FILL * Math.max(fills.length, trades.length);
    if (Math.abs(recorded - engine) <= most && recorded > 0 && engine > 0 && this.#unit.decimals > 0) return "digits";
    if (recorded > engine) {
      if (!this.#sendsExecutions) return "unsent";
      if (order.isRejected) return "refused";
      return fills.some((fill) => this.#isNearOneBefore(fill)) ? "before" : "partner";
    }
    const others = trades.map(({ other, line }) => ({ other: this.#orders.get(other), line }));
    if (others.some(({ other, line }) => other !== undefined && other.endLine < line)) return "gone";
    return others.some(({ other }) => other === undefined) ? "foreign" : "crossed";
  }

  /** Whether an order from before the recording was executed on the other side at about that time. */
  #isNearOneBefore({ at, side }: Fill): boolean {
    return this.#before.some((fill) => fill.side !== side && Math.abs(fill.at - at) <= APART_MS);
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
