import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

// Two files of that size for each process: weeks of a quiet stack, and at "debug" the last minutes of a busy one.
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Takes what a process writes to its outputs.
 *
 * Always true: the file and the one before it (`.1`) hold at most 16 MiB each, or one chunk more.
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

  /** Writes at once: what a process says before it dies is what matters most. */
  readonly write = (chunk: Buffer): void => {
    if (this.#size > MOST_BYTES) this.#turn();
    this.#size += writeSync(this.#file, chunk);
  };

  #turn(): void {
    closeSync(this.#file);
    renameSync(this.#path, `${this.#path}.1`);
    this.#file = openSync(this.#path, "a", 0o600);
    this.#size = 0;
  }
}
