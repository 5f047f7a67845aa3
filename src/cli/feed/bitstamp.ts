import { Side } from "../../gen/penstock/v1/order_pb.ts";
import { fromUnits, parseScale } from "../../stream/decimal.ts";
import { RecordedOrders } from "./orders.ts";
import { BEFORE_RECORDING } from "./step.ts";
import type { Fill, Parser, ParserOptions, Step } from "./step.ts";

export const BITSTAMP_HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction";

const ROW = /^(\d{1,18}),(\d{1,15}),\d{1,15},(\d{1,12}(?:\.\d{1,8})?),(\d{1,15}),(created|changed|deleted),(bid|ask)$/;

const EXECUTION = "executions: matching makes them";

interface Open {
  price: string;
  /** Satoshi of the whole order, what is executed included; and those that are open. */
  quantity: number;
  volume: number;
}

/**
 * The order log of Bitstamp, as the R package ob-analytics has it: a line is a state of an order, with what is open of it
 * after the event, in satoshi. A new order is submitted; one that is deleted while some of it is open is canceled; what goes
 * down in between was executed. Where the price of an order changes it is replaced: the venue moves a market order from level to
 * level, and what is open of one that has an amount of money to spend goes down with it.
 */
export class BitstampParser implements Parser {
  readonly unit = parseScale("0.00000001");
  readonly #orders: RecordedOrders;
  readonly #open = new Map<string, Open>();
  /** Ids rise: those below the first new order's are older than the recording. */
  #first: bigint | undefined;

  constructor(options: ParserOptions) {
    this.#orders = new RecordedOrders(options);
  }

  read(text: string, line: number): Step[] {
    if (text === "" || text === BITSTAMP_HEADER) return [];
    const [, id, time, price, volumeText, action, direction] = ROW.exec(text) ?? [];
    if (id === undefined || time === undefined || price === undefined) {
      return [{ kind: "fault", line, message: `not ${BITSTAMP_HEADER}` }];
    }
    const volume = Number(volumeText);
    const at = Number(time);
    const side = direction === "bid" ? Side.BUY : Side.SELL;
    const place = { line, at };
    const open = this.#open.get(id);

    if (action === "created") {
      if (open !== undefined) return [{ kind: "fault", line, message: `order ${id} is open already` }];
      this.#first ??= BigInt(id);
      this.#open.set(id, { price, quantity: volume, volume });
      return [this.#orders.limit(place, id, { side, price, quantity: fromUnits(volume, this.unit) })];
    }

    const fill = (quantity: number | undefined): Fill => {
      return { kind: "fill", ...place, order: this.#orders.id(id), side, quantity };
    };
    const executed = action === "changed" || volume === 0;
    if (open === undefined) {
      const older = this.#first === undefined || BigInt(id) < this.#first;
      const why = older ? BEFORE_RECORDING : "of an order that has ended, or from before the recording";
      const skip: Step = { kind: "skip", line, why };
      return executed ? [fill(undefined), skip] : [skip];
    }
    const less = open.volume - volume;
    open.volume = volume;
    if (action === "deleted") this.#open.delete(id);
    else if (price !== open.price) {
      open.price = price;
      open.quantity -= less;
      const quantity = less === 0 ? "" : fromUnits(open.quantity, this.unit);
      return [this.#orders.replace(place, id, { price, quantity })];
    }
    const steps: Step[] = less > 0 ? [fill(less)] : [];
    if (action === "deleted" && volume > 0) return [...steps, this.#orders.cancel(place, id)];
    return [...steps, { kind: "skip", line, why: less > 0 ? EXECUTION : "changes of nothing" }];
  }

  end(): Step[] {
    return [];
  }
}
