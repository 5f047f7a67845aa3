import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** Seconds from 0.25 ms (a Redis round trip on loopback takes less) to 10 s (the time limit of a call), each about double. */
export const latencyBuckets: readonly number[] = [
  0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2.5, 5, 10,
];

/**
 * The metrics of a role. All names begin with `penstock_`; base units are seconds and bytes, and the name says which.
 * A name is made once: a second metric of the same name is an error.
 */
export interface Metrics {
  readonly registry: Registry;
  /** `name` without its prefix; it ends in `_total`. */
  counter<Label extends string = never>(name: string, help: string, labels?: readonly Label[]): Counter<Label>;
  /** `collect` sets the value at each scrape, where it is not set as it changes. */
  gauge<Label extends string = never>(
    name: string,
    help: string,
    labels?: readonly Label[],
    collect?: (gauge: Gauge<Label>) => void | Promise<void>,
  ): Gauge<Label>;
  /** `buckets` are upper bounds; latencies in seconds without them. */
  histogram<Label extends string = never>(
    name: string,
    help: string,
    labels?: readonly Label[],
    buckets?: readonly number[],
  ): Histogram<Label>;
}

/** Metrics with a registry of their own, which also holds those of the process and of Node. */
export function createMetrics(role: string, labels: Readonly<Record<string, string>> = {}): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ role, ...labels });
  collectDefaultMetrics({ register: registry });
  const named = (name: string, help: string) => ({ name: `penstock_${name}`, help, registers: [registry] });

  return {
    registry,
    counter: (name, help, labels = []) => new Counter({ ...named(name, help), labelNames: labels }),
    gauge<Label extends string>(
      name: string,
      help: string,
      labels: readonly Label[] = [],
      collect?: (gauge: Gauge<Label>) => void | Promise<void>,
    ) {
      const gauge: Gauge<Label> = new Gauge({
        ...named(name, help),
        labelNames: labels,
        ...(collect && { collect: () => collect(gauge) }),
      });
      return gauge;
    },
    histogram: (name, help, labels = [], buckets = latencyBuckets) =>
      new Histogram({ ...named(name, help), labelNames: labels, buckets: [...buckets] }),
  };
}
