import cluster, { type Worker } from "node:cluster";
import type { Logger } from "pino";
import { AggregatorRegistry, Gauge, Registry } from "prom-client";
import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Service } from "../runtime/service.ts";

/** As a process of a role that crashes elsewhere: a fifth of a second at first, ten seconds at last. */
const LEAST_WAIT_MS = 200;
const MOST_WAIT_MS = 10_000;
/** A process that has run for three of the longest waits was healthy: its next crash counts as the first. */
const HEALTHY_MS = 3 * MOST_WAIT_MS;
/** To gather its metrics takes a process some milliseconds; Prometheus waits 10 s. One that needs longer is left out. */
const GATHER_MS = 1_000;
/** As long again for the one that asks the others: where it does not answer either, there is nothing to tell. */
const METRICS_TIMEOUT_MS = 2 * GATHER_MS;

/** The environment variable by which a process knows which one it is, from 1 on. */
const NUMBER = "PENSTOCK_PROCESS";
const READY = "penstock:ready";
const METRICS = "penstock:metrics";
const OWN_METRICS = "penstock:own-metrics";

/** Asks for the metrics of all processes, and answers. */
interface MetricsMessage {
  readonly type: typeof METRICS;
  readonly id: number;
  readonly text?: string;
  readonly error?: string;
}

/** Asks a process for its own metrics, and answers: with none where they could not be gathered. */
interface OwnMetricsMessage {
  readonly type: typeof OWN_METRICS;
  readonly metrics?: readonly object[];
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
 * this process dies they end at once, and what they had not answered is asked again by the clients. Each is asked for its
 * metrics once until it answers: before one that is stopped no questions pile up.
 */
export class IngestProcesses implements Service {
  readonly name = "processes";
  readonly #count: number;
  readonly #log: Logger;
  readonly #workers = new Map<number, Worker>();
  readonly #life = new AbortController();
  readonly #watches: Promise<void>[] = [];
  readonly #asked = new Map<Worker, (metrics: readonly object[]) => void>();
  #gathering: Promise<string> | undefined;
  readonly #own = new Registry();
  readonly #answered: Gauge<"answered">;

  constructor(count: number, log: Logger) {
    this.#count = count;
    this.#log = log;
    this.#own.setDefaultLabels({ role: "ingest" });
    this.#answered = new Gauge({
      name: "penstock_ingest_processes",
      help: "Processes by whether they answered to this scrape; what the others count is missing from it.",
      labelNames: ["answered"],
      registers: [this.#own],
    });
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
    worker.on("message", (message: typeof READY | MetricsMessage | OwnMetricsMessage) => {
      if (message === READY) resolve(true);
      else if (message.type === METRICS) void this.#tellMetrics(worker, message.id);
      else if (message.type === OWN_METRICS) this.#takeMetrics(worker, number, message);
    });
    worker.once("exit", () => this.#asked.delete(worker));
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
    this.#gathering ??= this.#gather().finally(() => (this.#gathering = undefined));
    try {
      message = { type: METRICS, id, text: await this.#gathering };
    } catch (error) {
      message = { type: METRICS, id, error: messageOf(error) };
    }
    if (worker.isConnected()) worker.send(message);
  }

  /** The metrics of those that answer in time. */
  async #gather(): Promise<string> {
    const gathered = new AbortController();
    const late = delay(GATHER_MS, gathered.signal).then(() => undefined);
    const asked = Array.from(this.#workers.values(), (worker) => Promise.race([this.#ask(worker), late]));
    const answers = await Promise.all(asked);
    gathered.abort();
    const metrics = answers.filter((answer) => answer !== undefined);
    this.#answered.set({ answered: "yes" }, metrics.length);
    this.#answered.set({ answered: "no" }, this.#count - metrics.length);
    return AggregatorRegistry.aggregate([...metrics, await this.#own.getMetricsAsJSON()]).metrics();
  }

  /** Nobody waits for one that has not even answered the last time. */
  #ask(worker: Worker): Promise<readonly object[]> | undefined {
    if (!worker.isConnected() || this.#asked.has(worker)) return undefined;
    const { promise, resolve } = Promise.withResolvers<readonly object[]>();
    this.#asked.set(worker, resolve);
    worker.send({ type: OWN_METRICS } satisfies OwnMetricsMessage);
    return promise;
  }

  #takeMetrics(worker: Worker, number: number, { metrics, error }: OwnMetricsMessage): void {
    if (metrics === undefined) this.#log.warn({ process: number, error }, "a process cannot gather its metrics");
    else this.#asked.get(worker)?.(metrics);
    this.#asked.delete(worker);
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

async function tellOwn(own: Registry): Promise<void> {
  let message: OwnMetricsMessage;
  try {
    message = { type: OWN_METRICS, metrics: await own.getMetricsAsJSON() };
  } catch (error) {
    message = { type: OWN_METRICS, error: messageOf(error) };
  }
  if (process.connected) process.send?.(message);
}

/**
 * What is scraped of one of several processes: the metrics of all that answer, each with its number as a label, and how many
 * those are.
 */
export class SharedRegistry {
  readonly contentType: Registry["contentType"];
  readonly #asked = new Map<number, { resolve: (text: string) => void; reject: (error: Error) => void }>();
  #asking = 0;

  constructor(own: Registry) {
    this.contentType = own.contentType;
    process.on("message", (message: MetricsMessage | OwnMetricsMessage) => {
      if (message.type === OWN_METRICS) void tellOwn(own);
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
