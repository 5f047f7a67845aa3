import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

// Two files of that size for each process: weeks of a quiet stack, and at "debug" the last minutes of a busy one.
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Takes what a process writes to its outputs.
 *
 * Always true: the file and the one before it (`.1`) hold at most 16 MiB each, or one chunk more. What finds no room on the
 * disk is left out.
 */
export class LogFile {
  readonly #path: string;
  #file: number;
  #size: number;

  constructor(path: string) {
    this.#path = path;
    this.#file = openSync(path, "a", 0o600);
    this.#size = fstatSync(this.#file).size;
  }

  /** Writes at once: what a process says before it dies is what matters most. Never throws. */
  readonly write = (chunk: Buffer): void => {
    try {
      if (this.#size > MOST_BYTES) this.#turn();
      this.#size += writeSync(this.#file, chunk);
    } catch {
      // On a full disk the line is lost. Whoever wrote it must not be lost with it, nor we who are to start it again.
    }
  };

  /** The next file comes first: where there is no room for it, the one that is there stays in use. */
  #turn(): void {
    const next = openSync(`${this.#path}.next`, "w", 0o600);
    closeSync(this.#file);
    this.#file = next;
    this.#size = 0;
    renameSync(this.#path, `${this.#path}.1`);
    renameSync(`${this.#path}.next`, this.#path);
  }
}
