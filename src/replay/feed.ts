import type { RecordOptions } from "../consumers/record.ts";
import { Backoff, delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import type { EntryRecord, LogPosition } from "../store/entry-record.ts";
import { TransientStoreError } from "../store/errors.ts";
import { type Conflict, rewrite, type RewriteOutcome } from "../store/rewrite.ts";
import type { Transaction, Writer } from "../store/writer.ts";
import type { KnownInstruments } from "./known-instruments.ts";
import type { Progress } from "./progress.ts";

/** As the workers' transactions (consumers/worker.ts): larger is cheaper, and this much is quickly done again. */
const ROWS = 5_000;
const BYTES = 8 * 1024 * 1024;
/** For a Postgres that restarts: up to half a minute in all. */
const TRIES = 12;

export interface FeedOptions {
  readonly writer: Writer;
  readonly instruments: KnownInstruments;
  readonly progress: Progress;
  /** Told before the mark is written that keeps it; and again where that transaction is tried again. */
  readonly onConflict: (conflict: Conflict) => void;
  readonly signal: AbortSignal;
}

export interface FeedFigures {
  entries: number;
  /** Entries that had no receipt. */
  receipts: number;
  /** Rows that were missing. */
  rows: number;
}

/** The replay was interrupted from outside; what was written is written. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/** Brings entries to Postgres, in transactions of some thousand rows. */
export class Feed {
  readonly figures: FeedFigures = { entries: 0, receipts: 0, rows: 0 };
  readonly #options: FeedOptions;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  /**
   * Writes all that comes, and with each transaction `mark` for the last entry in it. What an entry defines is known to those
   * behind it. Throws an InterruptedError, or a TransientStoreError where Postgres stays away.
   */
  async write<Source>(
    pages: AsyncIterable<readonly Source[]>,
    recordOf: (source: Source, options: Omit<RecordOptions, "partition">) => EntryRecord,
    mark: (transaction: Transaction, at: LogPosition) => Promise<void> = async () => {},
  ): Promise<void> {
    const { instruments } = this.#options;
    let batch: EntryRecord[] = [];
    let [rows, bytes] = [0, 0];
    const flush = async (): Promise<void> => {
      const last = batch.at(-1);
      if (last === undefined) return;
      const outcome = await this.#rewrite(batch, async (transaction, conflicts) => {
        for (const conflict of conflicts) this.#options.onConflict(conflict);
        await mark(transaction, last.receipt);
      });
      this.#note(outcome, batch.length, rows);
      [batch, rows, bytes] = [[], 0, 0];
    };
    for await (const page of pages) {
      for (const source of page) {
        const record = recordOf(source, { instruments, instrumentsAreFresh: true });
        for (const { definition } of record.instruments) instruments.learn(definition);
        batch.push(record);
        rows += record.orders.length + record.executions.length + record.trades.length;
        bytes += record.receipt.payload?.length ?? 0;
        if (rows >= ROWS || bytes >= BYTES || batch.length >= ROWS) await flush();
      }
    }
    await flush();
  }

  async #rewrite(batch: readonly EntryRecord[], mark: Parameters<typeof rewrite>[2]) {
    const { writer, signal, progress } = this.#options;
    const backoff = new Backoff(100, 5_000);
    for (let tries = 1; ; tries++) {
      if (signal.aborted) throw new InterruptedError("interrupted: the same command goes on from here");
      try {
        return await rewrite(writer, batch, mark);
      } catch (error) {
        if (!(error instanceof TransientStoreError) || tries === TRIES) throw error;
        progress.say(`tried again: ${messageOf(error)}`);
        await delay(backoff.next(), signal);
      }
    }
  }

  #note({ receipts, rows }: RewriteOutcome, entries: number, given: number): void {
    this.figures.entries += entries;
    this.figures.receipts += receipts;
    this.figures.rows += rows;
    this.#options.progress.add(entries, given);
  }
}
