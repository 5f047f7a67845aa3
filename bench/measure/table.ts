import type { DiskLatency } from "./disk.ts";
import type { Loss } from "./loss.ts";
import type { ProbeLatency } from "./health.ts";
import type { Measurement } from "./measure.ts";
import type { MemorySample, WaitingMemory } from "./memory.ts";
import type { Restart } from "./restart.ts";

/** Several runs of one load against one target. */
export interface Row {
  readonly target: string;
  readonly runs: readonly Measurement[];
}

/** What somebody can rely on, in words. */
export interface Promises {
  /** When an order is acknowledged. */
  readonly acknowledged: string;
  /** What becomes of the orders in the hands of a worker that dies. */
  readonly death: string;
  /** What becomes of a row that Postgres refuses, and of those beside it. */
  readonly refusedRow: string;
}

/** A table of Markdown: medians of each row's runs. */
export function measurementTable(rows: readonly Row[]): string {
  return table(
    [
      ...["", "orders/s asked", "reached", "ack p50", "p99", "p99.9 ms", "to row p50", "p99 ms"],
      ...["CPU µs an order", "of which", "generator", "others", "faults"],
    ],
    rows.map(({ target, runs }) => {
      const of = (pick: (run: Measurement) => number | undefined): number =>
        median(runs.map((run) => pick(run) ?? NaN));
      const first = runs[0];
      const servers = Object.keys(first?.cpuMicros ?? {});
      const cpu = servers.map((name) => of((run) => run.cpuMicros[name]));
      return [
        target,
        count(of((run) => run.load.rate)),
        count(of((run) => run.report.rate)),
        milliseconds(of((run) => run.report.latencyMs.p50)),
        milliseconds(of((run) => run.report.latencyMs.p99)),
        milliseconds(of((run) => run.report.latencyMs.p999)),
        milliseconds(of((run) => run.rows?.p50)),
        milliseconds(of((run) => run.rows?.p99)),
        micros(cpu.reduce((sum, value) => sum + value, 0)),
        servers.map((name, at) => `${name} ${micros(cpu[at] ?? NaN)}`).join(", "),
        percent(of((run) => run.generatorShare)),
        percent(of((run) => run.othersShare)),
        faults(runs),
      ];
    }),
  );
}

/** The orders a second that were reached, the median of a row's runs. */
export function medianRate({ runs }: Row): number {
  return median(runs.map(({ report }) => report.rate));
}

export function promiseTable(rows: readonly { readonly target: string; readonly promises: Promises }[]): string {
  return table(
    ["", "acknowledged when", "orders in the hands of a worker that dies", "a row that Postgres refuses"],
    rows.map(({ target, promises: { acknowledged, death, refusedRow } }) => [target, acknowledged, death, refusedRow]),
    "words",
  );
}

export function lossTable(losses: readonly Loss[]): string {
  return table(
    ["", "killed", "acknowledged", "lost", "stuck", "rows doubled", "last row after", "rows of an order sent twice"],
    losses.map(({ target, kills, acknowledged, lost, stuck, doubled, lateSeconds, rowsOfResent }) => [
      target,
      kills === 0 ? "no worker" : `${kills} times`,
      ...[acknowledged, lost, stuck, doubled].map(count),
      `${lateSeconds.toFixed(1)} s`,
      rowsOfResent.toFixed(2).replace(".00", ""),
    ]),
  );
}

/** A row a run: they differ too much for a median to say much. */
export function diskTable(runs: readonly DiskLatency[]): string {
  return table(
    ["run", "p50 ms", "p99 ms", "longest ms"],
    runs.map(({ p50, p99, max }, run) => [String(run + 1), milliseconds(p50), milliseconds(p99), milliseconds(max)]),
  );
}

export function healthTable(probes: readonly ProbeLatency[]): string {
  return table(
    ["", "p50 ms", "p99 ms", "longest ms", "failed"],
    probes.map(({ name, p50, p99, max, failures }) => [
      name,
      ...[p50, p99, max].map((value) => value.toFixed(1)),
      count(failures),
    ]),
  );
}

export function waitingTable(figures: readonly WaitingMemory[]): string {
  return table(
    ["sent", "orders in an entry", "bytes an order in the stream", "in all"],
    figures.map(({ batch, ordersPerEntry, stream, total }) => [
      batch === 0 ? "one by one" : `in batches of ${batch}`,
      ordersPerEntry.toFixed(1),
      stream.toFixed(0),
      total.toFixed(0),
    ]),
  );
}

export function memoryTable(samples: readonly MemorySample[]): string {
  return table(
    ["minute", "Redis in all", "stream", "entries", "keys of idempotency"],
    samples.map(({ minute, used, stream, entries, seen }) => [
      String(minute),
      mebibytes(used),
      mebibytes(stream),
      count(entries),
      mebibytes(seen),
    ]),
  );
}

export function restartTable(restarts: readonly Restart[]): string {
  return table(
    ["run", "orders in the book", "seconds from the kill to the first match", "that match"],
    restarts.map(({ resting, seconds, isRight }, run) => [
      String(run + 1),
      count(resting),
      seconds.toFixed(1),
      isRight ? "right" : "WRONG",
    ]),
  );
}

// Numbers stand on the right, beside a first column of names; words on the left.
/** The first column holds words, the others what is said. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  holds: "numbers" | "words" = "numbers",
): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const alignment = head.map((_, at) => (at === 0 || holds === "words" ? "---" : "---:"));
  return [line(head), line(alignment), ...rows.map(line)].join("\n");
}

function faults(runs: readonly Measurement[]): string {
  const failed = runs.filter((run) => run.faults.length > 0);
  if (failed.length === 0) return "none";
  return `${failed.length} of ${runs.length} runs: ${failed[0]?.faults.join("; ").replaceAll("|", "/")}`;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2;
}

const show = (value: number, text: string): string => (Number.isFinite(value) ? text : "");
const count = (value: number): string => show(value, Math.round(value).toLocaleString("en"));
const milliseconds = (value: number): string => show(value, value.toFixed(value < 100 ? 1 : 0));
const micros = (value: number): string => show(value, value.toFixed(value < 10 ? 1 : 0));
const percent = (value: number): string => show(value, `${(value * 100).toFixed(0)} %`);
const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`;
