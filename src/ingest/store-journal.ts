import type postgres from "postgres";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { listInstruments } from "../store/instruments.ts";
import { journalEnd, readJournal } from "../store/journal.ts";
import type { Journal } from "../stream/journal.ts";

/** The journal in Postgres, as the log asks for it when it opens. */
export function storeJournal(sql: postgres.Sql): Journal {
  return {
    end: (partition) => journalEnd(sql, ORDERS_STREAM, partition),
    async read(partition, after, sinceMs, limit) {
      const entries = await readJournal(sql, { stream: ORDERS_STREAM, partition, after, sinceMs, limit });
      return entries.map(({ prevMs, prevSeq, payload, ...entry }) => ({
        ...entry,
        previous: { ms: prevMs, seq: prevSeq },
        payload: payload ?? Buffer.alloc(0),
      }));
    },
    instruments: () => listInstruments(sql),
  };
}
