import { join } from "node:path";
import { DetachedProcess } from "../../src/stack/detached-process.ts";
import { LogFile } from "../../src/stack/log-file.ts";
import type { StackProcess } from "./processes.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");

/**
 * A worker beside those of the stack that comes under a new name each time, and never under the same again: the consumer that it
 * leaves behind is gone for good, with what it held.
 */
export class ExtraWorker {
  readonly #env: NodeJS.ProcessEnv;
  readonly #log: LogFile;
  #process: DetachedProcess | undefined;
  #count = 0;

  /** `env` as the stack's own workers have it; what it says goes to a file of the folder where they have theirs. */
  constructor(env: NodeJS.ProcessEnv, logs: string) {
    this.#env = env;
    this.#log = new LogFile(join(logs, "extra.log"));
  }

  /** How many there have been. */
  get count(): number {
    return this.#count;
  }

  /** As what is sampled; none while there is none. */
  get processes(): readonly StackProcess[] {
    return this.#process === undefined ? [] : [{ name: "extra", pid: this.#process.pid }];
  }

  async start(): Promise<void> {
    const name = `extra-${++this.#count}`;
    const child = await DetachedProcess.spawn({
      command: process.execPath,
      args: [MAIN, "consumers"],
      cwd: join(import.meta.dirname, "..", ".."),
      env: { ...this.#env, PENSTOCK_CONSUMER_NAME: name, PENSTOCK_HTTP_PORT: "0" },
      onOutput: this.#log.write,
      orphan: { signal: "SIGKILL", graceSeconds: 0 },
    });
    this.#process = child;
    // One whose Redis or Postgres is away at its start ends; the next one comes with the next kill.
    void child.exited.finally(() => {
      if (this.#process === child) this.#process = undefined;
    });
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }
}
