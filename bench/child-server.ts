import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A server of the bench in a process of its own (order-server.ts). */
export interface ChildServer {
  readonly pid: number;
  readonly port: number;
  readonly stop: () => Promise<void>;
}

/** Starts a file of this folder. Rejects where it ends before it prints its port. */
export async function startServer(file: string, env: NodeJS.ProcessEnv = {}): Promise<ChildServer> {
  const child = spawn(process.execPath, [join(import.meta.dirname, file)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const exited = once(child, "exit");
  const { value: line } = await createInterface(child.stdout)[Symbol.asyncIterator]().next();
  const port = Number(line);
  if (child.pid === undefined || !(port > 0)) throw new Error(`${file} did not start`);
  return {
    pid: child.pid,
    port,
    stop: async () => {
      child.stdin.end();
      await exited;
    },
  };
}
