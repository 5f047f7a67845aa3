import { chmodSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { runServices } from "../runtime/run.ts";
import type { RunLog } from "../runtime/run.ts";
import { prepareDemo } from "./demo.ts";
import { InstanceLock } from "./instance-lock.ts";
import { endProcess } from "./process-identity.ts";
import { loadStackSettings } from "./settings.ts";
import { Stack } from "./stack.ts";
import type { StackParts } from "./stack.ts";

export interface UpOptions {
  /** Worker processes of the consumers. */
  readonly workers: number;
  /** Whether orders are matched. */
  readonly engine: boolean;
}

const PARTS: StackParts = { program: join(import.meta.dirname, "..", "main.ts"), prepareDemo };

// Ingest, the engine and the workers drain one after the other, each with some seconds for its end; then a server may write
// for a minute before it is killed.
const ROLE_MARGIN_MS = 5_000;
const SERVERS_STOP_MS = 65_000;

/**
 * Runs the whole stack on this machine until SIGINT, SIGTERM or SIGHUP: Redis and Postgres (unless REDIS_URL,
 * DATABASE_URL name others), the schema, the roles. Drains ingest, the engine, the consumers, then stops the servers. A second
 * signal kills the roles, and the servers stop by themselves.
 *
 * @throws UsageError for bad settings, and where another `up` runs on the same state folder.
 */
export async function up(options: UpOptions, env: NodeJS.ProcessEnv = process.env, parts = PARTS): Promise<void> {
  const settings = loadStackSettings(env);
  const { stateFolder, drainMs } = settings;
  makeStateFolder(stateFolder);
  const lock = InstanceLock.take(stateFolder);
  await Promise.all(lock.orphans.map((orphan) => endProcess(orphan, "SIGTERM", drainMs)));

  const stack = await Stack.assemble({
    settings,
    env,
    parts,
    workers: options.workers,
    engine: options.engine,
    onSpawn: (name, pid) => lock.record(name, pid),
    say,
  });
  // After a second signal, or an error that nobody caught, nothing stays behind. After a clean stop all are gone already.
  process.once("exit", () => stack.kill());
  // The terminal was closed.
  process.once("SIGHUP", () => process.kill(process.pid, "SIGTERM"));
  await runServices(stack.services, terminalLog, { drainTimeoutMs: 3 * (drainMs + ROLE_MARGIN_MS) + SERVERS_STOP_MS });
}

/** As root, the user whom the servers run as must be able to pass. What is secret inside is so by its own mode. */
function makeStateFolder(folder: string): void {
  mkdirSync(join(folder, "logs"), { recursive: true });
  if (process.getuid?.() === 0) chmodSync(folder, statSync(folder).mode | 0o011);
}

function say(line: string): void {
  process.stdout.write(`penstock: ${line}\n`);
}

/** For a person at a terminal. The roles' own logs are in the state folder. */
const terminalLog: RunLog = {
  info: (_fields, message) => {
    if (message !== "started") say(message); // the welcome said it
  },
  error: (_fields, message) => say(message),
  fatal: (fields, message) => say(`${message}: ${"err" in fields ? String(fields.err) : ""}`),
  flush: () => {},
};
