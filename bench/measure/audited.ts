import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Stack } from "../stack.ts";
import { cpuBetween, sampleCpu } from "./cpu.ts";

/** What `penstock audit` took, of how much, and what it said. */
export interface Audited {
  readonly seconds: number;
  /** CPU seconds of the audit's own process, and of the servers that it asked. */
  readonly cpuSeconds: { readonly audit: number; readonly postgres: number; readonly redis: number };
  /** The most that its process ever held, resident bytes. */
  readonly memory: number;
  readonly exitCode: number;
  readonly lines: readonly string[];
}

const MAIN = join(import.meta.dirname, "../../src/main.ts");
// What grows within this time at the very end is not seen.
const POLL_MS = 250;

/** Has a running stack audited by a process of its own, against the client's record. */
export async function auditStack(stack: Stack, acknowledged: string): Promise<Audited> {
  const { redis, postgres } = stack.target.processes();
  const servers = { redis: redis ?? [], postgres: postgres ?? [] };
  const before = sampleCpu(servers);
  const child = spawn(process.execPath, [MAIN, "audit", "--acknowledged", acknowledged], {
    env: { ...process.env, REDIS_URL: stack.redisUrl, DATABASE_URL: stack.databaseUrl },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error("penstock audit cannot be started");
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const ended = once(child, "close") as Promise<[number | null]>;
  let [memory, cpu] = [0, 0];
  while (await Promise.race([ended.then(() => false), delay(POLL_MS, true)])) {
    memory = Math.max(memory, mostResident(pid));
    cpu = Math.max(cpu, sampleCpu({ audit: [pid] }).seconds["audit"] ?? 0);
  }
  const [code] = await ended;
  const used = cpuBetween(before, sampleCpu(servers));
  return {
    seconds: used.wallSeconds,
    cpuSeconds: { audit: cpu, redis: used.seconds["redis"] ?? 0, postgres: used.seconds["postgres"] ?? 0 },
    memory,
    exitCode: code ?? -1,
    lines: text.trimEnd().split("\n"),
  };
}

/** 0 of a process that has ended. */
function mostResident(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
