import type postgres from "postgres";
import { type LogPosition, ORDERS_STREAM } from "../store/entry-record.ts";
import { epochBegins, type JournalEntry, newestBefore, readJournal } from "../store/journal.ts";
import { SCHEMA_VERSION } from "../stream/command.ts";
import type { Entry } from "../stream/entry.ts";
import type { Head } from "../stream/head.ts";
import { compareEntryIds, type EntryId, type EntryPosition, formatEntryId } from "../stream/position.ts";

/** Before every entry of the log: at epoch 0 the journal has what is none. */
const LOG_BEGIN: LogPosition = { epoch: 1, ms: 0, seq: 0 };
/** Entries of a page: at most 1 MiB each, and some kilobytes nearly always. */
const PAGE = 256;

/**
 * A partition's log as the journal has it.
 *
 * Invariant: `#ends` has for each epoch that is over, oldest first, the ID at which the log stood when the next one began. What the
 * journal has of that epoch beyond it was lost by the log, though a worker had it in hand: it is no part of the chain.
 */
export class JournalChain {
  readonly #sql: postgres.Sql;
  readonly #partition: number;
  readonly #ends: readonly { readonly epoch: number; readonly end: EntryId }[];

  private constructor(sql: postgres.Sql, partition: number, ends: readonly { epoch: number; end: EntryId }[]) {
    this.#sql = sql;
    this.#partition = partition;
    this.#ends = ends;
  }

  /** `head`: that of the log in Redis, where it is open. Its present epoch may have no entry in the journal yet. */
  static async open(
    sql: postgres.Sql,
    partition: number,
    head: Pick<Head, "epoch" | "base"> | undefined,
  ): Promise<JournalChain> {
    const begins = (await epochBegins(sql, ORDERS_STREAM, partition)).map(({ epoch, prevMs, prevSeq }) => ({
      epoch,
      base: { ms: prevMs, seq: prevSeq },
    }));
    if (head !== undefined) {
      const [...earlier] = begins.filter(({ epoch }) => epoch < head.epoch);
      begins.splice(0, begins.length, ...earlier, head);
    }
    const ends = begins.slice(1).map(({ base }, i) => ({ epoch: begins[i]!.epoch, end: base }));
    return new JournalChain(sql, partition, ends);
  }

  /** Whether the entry is part of the log, or was lost by it. */
  has({ epoch, ms, seq }: EntryPosition): boolean {
    return this.#ends.every((ended) => epoch > ended.epoch || compareEntryIds({ ms, seq }, ended.end) <= 0);
  }

  /** What the journal has of a stretch (both ends inclusive) and the log has lost, in the sequence of positions. */
  async *lost(from: EntryId, to: EntryId): AsyncGenerator<EntryPosition, void> {
    for (const { epoch, end } of this.#ends) {
      let after: LogPosition = { epoch, ...end };
      for (;;) {
        const page = await readJournal(this.#sql, {
          ...{ stream: ORDERS_STREAM, partition: this.#partition, after, limit: PAGE },
          sinceMs: from.ms,
        });
        const own = page.filter((entry) => entry.epoch === epoch);
        for (const entry of own) if (compareEntryIds(entry, from) >= 0 && compareEntryIds(entry, to) <= 0) yield entry;
        const last = own.at(-1);
        if (last === undefined || own.length < PAGE) break;
        after = last;
      }
    }
  }

  /** The newest entry before an ID, of the newest epoch that has any there (the log may have lost it). Undefined where none is. */
  async before({ ms, seq }: EntryId): Promise<EntryPosition | undefined> {
    return await newestBefore(this.#sql, ORDERS_STREAM, this.#partition, { ms, seq });
  }

  /** What follows a position, in the sequence of positions; each names the one before it, unless that one is missing. */
  async *behind(position: EntryPosition): AsyncGenerator<readonly Entry[], void> {
    let after: LogPosition = position.epoch === 0 ? LOG_BEGIN : position;
    for (;;) {
      const page = await readJournal(this.#sql, {
        ...{ stream: ORDERS_STREAM, partition: this.#partition, after, limit: PAGE },
        sinceMs: position.ms,
      });
      const last = page.at(-1);
      if (last === undefined) return;
      yield page.filter((entry) => this.has(entry)).map(fromJournal);
      after = last;
    }
  }
}

/** An entry of the journal as one of the stream. Throws where a newer Penstock wrote it. */
export function fromJournal({ prevMs, prevSeq, payload, version, epoch, ms, seq }: JournalEntry): Entry {
  const id = formatEntryId({ ms, seq });
  if (version > SCHEMA_VERSION)
    throw new Error(`entry ${id} has schema version ${version}; this program knows ${SCHEMA_VERSION}: upgrade it`);
  const previous = { ms: prevMs, seq: prevSeq };
  return { id, epoch, ms, seq, previous, version, payload: payload ?? Buffer.alloc(0) };
}
