import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { Findings } from "./findings.ts";
import { EVENT_ROWS } from "../consumers/event-rows.ts";
import { ORDER_ROWS } from "../consumers/order-rows.ts";
import { recordOf, recordOfEntry, type StreamRows } from "../consumers/record.ts";
import { snapshotPlaces } from "../store/engine-snapshots.ts";
import { EVENTS_STREAM, type LogPosition, ORDERS_STREAM } from "../store/entry-record.ts";
import { countJournal, findGaps, journalBefore, journalEnd, newestBefore, readJournal } from "../store/journal.ts";
import { type ReplayMark, writeMark } from "../store/replay-marks.ts";
import type { Transaction, Writer } from "../store/writer.ts";
import { type Entry, EntryError, readEntry, sizeOf, type StreamReply } from "../stream/entry.ts";
import { EVENT_PAGE_BYTES } from "../stream/event-pages.ts";
import { type Head, openHead } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { type PageBounds, PageSize } from "../stream/page-size.ts";
import { compareEntryIds, type EntryId, formatEntryId, START } from "../stream/position.ts";
import { EngineEvents } from "./engine-events.ts";
import { Feed, type FeedFigures, type FeedOptions } from "./feed.ts";
import { fromJournal, JournalChain } from "./journal-chain.ts";
import type { KnownInstruments } from "./known-instruments.ts";
import { reportMissing } from "./missing.ts";
import type { Progress } from "./progress.ts";
import { settleStrays } from "./strays.ts";

export interface PartitionReplayOptions {
  /** Undefined where the journal alone is to be asked. */
  readonly redis: Redis | undefined;
  readonly sql: postgres.Sql;
  readonly writer: Writer;
  readonly keys: PartitionKeys;
  /** Both inclusive. */
  readonly from: EntryId;
  readonly to: EntryId | undefined;
  /** Names what was asked for, in a mark. */
  readonly bounds: string;
  /** How far an interrupted replay with the same bounds came. */
  readonly mark: ReplayMark | undefined;
  /** Whether events of commands that the log has lost are to be taken back. */
  readonly withdraw: boolean;
  readonly instruments: KnownInstruments;
  readonly progress: Progress;
  readonly findings: Findings;
  readonly signal: AbortSignal;
}

/** Of Redis or the journal. Entries usually have some kilobytes under load and a hundred bytes at rest. */
const PAGE: PageBounds = { bytes: EVENT_PAGE_BYTES, most: 100 };
/** A worker's transaction is over by then, or another worker has taken over what it had (PENSTOCK_MIN_IDLE_MS). */
const IN_HAND_MS = 90_000;
/** Beyond every ID. */
const END: EntryId = { ms: 2 ** 48 - 1, seq: 0xffff_ffff };

/** What Redis has of a stream, as it is delivered. */
interface Raw {
  readonly id: string;
  readonly fields: readonly Buffer[];
}

/**
 * Feeds Postgres again with one partition of the log: its commands, then what the engine made of them.
 *
 * What Redis has comes first in both, for it may be trimmed at any moment; the rest comes from the journal, which by then has
 * every command there is. Of what workers are writing at the same time nothing is taken: it ends where the log stood when it began.
 */
export class PartitionReplay {
  readonly #options: PartitionReplayOptions;
  readonly #feed: Feed;
  #end: EntryId = START;
  #head: Head | undefined;

  constructor(options: PartitionReplayOptions) {
    this.#options = options;
    const { writer, instruments, progress, findings, signal } = options;
    // Each may be met twice: in Redis, and again in the journal.
    const onConflict: FeedOptions["onConflict"] = ({ what, where }) => findings.add(what, where);
    this.#feed = new Feed({ writer, instruments, progress, onConflict, signal });
  }

  /** Throws where a server fails; what was written stays, and a mark says up to where. */
  async run(): Promise<FeedFigures> {
    const { sql, redis, keys, from, mark, writer, findings, withdraw } = this.#options;
    const { partition } = keys;
    if (redis !== undefined) this.#head = await openHead(redis, keys);
    this.#end = await this.#endOfLog();
    if (redis !== undefined) await this.#fromRedis(redis, ORDER_ROWS, keys.orders);
    if (mark?.stage !== "events") await this.#ordersFromJournal();
    if (await this.#hasEngine()) {
      const until = redis === undefined ? END : await this.#fromRedis(redis, EVENT_ROWS, keys.events);
      await this.#eventsFromEngine(until);
    }
    const looking = { sql, from, to: this.#end, findings, chain: await JournalChain.open(sql, partition, this.#head) };
    await reportMissing({ ...looking, partition });
    if (redis !== undefined) await settleStrays({ ...looking, redis, keys, writer, withdraw });
    const finish = this.#marking("done");
    await writer.transaction((transaction) => finish(transaction, { epoch: 0, ...this.#end }));
    return this.#feed.figures;
  }

  async #endOfLog(): Promise<EntryId> {
    const { to } = this.#options;
    const end = this.#head?.last ?? (await this.#endOfJournal());
    return to === undefined ? end : earlier(to, end);
  }

  /** Where workers are writing, some are quicker than others: up to the first entry that one may still have in hand. */
  async #endOfJournal(): Promise<EntryId> {
    const { sql, keys } = this.#options;
    const { partition } = keys;
    const end = await newestBefore(sql, ORDERS_STREAM, partition, END);
    const youngMs = Date.now() - IN_HAND_MS;
    if (end === undefined || end.ms < youngMs) return end ?? START;
    const range = { stream: ORDERS_STREAM, partition, fromMs: youngMs, toMs: end.ms, oldestMs: youngMs, limit: 1 };
    const [gap] = await findGaps(sql, range);
    return gap === undefined ? end : ((await journalBefore(sql, ORDERS_STREAM, partition, gap)) ?? START);
  }

  /** No engine ever ran where nothing is left of one. */
  async #hasEngine(): Promise<boolean> {
    const { sql, redis, keys } = this.#options;
    if ((await journalEnd(sql, EVENTS_STREAM, keys.partition)) !== undefined) return true;
    if ((await snapshotPlaces(sql, keys.partition)).length > 0) return true;
    return (await redis?.exists(keys.engine)) === 1;
  }

  /**
   * Writes what Redis has of a stream. Returns the ID from which on it had everything, up to the end of the stream: the
   * bound of what is to be had elsewhere.
   */
  async #fromRedis(redis: Redis, rows: StreamRows, key: string): Promise<EntryId> {
    const { keys, progress } = this.#options;
    progress.begin(this.#stage(rows.name, "Redis"), await redis.xlen(key));
    let since: EntryId = END;
    let last: EntryId | undefined;
    const follow = (reply: Raw): void => {
      const entry = entryOf(reply);
      if (entry === undefined) return; // none of ours, and outside the chain
      if (last === undefined || compareEntryIds(entry.previous, last) !== 0) since = entry; // what is before was trimmed
      last = entry;
    };
    await this.#feed.write(this.#pages(redis, key), (reply, options) => {
      follow(reply);
      return recordOf(rows, { ...reply, deliveries: 1 }, { ...options, partition: keys.partition });
    });
    return since;
  }

  async *#pages(redis: Redis, key: string): AsyncGenerator<readonly Raw[], void> {
    let from = formatEntryId(this.#options.from);
    const to = formatEntryId(this.#end);
    if (compareEntryIds(this.#options.from, this.#end) > 0) return;
    const size = new PageSize(PAGE);
    for (;;) {
      const page = (await redis.callBuffer("XRANGE", key, from, to, "COUNT", size.limit)) as StreamReply[];
      size.adapt(page.map(sizeOf));
      const last = page.at(-1);
      if (last === undefined) return;
      yield page.map(([id, fields]) => ({ id: id.toString(), fields: fields ?? [] }));
      from = `(${last[0].toString()}`;
    }
  }

  async #ordersFromJournal(): Promise<void> {
    const { sql, keys, from, mark, progress } = this.#options;
    const { partition } = keys;
    progress.begin(this.#stage("orders", "the journal"), await countJournal(sql, ORDERS_STREAM, partition, from.ms));
    await this.#feed.write(
      this.#journalPages(mark?.at),
      (entry, options) => recordOfEntry(ORDER_ROWS, entry, { ...options, partition }),
      this.#marking("orders"),
    );
  }

  /** Everything that the journal has from the beginning on, also what the log has lost since: those are rows too. */
  async *#journalPages(mark: LogPosition | undefined): AsyncGenerator<readonly Entry[], void> {
    const { sql, keys, from } = this.#options;
    let after: LogPosition = mark ?? { epoch: 1, ms: 0, seq: 0 };
    const size = new PageSize(PAGE);
    for (;;) {
      const range = { stream: ORDERS_STREAM, partition: keys.partition, after, sinceMs: from.ms, limit: size.limit };
      const page = await readJournal(sql, range);
      size.adapt(page.map(({ payload }) => payload?.length ?? 0));
      const last = page.at(-1);
      if (last === undefined) return;
      yield page.filter((entry) => isWithin(entry, from, this.#end)).map(fromJournal);
      after = last;
    }
  }

  /** Of the entries before `until`. */
  async #eventsFromEngine(until: EntryId): Promise<void> {
    const { sql, keys, from, mark, progress, findings } = this.#options;
    const { partition } = keys;
    const chain = await JournalChain.open(sql, partition, this.#head);
    const tell = (what: string, where: string) => findings.add(what, where);
    const say = (line: string) => progress.say(`partition ${partition}: ${line}`);
    const events = new EngineEvents({ sql, partition, chain, tell, say });
    const begin = mark?.stage === "events" ? after(mark.at) : from;
    const end = earlier(until, after(this.#end));
    const newest = await chain.before(end);
    if (newest === undefined || compareEntryIds(newest, begin) < 0) return; // Redis had them all
    progress.begin(this.#stage("events", "an engine"), await countJournal(sql, ORDERS_STREAM, partition, begin.ms));
    await this.#feed.write(
      events.between(begin, end),
      (entry, options) => recordOfEntry(EVENT_ROWS, entry, { ...options, partition }),
      this.#marking("events"),
    );
  }

  #marking(stage: ReplayMark["stage"]) {
    const { keys, bounds, findings } = this.#options;
    return (transaction: Transaction, { epoch, ms, seq }: LogPosition): Promise<void> =>
      writeMark(transaction, keys.partition, { bounds, stage, at: { epoch, ms, seq }, findings: findings.marked });
  }

  #stage(what: string, whence: string): string {
    return `partition ${this.#options.keys.partition}, ${what} from ${whence}`;
  }
}

function entryOf({ id, fields }: Raw): Entry | undefined {
  try {
    return readEntry(id, fields);
  } catch (error) {
    if (error instanceof EntryError) return undefined;
    throw error;
  }
}

function isWithin(id: EntryId, from: EntryId, to: EntryId): boolean {
  return compareEntryIds(id, from) >= 0 && compareEntryIds(id, to) <= 0;
}

/** The ID just behind another one. */
function after({ ms, seq }: EntryId): EntryId {
  return seq < 0xffff_ffff ? { ms, seq: seq + 1 } : { ms: ms + 1, seq: 0 };
}

function earlier(a: EntryId, b: EntryId): EntryId {
  return compareEntryIds(a, b) < 0 ? a : b;
}
