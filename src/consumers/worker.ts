import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Service } from "../runtime/service.ts";
import { persist } from "../store/batch.ts";
import type { EntryRecord } from "../store/entry-record.ts";
import type { Writer } from "../store/writer.ts";
import type { Delivered, Delivery, GroupReader } from "../stream/group-reader.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { ConsumerMetrics } from "./metrics.ts";
import { lostRecord, recordOf, UnknownSymbolError } from "./record.ts";

export interface WorkerOptions {
  readonly partition: number;
  readonly reader: GroupReader;
  readonly writer: Writer;
  readonly instruments: InstrumentBook;
  /** Definitions in Postgres: all that is left of them while an emptied Redis has not been opened again. */
  readonly storedInstruments: () => Promise<readonly { readonly definition: Buffer }[]>;
  /** How many rows a transaction should have at most. Entries are not divided, so the last one may go beyond it. */
  readonly transactionRows: number;
  readonly metrics: ConsumerMetrics;
  readonly log: Logger;
}

/** Payload of a transaction; an entry holds 1 MiB at most, so this bounds memory where orders are large. */
const TRANSACTION_BYTES = 8 * 1024 * 1024;
const LEAST_BACKOFF_MS = 100;
/** A Postgres that comes back is used again within this time. */
const MOST_BACKOFF_MS = 5_000;

/**
 * Carries the orders stream of one partition to Postgres.
 *
 * Invariants:
 * - An entry is acknowledged only after the transaction that holds its receipt, and its rows or dead letters, committed.
 * - After any error nothing is assumed: what this consumer holds is read again, and the receipts absorb what was written.
 */
export class Worker implements Service {
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #log: Logger;
  readonly #backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  /** The error that is being retried, for readiness; undefined while all is well. */
  #trouble: Error | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.name = `worker of partition ${options.partition}`;
    this.#log = options.log.child({ partition: options.partition });
  }

  get trouble(): Error | undefined {
    return this.#trouble;
  }

  async start(): Promise<void> {
    this.#running = this.#run();
  }

  /** Resolves when what was read is written and acknowledged, or Postgres could not take it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#options.writer.close();
  }

  async #run(): Promise<void> {
    const { reader, metrics } = this.#options;
    const { signal } = this.#stopping;
    // The next read is on its way while a batch is written, so that Redis and Postgres work at the same time.
    let ahead: Promise<Delivery> | undefined = this.#next();
    while (ahead !== undefined) {
      try {
        const delivery: Delivery = await ahead;
        ahead = signal.aborted ? undefined : this.#next();
        await this.#write(delivery);
        this.#trouble = undefined;
        this.#backoff.reset();
      } catch (error) {
        this.#trouble = error instanceof Error ? error : new Error(String(error));
        metrics.retries.inc();
        this.#log.warn({ err: error }, "entries stay pending and are read again");
        await ahead?.catch(() => {});
        reader.rewind();
        await delay(this.#backoff.next(), signal);
        ahead = signal.aborted ? undefined : this.#next();
      }
    }
  }

  #next(): Promise<Delivery> {
    const next = this.#options.reader.next();
    next.catch(() => {}); // it is awaited, though perhaps only after another error
    return next;
  }

  async #write(delivery: Delivery): Promise<void> {
    const { reader, writer, partition, metrics } = this.#options;
    if (delivery.lost.length > 0) {
      metrics.lost.inc(delivery.lost.length);
      this.#log.error({ entries: delivery.lost }, "ENTRIES LOST: they were removed from the stream before they were written");
    }
    const lost = delivery.lost.map((id) => ({ id, record: lostRecord(id, partition) }));
    const found = await this.#records(delivery.entries);
    for (const slice of this.#slices([...lost, ...found])) {
      const records = slice.map(({ record }) => record);
      const timer = metrics.transaction.startTimer();
      const outcome = await persist(writer, records);
      timer();
      metrics.count(outcome);
      if (outcome.forks > 0) {
        this.#log.error({ forks: outcome.forks }, "FORK OF THE LOG: entries differ from what the journal has under their ID");
      }
      if (outcome.deadLetters > 0) this.#log.error({ deadLetters: outcome.deadLetters }, "dead letters were written");
      const ids = slice.map(({ id }) => id);
      const acknowledged = await reader.acknowledge(ids);
      if (acknowledged < ids.length) {
        this.#log.warn({ acknowledged, of: ids.length }, "some entries were no longer ours to acknowledge");
      }
      metrics.observeAges(records, Date.now());
    }
  }

  async #records(entries: readonly Delivered[]): Promise<{ id: string; record: EntryRecord }[]> {
    const { partition, instruments, storedInstruments } = this.#options;
    const all = (instrumentsAreFresh: boolean) =>
      entries.map((entry) => ({ id: entry.id, record: recordOf(entry, { partition, instruments, instrumentsAreFresh }) }));
    try {
      return all(false);
    } catch (error) {
      if (!(error instanceof UnknownSymbolError)) throw error;
      for (const { definition } of await storedInstruments()) instruments.learn(definition);
      await instruments.refresh();
      return all(true);
    }
  }

  /** Divides at the bounds of entries, so that a transaction has about `transactionRows` rows. */
  *#slices<Item extends { record: EntryRecord }>(items: readonly Item[]): Generator<Item[]> {
    let slice: Item[] = [];
    let rows = 0;
    let bytes = 0;
    for (const item of items) {
      slice.push(item);
      rows += item.record.orders.length;
      bytes += item.record.receipt.payload?.length ?? 0;
      if (rows >= this.#options.transactionRows || bytes >= TRANSACTION_BYTES) {
        yield slice;
        [slice, rows, bytes] = [[], 0, 0];
      }
    }
    if (slice.length > 0) yield slice;
  }
}
