import { createWriteStream, type WriteStream } from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { DetachedProcess, type Exit } from "../../src/stack/detached-process.ts";
import { sendSignal } from "../../src/stack/process-identity.ts";

const ROOT = join(import.meta.dirname, "..", "..");

/** A supervisor starts again at once. A role whose servers are away ends within a second or two, and is started again. */
const RESTART_MS = 50;
const POLL_MS = 20;
const PROBE_LIMIT_MS = 900;
/** Longer than the drain that the roles are given (stack.ts). */
const STOP_LIMIT_MS = 12_000;

export interface RoleOptions {
  /** As `worker-1`. */
  readonly name: string;
  readonly role: "ingest" | "engine" | "consumers";
  readonly env: NodeJS.ProcessEnv;
  readonly httpPort: number;
  readonly logFile: string;
  /** The repository in which it runs: another one is another version. */
  readonly root?: string;
}

/** A line that the role logged at level error or above. */
export interface Alarm {
  readonly role: string;
  readonly message: string;
  readonly line: string;
}

/**
 * A role as a process of its own that is started again whenever it ends, as a supervisor does.
 *
 * Always true: one process of it runs at most; after `discard` none does, and none is started. An end that nobody asked for is in
 * `crashes`, unless it came before the role had started: one whose servers are away ends.
 */
export class Role {
  readonly name: string;
  readonly role: RoleOptions["role"];
  readonly http: string;
  readonly crashes: string[] = [];
  readonly alarms: Alarm[] = [];
  #options: RoleOptions;
  readonly #log: WriteStream;
  #process: DetachedProcess | undefined;
  /** Of the present process: whether it logged that it had started, and whether its end was asked for. */
  #started = false;
  #asked = false;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #partial = "";

  constructor(options: RoleOptions) {
    this.#options = options;
    this.name = options.name;
    this.role = options.role;
    this.http = `http://127.0.0.1:${options.httpPort}`;
    this.#log = createWriteStream(options.logFile, { flags: "a" });
  }

  /** Undefined while there is none. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Resolves when it is ready. */
  async start(): Promise<void> {
    this.#running = this.#run();
    await this.untilReady(60_000);
  }

  /** SIGKILL, for good. */
  async discard(): Promise<void> {
    this.#stopped = true;
    await this.kill();
    await this.#running;
    this.#log.end();
    await once(this.#log, "close");
  }

  /** SIGKILL. Resolves when it is dead; it is being started again by then. */
  async kill(): Promise<void> {
    this.#asked = true;
    await this.#process?.kill();
  }

  /** SIGTERM, and no more. Resolves with how it ended. */
  async terminate(): Promise<Exit | undefined> {
    this.#asked = true;
    return await this.#process?.end("SIGTERM", STOP_LIMIT_MS);
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    if (this.#process !== undefined) sendSignal(this.#process.pid, signal);
  }

  /** Runs another version from its next start on. */
  set root(root: string) {
    this.#options = { ...this.#options, root };
  }

  /** "" where /readyz says so; else why not. */
  async unready(): Promise<string> {
    try {
      const answer = await fetch(`${this.http}/readyz`, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) });
      const text = await answer.text();
      return answer.ok ? "" : text;
    } catch (error) {
      return String(error);
    }
  }

  async untilReady(limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const why = await this.unready();
      if (why === "") return;
      if (performance.now() > deadline) throw new Error(`${this.name} is not ready after ${limitMs} ms: ${why}`);
      await sleep(POLL_MS);
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#started = false;
      this.#asked = false;
      const { role, env, httpPort, root = ROOT } = this.#options;
      this.#log.write(`{"harness":"start","at":"${new Date().toISOString()}"}\n`);
      const child = await DetachedProcess.spawn({
        command: process.execPath,
        args: [join(root, "src", "main.ts"), role],
        cwd: root,
        env: { PATH: process.env["PATH"], ...env, PENSTOCK_HTTP_PORT: String(httpPort) },
        onOutput: (chunk) => this.#read(chunk),
        orphan: { signal: "SIGKILL", graceSeconds: 0 },
      });
      this.#process = child;
      // `stop` may have come while it was being made.
      if (this.#stopped) sendSignal(child.pid, "SIGKILL");
      const exit = await child.exited;
      this.#process = undefined;
      this.#log.write(
        `{"harness":"end","at":"${new Date().toISOString()}","code":${exit.code},"signal":"${exit.signal}"}\n`,
      );
      if (!this.#asked && this.#started) {
        this.crashes.push(
          `${this.name} ended by itself (${exit.signal ?? `code ${exit.code}`}): ${lastLine(child.tail)}`,
        );
      }
      if (!this.#stopped) await sleep(RESTART_MS);
    }
  }

  #read(chunk: Buffer): void {
    this.#log.write(chunk);
    const lines = (this.#partial + chunk.toString()).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) {
      if (line.includes('"msg":"started"')) this.#started = true;
      if (!line.includes('"level":"error"') && !line.includes('"level":"fatal"')) continue;
      const message = /"msg":"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? line;
      this.alarms.push({ role: this.name, message, line });
    }
  }
}

function lastLine(tail: string): string {
  return tail.split("\n").at(-1) ?? "";
}
