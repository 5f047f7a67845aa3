import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Service } from "../runtime/service.ts";
import { persist, type PersistOutcome } from "../store/batch.ts";
import type { NewDeadLetter } from "../store/dead-letters.ts";
import type { EntryRecord, StreamNumber } from "../store/entry-record.ts";
import type { FencedLog } from "../store/fences.ts";
import { endStalledCopies } from "../store/stalled.ts";
import type { Writer } from "../store/writer.ts";
import type { Delivered, Delivery, GroupReader } from "../stream/group-reader.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { WorkerMetrics } from "./metrics.ts";
import { lostRecord, NewerVersionError, recordOf, type StreamRows, UnknownSymbolError } from "./record.ts";

export interface WorkerOptions {
  readonly partition: number;
  /** The stream, and what becomes of its entries. */
  readonly rows: StreamRows;
  readonly reader: GroupReader;
  readonly writer: Writer;
  readonly instruments: InstrumentBook;
  readonly store: WorkerStore;
  /** How many rows a transaction should have at most. Entries are not divided, so the last one may go beyond it. */
  readonly transactionRows: number;
  readonly metrics: WorkerMetrics;
  /** Told of each dead letter that is new, once it is committed. */
  readonly onDeadLetters: (letters: readonly NewDeadLetter[]) => void;
  readonly fencedLog: FencedLog;
  readonly log: Logger;
}

/** What a worker looks up in Postgres, now and then. */
export interface WorkerStore {
  /** All that is left of the definitions while an emptied Redis has not been opened again. */
  instruments(): Promise<readonly { readonly definition: Buffer }[]>;
  /** Those of these entries of a partition's stream ("<ms>-<seq>") that are in the journal. */
  written(stream: StreamNumber, partition: number, ids: readonly string[]): Promise<ReadonlySet<string>>;
}

/** What one transaction is to write, and why it goes no further where it does not. */
interface Slice {
  readonly records: readonly EntryRecord[];
  readonly rows: number;
  readonly newer: NewerVersionError | undefined;
}

/** Payload of a transaction; an entry of commands holds 1 MiB at most, so this bounds memory where orders are large. */
const TRANSACTION_BYTES = 8 * 1024 * 1024;
/**
 * Where orders come one by one, a transaction for each takes the machine from those who acknowledge: at 1,000 orders/s it
 * cost 300 µs of CPU an order here and 180 in Postgres, and with this 100 and 66.
 * Fifty transactions a second are enough for rows that stand a moment later.
 */
const GATHERING_MS = 20;
const LEAST_BACKOFF_MS = 100;
/** A Postgres that comes back is used again within this time. */
const MOST_BACKOFF_MS = 5_000;

/**
 * Carries one stream of a partition to Postgres.
 *
 * Invariants:
 * - An entry is acknowledged only after the transaction that holds its receipt, and its rows or dead letters, committed.
 * - What was read is kept in hand until that is done, and Redis is not asked for it again: so it goes on ageing in the group,
 *   and where this worker alone cannot write, another one takes it over. The receipts absorb what both write.
 * - After a read that failed, what this consumer holds is read again.
 * - Two deliveries are in hand at most: the one that is written, and the next.
 * - What is in hand is written whether Redis answers or not: it may be all that is left, where Redis comes back without its end.
 */
export class Worker implements Service {
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #log: Logger;
  readonly #backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  /** The error that is being retried, or that stopped it, for readiness; undefined while all is well. */
  #trouble: Error | undefined;
  /** Written, and not yet acknowledged: of the deliveries in hand. */
  #written: string[] = [];
  /** How many rows the next transaction should have at most: fewer than `transactionRows` after one that failed. */
  #rows: number;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#rows = options.transactionRows;
    const { partition, rows } = options;
    this.name = `worker of the ${rows.name} of partition ${partition}`;
    this.#log = options.log.child({ partition, stream: rows.name });
  }

  get trouble(): Error | undefined {
    return this.#trouble;
  }

  async start(): Promise<void> {
    this.#running = this.#run().catch((error: unknown) => this.#end(error));
  }

  /** Resolves when what was read is written and acknowledged, or could not be and stays pending. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#options.writer.close();
  }

  async #run(): Promise<void> {
    const { reader } = this.#options;
    let ahead: Promise<Delivery> | undefined;
    do {
      const delivery = await this.#untilDone("reading", async () => {
        const reading = ahead ?? reader.next();
        ahead = undefined;
        try {
          return await reading;
        } catch (error) {
          reader.rewind();
          throw error;
        }
      });
      // The next read is on its way while a batch is written, so that Redis and Postgres work at the same time.
      ahead = this.#stopping.signal.aborted ? undefined : this.#next(delivery.entries.length);
      ahead?.catch(() => {}); // it is awaited, though perhaps only after another error
      await this.#process(delivery);
      if (this.#written.length > 0) {
        // Redis is away. Nothing of what was read before that waits for it to come back.
        const next = await ahead?.catch(() => {
          reader.rewind();
          return undefined;
        });
        ahead = undefined;
        if (next !== undefined) await this.#process(next);
        await this.#untilDone("acknowledging", () => this.#acknowledge());
      }
    } while (!this.#stopping.signal.aborted || ahead !== undefined);
  }

  /** The next delivery. An order that comes to an idle worker is read at once; where they trickle in, some are awaited. */
  async #next(justRead: number): Promise<Delivery> {
    const { reader } = this.#options;
    if (justRead > 0 && justRead < reader.count) await delay(GATHERING_MS, this.#stopping.signal);
    return await reader.next();
  }

  /** No more entries are taken: the worker was stopped, or the log has become too new for it. */
  #end(error: unknown): void {
    if (error instanceof NewerVersionError) {
      this.#trouble = error;
      // Not a crash: started again it would only take the entries again, and keep them from a worker that knows them.
      this.#log.error({ err: error }, "STOPPED: the log has entries of a newer version; upgrade this worker");
    } else if (!this.#stopping.signal.aborted) {
      throw error;
    }
  }

  async #process({ lost, entries }: Delivery): Promise<void> {
    const { metrics } = this.#options;
    // First, or what is written behind them would look like the end of a gap.
    if (lost.length > 0) await this.#untilDone("writing lost entries", () => this.#writeLost(lost));
    for (let from = 0; from < entries.length;) {
      const { records, newer } = await this.#untilDone("writing", () => this.#writeNext(entries, from));
      if (records.length > 0) {
        for (const { id } of entries.slice(from, from + records.length)) this.#written.push(id);
        metrics.observeAges(records, Date.now());
        await this.#acknowledge().catch((error: unknown) => this.#fail("acknowledging", error));
      }
      if (newer !== undefined) {
        await this.#untilDone("acknowledging", () => this.#acknowledge());
        throw newer;
      }
      from += records.length;
    }
  }

  /** What was written so far. */
  async #acknowledge(): Promise<void> {
    const ids = this.#written;
    const acknowledged = await this.#options.reader.acknowledge(ids);
    this.#written = [];
    if (acknowledged < ids.length)
      this.#log.warn({ acknowledged, of: ids.length }, "some entries were no longer ours to acknowledge");
  }

  #fail(what: string, error: unknown): void {
    this.#trouble = error instanceof Error ? error : new Error(String(error));
    this.#options.metrics.add("retries");
    this.#log.warn({ err: error }, `${what} failed: entries stay pending, and it is tried again`);
  }

  /** What the work resolves with once it succeeds. Throws its error only where the worker is being stopped. */
  async #untilDone<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    const { signal } = this.#stopping;
    for (;;) {
      try {
        const result = await work();
        this.#trouble = undefined;
        this.#backoff.reset();
        return result;
      } catch (error) {
        this.#fail(what, error);
        if (signal.aborted) throw error;
        await delay(this.#backoff.next(), signal);
      }
    }
  }

  /**
   * Writes what one transaction takes from this entry on. One that failed is tried at half its size, down to one entry: what is too
   * much for its time, on a machine that is too busy, would be so for ever.
   */
  async #writeNext(entries: readonly Delivered[], from: number): Promise<Slice> {
    const slice = await this.#decode(entries, from);
    if (slice.records.length === 0) return slice;
    try {
      this.#note(await this.#write(slice.records));
    } catch (error) {
      this.#rows = Math.max(1, Math.floor(Math.min(this.#rows, slice.rows) / 2));
      throw error;
    }
    this.#rows = Math.min(this.#rows * 2, this.#options.transactionRows);
    return slice;
  }

  async #write(records: readonly EntryRecord[]): Promise<PersistOutcome> {
    const { writer, metrics, onDeadLetters, fencedLog } = this.#options;
    const committed = metrics.startTransaction();
    try {
      const outcome = await persist(writer, records, { told: onDeadLetters, log: fencedLog });
      committed();
      return outcome;
    } catch (error) {
      // These very entries may be locked by the worker from which they were taken over.
      const ended = await endStalledCopies(writer).catch(() => 0);
      if (ended > 0) this.#log.warn({ ended }, "ended transactions whose workers have stalled");
      throw error;
    }
  }

  /** Entries that are gone from the stream: some may have been written, by a worker that died before it acknowledged them. */
  async #writeLost(ids: readonly string[]): Promise<void> {
    const { writer, reader, partition, rows, metrics, store, onDeadLetters } = this.#options;
    const written = await store.written(rows.stream, partition, ids);
    const missing = ids.filter((id) => !written.has(id));
    if (missing.length > 0) {
      this.#note(
        await persist(
          writer,
          missing.map((id) => lostRecord(rows, id, partition)),
          { told: onDeadLetters },
        ),
      );
      metrics.add("lost", missing.length);
      this.#log.error({ entries: missing }, "ENTRIES LOST: they were removed from the stream before they were written");
    }
    // Those that a claim found are no longer pending already.
    await reader.acknowledge(ids).catch((error: unknown) => {
      this.#written.push(...ids);
      this.#fail("acknowledging", error);
    });
  }

  #note(outcome: PersistOutcome): void {
    this.#options.metrics.count(outcome);
    const { forks, orphans } = outcome;
    if (forks > 0)
      this.#log.error({ forks }, "FORK OF THE LOG: entries differ from what the journal has under their ID");
    if (orphans > 0)
      this.#log.error(
        { orphans },
        "ENTRIES ORPHANED: the log lost them while they were in hand, and went on without them",
      );
  }

  /** The records of a transaction: of the entries from this one on, up to its size or to the first entry of a newer version. */
  async #decode(entries: readonly Delivered[], from: number): Promise<Slice> {
    const { instruments, store } = this.#options;
    try {
      return this.#slice(entries, from, false);
    } catch (error) {
      if (!(error instanceof UnknownSymbolError)) throw error;
      for (const { definition } of await store.instruments()) instruments.learn(definition);
      await instruments.refresh();
      return this.#slice(entries, from, true);
    }
  }

  /** Divides at the bounds of entries, so that a transaction has about `#rows` rows. */
  #slice(entries: readonly Delivered[], from: number, instrumentsAreFresh: boolean): Slice {
    const { partition, rows: streamRows, instruments } = this.#options;
    const records: EntryRecord[] = [];
    let rows = 0;
    let bytes = 0;
    for (let at = from; at < entries.length && rows < this.#rows && bytes < TRANSACTION_BYTES; at++) {
      try {
        const record = recordOf(streamRows, entries[at]!, { partition, instruments, instrumentsAreFresh });
        records.push(record);
        rows += record.orders.length + record.executions.length + record.trades.length;
        bytes += record.receipt.payload?.length ?? 0;
      } catch (error) {
        if (!(error instanceof NewerVersionError)) throw error;
        return { records, rows, newer: error };
      }
    }
    return { records, rows, newer: undefined };
  }
}
