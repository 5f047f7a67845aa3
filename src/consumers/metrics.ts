import type { Counter, Gauge, Histogram } from "prom-client";
import type { PersistOutcome } from "../store/batch.ts";
import type { EntryRecord } from "../store/entry-record.ts";
import type { GroupState } from "../stream/status.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** The groups of each partition, as Redis has them now. */
export type ReadGroups = () => Promise<
  readonly { readonly partition: number; readonly groups: readonly GroupState[] }[]
>;

/** What the workers of a process tell of themselves, and of the groups that they belong to. */
export class ConsumerMetrics {
  readonly transaction: Histogram;
  readonly retries: Counter;
  readonly lost: Counter;
  readonly groupsLost: Counter;
  readonly trimmed: Counter<"stream">;
  readonly gaps: Gauge;
  readonly #entries: Counter;
  readonly #duplicates: Counter;
  readonly #orders: Counter;
  readonly #deadLetters: Counter;
  readonly #forks: Counter;
  readonly #rows: Histogram;
  readonly #age: Histogram;

  constructor(metrics: Metrics, readGroups: ReadGroups) {
    this.transaction = metrics.histogram(
      "transaction_seconds",
      "Time of a transaction that wrote a batch, until its commit.",
    );
    this.retries = metrics.counter(
      "retries_total",
      "Reads, writes and acknowledgements that failed and were tried again.",
    );
    this.lost = metrics.counter("entries_lost_total", "Entries removed from the stream before they were written.");
    this.groupsLost = metrics.counter(
      "groups_lost_total",
      "Times that a group was gone from its stream, and was made again.",
    );
    this.trimmed = metrics.counter("entries_trimmed_total", "Entries removed that nobody needs any more.", ["stream"]);
    this.gaps = metrics.gauge("journal_gaps", "Entries in the journal whose predecessor is missing there.");
    this.#entries = metrics.counter("entries_written_total", "Entries written to Postgres.");
    this.#duplicates = metrics.counter(
      "entries_redelivered_total",
      "Entries that came again and had been written before.",
    );
    this.#orders = metrics.counter("orders_written_total", "Orders written to Postgres.");
    this.#deadLetters = metrics.counter("dead_letters_total", "Commands and entries written to dead_letters.");
    this.#forks = metrics.counter("forks_total", "Entries that differ from what the journal has under their ID.");
    this.#rows = metrics.histogram(
      "transaction_rows",
      "Orders in a transaction.",
      [],
      [1, 5, 10, 50, 100, 500, 1000, 5000, 10_000],
    );
    this.#age = metrics.histogram(
      "entry_age_seconds",
      "From the time of an entry until it was written and acknowledged.",
    );

    let reading: ReturnType<ReadGroups> | undefined;
    const gauge = (name: string, help: string, pending: (group: GroupState) => number, undelivered: typeof pending) =>
      metrics.gauge(name, help, ["partition", "group", "state"], async (gauge) => {
        gauge.reset(); // what Redis does not tell now is absent, not old
        // Both gauges share what is read for a scrape.
        const partitions = await (reading ??= readGroups().finally(() => (reading = undefined))).catch(() => []);
        for (const { partition, groups } of partitions) {
          for (const state of groups) {
            gauge.set({ partition, group: state.group, state: "pending" }, pending(state));
            gauge.set({ partition, group: state.group, state: "undelivered" }, undelivered(state));
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

  count(outcome: PersistOutcome): void {
    this.#entries.inc(outcome.written);
    this.#duplicates.inc(outcome.duplicates);
    this.#orders.inc(outcome.rows);
    this.#deadLetters.inc(outcome.deadLetters);
    this.#forks.inc(outcome.forks);
    this.#rows.observe(outcome.rows);
  }

  observeAges(records: readonly EntryRecord[], now: number): void {
    for (const { receipt } of records) this.#age.observe(Math.max(0, now - receipt.ms) / 1000);
  }
}
