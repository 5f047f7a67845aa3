import type { MessageInitShape } from "@bufbuild/protobuf";

import { AckLevel, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import type {
  CancelAllOrdersRequestSchema,
  CancelOrderRequestSchema,
  ReplaceOrderRequestSchema,
  SubmitOrderRequestSchema,
} from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { Random } from "./random.ts";

type Required<Init, Names extends keyof Init> = Init & { readonly [Name in Names]-?: NonNullable<Init[Name]> };
type Submit = Required<MessageInitShape<typeof SubmitOrderRequestSchema>, "clientOrderId" | "symbol">;
type Cancel = Required<MessageInitShape<typeof CancelOrderRequestSchema>, "clientRequestId">;
type Replace = Required<MessageInitShape<typeof ReplaceOrderRequestSchema>, "clientRequestId">;
type CancelAll = Required<MessageInitShape<typeof CancelAllOrdersRequestSchema>, "clientRequestId">;

/** What a client asks for, in the form that StreamOrders has: it may go by any door, any number of times. */
export type Command =
  | { readonly case: "submit"; readonly value: Submit }
  | { readonly case: "cancel"; readonly value: Cancel }
  | { readonly case: "replace"; readonly value: Replace }
  | { readonly case: "cancelAll"; readonly value: CancelAll };

/** The client's own id of it. */
export function idOf(command: Command): string {
  return command.case === "submit" ? command.value.clientOrderId : command.value.clientRequestId;
}

/** An order that a client knows to be in the log. */
export interface KnownOrder {
  readonly symbol: string;
  readonly clientOrderId: string;
  readonly orderId: string;
}

/** Of the newest orders so many are canceled or replaced: most of them are still open. */
const KNOWN = 100;
const MIDDLE = 10_000;
const SPREAD = 25;

/**
 * One client's flow: orders of all kinds around 100.00 (tick 0.01, lot 0.1), of which about half trade, and changes of orders that it
 * knows. Every id is used for one command alone.
 */
export class Flow {
  readonly #random: Random;
  readonly #run: string;
  readonly #symbols: readonly string[];
  readonly #known: KnownOrder[] = [];
  /** Of a cancel or replace the order that it is to change. */
  readonly #targets = new WeakMap<Command, string>();
  #ids = 0;

  /** `run` begins every id. */
  constructor(run: string, symbols: readonly string[], random: Random) {
    this.#run = run;
    this.#symbols = symbols;
    this.#random = random;
  }

  know(order: KnownOrder): void {
    this.#known.push(order);
    if (this.#known.length > KNOWN) this.#known.shift();
  }

  /** No longer relies on these. */
  forget(orderIds: ReadonlySet<string>): void {
    const kept = this.#known.filter(({ orderId }) => !orderIds.has(orderId));
    this.#known.splice(0, this.#known.length, ...kept);
  }

  /** The id of the order that a command of this flow is to change. */
  targetOf(command: Command): string | undefined {
    return this.#targets.get(command);
  }

  next(): Command {
    const dice = this.#random.next();
    if (dice < 0.72 || this.#known.length === 0) return this.submit();
    if (dice < 0.85) return this.#cancel();
    if (dice < 0.98) return this.#replace();
    const symbol = this.#random.chance(0.5) ? this.#random.pick(this.#symbols) : "";
    return { case: "cancelAll", value: { clientRequestId: this.#id("a"), symbol, ackLevel: this.#level() } };
  }

  submit(): Command & { readonly case: "submit" } {
    const random = this.#random;
    const symbol = random.pick(this.#symbols);
    const side = random.chance(0.5) ? Side.BUY : Side.SELL;
    const quantity = tenths(random.between(1, 20));
    const value = { clientOrderId: this.#id("o"), symbol, side, quantity, ackLevel: this.#level() };
    const price = hundredths(MIDDLE + random.between(-SPREAD, SPREAD));
    const dice = random.next();
    if (dice < 0.08) return { case: "submit", value: { ...value, type: OrderType.MARKET } };
    const limit = { ...value, type: OrderType.LIMIT, price };
    if (dice < 0.16) return { case: "submit", value: { ...limit, timeInForce: TimeInForce.IOC } };
    if (dice < 0.2) return { case: "submit", value: { ...limit, timeInForce: TimeInForce.FOK } };
    if (dice < 0.26) return { case: "submit", value: { ...limit, postOnly: true } };
    if (dice < 0.3) return { case: "submit", value: { ...limit, type: OrderType.STOP_LIMIT, stopPrice: price } };
    if (dice < 0.36) return { case: "submit", value: { ...limit, quantity: "2", displayQuantity: "0.4" } };
    return { case: "submit", value: limit };
  }

  #cancel(): Command {
    const order = this.#random.pick(this.#known);
    const value = { clientRequestId: this.#id("c"), ...this.#naming(order), ackLevel: this.#level() };
    return this.#aimed({ case: "cancel", value }, order);
  }

  #replace(): Command {
    const random = this.#random;
    const values = random.chance(0.5)
      ? { price: hundredths(MIDDLE + random.between(-SPREAD, SPREAD)) }
      : { quantity: tenths(random.between(1, 30)) };
    const order = random.pick(this.#known);
    const value = { clientRequestId: this.#id("r"), ...this.#naming(order), ...values, ackLevel: this.#level() };
    return this.#aimed({ case: "replace", value }, order);
  }

  #naming({ symbol, clientOrderId, orderId }: KnownOrder) {
    return this.#random.chance(0.5) ? { orderId } : { symbol, clientOrderId };
  }

  #aimed(command: Command, { orderId }: KnownOrder): Command {
    this.#targets.set(command, orderId);
    return command;
  }

  #level(): AckLevel {
    return this.#random.chance(0.35) ? AckLevel.MATCHED : AckLevel.LOGGED;
  }

  #id(kind: string): string {
    return `${this.#run}-${kind}${++this.#ids}`;
  }
}

function tenths(count: number): string {
  return (count / 10).toFixed(1);
}

function hundredths(count: number): string {
  return (count / 100).toFixed(2);
}
