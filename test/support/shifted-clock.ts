import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";

const SOURCE = join(import.meta.dirname, "clock.c");

/**
 * A wall clock for one process or several, which goes ahead or behind by what is asked, at once.
 *
 * Always true: a process that has it in its environment sees the machine's time and the shift; timers and timeouts are left alone.
 */
export class ShiftedClock {
  readonly #folder: string;
  readonly #library: string;
  readonly #file: number;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#library = join(folder, "clock.so");
    this.#file = openSync(join(folder, "shift"), "w", 0o644);
    this.shift(0);
  }

  /** Why there can be none here; undefined where there can. */
  static hindrance(): string | undefined {
    if (process.platform !== "linux") return "a clock is shifted by a library of ours, on Linux only";
    if (spawnSync("cc", ["--version"], { stdio: "ignore" }).status !== 0) return "there is no C compiler (cc)";
    return undefined;
  }

  static make(): ShiftedClock {
    // Below /tmp, which the servers' user can reach; a temporary folder of root's own he may not.
    const folder = mkdtempSync(join("/tmp", `penstock-clock-${process.pid}-`));
    chmodSync(folder, 0o755);
    const clock = new ShiftedClock(folder);
    execFileSync("cc", ["-shared", "-fPIC", "-O2", "-Wall", "-o", clock.#library, SOURCE], { stdio: "pipe" });
    return clock;
  }

  /** Of a process that is to have it. */
  get env(): { LD_PRELOAD: string; SHIFTED_CLOCK: string } {
    return { LD_PRELOAD: this.#library, SHIFTED_CLOCK: join(this.#folder, "shift") };
  }

  /** A program that becomes the given one, with this clock. */
  readonly wrap = (program: string): string => {
    const { LD_PRELOAD, SHIFTED_CLOCK } = this.env;
    const script = join(this.#folder, basename(program));
    const lines = [
      "#!/bin/sh",
      `export LD_PRELOAD=${LD_PRELOAD} SHIFTED_CLOCK=${SHIFTED_CLOCK}`,
      `exec ${program} "$@"`,
    ];
    writeFileSync(script, `${lines.join("\n")}\n`, { mode: 0o755 });
    return script;
  };

  /** From now on it is so many milliseconds ahead of the machine's clock; behind it where they are less than 0. */
  shift(ms: number): void {
    const nanoseconds = new BigInt64Array([BigInt(Math.round(ms)) * 1_000_000n]);
    writeSync(this.#file, new Uint8Array(nanoseconds.buffer), 0, 8, 0);
  }

  /** When nobody who has it is left. */
  remove(): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true });
  }
}
