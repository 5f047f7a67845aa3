import { Side } from "../../gen/penstock/v1/order_pb.ts";
import { fromUnits, parseScale } from "../../stream/decimal.ts";
import { RecordedOrders } from "./orders.ts";
import { BEFORE_RECORDING } from "./step.ts";
import type { Parser, ParserOptions, Step } from "./step.ts";

/** Some files have more columns behind. Direction is that of the order that is named: of an execution, the resting one. */
export const LOBSTER_ROW = /^(\d{1,6}(?:\.\d{1,12})?),([1-7]),(\d{1,18}),(\d{1,12}),(-?\d{1,15}),(-1|1)(?:,|$)/;

const PRICE = parseScale("0.0001");

interface Open {
  /** The whole order's, what is executed included; and what is. */
  quantity: number;
  executed: number;
}

/** To the microsecond: seconds after midnight have no exact double. */
function millisecondsOf(seconds: string): number {
  return Math.round(Number(seconds) * 1_000_000) / 1_000;
}

/** An order that took liquidity, as its executions show it. */
interface Aggressor {
  readonly line: number;
  readonly time: string;
  readonly side: Side;
  quantity: number;
  /** The worst that it took, in ten-thousandths. */
  price: number;
}

/**
 * LOBSTER message files: no header; seconds after midnight, type, order id, size, price × 10,000, direction.
 *
 * A partial cancel is a replace with the smaller quantity. What took liquidity stands in no line of its own: consecutive
 * executions of one time and direction are one order's, and with `executions` they are turned into it (IOC, with the price
 * of its last fill for a limit). Executions of orders from before the file are left out of it: nothing rests there for it.
 */
export class LobsterParser implements Parser {
  readonly unit = parseScale("1");
  readonly #orders: RecordedOrders;
  readonly #executions: boolean;
  readonly #open = new Map<string, Open>();
  #aggressor: Aggressor | undefined;

  constructor(options: ParserOptions) {
    this.#orders = new RecordedOrders(options);
    this.#executions = options.executions;
  }

  read(text: string, line: number): Step[] {
    if (text === "") return [];
    const [, time, type, id, sizeText, priceText, direction] = LOBSTER_ROW.exec(text) ?? [];
    if (time === undefined || id === undefined) {
      return [...this.end(), { kind: "fault", line, message: "not time,type,order id,size,price,direction" }];
    }
    const side = direction === "1" ? Side.BUY : Side.SELL;
    const goesOn = this.#aggressor?.time === time && this.#aggressor.side !== side && (type === "4" || type === "5");
    const before = goesOn ? [] : this.end();
    const skip = (why: string): Step[] => [...before, { kind: "skip", line, why }];
    const size = Number(sizeText);
    const price = Number(priceText);
    const place = { line, at: millisecondsOf(time) };

    if (type === "5") return skip("hidden executions");
    if (type === "6") return skip("crosses");
    if (type === "7") return skip("halts and resumptions: an admin's (penstock instruments)");
    if (price <= 0 || size === 0)
      return [...before, { kind: "fault", line, message: "price and size must be positive" }];
    const open = this.#open.get(id);
    if (type === "1") {
      if (open !== undefined) return [...before, { kind: "fault", line, message: `order ${id} is open already` }];
      this.#open.set(id, { quantity: size, executed: 0 });
      const order = { side, price: fromUnits(price, PRICE), quantity: sizeText! };
      return [...before, this.#orders.limit(place, id, order)];
    }
    if (open === undefined) return skip(BEFORE_RECORDING);
    if (type === "4") {
      open.executed += size;
      if (open.executed >= open.quantity) this.#open.delete(id);
      const fill: Step = { kind: "fill", ...place, order: this.#orders.id(id), side, quantity: size };
      if (!this.#executions)
        return [...before, fill, { kind: "skip", line, why: "executions: sent with --executions" }];
      this.#execute(line, time, side, size, price);
      return [...before, fill];
    }
    if (type === "2" && open.quantity - size > open.executed) {
      open.quantity -= size;
      return [...before, this.#orders.replace(place, id, { quantity: String(open.quantity) })];
    }
    this.#open.delete(id);
    return [...before, this.#orders.cancel(place, id)];
  }

  end(): Step[] {
    const aggressor = this.#aggressor;
    if (aggressor === undefined) return [];
    this.#aggressor = undefined;
    const { line, time, side, quantity } = aggressor;
    const place = { line, at: millisecondsOf(time) };
    const id = `x${line}`;
    const order = {
      side,
      price: fromUnits(aggressor.price, PRICE),
      quantity: String(quantity),
      immediate: true,
    } as const;
    return [
      this.#orders.limit(place, id, order),
      { kind: "fill", ...place, order: this.#orders.id(id), side, quantity },
    ];
  }

  #execute(line: number, time: string, resting: Side, size: number, price: number): void {
    const aggressor = this.#aggressor;
    if (aggressor === undefined) {
      const side = resting === Side.BUY ? Side.SELL : Side.BUY;
      this.#aggressor = { line, time, side, quantity: size, price };
      return;
    }
    aggressor.quantity += size;
    aggressor.price = aggressor.side === Side.BUY ? Math.max(aggressor.price, price) : Math.min(aggressor.price, price);
  }
}
