import { closeSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";

/** An order that was acknowledged. */
export interface Acknowledged {
  readonly account: string;
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly orderId: string;
}

/** The same, as the client noted it. */
export interface Noted extends Acknowledged {
  /** When it was answered, ms since 1970. */
  readonly at: number;
}

/**
 * The clients' own record of every acknowledged order, as `penstock audit --acknowledged` reads it: client_order_id, symbol,
 * order_id, milliseconds since 1970 and account, with tabs between.
 *
 * Always true: a line is in the file before its order counts as acknowledged here.
 */
export class AcknowledgementRecord {
  readonly file: string;
  readonly #orders: Noted[] = [];
  #fd: number;

  constructor(file: string) {
    this.file = file;
    this.#fd = openSync(file, "a");
  }

  get orders(): readonly Noted[] {
    return this.#orders;
  }

  add(order: Acknowledged): void {
    const noted = { ...order, at: Date.now() };
    writeSync(this.#fd, lineOf(noted));
    this.#orders.push(noted);
  }

  /** Strikes out what a fault was allowed to lose. */
  forgive(orderIds: ReadonlySet<string>): void {
    const kept = this.#orders.filter(({ orderId }) => !orderIds.has(orderId));
    this.#orders.splice(0, this.#orders.length, ...kept);
    closeSync(this.#fd);
    const draft = `${this.file}.draft`;
    writeFileSync(draft, kept.map(lineOf).join(""));
    renameSync(draft, this.file);
    this.#fd = openSync(this.file, "a");
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function lineOf({ account, clientOrderId, symbol, orderId, at }: Noted): string {
  return `${clientOrderId}\t${symbol}\t${orderId}\t${at}\t${account}\n`;
}
