import type { Counter, Gauge, Histogram } from "prom-client";
import type { PersistOutcome } from "../store/batch.ts";
import type { LetterKind } from "../store/dead-letter-shelf.ts";
import type { EntryRecord } from "../store/entry-record.ts";
import type { GroupState } from "../stream/status.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** The groups of each stream of each partition, as Redis has them now. */
export type ReadGroups = () => Promise<
  readonly { readonly partition: number; readonly stream: string; readonly groups: readonly GroupState[] }[]
>;

/** The dead letters that are open, as Postgres has them now. */
export type CountLetters = () => Promise<
  readonly { readonly stream: string; readonly kind: LetterKind; readonly count: number }[]
>;

const LETTER_KINDS: readonly LetterKind[] = ["unreadable", "refused", "fork", "orphaned", "lost", "foreign"];

/** What the workers of a process tell of themselves, and of the groups that they belong to. */
export class ConsumerMetrics {
  readonly trimmed: Counter<"stream">;
  readonly consumersRemoved: Counter<"stream">;
  readonly gaps: Gauge;
  readonly behind: Gauge<"partition" | "stream">;
  readonly #counters: Record<CounterName, Counter<"stream">>;
  readonly #histograms: Record<HistogramName, Histogram<"stream">>;

  constructor(metrics: Metrics, readGroups: ReadGroups, countLetters: CountLetters) {
    this.trimmed = metrics.counter("entries_trimmed_total", "Entries removed that nobody needs any more.", ["stream"]);
    this.consumersRemoved = metrics.counter(
      "consumers_removed_total",
      "Consumers removed from their group that were gone and held nothing.",
      ["stream"],
    );
    this.gaps = metrics.gauge("journal_gaps", "Entries in the journal whose predecessor is missing there.");
    this.behind = metrics.gauge(
      "journal_behind",
      "1 where the journal lacks entries that its group has finished and that Redis still has.",
      ["partition", "stream"],
    );
    const counter = (name: string, help: string) => metrics.counter(name, help, ["stream"]);
    this.#counters = {
      retries: counter("retries_total", "Reads, writes and acknowledgements that failed and were tried again."),
      lost: counter("entries_lost_total", "Entries removed from the stream before they were written."),
      groupsLost: counter("groups_lost_total", "Times that a group was gone from its stream, and was made again."),
      entries: counter("entries_written_total", "Entries written to Postgres."),
      duplicates: counter("entries_redelivered_total", "Entries that came again and had been written before."),
      rows: counter("rows_written_total", "Orders, execution reports and trades written to Postgres."),
      deadLetters: counter("dead_letters_total", "Commands, events and entries written to dead_letters."),
      forks: counter("forks_total", "Entries that differ from what the journal has under their ID."),
      orphans: counter("orphans_total", "Entries that the log lost while a worker held them, and went on without."),
    };
    const histogram = (name: string, help: string, buckets?: readonly number[]) =>
      metrics.histogram(name, help, ["stream"], buckets);
    this.#histograms = {
      transaction: histogram("transaction_seconds", "Time of a transaction that wrote a batch, until its commit."),
      rows: histogram(
        "transaction_rows",
        "Orders, execution reports and trades in a transaction.",
        [1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000],
      ),
      age: histogram("entry_age_seconds", "From the time of an entry until it was written and acknowledged."),
    };
    this.#gaugeGroups(metrics, readGroups);
    metrics.gauge(
      "dead_letters_open",
      "Dead letters that nobody has redriven or discarded yet.",
      ["stream", "kind"],
      async (gauge) => {
        const letters = await countLetters().catch(() => undefined);
        gauge.reset(); // what Postgres does not tell now is absent, not old
        if (letters === undefined) return;
        for (const stream of ["orders", "events"]) for (const kind of LETTER_KINDS) gauge.set({ stream, kind }, 0);
        for (const { stream, kind, count } of letters) gauge.set({ stream, kind }, count);
      },
    );
  }

  /** Those of one stream's workers, all of them 0 so far. */
  of(stream: string): WorkerMetrics {
    for (const counter of Object.values(this.#counters)) counter.inc({ stream }, 0);
    for (const histogram of Object.values(this.#histograms)) histogram.zero({ stream });
    return new WorkerMetrics(stream, this.#counters, this.#histograms);
  }

  #gaugeGroups(metrics: Metrics, readGroups: ReadGroups): void {
    let reading: ReturnType<ReadGroups> | undefined;
    const gauge = (name: string, help: string, pending: (group: GroupState) => number, undelivered: typeof pending) =>
      metrics.gauge(name, help, ["partition", "group", "state", "stream"], async (gauge) => {
        gauge.reset(); // what Redis does not tell now is absent, not old
        // Both gauges share what is read for a scrape.
        const partitions = await (reading ??= readGroups().finally(() => (reading = undefined))).catch(() => []);
        for (const { partition, stream, groups } of partitions) {
          for (const state of groups) {
            gauge.set({ partition, group: state.group, state: "pending", stream }, pending(state));
            gauge.set({ partition, group: state.group, state: "undelivered", stream }, undelivered(state));
          }
        }
      });
    gauge(
      "group_entries",
      "Entries a group still has to finish; -1 where Redis cannot tell.",
      (group) => group.pending,
      (group) => group.lag,
    );
    gauge(
      "group_oldest_seconds",
      "Age of the oldest such entry.",
      (group) => group.oldestPendingMs / 1000,
      (group) => group.oldestUndeliveredMs / 1000,
    );
  }
}

type CounterName =
  | "retries"
  | "lost"
  | "groupsLost"
  | "entries"
  | "duplicates"
  | "rows"
  | "deadLetters"
  | "forks"
  | "orphans";
type HistogramName = "transaction" | "rows" | "age";

/** What one stream's workers count. */
export class WorkerMetrics {
  readonly #stream: { readonly stream: string };
  readonly #counters: Readonly<Record<CounterName, Counter<"stream">>>;
  readonly #histograms: Readonly<Record<HistogramName, Histogram<"stream">>>;

  constructor(
    stream: string,
    counters: Readonly<Record<CounterName, Counter<"stream">>>,
    histograms: Readonly<Record<HistogramName, Histogram<"stream">>>,
  ) {
    this.#stream = { stream };
    this.#counters = counters;
    this.#histograms = histograms;
  }

  add(counter: "retries" | "lost" | "groupsLost", by = 1): void {
    this.#counters[counter].inc(this.#stream, by);
  }

  /** A transaction begins; what is returned is called once it is committed. */
  startTransaction(): () => void {
    return this.#histograms.transaction.startTimer(this.#stream);
  }

  count(outcome: PersistOutcome): void {
    this.#counters.entries.inc(this.#stream, outcome.written);
    this.#counters.duplicates.inc(this.#stream, outcome.duplicates);
    this.#counters.rows.inc(this.#stream, outcome.rows);
    this.#counters.deadLetters.inc(this.#stream, outcome.deadLetters);
    this.#counters.forks.inc(this.#stream, outcome.forks);
    this.#counters.orphans.inc(this.#stream, outcome.orphans);
    this.#histograms.rows.observe(this.#stream, outcome.rows);
  }

  observeAges(records: readonly EntryRecord[], now: number): void {
    for (const { receipt } of records) this.#histograms.age.observe(this.#stream, Math.max(0, now - receipt.ms) / 1000);
  }
}
