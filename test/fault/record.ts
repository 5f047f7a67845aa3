import { closeSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";

/** An order that was acknowledged, as the client noted it. */
export interface Acknowledged {
  readonly account: string;
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly orderId: string;
}

/**
 * The clients' own record of every acknowledged order, as `penstock audit --acknowledged` reads it: client_order_id, symbol,
 * order_id, milliseconds since 1970 and account, with tabs between.
 *
 * Always true: a line is in the file before its order counts as acknowledged here.
 */
export class AcknowledgementRecord {
  readonly file: string;
  readonly #orders: Acknowledged[] = [];
  #fd: number;

  constructor(file: string) {
    this.file = file;
    this.#fd = openSync(file, "a");
  }

  get orders(): readonly Acknowledged[] {
    return this.#orders;
  }

  add(order: Acknowledged): void {
    writeSync(this.#fd, lineOf(order));
    this.#orders.push(order);
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

function lineOf({ account, clientOrderId, symbol, orderId }: Acknowledged): string {
  return `${clientOrderId}\t${symbol}\t${orderId}\t${Date.now()}\t${account}\n`;
}
