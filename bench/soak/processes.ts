import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A process of the stack that runs now. */
export interface StackProcess {
  /** As `worker-1`, `ingest`, `redis`. */
  readonly name: string;
  readonly pid: number;
}

/** What a process takes. Bytes; of Postgres the private memory of all its processes, since what they share would count for each. */
export interface Usage extends StackProcess {
  readonly rss: number;
  readonly files: number;
}

/** The children of `penstock up`, and itself. Those on their way up or down may be missing. */
export function processesOf(up: number): StackProcess[] {
  const found: StackProcess[] = [{ name: "up", pid: up }];
  for (const pid of childrenOf(up)) {
    const name = nameOf(pid);
    if (name !== undefined) found.push({ name, pid });
  }
  return found;
}

/** Undefined where it has ended. */
export function usageOf({ name, pid }: StackProcess): Usage | undefined {
  try {
    const all = name === "postgres" ? [pid, ...childrenOf(pid)] : [pid];
    const field = name === "postgres" ? "RssAnon" : "VmRSS";
    const rss = all.reduce((sum, each) => sum + memoryOf(each, field), 0);
    return { name, pid, rss, files: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return undefined;
  }
}

/** TCP ports on which a process listens. */
export function portsOf(pid: number): number[] {
  try {
    const sockets = new Set<string>();
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) sockets.add(inode);
    }
    const rows = readFileSync(`/proc/${pid}/net/tcp`, "latin1").trim().split("\n").slice(1);
    return rows.flatMap((row) => {
      const fields = row.trim().split(/\s+/);
      // The local address, the state (0A listens), the inode.
      const isOurs = fields[3] === "0A" && sockets.has(fields[9] ?? "");
      return isOurs ? [Number.parseInt(fields[1]?.split(":")[1] ?? "", 16)] : [];
    });
  } catch {
    return []; // it has ended meanwhile
  }
}

function nameOf(pid: number): string | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/comm`, "latin1").trim();
    if (command === "redis-server") return "redis";
    if (command === "postgres") return "postgres";
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    const role = words.find((word) => word === "ingest" || word === "engine" || word === "consumers");
    if (role !== "consumers") return role;
    return /PENSTOCK_CONSUMER_NAME=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

function memoryOf(pid: number, field: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0; // a backend that has just ended
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
