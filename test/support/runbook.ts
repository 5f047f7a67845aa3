import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";

import { processEnv } from "./process-env.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const MAIN = join(ROOT, "src", "main.ts");
const TIMEOUT_MS = 60_000;

/** How a line of a runbook ended. */
export interface Step {
  readonly command: string;
  readonly code: number;
  /** Its output, and its errors behind it. */
  readonly output: string;
}

export interface RunbookServers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** Of ingest's gRPC door; and the tokens of its callers. */
  readonly grpc?: string;
  readonly token?: string;
  readonly adminToken?: string;
}

/** The commands of docs/recovery.md and others of ours, as an operator types them beside a running stack. */
export class Runbook {
  readonly #folder: string;
  readonly #env: Readonly<Record<string, string>>;

  /** In a folder with the description of the stack, and with `penstock` and `redis-cli` in the path; it goes with the test. */
  constructor(t: TestContext, { redisUrl, databaseUrl, grpc = "", token = "", adminToken = "" }: RunbookServers) {
    this.#folder = mkdtempSync(join(tmpdir(), "penstock-test-runbook-"));
    t.after(() => rmSync(this.#folder, { recursive: true, force: true }));
    const stack = { grpc, http: "", engine: "", redis: redisUrl, postgres: databaseUrl, token, adminToken };
    writeFileSync(join(this.#folder, "stack.json"), JSON.stringify(stack));
    this.#write("penstock", `exec "${process.execPath}" "${MAIN}" "$@"`);
    this.#write("redis-cli", `exec /usr/bin/env -i PATH="${process.env["PATH"]}" redis-cli -u "${redisUrl}" "$@"`);
    this.#env = {
      ...processEnv(),
      PATH: `${this.#folder}:${dirname(process.execPath)}:${process.env["PATH"]}`,
      PENSTOCK_STATE_DIR: this.#folder,
    };
  }

  /** One line, by a shell. */
  run(command: string, env: Readonly<Record<string, string>> = {}): Promise<Step> {
    const options = { env: { ...this.#env, ...env }, timeout: TIMEOUT_MS, cwd: ROOT };
    return new Promise((resolve) => {
      execFile("sh", ["-c", command], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ command, code, output: stdout + stderr });
      });
    });
  }

  /** The commands of a section of docs/recovery.md, one after the other; each has to end with 0. */
  async follow(section: string, env: Readonly<Record<string, string>> = {}): Promise<Step[]> {
    const steps: Step[] = [];
    for (const command of commandsOf(section)) {
      const step = await this.run(command, env);
      assert.equal(step.code, 0, `${command}\n${step.output}`);
      steps.push(step);
    }
    return steps;
  }

  /** `penstock` with these arguments, to be killed; it ends with the test. */
  start(t: TestContext, ...args: readonly string[]): ChildProcess {
    const child = spawn(process.execPath, [MAIN, ...args], { env: this.#env, stdio: "ignore" });
    t.after(() => child.kill("SIGKILL"));
    return child;
  }

  #write(name: string, line: string): void {
    const file = join(this.#folder, name);
    writeFileSync(file, `#!/bin/sh\n${line}\n`);
    chmodSync(file, 0o755);
  }
}

function commandsOf(section: string): string[] {
  const page = readFileSync(join(ROOT, "docs", "recovery.md"), "utf8");
  const [, text] = page.split(`\n## ${section}\n`);
  const [own] = text?.split("\n## ") ?? [];
  const commands = Array.from(own?.matchAll(/```sh\n([^`]*)```/g) ?? [], ([, block = ""]) => block.trim().split("\n"));
  assert.ok(commands.length > 0, `docs/recovery.md has no commands for ${section}`);
  return commands.flat();
}
