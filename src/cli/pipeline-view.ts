import { timestampDate } from "@bufbuild/protobuf/wkt";
import type {
  GetPipelineStatusResponse,
  GroupStatus,
  PartitionStatus,
  PipelineSample,
  Spread,
} from "../gen/penstock/v1/admin_service_pb.ts";
import { EnginePartitionStatus_State as State } from "../gen/penstock/v1/engine_service_pb.ts";
import { enumName } from "./table.ts";

/** What is known when a view is drawn. */
export interface PipelineSight {
  /** Where it was asked for. */
  readonly url: string;
  /** Oldest first; the last one is shown, the others are behind the curves. */
  readonly samples: readonly PipelineSample[];
  /** Since when the server is not heard of, in ms since 1970, and why; undefined while it is. */
  readonly cut: { readonly since: number; readonly why: string } | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A sample comes each second: what is older is said to be. */
const FRESH_MS = 3_000;
const CURVE = 40;
const BARS = " ▁▂▃▄▅▆▇█";
const MIB = 1024 * 1024;

/** The pipeline as lines of text. */
export function pipelineView({ url, samples, cut, now }: PipelineSight): string[] {
  const sample = samples.at(-1);
  const time = new Date(now).toISOString().slice(11, 19);
  const heading = `penstock  ${url}  ${time} UTC`;
  if (sample === undefined) return [heading, cut === undefined ? "waiting for the first sample" : cutLine(cut, now)];
  const ageMs = sample.at === undefined ? Infinity : now - timestampDate(sample.at).getTime();
  const warnings = [
    ...(cut === undefined ? [] : [cutLine(cut, now)]),
    ...(ageMs > FRESH_MS ? [`WHAT FOLLOWS IS ${Math.round(ageMs / 1000)} s OLD`] : []),
    ...(sample.trouble === "" ? [] : [`NOT ALL COULD BE READ: ${sample.trouble}`]),
    ...(sample.status?.refusing ? [`NEW ORDERS ARE REFUSED: ${sample.status.refusing}`] : []),
  ];
  return [
    heading,
    ...warnings,
    processesLine(sample),
    ...(sample.status === undefined ? [] : [stateLine(sample.status)]),
    "",
    ...rates(samples),
    "",
    ...spreads(sample),
    ...(sample.status === undefined ? [] : ["", ...partitions(sample.status)]),
  ];
}

function cutLine({ since, why }: { readonly since: number; readonly why: string }, now: number): string {
  return `NOT CONNECTED for ${Math.round((now - since) / 1000)} s: ${why}`;
}

function processesLine({ processes }: PipelineSample): string {
  const roles = ["ingest", "engine", "consumers"].map((role) => {
    const count = processes.filter((process) => process.role === role).length;
    return `${role} ${count === 0 ? "NONE" : count}`;
  });
  return `processes: ${roles.join("  ")}`;
}

function stateLine({ redisUsedMemoryBytes, redisMaxMemoryBytes, deadLetters }: GetPipelineStatusResponse): string {
  const [used, most] = [Number(redisUsedMemoryBytes), Number(redisMaxMemoryBytes)];
  const share = most === 0 ? "no limit" : `${Math.round((used / most) * 100)} % of ${Math.round(most / MIB)} MiB`;
  return `Redis ${(used / MIB).toFixed(1)} MiB (${share})  dead letters ${deadLetters}`;
}

function rates(samples: readonly PipelineSample[]): string[] {
  const rows: [string, (sample: PipelineSample) => number][] = [
    ["orders accepted", (sample) => sample.accepted],
    ["orders refused", (sample) => sample.refused],
    ["commands matched", (sample) => sample.matched],
    ["orders written", (sample) => sample.written],
    ["reports, trades written", (sample) => sample.reportsWritten],
  ];
  const shown = samples.slice(-CURVE);
  return table([
    ["a second", "now", `last ${CURVE} s`],
    ...rows.map(([name, of]) => [name, whole(of(shown.at(-1)!)), curve(shown.map(of))]),
  ]);
}

function spreads(sample: PipelineSample): string[] {
  const rows: [string, Spread | undefined, (value: number) => string][] = [
    ["acknowledgement, ms", sample.acknowledgement, short],
    ["flush of the log, ms", sample.flush, short],
    ["append of events, ms", sample.append, short],
    ["transaction, ms", sample.transaction, short],
    ["order to row, ms", sample.orderAge, short],
    ["events to rows, ms", sample.eventAge, short],
    ["commands in a flush", sample.flushCommands, whole],
    ["rows in a transaction", sample.transactionRows, whole],
  ];
  return table([
    ["", "mean", "p50", "p99"],
    ...rows.map(([name, spread, text]) => {
      const isThere = spread !== undefined && spread.count > 0n;
      return [name, ...(isThere ? [spread.mean, spread.p50, spread.p99].map(text) : ["-", "-", "-"])];
    }),
  ]);
}

function partitions({ partitions }: GetPipelineStatusResponse): string[] {
  const engines = table([
    ["partition", "epoch", "entries", "engine", "behind, ms", "open orders"],
    ...partitions.map((partition) => [
      String(partition.partition),
      String(partition.epoch),
      String(partition.entries),
      partition.engine === undefined ? "NO ANSWER" : enumName(State, partition.engine.state),
      behind(partition),
      String(partition.engine?.openOrders ?? "-"),
    ]),
  ]);
  const groups = table([
    ["group", "consumers", "pending", "lag", "oldest, ms"],
    ...partitions.flatMap(({ partition, groups }) =>
      groups.map((group) => [
        `${partition} ${group.stream} ${group.group}`,
        String(group.consumers),
        String(group.pending),
        String(group.lag),
        oldest(group),
      ]),
    ),
  ]);
  return [...engines, "", ...groups];
}

function behind({ engine, lastEntryId }: PartitionStatus): string {
  const msOf = (id: string) => Number(id.split("-", 1)[0]);
  return engine?.position === undefined ? "-" : whole(msOf(lastEntryId) - msOf(engine.position.entryId));
}

function oldest({ oldestPendingMs, oldestUndeliveredMs }: GroupStatus): string {
  return String(oldestPendingMs > oldestUndeliveredMs ? oldestPendingMs : oldestUndeliveredMs);
}

/** The first column to the left, the others to the right, a curve as it is. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** Against the greatest of them; nothing at all is no bar. */
function curve(values: readonly number[]): string {
  const most = Math.max(...values, 0);
  return values
    .map((value) => BARS[value <= 0 || most === 0 ? 0 : Math.max(1, Math.ceil((value / most) * (BARS.length - 1)))])
    .join("");
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Three digits, as many as say something. */
function short(value: number): string {
  return value >= 100 ? whole(value) : value.toPrecision(3);
}
