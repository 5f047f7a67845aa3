import { setTimeout as delay } from "node:timers/promises";

import { OrderType, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { Caller, Refusal } from "./caller.ts";

/** Shorter than the servers' own limit: who is cut off soon asks again. */
const DEADLINE_MS = 3_000;
const PAUSE_MS = 100;
const RETRYABLE = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"]);

/**
 * Clients that send orders, each one again under its own id until it is acknowledged, and keep what they were told.
 *
 * Always true: an id stands for one payload; what was answered once is answered with the same order id ever after.
 */
export class PatientClient {
  /** Client order id → order id. */
  readonly acknowledged = new Map<string, string>();
  /** What was answered in place of it: code and message, and how often. */
  readonly refusals = new Map<string, number>();
  readonly #callers: readonly Caller[];
  readonly #run: string;
  #sent = 0;
  #running: Promise<void>[] = [];
  #isStopping = false;
  #failure: Error | undefined;

  /** `run` begins each id. Of several addresses one after the other is asked. */
  constructor(addresses: readonly string[], token: string, run = "o") {
    this.#callers = addresses.map((address) => new Caller(address, `Bearer ${token}`));
    this.#run = run;
  }

  /** So many of them send one order after the other, until `stop`. */
  start(clients: number): void {
    this.#isStopping = false;
    for (let i = 0; i < clients; i++) this.#running.push(this.#send());
  }

  /** Resolves when all that was sent is acknowledged. Rejects where something was answered that no client can make good. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#running.splice(0));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Sends one order and resolves with its order id. */
  async submit(clientOrderId = `${this.#run}-${this.#sent++}`): Promise<string> {
    const number = Number(clientOrderId.slice(clientOrderId.lastIndexOf("-") + 1));
    const order = {
      ...{ clientOrderId, symbol: "BTC-USD", type: OrderType.LIMIT, quantity: "0.1" },
      ...{ side: number % 2 === 0 ? Side.BUY : Side.SELL, price: `${100 + (number % 7)}` },
    };
    for (let attempt = 0; ; attempt++) {
      const caller = this.#callers[(number + attempt) % this.#callers.length]!;
      try {
        const { orderId } = await caller.call(OrderService.method.submitOrder, order, { deadlineMs: DEADLINE_MS });
        this.acknowledged.set(clientOrderId, orderId);
        return orderId;
      } catch (error) {
        if (!(error instanceof Refusal) || !RETRYABLE.has(error.code)) throw error;
        this.refusals.set(error.message, (this.refusals.get(error.message) ?? 0) + 1);
        await delay(Math.min(error.retryAfterMs ?? PAUSE_MS, 500));
      }
    }
  }

  close(): void {
    this.#isStopping = true;
    for (const caller of this.#callers) caller.close();
  }

  async #send(): Promise<void> {
    try {
      while (!this.#isStopping) await this.submit();
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }
}
