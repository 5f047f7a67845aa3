import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";

import { processEnv } from "./process-env.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");

export interface Outcome {
  readonly code: number | null;
  /** What no call of `lines` has taken. */
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line as a process of its own, with nothing in its environment but a token and what is given; it ends with the test. */
export class Command {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string, undefined>;
  readonly #stderr: Promise<string>;
  readonly #closed: Promise<unknown[]>;

  constructor(t: TestContext, args: readonly string[], token = "x", env: NodeJS.ProcessEnv = {}) {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...processEnv(), PENSTOCK_STATE_DIR: "/nowhere", PENSTOCK_TOKEN: token, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    t.after(() => child.kill("SIGKILL"));
    this.#child = child;
    this.#closed = once(child, "close");
    this.#stderr = text(child.stderr);
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]() as AsyncIterator<string, undefined>;
  }

  /** The next lines of its output, as soon as they are there; fewer where it ends before. */
  async lines(count: number): Promise<string[]> {
    const lines: string[] = [];
    while (lines.length < count) {
      const { value } = await this.#lines.next();
      if (value === undefined) break;
      lines.push(value);
    }
    return lines;
  }

  /** Ctrl-C, and what comes of it. */
  async interrupt(): Promise<Outcome> {
    this.#child.kill("SIGINT");
    return this.end();
  }

  async end(): Promise<Outcome> {
    const rest = await this.lines(Infinity);
    const [code] = await this.#closed;
    return {
      code: code as number | null,
      stdout: rest.map((line) => `${line}\n`).join(""),
      stderr: await this.#stderr,
    };
  }
}
