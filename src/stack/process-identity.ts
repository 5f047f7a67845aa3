import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A process, told apart from a later one that got the same pid by the moment it started. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

// How often a process that is not our child is looked at while we wait for its end: the kernel tells us nothing.
const POLL_MS = 20;

// How long a process may take to vanish after SIGKILL: the kernel frees its memory first, which takes seconds for some GiB.
const VANISH_MS = 10_000;

/** The identity of a living process; undefined when there is none (a zombie is none). */
export function identify(pid: number): ProcessIdentity | undefined {
  const started = process.platform === "linux" ? startedByProc(pid) : startedByPs(pid);
  return started === undefined ? undefined : { pid, started };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

/** Asks a process that is not our child to end, and after `graceMs` ends it and its group by force. */
export async function endProcess(identity: ProcessIdentity, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  if (!isAlive(identity)) return;
  sendSignal(identity.pid, signal);
  if (await vanished(identity, graceMs)) return;
  sendSignal(-identity.pid, "SIGKILL");
  sendSignal(identity.pid, "SIGKILL");
  if (await vanished(identity, VANISH_MS)) return;
  throw new Error(`process ${identity.pid} does not end, not even by SIGKILL`);
}

/** True where `pid` runs `command` with `folder` as its working directory, as both Redis and Postgres have it. */
export function runsIn(pid: number, command: string, folder: string): boolean {
  try {
    if (process.platform === "linux") {
      const name = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      return name === command && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder);
    }
    return ps(pid, "comm=").endsWith(command);
  } catch {
    return false; // gone, or another user's: not a server of ours
  }
}

/** Sends a signal to a process, or with a negative pid to its group; one that is gone already is no error. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function vanished(identity: ProcessIdentity, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (isAlive(identity)) {
    if (Date.now() > deadline) return false;
    await sleep(POLL_MS);
  }
  return true;
}

function startedByProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name, in brackets, may hold spaces and brackets: count the fields from its end (3 = state, 22 = start).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function startedByPs(pid: number): string | undefined {
  try {
    const line = ps(pid, "stat=,lstart=");
    return line === "" || line.startsWith("Z") ? undefined : line.replace(/^\S+\s+/, "");
  } catch {
    return undefined;
  }
}

function ps(pid: number, columns: string): string {
  const output = execFileSync("ps", ["-o", columns, "-p", String(pid)], { encoding: "utf8", timeout: 5_000 });
  return output.trim();
}
