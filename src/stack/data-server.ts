import { readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { DetachedProcess, Exit } from "./detached-process.ts";
import { settlePort } from "./ports.ts";
import type { PortChoice } from "./ports.ts";
import { endProcess, identify, runsIn } from "./process-identity.ts";

// A start may have to read back the log: 4 GiB of Redis' file or of Postgres' WAL take a minute or two on a slow disk.
const START_LIMIT_MS = 300_000;

// A lost race for a port, or backends of a killed Postgres that are still on their way out: both pass at once.
const ATTEMPTS = 8;
const ATTEMPT_PAUSE_MS = 250;

const POLL_MS = 10;

// As the C library words it, and Redis where a part of what it wrote found room.
const DISK_FULL = /No space left on device|Short write while writing to the AOF file/;

// Redis writes its log to the disk, Postgres a checkpoint: some GiB at most (maxmemory, shared_buffers).
const STOP_LIMIT_MS = 60_000;

/**
 * A server with data, on a port of the loopback interface.
 *
 * Always true: at most one process of it runs on its folder; its port is chosen at the first start and stays, so that
 * clients find it again after a restart; a start resolves only when the server has answered.
 */
export abstract class DataServer {
  abstract readonly name: string;
  /** Holds its data. */
  abstract readonly folder: string;
  protected abstract readonly command: string;
  protected abstract readonly stopSignal: NodeJS.Signals;
  protected abstract readonly pidFile: string;
  readonly #host: string;
  readonly #choice: PortChoice;
  #port: number | undefined;
  #process: DetachedProcess | undefined;
  #exited: Promise<Exit> | undefined;

  protected constructor(host: string, port: PortChoice = { port: 0, exact: false }) {
    this.#host = host;
    this.#choice = port;
  }

  protected abstract prepare(): Promise<void>;
  protected abstract spawn(port: number): Promise<DetachedProcess>;
  protected abstract answers(process: DetachedProcess, port: number): Promise<boolean>;
  /** Whether what the server wrote tells of a hindrance that passes, or that another port cures. */
  protected abstract mayPass(output: string): boolean;
  abstract get url(): string;

  get host(): string {
    return this.#host;
  }

  get port(): number {
    if (this.#port === undefined) throw new Error(`${this.name} was not started`);
    return this.#port;
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Resolved when the process of the last start has ended. */
  get exited(): Promise<Exit> {
    if (this.#exited === undefined) throw new Error(`${this.name} was not started`);
    return this.#exited;
  }

  /** Resolves when the server answers. @throws with the server's own last words where it does not. */
  async start(): Promise<void> {
    if (this.#process !== undefined) throw new Error(`${this.name} runs already`);
    await this.#endLeftover();
    await this.prepare();
    for (let attempt = 1; ; attempt++) {
      const port = this.#port ?? (await settlePort(this.#host, this.#choice));
      const process = await this.spawn(port);
      this.#adopt(process);
      if (await this.#becomesReady(process, port)) {
        this.#port = port;
        return;
      }
      await process.kill();
      if (attempt === ATTEMPTS || !this.mayPass(process.tail)) {
        throw new Error(`${this.name} did not start:\n${process.tail}`);
      }
      await sleep(ATTEMPT_PAUSE_MS);
    }
  }

  /** Stops it cleanly, by force after a minute. */
  async stop(): Promise<void> {
    await this.#process?.end(this.stopSignal, STOP_LIMIT_MS);
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  #adopt(process: DetachedProcess): void {
    this.#process = process;
    this.#exited = process.exited.then((exit) => {
      this.#process = undefined;
      // Redis must end then, where it flushes always: what it could not write was not answered.
      return DISK_FULL.test(process.tail) ? { ...exit, reason: "its disk is full" } : exit;
    });
  }

  async #becomesReady(process: DetachedProcess, port: number): Promise<boolean> {
    let exited = false;
    void process.exited.then(() => (exited = true));
    const deadline = Date.now() + START_LIMIT_MS;
    while (!exited && Date.now() < deadline) {
      if (await this.answers(process, port)) return !exited;
      await sleep(POLL_MS);
    }
    return false;
  }

  /** Ends a server on this folder that outlived its parent, and clears away the pid file of a dead one. */
  async #endLeftover(): Promise<void> {
    const pid = readPid(this.pidFile);
    if (pid === undefined) return;
    const identity = identify(pid);
    if (identity !== undefined && runsIn(pid, this.command, this.folder)) {
      await endProcess(identity, this.stopSignal, STOP_LIMIT_MS);
    }
    // A pid file that stays can name a stranger who got the number since, and Postgres would refuse to start.
    rmSync(this.pidFile, { force: true });
  }
}

/** The number in the first line of a pid file; undefined where there is none. */
export function readPid(file: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return pid > 0 ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
