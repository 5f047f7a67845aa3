import type {
  GetPipelineStatusResponse,
  PipelineSample,
  Spread,
} from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { bytes, count, duration } from "../shell/wording.ts";

/** A line of a plot: a name, and its value of a sample; undefined where there is none. */
export interface Line {
  readonly name: string;
  readonly of: (sample: PipelineSample) => number | undefined;
}

/** What is drawn together over time. */
export interface Figure {
  readonly name: string;
  readonly what: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** The least step of its axis. */
  readonly step?: number;
}

const rate = (value: number): string => `${count(Math.round(value * 10) / 10)}/s`;

/** A spread in which nothing was counted has no percentile. */
const p50 = (spread: Spread | undefined) => (spread === undefined || spread.count === 0n ? undefined : spread.p50);
const p99 = (spread: Spread | undefined) => (spread === undefined || spread.count === 0n ? undefined : spread.p99);
const mean = (spread: Spread | undefined) => (spread === undefined || spread.count === 0n ? undefined : spread.mean);

const ofGroups = (sample: PipelineSample, of: "lag" | "pending"): number | undefined =>
  sample.status?.partitions.flatMap(({ groups }) => groups).reduce((sum, group) => sum + Number(group[of]), 0);

const processes = (sample: PipelineSample, role: string): number =>
  sample.processes.filter((process) => process.role === role).length;

/** Of the engine that is farthest behind: from its entry to the newest of the log, by the entries' own times. */
function engineBehindMs({ status }: PipelineSample): number | undefined {
  const behind = (status?.partitions ?? []).flatMap(({ lastEntryId, engine }) =>
    engine?.position === undefined ? [] : entryMs(lastEntryId) - entryMs(engine.position.entryId),
  );
  return behind.length === 0 ? undefined : Math.max(0, ...behind);
}

function entryMs(entryId: string): number {
  return Number(entryId.split("-", 1)[0]);
}

const redis = (name: keyof Pick<GetPipelineStatusResponse, "redisUsedMemoryBytes" | "redisMaxMemoryBytes">) => {
  return ({ status }: PipelineSample): number | undefined => (status === undefined ? undefined : Number(status[name]));
};

export const FIGURES: readonly Figure[] = [
  {
    name: "Rates",
    what: "Orders accepted and refused, commands matched, orders written, each second",
    lines: [
      { name: "accepted", of: ({ accepted }) => accepted },
      { name: "matched", of: ({ matched }) => matched },
      { name: "written", of: ({ written }) => written },
      { name: "refused", of: ({ refused }) => refused },
    ],
    format: rate,
  },
  {
    name: "Acknowledgement",
    what: "How long a call that submits orders takes",
    lines: [
      { name: "p50", of: (sample) => p50(sample.acknowledgement) },
      { name: "p99", of: (sample) => p99(sample.acknowledgement) },
    ],
    format: duration,
  },
  {
    name: "Flush and append",
    what: "A flush until it is durable, an append of events until they stand; p99",
    lines: [
      { name: "flush", of: (sample) => p99(sample.flush) },
      { name: "append", of: (sample) => p99(sample.append) },
    ],
    format: duration,
  },
  {
    name: "Transactions",
    what: "A worker’s transaction until its commit",
    lines: [
      { name: "p50", of: (sample) => p50(sample.transaction) },
      { name: "p99", of: (sample) => p99(sample.transaction) },
    ],
    format: duration,
  },
  {
    name: "Age when written",
    what: "From an entry’s time until it was in Postgres; p99",
    lines: [
      { name: "orders", of: (sample) => p99(sample.orderAge) },
      { name: "events", of: (sample) => p99(sample.eventAge) },
    ],
    format: duration,
  },
  {
    name: "Sizes",
    what: "Commands in a flush, rows in a transaction; mean",
    lines: [
      { name: "flush", of: (sample) => mean(sample.flushCommands) },
      { name: "transaction", of: (sample) => mean(sample.transactionRows) },
    ],
    format: count,
  },
  {
    name: "Lag and pending",
    what: "Entries not yet delivered to the groups, and delivered but not acknowledged",
    lines: [
      { name: "lag", of: (sample) => ofGroups(sample, "lag") },
      { name: "pending", of: (sample) => ofGroups(sample, "pending") },
    ],
    format: count,
    step: 1,
  },
  {
    name: "Engine behind",
    what: "From the engine’s entry to the newest of the log",
    lines: [{ name: "behind", of: engineBehindMs }],
    format: duration,
  },
  {
    name: "Redis memory",
    what: "What Redis uses, and what it may use",
    lines: [
      { name: "used", of: redis("redisUsedMemoryBytes") },
      { name: "most", of: redis("redisMaxMemoryBytes") },
    ],
    format: bytes,
  },
  {
    name: "Processes",
    what: "Processes of each role that are heard of",
    lines: [
      { name: "ingest", of: (sample) => processes(sample, "ingest") },
      { name: "engine", of: (sample) => processes(sample, "engine") },
      { name: "consumers", of: (sample) => processes(sample, "consumers") },
    ],
    format: (value) => String(Math.round(value)),
    step: 1,
  },
];
