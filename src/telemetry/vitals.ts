import type { Registry } from "prom-client";

/** Of a histogram: by upper bound how many were at most that (the last bound is "+Inf"), and the sum of all. */
export interface Distribution {
  readonly buckets: Readonly<Record<string, number>>;
  readonly sum: number;
}

/** What a process has counted since its start, as far as the view of the whole pipeline shows it. What it has not is absent. */
export interface Vitals {
  readonly counters: Readonly<Partial<Record<CounterName, number>>>;
  readonly distributions: Readonly<Partial<Record<DistributionName, Distribution>>>;
}

type Labels = Readonly<Record<string, readonly string[]>>;

interface Source {
  /** Without its prefix. */
  readonly metric: string;
  /** Only what has one of these values. */
  readonly labels?: Labels;
}

const SUBMIT = { method: ["SubmitOrder", "SubmitOrders", "StreamOrders"] };

/** Each is the sum of its sources. */
const COUNTERS = {
  accepted: [{ metric: "orders_total", labels: { outcome: ["accepted"] } }],
  // A call that finds no room, or no server behind this one, is refused before its orders are looked at.
  refused: [
    { metric: "orders_total", labels: { outcome: ["refused"] } },
    { metric: "requests_total", labels: { ...SUBMIT, code: ["RESOURCE_EXHAUSTED", "UNAVAILABLE"] } },
  ],
  matched: [{ metric: "engine_appended_commands_total" }],
  written: [{ metric: "rows_written_total", labels: { stream: ["orders"] } }],
  reportsWritten: [{ metric: "rows_written_total", labels: { stream: ["events"] } }],
} as const satisfies Record<string, readonly Source[]>;

const DISTRIBUTIONS = {
  acknowledgement: { metric: "request_seconds", labels: SUBMIT },
  flush: { metric: "flush_seconds" },
  append: { metric: "engine_append_seconds" },
  transaction: { metric: "transaction_seconds" },
  orderAge: { metric: "entry_age_seconds", labels: { stream: ["orders"] } },
  eventAge: { metric: "entry_age_seconds", labels: { stream: ["events"] } },
  flushCommands: { metric: "flush_commands" },
  transactionRows: { metric: "transaction_rows" },
} as const satisfies Record<string, Source>;

export type CounterName = keyof typeof COUNTERS;
export type DistributionName = keyof typeof DISTRIBUTIONS;

export const COUNTER_NAMES = Object.keys(COUNTERS) as CounterName[];
export const DISTRIBUTION_NAMES = Object.keys(DISTRIBUTIONS) as DistributionName[];

/** Out of a registry of this program. */
export async function readVitals(registry: Registry): Promise<Vitals> {
  const counters: Partial<Record<CounterName, number>> = {};
  for (const name of COUNTER_NAMES) {
    for (const source of COUNTERS[name] as readonly Source[]) {
      for (const { value } of await valuesOf(registry, source)) counters[name] = (counters[name] ?? 0) + value;
    }
  }
  const distributions: Partial<Record<DistributionName, Distribution>> = {};
  for (const name of DISTRIBUTION_NAMES) {
    const source: Source = DISTRIBUTIONS[name];
    const buckets: Record<string, number> = {};
    let sum = 0;
    for (const { value, labels, metricName } of await valuesOf(registry, source)) {
      if (metricName?.endsWith("_sum") === true) sum += value;
      const { le } = labels;
      if (le !== undefined) buckets[String(le)] = (buckets[String(le)] ?? 0) + value;
    }
    if (Object.keys(buckets).length > 0) distributions[name] = { buckets, sum };
  }
  return { counters, distributions };
}

interface Value {
  readonly value: number;
  readonly labels: Readonly<Partial<Record<string, string | number>>>;
  /** Of a histogram's. */
  readonly metricName?: string;
}

async function valuesOf(registry: Registry, { metric, labels = {} }: Source): Promise<readonly Value[]> {
  const found = registry.getSingleMetric(`penstock_${metric}`);
  if (found === undefined) return [];
  const { values } = (await found.get()) as { readonly values: readonly Value[] };
  const wanted = Object.entries(labels);
  return values.filter((value) => wanted.every(([label, of]) => of.includes(String(value.labels[label]))));
}

/** What was counted between two looks at one process; undefined where it began anew in between. */
export function vitalsSince(newer: Vitals, older: Vitals): Vitals | undefined {
  const counters: Partial<Record<CounterName, number>> = {};
  for (const name of COUNTER_NAMES) {
    if (newer.counters[name] === undefined) continue;
    const change = newer.counters[name] - (older.counters[name] ?? 0);
    if (change < 0) return undefined;
    counters[name] = change;
  }
  const distributions: Partial<Record<DistributionName, Distribution>> = {};
  for (const name of DISTRIBUTION_NAMES) {
    const now = newer.distributions[name];
    if (now !== undefined) distributions[name] = joined([now], older.distributions[name]);
  }
  return { counters, distributions };
}

/** Of several processes together. Bounds that not all of them have make it coarser, and no worse. */
export function joined(distributions: readonly Distribution[], without?: Distribution): Distribution {
  const buckets: Record<string, number> = {};
  let sum = 0;
  for (const [of, sign] of [
    ...distributions.map((one) => [one, 1] as const),
    ...(without ? [[without, -1] as const] : []),
  ]) {
    sum += sign * of.sum;
    for (const [bound, count] of Object.entries(of.buckets)) buckets[bound] = (buckets[bound] ?? 0) + sign * count;
  }
  return { buckets, sum };
}

export interface Spread {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
}

/** In the unit of the metric. Within a bucket all values are taken to lie evenly, as Prometheus does. */
export function spreadOf({ buckets, sum }: Distribution): Spread {
  const bounds = Object.entries(buckets)
    .map(([bound, count]) => ({ bound: bound === "+Inf" ? Infinity : Number(bound), count }))
    .sort((a, b) => a.bound - b.bound);
  const count = bounds.at(-1)?.count ?? 0;
  if (count <= 0) return { count: 0, mean: 0, p50: 0, p99: 0 };
  const at = (share: number): number => {
    const rank = share * count;
    let below = { bound: 0, count: 0 };
    for (const one of bounds) {
      if (one.count >= rank) {
        if (one.bound === Infinity) return below.bound;
        const within = one.count === below.count ? 1 : (rank - below.count) / (one.count - below.count);
        return below.bound + (one.bound - below.bound) * within;
      }
      below = one;
    }
    return below.bound;
  };
  return { count, mean: sum / count, p50: at(0.5), p99: at(0.99) };
}
