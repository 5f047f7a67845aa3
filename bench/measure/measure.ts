import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { LoadReport } from "../load/load.ts";
import { cpuBetween, sampleCpu } from "./cpu.ts";
import type { Roots } from "./cpu.ts";
import { compareWithRows, lastState } from "./rows.ts";
import type { RowFigures, StateFigures } from "./rows.ts";

const execute = promisify(execFile);

/** Something that takes orders. */
export interface Target {
  readonly name: string;
  readonly port: number;
  readonly token: string;
  /** Where its rows are; undefined where it writes none. */
  readonly databaseUrl: string | undefined;
  /** Whether an engine matches what it takes, so that each order has a state; and whether its answers are asked for. */
  readonly engine?: { readonly answers: boolean };
  /** The processes of each of its servers. Asked for at each measurement: a restart changes them. */
  readonly processes: () => Roots;
  /** Resolves when nothing that was acknowledged waits for its row any more, or nothing more can be hoped for. */
  readonly settled: () => Promise<void>;
}

export interface Load {
  /** Orders a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** As in LoadOptions. */
  readonly batch: number;
}

export interface Measurement {
  readonly load: Load;
  readonly report: LoadReport;
  readonly rows: RowFigures | undefined;
  /** CPU microseconds of each server for one acknowledged order, until its row is written. */
  readonly cpuMicros: Readonly<Record<string, number>>;
  /** Of the machine's CPU time while it was sent and written, 0 to 1: the generator's, and what neither it nor the target used. */
  readonly generatorShare: number;
  readonly othersShare: number;
  /** Why the target did not sustain this load; empty where it did. */
  readonly faults: readonly string[];
}

// "Every acknowledged order is a row within 5 s of the end".
const ROW_LIMIT_MS = 5_000;
// A server whose queue grows falls short of the rate. In 20 s, answers that are 0.4 s late take a fiftieth off; in a short
// trial less delay does.
const LEAST_SHARE_OF_RATE = 0.98;

/** Sends a load from a process of its own and accounts for every order and every CPU second of it. */
export async function measure(target: Target, load: Load): Promise<Measurement> {
  return withFolder(async (folder) => {
    const file = join(folder, "acknowledged.tsv");
    const processes = target.processes();
    const before = sampleCpu(processes);
    const report = await send(target, load, file);
    await target.settled();
    const used = cpuBetween(before, sampleCpu(processes));

    const rows = target.databaseUrl === undefined ? undefined : await compareWithRows(target.databaseUrl, file);
    const states =
      target.databaseUrl === undefined || target.engine === undefined
        ? undefined
        : await lastState(target.databaseUrl, file);
    const machineSeconds = used.wallSeconds * availableParallelism();
    const servers = Object.values(used.seconds).reduce((sum, seconds) => sum + seconds, 0);
    const generatorShare = report.cpuSeconds / machineSeconds;
    return {
      load,
      report,
      rows,
      cpuMicros: Object.fromEntries(
        Object.entries(used.seconds).map(([name, seconds]) => [
          name,
          (seconds * 1e6) / Math.max(1, report.acknowledged),
        ]),
      ),
      generatorShare,
      othersShare: Math.max(0, used.machineShare - servers / machineSeconds - generatorShare),
      faults: [...faultsOf(load, report, rows), ...stateFaults(report, states)],
    };
  });
}

/** Gives `work` a folder that goes afterwards. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "penstock-bench-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * Sends a load from a process of its own; its record of what was acknowledged (load/record.ts) goes to `file`. `run` begins
 * the client order ids, random by default.
 */
export async function send(target: Target, load: Load, file: string, run?: string): Promise<LoadReport> {
  const options = {
    address: `127.0.0.1:${target.port}`,
    rate: load.rate,
    seconds: load.seconds,
    warmup: load.warmupSeconds,
    batch: load.batch,
    acknowledged: file,
    ...(run !== undefined && { run }),
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  if (target.engine?.answers === true) args.push("--matched");
  const { stdout } = await execute(process.execPath, [join(import.meta.dirname, "../load/main.ts"), ...args], {
    env: { ...process.env, PENSTOCK_TOKEN: target.token },
  });
  return JSON.parse(stdout) as LoadReport;
}

function faultsOf(load: Load, report: LoadReport, rows: RowFigures | undefined): string[] {
  const faults: string[] = [];
  if (report.errors > 0) faults.push(`${report.errors} errors`);
  if (report.refused > 0) faults.push(`${report.refused} refused`);
  if (report.duplicates > 0) faults.push(`${report.duplicates} answered as duplicates`);
  if (report.rate < load.rate * LEAST_SHARE_OF_RATE) faults.push(`${Math.round(report.rate)}/s of ${load.rate}/s`);
  for (const [problem, count] of Object.entries(report.problems)) faults.push(`${count} × ${problem}`);
  if (rows === undefined) return faults;
  if (rows.written < report.acknowledged)
    faults.push(`${report.acknowledged - rows.written} acknowledged without a row`);
  const lateMs = (rows.lastCommitUs - report.endedUs) / 1000;
  if (lateMs > ROW_LIMIT_MS) faults.push(`the last row ${(lateMs / 1000).toFixed(1)} s after the end`);
  return faults;
}

function stateFaults(report: LoadReport, states: StateFigures | undefined): string[] {
  if (states === undefined) return [];
  const faults: string[] = [];
  if (states.missing > 0) faults.push(`${states.missing} acknowledged without a state`);
  if (states.rejected > 0) faults.push(`${states.rejected} refused by the engine`);
  const lateMs = (states.lastCommitUs - report.endedUs) / 1000;
  if (lateMs > ROW_LIMIT_MS) faults.push(`the last state ${(lateMs / 1000).toFixed(1)} s after the end`);
  return faults;
}
