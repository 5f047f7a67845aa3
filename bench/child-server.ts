import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A program of the bench in a process of its own. It ends when its standard input does: with this process at the latest. */
export interface Child {
  readonly pid: number;
  /** The first line that it printed: it is ready. */
  readonly line: string;
  /** Whether it has ended, in whatever way. */
  readonly ended: () => boolean;
  readonly stop: () => Promise<void>;
  /** SIGKILL. */
  readonly kill: () => Promise<void>;
}

/** A server of the bench (order-server.ts). */
export interface ChildServer extends Child {
  readonly port: number;
}

/** Starts a file of this folder. Rejects where it ends before it prints a line. */
export async function startChild(file: string, env: NodeJS.ProcessEnv = {}): Promise<Child> {
  const child = spawn(process.execPath, [join(import.meta.dirname, file)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  child.stdin.on("error", () => {}); // EPIPE: it has ended already
  const exited = once(child, "exit");
  const { value: line } = await createInterface(child.stdout)[Symbol.asyncIterator]().next();
  if (child.pid === undefined || line === undefined) throw new Error(`${file} did not start`);
  return {
    pid: child.pid,
    line,
    ended: () => child.exitCode !== null || child.signalCode !== null,
    stop: async () => {
      child.stdin.end();
      await exited;
    },
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

export async function startServer(file: string, env: NodeJS.ProcessEnv = {}): Promise<ChildServer> {
  const child = await startChild(file, env);
  const port = Number(child.line);
  if (!(port > 0)) throw new Error(`${file} did not print its port`);
  return { ...child, port };
}

/** For such a program: says that it is ready, and ends the process when standard input does. */
export function announceReady(line: string): void {
  process.stdout.write(`${line}\n`);
  process.stdin.resume().once("end", () => process.exit());
}
