import type { MessageInitShape } from "@bufbuild/protobuf";
import { OrderType, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService, type SubmitOrderRequestSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { ApiClient } from "../../src/cli/client.ts";

/** Cents around which the market moves. */
const MIDDLE = 6_412_000;
/** Of each side, a few cents to some dollars apart. */
const LEVELS = 30;
const BATCH = 500;

/** Numbers from 0 to 1, the same each time. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function cents(price: number): string {
  return (price / 100).toFixed(2);
}

function lots(random: () => number): string {
  return (0.01 + random() * 2).toFixed(4);
}

/** A market as it might be on a quiet afternoon: a book of some depth, and trades around a price that wanders. */
export class DemoMarket {
  readonly #client: ApiClient;
  readonly #symbol: string;
  readonly #random = seeded(7);
  #middle = MIDDLE;
  #orders = 0;

  constructor(client: ApiClient, symbol: string) {
    this.#client = client;
    this.#symbol = symbol;
  }

  /** A book around the middle. */
  async fillBook(): Promise<void> {
    const levels = Array.from({ length: LEVELS }, (_, level) => 150 + level * 90 + Math.floor(this.#random() * 80));
    const orders = levels.flatMap((away) => [this.#order(Side.BUY, -away), this.#order(Side.SELL, away)]);
    await this.#send(orders);
  }

  /** So many pairs that trade with each other, at a price that moves on. */
  async trade(pairs: number): Promise<void> {
    const orders = Array.from({ length: pairs }, () => {
      this.#middle += Math.round((this.#random() - 0.5) * 60);
      const quantity = lots(this.#random);
      const sides = this.#random() < 0.5 ? [Side.BUY, Side.SELL] : [Side.SELL, Side.BUY];
      return sides.map((side) => ({ ...this.#order(side, 0), quantity }));
    });
    await this.#send(orders.flat());
  }

  /** So many orders that join or make a level somewhere in the book. */
  async quote(count: number): Promise<void> {
    const orders = Array.from({ length: count }, () => {
      const away = 150 + Math.floor(this.#random() * LEVELS * 90);
      return this.#random() < 0.5 ? this.#order(Side.BUY, -away) : this.#order(Side.SELL, away);
    });
    await this.#send(orders);
  }

  #order(side: Side, away: number) {
    return {
      clientOrderId: `market-${++this.#orders}`,
      symbol: this.#symbol,
      side,
      type: OrderType.LIMIT,
      quantity: lots(this.#random),
      price: cents(this.#middle + away),
    };
  }

  async #send(orders: readonly MessageInitShape<typeof SubmitOrderRequestSchema>[]): Promise<void> {
    for (let from = 0; from < orders.length; from += BATCH) {
      const { results } = await this.#client.call(OrderService.method.submitOrders, {
        orders: orders.slice(from, from + BATCH),
      });
      for (const { result } of results) if (result.case !== "accepted") throw new Error("an order was not taken");
    }
  }
}
