import { closeSync, openSync, writeSync } from "node:fs";
import type { Acknowledged } from "../../test/fault/record.ts";

/**
 * The clients' record of what was acknowledged, as `penstock audit --acknowledged` reads it. Hours of it are too much to be kept in
 * memory: it is in the file alone.
 */
export class SoakRecord {
  readonly file: string;
  readonly #fd: number;
  /** Orders so far. */
  count = 0;

  constructor(file: string) {
    this.file = file;
    this.#fd = openSync(file, "a", 0o600);
  }

  add({ account, clientOrderId, symbol, orderId }: Acknowledged): void {
    writeSync(this.#fd, `${clientOrderId}\t${symbol}\t${orderId}\t${Date.now()}\t${account}\n`);
    this.count++;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
