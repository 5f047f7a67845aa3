import { setTimeout as sleep } from "node:timers/promises";
import { AckLevel, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { Acknowledged } from "../../test/fault/record.ts";
import { Caller, Refusal } from "../../test/support/caller.ts";

/** Of one window; milliseconds from when a call was due, null where none was answered. */
export interface Latency {
  readonly p50: number | null;
  readonly p99: number | null;
}

export interface LatencyWindow {
  readonly logged: Latency;
  readonly matched: Latency;
  /** Calls that were answered as they wanted it. */
  readonly answered: number;
  /** Calls that were not answered, or not as matched in time. */
  readonly failed: number;
}

/** Enough for a 99th percentile of each level in ten seconds, and little beside the load. */
const CALLS_PER_SECOND = 20;
const DEADLINE_MS = 5_000;

interface ProbeOptions {
  /** `host:port`. */
  readonly door: string;
  readonly account: string;
  readonly token: string;
  readonly run: string;
  readonly symbol: string;
  readonly record: { add(order: Acknowledged): void };
}

/**
 * The same small load through the whole run, by the clock, whether or not earlier calls were answered: what it waits for can be
 * compared over time, whatever the others do.
 */
export class LatencyProbe {
  readonly #options: ProbeOptions;
  readonly #caller: Caller;
  readonly #over = new AbortController();
  readonly #open = new Set<Promise<void>>();
  #logged: number[] = [];
  #matched: number[] = [];
  #failed = 0;
  #running: Promise<void> | undefined;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#caller = new Caller(options.door, `Bearer ${options.token}`);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** What came since the last time. */
  takeWindow(): LatencyWindow {
    const answered = this.#logged.length + this.#matched.length;
    const window = {
      logged: latencyOf(this.#logged),
      matched: latencyOf(this.#matched),
      answered,
      failed: this.#failed,
    };
    this.#logged = [];
    this.#matched = [];
    this.#failed = 0;
    return window;
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#running;
    await Promise.all(this.#open);
    this.#caller.close();
  }

  async #run(): Promise<void> {
    const started = performance.now();
    for (let call = 0; !this.#over.signal.aborted; call++) {
      const due = started + (call * 1000) / CALLS_PER_SECOND;
      await sleep(Math.max(0, due - performance.now()));
      const work = this.#call(call, due).finally(() => this.#open.delete(work));
      this.#open.add(work);
    }
  }

  async #call(call: number, due: number): Promise<void> {
    const { account, run, symbol, record } = this.#options;
    const isMatched = call % 2 === 1;
    const clientOrderId = `${run}-${call}`;
    const order = {
      ...{ clientOrderId, symbol, side: Side.BUY, type: OrderType.LIMIT, timeInForce: TimeInForce.IOC },
      ...{ quantity: "0.1", price: "1.00", ackLevel: isMatched ? AckLevel.MATCHED : AckLevel.LOGGED },
    };
    try {
      const answer = await this.#caller.call(OrderService.method.submitOrder, order, { deadlineMs: DEADLINE_MS });
      const waited = performance.now() - due;
      record.add({ account, clientOrderId, symbol, orderId: answer.orderId });
      if (isMatched && answer.order === undefined) this.#failed++;
      else (isMatched ? this.#matched : this.#logged).push(waited);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#failed++; // in a kill: the load clients find out what becomes of such calls
    }
  }
}

function latencyOf(times: number[]): Latency {
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? null;
  return { p50: at(0.5), p99: at(0.99) };
}
