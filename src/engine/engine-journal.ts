import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import {
  findGaps,
  journalAhead,
  journalBefore,
  journalBegin,
  journalEnd,
  readEntry,
  readJournal,
} from "../store/journal.ts";
import type { JournalEntry } from "../stream/journal.ts";
import { compareEntries, type EntryPosition } from "../stream/position.ts";

/** What an engine asks of the journal: what Redis has trimmed or lost. */
export interface EngineJournal {
  /** Up to `limit` entries of the orders stream behind `after`, in the order of positions. */
  read(partition: number, after: EntryPosition, limit: number): Promise<readonly JournalEntry[]>;
  /** SHA-256 of the payload of that very entry of the orders stream, where it stands there. */
  hashOf(partition: number, at: EntryPosition): Promise<Buffer | undefined>;
  /** Up to where the receipts of the events stream go on behind `after` without a gap; `after` itself where none does. */
  eventsEnd(partition: number, after: EntryPosition): Promise<EntryPosition>;
}

/** At epoch 0 the journal has what stood in the stream and is no entry of the log (consumers/record.ts). */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };

/**
 * Receipts that one statement looks through, in some tenths of a second. Behind a Redis that was emptied it is all that are kept:
 * hundreds of millions in a month, for which no statement has the time.
 */
const WALKED_AT_ONCE = 100_000;

/** The journal in Postgres. */
export function engineJournal(sql: postgres.Sql, walkedAtOnce = WALKED_AT_ONCE): EngineJournal {
  return {
    async read(partition, position, limit) {
      const after = compareEntries(position, LOG_BEGIN) < 0 ? LOG_BEGIN : position;
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
      const newest = await journalEnd(sql, EVENTS_STREAM, partition);
      if (newest === undefined || compareEntries(newest, after) <= 0) return after;
      // Both streams' receipts are kept for the same time: what is older than the oldest command was dropped, and is no gap.
      const oldest = await journalBegin(sql, ORDERS_STREAM, partition);
      for (let from = after; ;) {
        const to = await journalAhead(sql, EVENTS_STREAM, partition, from, walkedAtOnce);
        if (to === undefined) return from;
        const range = { stream: EVENTS_STREAM, partition, fromMs: from.ms, toMs: to.ms, limit: 1 };
        const [gap] = await findGaps(sql, { ...range, oldestMs: oldest?.ms ?? 0 });
        if (gap !== undefined) {
          const end = await journalBefore(sql, EVENTS_STREAM, partition, gap);
          return end !== undefined && compareEntries(end, after) > 0 ? end : after;
        }
        from = to;
      }
    },
  };
}
