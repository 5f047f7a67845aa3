/**
 * The keys of a partition. `{p}` is a Redis Cluster hash tag, so that all of them live in one slot and a script may
 * touch them together; every key that a script touches is declared in its KEYS.
 */
export class PartitionKeys {
  readonly partition: number;
  /** Stream: the commands, in the order in which they count. */
  readonly orders: string;
  /** Stream: what the engine made of them. */
  readonly events: string;
  /** Hash: the log's state. run, epoch, base (end of the log when the epoch began), last (newest ID), generation, turned and previous (ms when it and the one before began), defined (counts changes of instruments), restored (while entries are put back), gap and gap_until (where some were missing). */
  readonly head: string;
  /** Hash: symbol → encoded penstock.v1.Instrument. */
  readonly instruments: string;
  /** Hash: the engine's state. snapshot (ID behind which the newest stored one was taken, or the one from which an engine began last), generation and turned (of `status`). */
  readonly engine: string;

  constructor(partition: number) {
    this.partition = partition;
    this.orders = this.#key("orders");
    this.events = this.#key("events");
    this.head = this.#key("head");
    this.instruments = this.#key("instruments");
    this.engine = this.#key("engine");
  }

  /** Hash: idempotency key → payload hash and place, for the commands of one generation. */
  seen(generation: number | ""): string {
    return this.#key(`seen:${generation}`);
  }

  /** Hash: 16 bytes of order id → where its newest event stands, for the orders that one generation touched. */
  status(generation: number): string {
    return this.#key(`status:${generation}`);
  }

  /** Hash: the last flush of one ingest process, and the answer it got. */
  flush(process: string): string {
    return this.#key(`flush:${process}`);
  }

  #key(name: string): string {
    return `penstock:{${this.partition}}:${name}`;
  }
}

/** String: the number of partitions, fixed at the first start. */
export const PARTITION_COUNT_KEY = "penstock:partitions";
