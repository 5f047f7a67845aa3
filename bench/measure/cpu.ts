import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

// The kernel counts in ticks of USER_HZ, which is 100 a second on every platform that Node runs on.
const TICKS_PER_SECOND = 100;

interface ProcessTimes {
  readonly parent: number;
  // Its own CPU and that of the children it has waited for, in ticks.
  readonly ticks: number;
}

/** CPU seconds of whole process trees, and of the machine, at one moment. */
export interface CpuSample {
  readonly at: number;
  readonly machineSeconds: number;
  readonly seconds: Readonly<Record<string, number>>;
}

/** What was used between two samples. */
export interface CpuUsed {
  readonly wallSeconds: number;
  /** Of the machine's CPU time, 0 to 1, used by anything at all (other guests of the host included). */
  readonly machineShare: number;
  readonly seconds: Readonly<Record<string, number>>;
}

/** The processes of a server, each at the top of a tree of its own. */
export type Roots = Readonly<Record<string, readonly number[]>>;

/** A child's time stays in its tree when it ends. */
export function sampleCpu(roots: Roots): CpuSample {
  const processes = readProcesses();
  const children = new Map<number, number[]>();
  for (const [pid, { parent }] of processes) children.set(parent, [...(children.get(parent) ?? []), pid]);
  const ticksOf = (pid: number): number =>
    (processes.get(pid)?.ticks ?? 0) + (children.get(pid) ?? []).reduce((sum, child) => sum + ticksOf(child), 0);
  const seconds = Object.fromEntries(
    Object.entries(roots).map(([name, pids]) => [
      name,
      pids.reduce((sum, pid) => sum + ticksOf(pid), 0) / TICKS_PER_SECOND,
    ]),
  );
  return { at: performance.now(), machineSeconds: machineSeconds(), seconds };
}

export function cpuBetween(from: CpuSample, to: CpuSample): CpuUsed {
  const wallSeconds = (to.at - from.at) / 1000;
  const seconds = Object.fromEntries(
    Object.entries(to.seconds).map(([name, value]) => [name, value - (from.seconds[name] ?? 0)]),
  );
  const machineShare = (to.machineSeconds - from.machineSeconds) / (wallSeconds * availableParallelism());
  return { wallSeconds, machineShare, seconds };
}

/**
 * The pids of all processes below `root` whose command line has all of these arguments; not those below another such
 * process, which belong to its tree.
 */
export function descendants(root: number, ...words: readonly string[]): number[] {
  const processes = readProcesses();
  const below = (pid: number, ancestors: (ancestor: number) => boolean): boolean => {
    const parent = processes.get(pid)?.parent ?? 0;
    return ancestors(parent) || (parent > 1 && below(parent, ancestors));
  };
  const found = new Set(
    [...processes.keys()].filter(
      (pid) => below(pid, (parent) => parent === root) && words.every((word) => commandLine(pid).includes(word)),
    ),
  );
  return [...found].filter((pid) => !below(pid, (parent) => found.has(parent)));
}

/** The parent of a process. Throws where there is no such process. */
export function parentOf(pid: number): number {
  const times = readProcess(pid);
  if (times === undefined) throw new Error(`no process ${pid}`);
  return times.parent;
}

function readProcesses(): Map<number, ProcessTimes> {
  const processes = new Map<number, ProcessTimes>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const times = readProcess(pid);
    if (times !== undefined) processes.set(pid, times);
  }
  return processes;
}

function readProcess(pid: number): ProcessTimes | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the name in brackets, which may hold anything; the third follows its last bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { parent: Number(fields[1]), ticks };
  } catch {
    return undefined; // it has ended meanwhile
  }
}

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

function machineSeconds(): number {
  const [, ...fields] = readFileSync("/proc/stat", "latin1").split("\n", 1).join("").split(/\s+/);
  const ticks = fields.slice(0, 8).map(Number);
  // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  return (ticks.reduce((sum, field) => sum + field, 0) - idle) / TICKS_PER_SECOND;
}
