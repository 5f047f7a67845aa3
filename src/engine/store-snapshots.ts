import type postgres from "postgres";
import { newestSnapshots, saveSnapshot } from "../store/engine-snapshots.ts";
import { Writer } from "../store/writer.ts";
import type { EntryPosition } from "../stream/position.ts";
import type { Snapshot, SnapshotStore } from "./snapshots.ts";

/** Of 200 MB, as four million open orders take: some seconds on a disk that has nothing else to do. */
const TIMEOUT_MS = 120_000;

/** Snapshots in Postgres. Those of a process are stored one after the other: they are large, and nobody waits for them. */
export class StoreSnapshots implements SnapshotStore {
  readonly #sql: postgres.Sql;
  readonly #writer: Writer;
  #last: Promise<unknown> = Promise.resolve();

  constructor(databaseUrl: string, sql: postgres.Sql) {
    this.#sql = sql;
    this.#writer = new Writer(databaseUrl, { timeoutMs: TIMEOUT_MS });
  }

  newest(partition: number, upTo: EntryPosition): AsyncIterable<Snapshot> {
    return newestSnapshots(this.#sql, partition, upTo);
  }

  save(partition: number, snapshot: Snapshot): Promise<void> {
    const saved = this.#last.then(() => saveSnapshot(this.#writer, { ...snapshot, partition }));
    this.#last = saved.catch(() => {}); // told to whoever asked for it
    return saved;
  }

  /** One that is on its way fails. */
  async close(): Promise<void> {
    await this.#writer.close();
  }
}
