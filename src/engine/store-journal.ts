import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry, readJournal, type JournalEntry } from "../store/journal.ts";
import { compareEntries, type EntryPosition, formatEntryId } from "../stream/position.ts";
import type { EngineJournal } from "./engine-journal.ts";

/** At epoch 0 the journal has what stood in the stream and is no entry of the log (consumers/record.ts). */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };
/** Receipts read at once: 100 bytes each. */
const PAGE = 1_000;

/** The journal in Postgres, as engines ask for it. */
export function storeJournal(sql: postgres.Sql): EngineJournal {
  return {
    async read(partition, position, limit) {
      const after = fromBegin(position);
      const entries = await readJournal(sql, { stream: ORDERS_STREAM, partition, after, limit });
      return entries.map(({ prevMs, prevSeq, payload, ...entry }) => ({
        ...entry,
        previous: { ms: prevMs, seq: prevSeq },
        payload: payload ?? Buffer.alloc(0),
      }));
    },
    async hashOf(partition, at) {
      return (await readEntry(sql, ORDERS_STREAM, partition, at))?.hash;
    },
    async eventsEnd(partition, after) {
      let end = after;
      for (;;) {
        const page = await readJournal(sql, { stream: EVENTS_STREAM, partition, after: fromBegin(end), limit: PAGE });
        const last = alongChain(page, end);
        if (last === end) return { epoch: end.epoch, ms: end.ms, seq: end.seq };
        end = last;
      }
    },
  };
}

function fromBegin(position: EntryPosition): EntryPosition {
  return compareEntries(position, LOG_BEGIN) < 0 ? LOG_BEGIN : position;
}

/** The last entry of a page to which the chain leads from `start`, or `start` itself. */
function alongChain(page: readonly JournalEntry[], start: EntryPosition): EntryPosition {
  // By their predecessors. Where an older epoch left one behind the same, the newest epoch's is the log's: it comes later.
  const next = new Map(page.map((entry) => [formatEntryId({ ms: entry.prevMs, seq: entry.prevSeq }), entry]));
  let end = start;
  for (let entry = next.get(formatEntryId(end)); entry !== undefined; entry = next.get(formatEntryId(end))) {
    if (compareEntries(entry, end) <= 0) break;
    end = entry;
  }
  return end;
}
