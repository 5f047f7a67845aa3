import type postgres from "postgres";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { listInstruments } from "../store/instruments.ts";
import { journalEnd, readEntry, readJournal } from "../store/journal.ts";
import type { Journal } from "../stream/journal.ts";
import type { Partitioning } from "../stream/partition.ts";
import { compareEntries, type EntryPosition } from "../stream/position.ts";

/** At epoch 0 the journal has what stood in the stream and is no entry of the log (consumers/record.ts). */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };

/** The journal in Postgres, as the log asks for it when it opens. */
export function storeJournal(sql: postgres.Sql, partitioning: Partitioning): Journal {
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
    async instruments(partition) {
      return (await listInstruments(sql)).filter(({ symbol }) => partitioning.of(symbol) === partition);
    },
  };
}
