import { setTimeout as sleep } from "node:timers/promises";

import { DetachedProcess } from "./detached-process.ts";
import type { Exit } from "./detached-process.ts";
import type { Supervised } from "./supervisor.ts";

export interface RoleOptions {
  readonly name: string;
  /** For Node: the program and the role's name. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: () => NodeJS.ProcessEnv;
  /** Answers 200 when the role is ready. */
  readonly readyUrl: string;
  /** How long the role may drain before it is killed. */
  readonly drainMs: number;
  readonly onOutput: (chunk: Buffer) => void;
  readonly onSpawn: (pid: number) => void;
}

// A role checks Redis, Postgres and its partitions first. Longer than that something is wrong that a new start may cure.
const READY_LIMIT_MS = 60_000;
const READY_POLL_MS = 50;
const ANSWER_LIMIT_MS = 2_000;

// The role has a limit of its own, and says what it could not finish.
const DRAIN_MARGIN_MS = 2_000;

/** One role in a process of its own. Always true: at most one process of it runs. */
export class RoleProcess implements Supervised {
  readonly #options: RoleOptions;
  #process: DetachedProcess | undefined;

  constructor(options: RoleOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get exited(): Promise<Exit> {
    if (this.#process === undefined) throw new Error(`${this.name} was not started`);
    return this.#process.exited;
  }

  async start(): Promise<void> {
    const { args, cwd, env, drainMs, onOutput, onSpawn, readyUrl } = this.#options;
    const child = await DetachedProcess.spawn({
      command: process.execPath,
      args,
      cwd,
      env: env(),
      onOutput,
      orphan: { signal: "SIGTERM", graceSeconds: Math.ceil((drainMs + DRAIN_MARGIN_MS) / 1_000) },
    });
    this.#process = child;
    onSpawn(child.pid);
    if (await becomesReady(child, readyUrl)) return;
    await child.kill();
    throw new Error(`${this.name} did not get ready:\n${child.tail}`);
  }

  async stop(): Promise<void> {
    await this.#process?.end("SIGTERM", this.#options.drainMs + DRAIN_MARGIN_MS);
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }
}

async function becomesReady(child: DetachedProcess, url: string): Promise<boolean> {
  const ended = new AbortController();
  void child.exited.then(() => ended.abort());
  const deadline = performance.now() + READY_LIMIT_MS;
  while (!ended.signal.aborted && performance.now() < deadline) {
    try {
      const response = await fetch(url, {
        signal: AbortSignal.any([ended.signal, AbortSignal.timeout(ANSWER_LIMIT_MS)]),
      });
      await response.body?.cancel();
      if (response.ok) return true;
    } catch {
      // not listening yet
    }
    await sleep(READY_POLL_MS);
  }
  return false;
}
