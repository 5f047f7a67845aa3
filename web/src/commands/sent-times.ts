import type { Store } from "./outbox.ts";

/** When this tab sent an order and when it had the answer, by the clock of this machine, in milliseconds since 1970. */
export interface SentTimes {
  readonly sentAt: number;
  readonly answeredAt: number;
}

const KEY = "penstock.sent";
/** An evening of orders by hand. */
const KEPT = 200;

/** Of the orders of this tab, by their ids: the log does not hold when a client sent its order. */
export class SentOrders {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  note(orderId: string, times: SentTimes): void {
    const entries = [...Object.entries(this.#all()).filter(([id]) => id !== orderId), [orderId, times] as const];
    this.#store.setItem(KEY, JSON.stringify(Object.fromEntries(entries.slice(-KEPT))));
  }

  of(orderId: string): SentTimes | undefined {
    return this.#all()[orderId];
  }

  #all(): Record<string, SentTimes> {
    try {
      return JSON.parse(this.#store.getItem(KEY) ?? "{}") as Record<string, SentTimes>;
    } catch {
      return {};
    }
  }
}
