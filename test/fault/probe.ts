import { setTimeout as sleep } from "node:timers/promises";

import { AckLevel, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { textArray } from "../../src/store/parameters.ts";
import { readGroups } from "../../src/stream/status.ts";
import { Caller, KEEPALIVE, Refusal } from "../support/caller.ts";
import type { AcknowledgementRecord } from "./record.ts";
import type { FaultStack } from "./stack.ts";

export const PROBE_ACCOUNT = "probe";
const DEADLINE_MS = 1_000;
const AGAIN_MS = 25;

/** Tells whether the stack is healthy: it takes orders at each door for each partition, matches them, and writes them. */
export class Probe {
  readonly #stack: FaultStack;
  readonly #record: AcknowledgementRecord;
  /** One of each partition. */
  readonly #symbols: readonly string[];
  readonly #callers: readonly Caller[];
  readonly #run: string;
  #orders = 0;

  constructor(
    stack: FaultStack,
    options: { run: string; token: string; symbols: readonly string[]; record: AcknowledgementRecord },
  ) {
    this.#stack = stack;
    this.#run = options.run;
    this.#record = options.record;
    this.#symbols = options.symbols;
    this.#callers = stack.doors.map((door) => new Caller(door, `Bearer ${options.token}`, undefined, KEEPALIVE));
  }

  /**
   * Resolves when both servers are up, every role says that it is ready, and an order of each partition has gone by each door
   * through the engine and to its rows. Rejects with what was not so in time.
   */
  async untilHealthy(limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    await this.#stack.servers.up();
    await Promise.all(this.#stack.roles.map((role) => role.untilReady(limitMs)));
    const sent = this.#callers.flatMap((caller) =>
      this.#symbols.map((symbol) => this.#matched(caller, symbol, deadline)),
    );
    await this.#written(await Promise.all(sent), deadline);
  }

  /** Resolves when, with no load, every entry has its events, and the workers have finished all of them. */
  async untilDrained(limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const left = await this.#left().catch((error: unknown) => String(error));
      if (left === "") return;
      if (performance.now() > deadline) throw new Error(`not drained after ${limitMs} ms: ${left}`);
      await sleep(AGAIN_MS);
    }
  }

  close(): void {
    for (const caller of this.#callers) caller.close();
  }

  /** The id of an order that was answered as matched. */
  async #matched(caller: Caller, symbol: string, deadline: number): Promise<string> {
    const clientOrderId = `${this.#run}-p${++this.#orders}`;
    const request = {
      ...{ clientOrderId, symbol, side: Side.BUY, type: OrderType.LIMIT, timeInForce: TimeInForce.IOC },
      ...{ quantity: "0.1", price: "1.00", ackLevel: AckLevel.MATCHED },
    };
    let known = false;
    let why = "not sent";
    for (;;) {
      try {
        const answer = await caller.call(OrderService.method.submitOrder, request, { deadlineMs: DEADLINE_MS });
        const { orderId } = answer;
        if (!known) this.#record.add({ account: PROBE_ACCOUNT, clientOrderId, symbol, orderId });
        known = true;
        if (answer.order !== undefined) return orderId;
        why = "it is in the log, and was not matched";
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        why = error.message;
      }
      if (performance.now() > deadline) throw new Error(`an order of ${symbol} does not go through: ${why}`);
      await sleep(AGAIN_MS);
    }
  }

  async #written(orderIds: readonly string[], deadline: number): Promise<void> {
    const { sql } = this.#stack;
    const ids = textArray(orderIds);
    for (;;) {
      const rows = await sql<{ count: number }[]>`
        SELECT count(*)::int AS count FROM orders JOIN order_states USING (order_id)
        WHERE order_id = ANY(${ids}::uuid[])`.catch(() => []);
      const count = rows[0]?.count ?? 0;
      if (count === orderIds.length) return;
      if (performance.now() > deadline) {
        throw new Error(`of ${orderIds.length} orders that were matched ${count} are rows: ${orderIds.join(", ")}`);
      }
      await sleep(AGAIN_MS);
    }
  }

  /** What is still under way; "" where nothing is. */
  async #left(): Promise<string> {
    const { redis, partitions } = this.#stack;
    for (const { orders, events, partition } of partitions) {
      const [[logged], [told]] = await Promise.all([
        redis.xrevrange(orders, "+", "-", "COUNT", 1),
        redis.xrevrange(events, "+", "-", "COUNT", 1),
      ]);
      if (logged?.[0] !== told?.[0]) return `partition ${partition}: events up to ${told?.[0]} of ${logged?.[0]}`;
      for (const key of [orders, events]) {
        const groups = await readGroups(redis, key);
        if (groups.length === 0) return `${key} has no group`;
        const busy = groups.find(({ pending, lag }) => pending !== 0 || lag !== 0);
        if (busy !== undefined) return `${key}: ${busy.pending} pending, ${busy.lag} not delivered`;
      }
    }
    return "";
  }
}
