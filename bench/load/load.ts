import { setTimeout as delay } from "node:timers/promises";
import { build } from "hdr-histogram-js";
import type { Histogram } from "hdr-histogram-js";
import { readAnswer, readBatchAnswer } from "./answers.ts";
import { Code } from "./call.ts";
import type { Outcome } from "./call.ts";
import { Connection } from "./connection.ts";
import type { Header } from "./hpack.ts";
import { OrderBodies, ORDERS_LIMIT } from "./orders.ts";
import { AcknowledgementRecord } from "./record.ts";

export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  /** Begins every client_order_id: two runs against one server need two of them. */
  readonly run: string;
  readonly symbol: string;
  /** Orders a second. */
  readonly rate: number;
  readonly seconds: number;
  /** Sent before, at the same rate, and left out of the latencies. */
  readonly warmupSeconds: number;
  /** 0 sends SubmitOrder, 1 to 1,000 SubmitOrders with so many orders. */
  readonly batch: number;
  /** Asks for answers when the engine has matched, not when the order is in the log. */
  readonly matched: boolean;
  readonly connections: number;
}

/** Milliseconds. */
export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Counts are of orders, the warm-up's included; an order ends as acknowledged, refused or error, once. */
export interface LoadReport {
  readonly sent: number;
  readonly acknowledged: number;
  /** Of the acknowledged: answered as a duplicate, which a fresh id never is. */
  readonly duplicates: number;
  /** By the server, by itself or with its whole call under overload; it may be sent again. */
  readonly refused: number;
  readonly errors: number;
  /** What was refused or failed, with how often; the first few reasons only. */
  readonly problems: Readonly<Record<string, number>>;
  /** Acknowledged orders a second, from the first intended sending to the last answer. */
  readonly rate: number;
  /** From the intended sending of a call to its answer. */
  readonly latencyMs: Percentiles;
  /** From the intended sending of a call to the actual one: how well the generator kept its clock. */
  readonly latenessMs: Percentiles;
  readonly cpuSeconds: number;
  readonly cpuMicrosPerCall: number;
  /** Microseconds since 1970, of the first intended sending and of the last answer. */
  readonly startedUs: number;
  readonly endedUs: number;
}

interface Tag {
  readonly first: number;
  readonly intended: number;
}

// The deadline that every call carries, and so the longest wait for answers after the last sending.
const DEADLINE_SECONDS = 10;
const PROBLEMS_KEPT = 5;
// What the histograms hold: 1 µs to 60 s (nothing waits longer than the deadline), to 3 digits.
const HISTOGRAM = {
  lowestDiscernibleValue: 1,
  highestTrackableValue: 60_000_000,
  numberOfSignificantValueDigits: 3,
} as const;

/**
 * Open-loop load on the gRPC door: calls are due by the clock, whether or not earlier ones were answered, and a call's
 * latency begins when it was due. Calls take turns on the connections.
 */
export async function runLoad(options: LoadOptions): Promise<{ report: LoadReport; record: AcknowledgementRecord }> {
  const size = Math.max(1, options.batch);
  const interval = (1000 * size) / options.rate;
  const warmup = Math.round((options.warmupSeconds * 1000) / interval);
  const calls = warmup + Math.round((options.seconds * 1000) / interval);
  if (calls * size > ORDERS_LIMIT) throw new RangeError(`at most ${ORDERS_LIMIT} orders a run`);

  const tally = new Tally(options.batch, warmup * size);
  const connections: Connection<Tag>[] = [];
  try {
    for (let at = 0; at < options.connections; at++) {
      connections.push(
        await Connection.open<Tag>({
          host: options.host,
          port: options.port,
          headers: requestHeaders(options),
          ended: (tag, outcome, now) => tally.ended(tag, outcome, now),
        }),
      );
    }
    const bodies = new OrderBodies(options);
    const cpu = process.cpuUsage();
    const start = performance.now();
    // Where every connection is lost there is nothing left to measure.
    for (let next = 0; next < calls && connections.some(({ usable }) => usable);) {
      const now = performance.now();
      tally.setClock(now);
      for (; next < calls && start + next * interval <= now; next++) {
        const tag = { first: next * size, intended: start + next * interval };
        tally.sending(tag, now);
        connections[next % connections.length]?.call(tag, bodies.body(tag.first));
      }
      for (const connection of connections) connection.flush();
      await delay(1);
    }
    const last = performance.now() + DEADLINE_SECONDS * 1000;
    while (tally.open > 0 && performance.now() < last) await delay(5);
    for (const connection of connections) connection.close();
    return { report: tally.report(start, process.cpuUsage(cpu), calls), record: tally.record };
  } finally {
    for (const connection of connections) connection.close();
  }
}

function requestHeaders({ host, port, token, batch }: LoadOptions): Header[] {
  return [
    { name: ":method", value: "POST" },
    { name: ":scheme", value: "http" },
    { name: ":path", value: `/penstock.v1.OrderService/${batch === 0 ? "SubmitOrder" : "SubmitOrders"}` },
    { name: ":authority", value: `${host}:${port}` },
    { name: "te", value: "trailers" },
    { name: "content-type", value: "application/grpc" },
    { name: "user-agent", value: "penstock-bench" },
    { name: "grpc-timeout", value: `${DEADLINE_SECONDS}S` },
    { name: "authorization", value: `Bearer ${token}` },
  ];
}

// Always true: sent = acknowledged + refused + errors + open × size.
class Tally {
  readonly record = new AcknowledgementRecord();
  readonly #batch: number;
  readonly #size: number;
  readonly #measuredFrom: number;
  readonly #latency: Histogram = build(HISTOGRAM);
  readonly #lateness: Histogram = build(HISTOGRAM);
  readonly #problems = new Map<string, number>();
  #offsetUs = 0;
  #offsetAt = Number.NEGATIVE_INFINITY;
  #lastAnswer = 0;
  #sent = 0;
  #acknowledged = 0;
  #duplicates = 0;
  #refused = 0;
  #errors = 0;
  open = 0;

  constructor(batch: number, measuredFrom: number) {
    this.#batch = batch;
    this.#size = Math.max(1, batch);
    this.#measuredFrom = measuredFrom;
  }

  // The monotonic clock against the wall's, anew each second: in a long run they drift.
  setClock(now: number): void {
    if (now - this.#offsetAt < 1000) return;
    this.#offsetAt = now;
    this.#offsetUs = Number(Temporal.Now.instant().epochNanoseconds / 1000n) - performance.now() * 1000;
  }

  sending(tag: Tag, now: number): void {
    this.open++;
    this.#sent += this.#size;
    if (tag.first >= this.#measuredFrom) this.#lateness.recordValue(microseconds(now - tag.intended));
  }

  ended(tag: Tag, { code, reason, message }: Outcome, now: number): void {
    this.open--;
    if (code === Code.RESOURCE_EXHAUSTED) return this.#refuse(this.#size, reason);
    if (code !== Code.OK || message === undefined) return this.#failed(this.#size, `code ${code}: ${reason}`);
    this.#lastAnswer = now;
    if (tag.first >= this.#measuredFrom) this.#latency.recordValue(microseconds(now - tag.intended));
    const acknowledgedUs = now * 1000 + this.#offsetUs;
    const before = this.#acknowledged + this.#refused;
    try {
      const visitor = {
        accepted: (order: number, bytes: Buffer, orderId: number, duplicate: boolean) => {
          this.#acknowledged++;
          if (duplicate) this.#duplicates++;
          this.record.add(tag.first + order, bytes, orderId, acknowledgedUs);
        },
        refused: (_: number, why: string) => this.#refuse(1, why),
      };
      if (this.#batch === 0) readAnswer(message, visitor);
      else readBatchAnswer(message, this.#batch, visitor);
    } catch (error) {
      const unread = this.#size - (this.#acknowledged + this.#refused - before);
      this.#failed(unread, error instanceof Error ? error.message : String(error));
    }
  }

  report(start: number, cpu: NodeJS.CpuUsage, calls: number): LoadReport {
    const cpuMicros = cpu.user + cpu.system;
    return {
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      duplicates: this.#duplicates,
      refused: this.#refused,
      errors: this.#errors,
      problems: Object.fromEntries(this.#problems),
      rate: (this.#acknowledged * 1000) / Math.max(1, this.#lastAnswer - start),
      latencyMs: percentiles(this.#latency),
      latenessMs: percentiles(this.#lateness),
      cpuSeconds: cpuMicros / 1e6,
      cpuMicrosPerCall: cpuMicros / calls,
      startedUs: Math.round(start * 1000 + this.#offsetUs),
      endedUs: Math.round(this.#lastAnswer * 1000 + this.#offsetUs),
    };
  }

  #refuse(orders: number, reason: string): void {
    this.#refused += orders;
    this.#problem(`refused: ${reason}`, orders);
  }

  #failed(orders: number, reason: string): void {
    this.#errors += orders;
    this.#problem(reason, orders);
  }

  #problem(reason: string, orders: number): void {
    const known = this.#problems.has(reason) || this.#problems.size < PROBLEMS_KEPT;
    const key = known ? reason : "others";
    this.#problems.set(key, (this.#problems.get(key) ?? 0) + orders);
  }
}

function microseconds(milliseconds: number): number {
  return Math.min(Math.max(1, Math.round(milliseconds * 1000)), HISTOGRAM.highestTrackableValue);
}

function percentiles(histogram: Histogram): Percentiles {
  const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000;
  return { p50: at(50), p99: at(99), p999: at(99.9), max: histogram.maxValue / 1000 };
}
