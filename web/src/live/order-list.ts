import { type Order, OrderStatus } from "../../../src/gen/penstock/v1/order_pb.ts";

/** Of orders that have ended. Older ones are found by their id. */
const KEPT_ENDED = 500;

/** Whether it may still trade. */
export function isOpen({ status }: Order): boolean {
  return status === OrderStatus.PENDING_NEW || status === OrderStatus.NEW || status === OrderStatus.PARTIALLY_FILLED;
}

/**
 * Orders, newest first.
 *
 * Always true: each order is in one of the two lists, once, and both are sorted by id, which is the order's place in the log
 * and begins with its time.
 */
export class OrderList {
  #open: Order[] = [];
  #ended: Order[] = [];

  get open(): readonly Order[] {
    return this.#open;
  }

  get ended(): readonly Order[] {
    return this.#ended;
  }

  find(orderId: string): Order | undefined {
    return at(this.#open, orderId) ?? at(this.#ended, orderId);
  }

  reset(orders: readonly Order[]): void {
    this.#open = [];
    this.#ended = [];
    for (const order of orders) this.set(order);
  }

  /** It is the newest state of the order that is known. */
  set(order: Order): void {
    if (isOpen(order)) {
      put(this.#open, order);
    } else {
      take(this.#open, order.orderId);
      put(this.#ended, order);
      if (this.#ended.length > KEPT_ENDED) this.#ended.pop();
    }
  }

  /** It is a state of the order, and maybe not the newest one: what is here stays unless it is of before. */
  learn(order: Order): boolean {
    const known = this.find(order.orderId);
    if (known !== undefined && (!isOpen(known) || stateOf(known) >= stateOf(order))) return false;
    this.set(order);
    return true;
  }
}

/** Rises with what happens to an order, as far as it can be told from the order alone. */
function stateOf({ updatedAt, status }: Order): number {
  const ms = Number(updatedAt?.seconds ?? 0n) * 1000 + (updatedAt?.nanos ?? 0) / 1e6;
  return status === OrderStatus.PENDING_NEW ? 0 : ms;
}

/** Where it stands, or would stand. */
function indexOf(orders: readonly Order[], orderId: string): number {
  let from = 0;
  let to = orders.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (orders[middle]!.orderId > orderId) from = middle + 1;
    else to = middle;
  }
  return from;
}

function at(orders: readonly Order[], orderId: string): Order | undefined {
  const order = orders[indexOf(orders, orderId)];
  return order?.orderId === orderId ? order : undefined;
}

function put(orders: Order[], order: Order): void {
  const index = indexOf(orders, order.orderId);
  orders.splice(index, orders[index]?.orderId === order.orderId ? 1 : 0, order);
}

function take(orders: Order[], orderId: string): void {
  const index = indexOf(orders, orderId);
  if (orders[index]?.orderId === orderId) orders.splice(index, 1);
}
