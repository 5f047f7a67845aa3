import type { Redis } from "ioredis";
import type postgres from "postgres";
import { Slots } from "../runtime/slots.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { readExecutions, type StoredExecution } from "../store/executions.ts";
import { findGaps, findWritten, newestBefore, readEntry as readReceipt } from "../store/journal.ts";
import type { SubmitFields } from "../stream/command.ts";
import { decodeBatch } from "../stream/logged-command.ts";
import type { Entry } from "../stream/entry.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import { EVENT_PAGE_BYTES, readEvents } from "../stream/event-pages.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry, findNewest } from "../stream/lookup.ts";
import { PageSize } from "../stream/page-size.ts";
import {
  compareEntryIds,
  type EntryId,
  type EntryPosition,
  formatEntryId,
  orderIdPrefix,
  parseOrderId,
  START,
} from "../stream/position.ts";
import { RequestError } from "./errors.ts";
import { cutBefore, type LogCut, readCuts } from "./log-cuts.ts";
import {
  isWanted,
  type Report,
  type ReportFilter,
  reportOf,
  type ReportPlace,
  storedReportOf,
  WHOLE_ENTRY,
} from "./reports.ts";
import { Turns } from "./turns.ts";

export interface ReportHistoryOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
  readonly instruments: InstrumentBook;
}

/** What stands behind a place: all that is wanted up to `end`. */
export interface ReportPage {
  readonly reports: readonly Report[];
  readonly end: ReportPlace;
}

/** Of the stream: 16,000 orders where entries are full. */
const PAGE_ENTRIES = 32;
/** Of Postgres, some 500 bytes each. */
const PAGE_ROWS = 500;
/** Pages that are read and decoded at once, of however many watches: half of the connections to Postgres, and some 20 MB. */
const PAGES_AT_ONCE = 2;

/**
 * Reports that are over: from the events stream as far as it reaches back, and from Postgres before that. What was trimmed
 * from the stream is in Postgres (I10), which in turn may not have yet what the stream has.
 */
export class ReportHistory {
  readonly #options: ReportHistoryOptions;
  readonly #slots = new Slots(PAGES_AT_ONCE);
  readonly #turns = new Turns(1);
  /** Of each partition, for all who read it. */
  readonly #pages: readonly PageSize[];

  constructor(options: ReportHistoryOptions) {
    this.#options = options;
    this.#pages = options.partitions.map(() => new PageSize({ bytes: EVENT_PAGE_BYTES, most: PAGE_ENTRIES }));
  }

  /**
   * Returns where the log has, or had, an entry at that place which is not older than what is kept; else throws OUT_OF_RANGE.
   * Where the log had that entry and lost it (its reports may be written all the same), that names the place to resume behind.
   */
  async expect(partition: number, place: ReportPlace): Promise<void> {
    if (place.epoch === 0 && compareEntryIds(place, START) === 0) return;
    const { redis, sql, partitions } = this.#options;
    const keys = partitions[partition]!;
    const [event] = await readEvents(redis, keys, { from: place, isBehind: false, count: 1 });
    if (event !== undefined && isAt(event, place) && event.epoch === place.epoch) return;
    const cut = cutBefore(await readCuts(redis, sql, keys), place);
    if (cut !== undefined) throw await this.#lost(partition, place, cut);
    if ((await readReceipt(sql, EVENTS_STREAM, partition, place)) !== undefined) return;
    // The events stream may have lost its tail, which the engine then writes again.
    if ((await findEntry(redis, keys, place)) !== undefined) return;
    throw new RequestError("OUT_OF_RANGE", `partition ${partition} has no ${textOf(place)}, or none that is kept`);
  }

  /** What a client is told whose place the log has lost. */
  async #lost(partition: number, place: EntryPosition, { base }: LogCut): Promise<RequestError> {
    const { redis, sql, partitions } = this.#options;
    const inLog = await findNewest(redis, partitions[partition]!, base);
    const last = inLog ?? (await newestBefore(sql, ORDERS_STREAM, partition, { ms: base.ms, seq: base.seq + 1 }));
    const isKept = last !== undefined && compareEntryIds(last, base) === 0;
    const [id, epoch] = isKept ? [formatEntryId(base), last.epoch] : [formatEntryId(START), 0];
    return new RequestError(
      "OUT_OF_RANGE",
      `partition ${partition} has lost ${textOf(place)}, and went on without it. Resume behind entry_id ${id}, epoch ${epoch}, ` +
        `index ${WHOLE_ENTRY}: what you have from behind that did not happen`,
    );
  }

  /** The next page behind a place, or undefined where nothing stands there yet. */
  next(partition: number, after: ReportPlace, filter: ReportFilter): Promise<ReportPage | undefined> {
    return this.#slots.run(() => this.#next(partition, after, filter));
  }

  async #next(partition: number, after: ReportPlace, filter: ReportFilter): Promise<ReportPage | undefined> {
    const { redis, partitions } = this.#options;
    const isBehind = after.index === WHOLE_ENTRY;
    const pages = this.#pages[partition]!;
    const page = { from: after, isBehind, count: pages.limit };
    const entries = await readEvents(redis, partitions[partition]!, page);
    pages.adapt(entries.map(({ payload }) => payload.length));
    const [first] = entries;
    const isNext =
      first !== undefined && (isBehind ? compareEntryIds(first.previous, after) === 0 : isAt(first, after));
    return isNext
      ? this.#fromStream(partition, after, entries, filter)
      : this.#fromStore(partition, after, first, filter);
  }

  /** As far as each entry names the one before it. */
  async #fromStream(
    partition: number,
    after: ReportPlace,
    entries: readonly Entry[],
    filter: ReportFilter,
  ): Promise<ReportPage> {
    const { instruments } = this.#options;
    const reports: Report[] = [];
    let end: ReportPlace = after;
    let isFresh = false;
    for (const [i, entry] of entries.entries()) {
      if (i > 0 && compareEntryIds(entry.previous, end) !== 0) break;
      // To decode a full one takes a millisecond or two.
      await this.#turns.next();
      const skipped = isAt(entry, after) ? after.index : -1;
      for (const [index, event] of decodeEventBatch(entry.payload).events.entries()) {
        if (index <= skipped || !isWanted(event, filter)) continue;
        if (!isFresh && instruments.isUnknown(event.symbol)) {
          await instruments.refresh();
          isFresh = true;
        }
        const report = reportOf(event, index, entry, partition, instruments);
        if (report !== undefined) reports.push(report);
      }
      end = { epoch: entry.epoch, ms: entry.ms, seq: entry.seq, index: WHOLE_ENTRY };
    }
    return { reports, end };
  }

  /** What stands before `first`, which is the next entry of the stream, and was read before Postgres is asked. */
  async #fromStore(
    partition: number,
    after: ReportPlace,
    first: Entry | undefined,
    filter: ReportFilter,
  ): Promise<ReportPage | undefined> {
    const { redis, sql, partitions, instruments } = this.#options;
    const rows = await readExecutions(sql, partition, after, { ...filter, limit: PAGE_ROWS });
    const older = first === undefined ? rows : rows.filter((row) => compareEntryIds(row, first) < 0);
    // What the log has lost since stays written until somebody takes it back (docs/recovery.md).
    const cuts = older.length > 0 ? await readCuts(redis, sql, partitions[partition]!) : [];
    const kept = older.filter((row) => cutBefore(cuts, row) === undefined);
    if (kept.some(({ symbol }) => instruments.isUnknown(symbol))) await instruments.refresh();
    const submitted = await this.#submitted(partition, kept);
    const reports = kept.map((row) => storedReportOf(row, instruments, submitted.get(row.orderId ?? "")));
    const last = older.at(-1);
    if (first === undefined && last !== undefined) await this.#proveUnbroken(partition, after, last);
    if (last !== undefined && older.length === PAGE_ROWS) {
      const cut = cutBefore(cuts, last);
      return { reports, end: cut === undefined ? last : { epoch: cut.epoch, ...cut.base, index: WHOLE_ENTRY } };
    }
    const end = reports.at(-1);
    if (first === undefined) return end && { reports, end };
    await this.#proveWritten(partition, after, first);
    return { reports, end: { ...first.previous, epoch: first.epoch, index: WHOLE_ENTRY } };
  }

  /**
   * The orders of reports that Postgres has without them, by their ids. Each stream has its own workers; what those of the orders
   * have not written yet is in the log (I10), and a row that became a dead letter in the journal.
   */
  async #submitted(partition: number, rows: readonly StoredExecution[]): Promise<ReadonlyMap<string, SubmitFields>> {
    const { redis, sql, partitions } = this.#options;
    const found = new Map<string, SubmitFields>();
    // Of the entry that was asked for last: those of an entry mostly stand together.
    let commands: ReturnType<typeof decodeBatch> = [];
    let decoded = "";
    for (const { order, orderId } of rows) {
      const place = order === null && orderId !== null ? parseOrderId(orderId) : undefined;
      if (place === undefined || orderId === null || found.has(orderId)) continue;
      const entry = orderIdPrefix(partition, place);
      if (entry !== decoded) {
        const logged =
          (await findEntry(redis, partitions[partition]!, place)) ??
          (await readReceipt(sql, ORDERS_STREAM, partition, place));
        commands = logged?.payload ? decodeBatch(logged.payload) : [];
        decoded = entry;
      }
      const command = commands[place.index];
      if (command?.kind === "submit") found.set(orderId, command.submit);
    }
    return found;
  }

  /**
   * Where the stream was emptied, what its workers had not finished is missing between rows that are written, until the engine has
   * made it again. Of the beginning only what is kept counts.
   */
  async #proveUnbroken(partition: number, after: ReportPlace, last: EntryId): Promise<void> {
    const { sql } = this.#options;
    const stretch = { fromMs: after.ms, toMs: last.ms, oldestMs: after.ms, limit: HOLES };
    for (const gap of await findGaps(sql, { stream: EVENTS_STREAM, partition, ...stretch })) {
      const missing = { ms: gap.prevMs, seq: gap.prevSeq };
      const isBehind = compareEntryIds(missing, after) > 0 && compareEntryIds(missing, last) < 0;
      if (!isBehind || (await newestBefore(sql, EVENTS_STREAM, partition, gap)) === undefined) continue;
      const cause = new Error(`partition ${partition}: no receipt of the event entry ${formatEntryId(missing)}`);
      throw new RequestError("UNAVAILABLE", MISSING, { cause });
    }
  }

  /** Between a place and an entry of the stream nothing is missing where the one before that entry was written. */
  async #proveWritten(partition: number, after: ReportPlace, first: Entry): Promise<void> {
    const { previous } = first;
    // Who begins at the beginning takes what is kept.
    if (compareEntryIds(after, START) === 0 || compareEntryIds(previous, after) === 0) return;
    const written = await findWritten(this.#options.sql, EVENTS_STREAM, partition, [previous]);
    if (written.length > 0 && compareEntryIds(previous, after) > 0) return;
    const cause = new Error(
      `partition ${partition}: no receipt of the event entry ${formatEntryId(previous)} behind ${formatEntryId(after)}`,
    );
    throw new RequestError("UNAVAILABLE", MISSING, { cause });
  }
}

const MISSING = "events are missing at present: resume later";
/** Of those in front of the place one may stand there, and one at the beginning of what is kept. */
const HOLES = 10;

function textOf(place: EntryPosition): string {
  return `entry ${formatEntryId(place)} of epoch ${place.epoch}`;
}

function isAt(entry: Entry, place: ReportPlace): boolean {
  return compareEntryIds(entry, place) === 0;
}
