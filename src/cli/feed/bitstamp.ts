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
  /** Satoshi that are open. */
  volume: number;
}

/**
 * The order log of Bitstamp, as the R package ob-analytics has it: a line is a state of an order, with what is open of it
 * after the event, in satoshi. A new order is submitted; one that is deleted while some of it is open is canceled; what goes
 * down in between was executed. Where the price of an order changes (the venue moved what took liquidity from level to
 * level) it is replaced.
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
      this.#open.set(id, { price, volume });
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
    const steps: Step[] = [];
    if (volume < open.volume) steps.push(fill(open.volume - volume));
    if (executed && steps.length > 0) steps.push({ kind: "skip", line, why: EXECUTION });
    open.volume = volume;
    if (action === "deleted") {
      this.#open.delete(id);
      if (volume > 0) steps.push(this.#orders.cancel(place, id));
    } else if (price !== open.price) {
      open.price = price;
      steps.push(this.#orders.replace(place, id, { price }));
    } else if (steps.length === 0) steps.push({ kind: "skip", line, why: "changes of nothing" });
    return steps;
  }

  end(): Step[] {
    return [];
  }
}
