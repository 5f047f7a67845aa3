import cluster, { type Worker } from "node:cluster";
import type { Logger } from "pino";
import { AggregatorRegistry, type Registry } from "prom-client";
import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Service } from "../runtime/service.ts";

/** As a process of a role that crashes elsewhere: a fifth of a second at first, ten seconds at last. */
const LEAST_WAIT_MS = 200;
const MOST_WAIT_MS = 10_000;
/** A process that has run for three of the longest waits was healthy: its next crash counts as the first. */
const HEALTHY_MS = 3 * MOST_WAIT_MS;
/** prom-client waits five seconds for the other processes. */
const METRICS_TIMEOUT_MS = 6_000;

/** The environment variable by which a process knows which one it is, from 1 on. */
const NUMBER = "PENSTOCK_PROCESS";
const READY = "penstock:ready";
const METRICS = "penstock:metrics";

interface MetricsMessage {
  readonly type: typeof METRICS;
  readonly id: number;
  readonly text?: string;
  readonly error?: string;
}

/** Which of several processes of the same ports this one is, from 1 on; undefined for one that is alone. */
export function processNumber(): number | undefined {
  return cluster.isWorker ? Number(process.env[NUMBER]) : undefined;
}

/**
 * Several processes of this program on the same ports, one for each core that ingest may have: Node hands each new
 * connection to the next of them. (Sharing the port by SO_REUSEPORT would hash them: of two connections both may meet the
 * same process.)
 *
 * Always true: once started, one process of each number runs or is about to be started again; after `stop` none runs. Where
 * this process dies they end at once, and what they had not answered is asked again by the clients.
 */
export class IngestProcesses implements Service {
  readonly name = "processes";
  readonly #count: number;
  readonly #log: Logger;
  readonly #workers = new Map<number, Worker>();
  readonly #life = new AbortController();
  readonly #watches: Promise<void>[] = [];
  readonly #metrics = new AggregatorRegistry();

  constructor(count: number, log: Logger) {
    this.#count = count;
    this.#log = log;
  }

  async start(): Promise<void> {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    const numbers = Array.from({ length: this.#count }, (_, i) => i + 1);
    await Promise.all(numbers.map((number) => this.#startOne(number)));
    for (const number of numbers) this.#watches.push(this.#watch(number));
  }

  async stop(): Promise<void> {
    this.#life.abort();
    await Promise.all(
      Array.from(this.#workers.values(), async (worker) => {
        if (!worker.isDead()) worker.process.kill("SIGTERM");
        await ended(worker);
      }),
    );
    await Promise.all(this.#watches);
  }

  async #startOne(number: number): Promise<void> {
    const worker = cluster.fork({ [NUMBER]: String(number) });
    this.#workers.set(number, worker);
    const { promise: ready, resolve } = Promise.withResolvers<true>();
    worker.on("error", (error) => this.#log.warn({ err: error, process: number }, "an ingest process cannot be told"));
    worker.on("message", (message: typeof READY | MetricsMessage) => {
      if (message === READY) resolve(true);
      else if (message.type === METRICS) void this.#tellMetrics(worker, message.id);
    });
    const started = await Promise.race([ready, ended(worker).then(() => false)]);
    if (!started && !this.#life.signal.aborted) throw new Error(`ingest process ${number} did not start`);
  }

  async #watch(number: number): Promise<void> {
    const backoff = new Backoff(LEAST_WAIT_MS, MOST_WAIT_MS);
    while (!this.#life.signal.aborted) {
      const worker = this.#workers.get(number);
      const since = performance.now();
      if (worker !== undefined) await ended(worker);
      if (this.#life.signal.aborted) return;
      if (performance.now() - since > HEALTHY_MS) backoff.reset();
      const { exitCode, signalCode } = worker?.process ?? {};
      this.#log.error(
        { process: number, exitCode, signalCode },
        "an ingest process ended unexpectedly: starting it again",
      );
      await delay(backoff.next(), this.#life.signal);
      if (this.#life.signal.aborted) return;
      await this.#startOne(number).catch((error: unknown) => this.#log.error({ err: error }, messageOf(error)));
    }
  }

  async #tellMetrics(worker: Worker, id: number): Promise<void> {
    let message: MetricsMessage;
    try {
      message = { type: METRICS, id, text: await this.#metrics.clusterMetrics() };
    } catch (error) {
      message = { type: METRICS, id, error: messageOf(error) };
    }
    if (worker.isConnected()) worker.send(message);
  }
}

function ended(worker: Worker): Promise<void> {
  return worker.isDead() ? Promise.resolve() : new Promise((resolve) => worker.once("exit", () => resolve()));
}

/** Tells the process that started this one that it serves; last in the list of its services. */
export const readiness: Service = {
  name: "readiness",
  start: async () => void process.send?.(READY),
  stop: async () => {},
};

/** What is scraped of one of several processes: the metrics of all of them, each with its number as a label. */
export class SharedRegistry {
  readonly contentType: Registry["contentType"];
  readonly #asked = new Map<number, { resolve: (text: string) => void; reject: (error: Error) => void }>();
  #asking = 0;

  constructor(own: Registry) {
    this.contentType = own.contentType;
    AggregatorRegistry.setRegistries(own);
    void new AggregatorRegistry(); // answers when the other side asks
    process.on("message", (message: MetricsMessage) => {
      if (message.type !== METRICS) return;
      const asked = this.#asked.get(message.id);
      if (message.text === undefined) asked?.reject(new Error(message.error));
      else asked?.resolve(message.text);
    });
  }

  async metrics(): Promise<string> {
    const id = this.#asking++;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#asked.set(id, { resolve, reject });
    const timer = setTimeout(() => reject(new Error("the metrics of all processes are late")), METRICS_TIMEOUT_MS);
    process.send?.({ type: METRICS, id } satisfies MetricsMessage);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#asked.delete(id);
    }
  }
}
