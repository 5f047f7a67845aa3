import type postgres from "postgres";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { fenceWithout, newestFence, raiseFence, withdrawLost } from "../store/fences.ts";
import { listInstruments } from "../store/instruments.ts";
import { journalEnd, readEntry, readJournal } from "../store/journal.ts";
import { keepOrphans } from "../store/orphans.ts";
import { Writer } from "../store/writer.ts";
import type { Journal } from "../stream/journal.ts";
import type { Partitioning } from "../stream/partition.ts";
import { compareEntries, type EntryPosition } from "../stream/position.ts";

/** At epoch 0 the journal has what stood in the stream and is no entry of the log (consumers/record.ts). */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };
/** Of a fence's transactions, in ms: they wait for a lock for a second at most, and write for half of one. */
const FENCE_TIMEOUT_MS = 10_000;

export interface StoreJournalOptions {
  readonly sql: postgres.Sql;
  readonly databaseUrl: string;
  readonly partitioning: Partitioning;
  /** The bound of a worker's transaction, ms: one that lasts longer is taken to have stalled. */
  readonly stalledMs: number;
}

/** The journal in Postgres, as the log asks for it when it opens. */
export function storeJournal({ sql, databaseUrl, partitioning, stalledMs }: StoreJournalOptions): Journal {
  // For a moment, and seldom: the pool is not for transactions.
  const written = async <T>(work: (writer: Writer) => Promise<T>): Promise<T> => {
    const writer = new Writer(databaseUrl, { timeoutMs: FENCE_TIMEOUT_MS });
    try {
      return await work(writer);
    } finally {
      await writer.close();
    }
  };
  return {
    async end(partition) {
      const end = await journalEnd(sql, ORDERS_STREAM, partition);
      return end === undefined || compareEntries(end, LOG_BEGIN) < 0 ? undefined : end;
    },
    async read(partition, position, sinceMs, limit) {
      const after = compareEntries(position, LOG_BEGIN) < 0 ? LOG_BEGIN : position;
      const entries = await readJournal(sql, { stream: ORDERS_STREAM, partition, after, sinceMs, limit });
      return entries.map(({ prevMs, prevSeq, payload, ...entry }) => ({
        ...entry,
        previous: { ms: prevMs, seq: prevSeq },
        payload: payload ?? Buffer.alloc(0),
      }));
    },
    async has(partition, entry) {
      return (await readEntry(sql, ORDERS_STREAM, partition, entry)) !== undefined;
    },
    newestFence: (partition) => newestFence(sql, partition),
    raiseFence: (partition, fence) => written((writer) => raiseFence(writer, partition, fence, stalledMs)),
    withdrawLost: (partition, fence) => written((writer) => withdrawLost(writer, partition, fence, stalledMs)),
    fenceWithout: (partition, place, epoch) => fenceWithout(sql, partition, place, epoch),
    keepOrphans: (partition, epoch, entries) => keepOrphans(sql, partition, epoch, entries),
    async instruments(partition) {
      return (await listInstruments(sql)).filter(({ symbol }) => partitioning.of(symbol) === partition);
    },
  };
}
