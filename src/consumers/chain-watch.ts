import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type postgres from "postgres";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import { ORDERS_STREAM, type StreamNumber } from "../store/entry-record.ts";
import { findGaps, findWritten, type Gap, newestBefore } from "../store/journal.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseEntryId, START } from "../stream/position.ts";
import { readGroups } from "../stream/status.ts";
import type { ConsumerMetrics } from "./metrics.ts";

export interface ChainWatchOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly streams: readonly WatchedStream[];
  readonly retentionDays: number;
  readonly metrics: ConsumerMetrics;
  readonly log: Logger;
}

/** One of a partition's streams. */
export interface WatchedStream {
  readonly partition: number;
  readonly stream: StreamNumber;
  readonly key: string;
}

/** A gap is for an operator, who has other things to do as well. */
const INTERVAL_MS = 10_000;
/**
 * How far back the first look goes at least, behind what the group had finished then; and as far as Redis has entries, which may
 * be more where a stream is not trimmed, because the journal lacks some of it. `penstock audit` looks at everything.
 */
const FIRST_LOOK_MS = 3_600_000;
/** What one question asks of: at 10,000 entries a second six seconds of Postgres' time, of the ten that a statement has. */
const SLICE_MS = 600_000;
/** Of a stretch: a week of such slices. A longer one is of a clock that has jumped, and nearly empty. */
const SLICES = 1_000;
/** No entry is given an ID of a millisecond that is so long past, whatever the clocks say to each other. */
const SETTLED_MS = 10_000;
const REPORTED = 10;
/** Of a stream's gaps that are not filled: where there are more, `penstock audit` counts them. */
const REMEMBERED = 100;
const DAY_MS = 86_400_000;

/** What a look at a stream found, where its journal lacks what Redis still has. */
interface Setback {
  readonly partition: number;
  readonly key: string;
  /** Behind this ID something is missing. */
  readonly from: EntryId;
}

/**
 * Notices a gap in the log: an entry whose predecessor never reached the journal. A group hands its entries to many
 * workers, so none of them sees the chain; the journal does.
 *
 * Notices as well that Postgres went back, to a backup or to a standby that was not quite up to date: then the group has
 * finished entries that the journal lacks, and no worker will ever get them again. As long as Redis has any of them, its stream
 * is not to be trimmed.
 *
 * Invariants:
 * - Of each stream everything before `#checked` (ms, by its key) was looked at, and all of it had been written by then.
 * - `#behind` has the keys of the streams whose journal lacked something at the last look that Redis had.
 */
export class ChainWatch implements Service {
  readonly name = "chain watch";
  readonly #options: ChainWatchOptions;
  readonly #checked = new Map<string, number>();
  #behind: ReadonlySet<string> = new Set();
  /** Those that were found and not filled since, by the key of their stream. */
  readonly #open = new Map<string, readonly Gap[]>();
  /** Nothing is known before the first look, nor after one that failed. */
  #isBlind = true;
  readonly #rounds: Periodic;
  readonly #stopping = new AbortController();

  constructor(options: ChainWatchOptions) {
    this.#options = options;
    this.#rounds = new Periodic(INTERVAL_MS, () => this.look(), this.#complain);
  }

  /** Looks at once, so that what the workers are about to catch up with lies behind the beginning. */
  async start(): Promise<void> {
    await this.look().catch(this.#complain);
    this.#rounds.start();
  }

  /** A look that is under way is given up: one of a long stretch may take longer than a drain. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#rounds.stop();
  }

  /** Whether the stream must not be trimmed: it may have what the journal lacks. */
  holds(key: string): boolean {
    return this.#isBlind || this.#behind.has(key);
  }

  readonly #complain = (error: unknown): void => {
    this.#isBlind = true;
    this.#warn(error);
  };

  #warn(error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    this.#options.log.warn({ err: error }, "the chain could not be looked at");
  }

  /** Looks at what was written since the last time, and at whether the journal has what the groups have finished. */
  async look(): Promise<void> {
    const setbacks: Setback[] = [];
    for (const watched of this.#options.streams) {
      const groups = await readGroups(this.#options.redis, watched.key);
      const group = groups.find((state) => state.group === PERSIST_GROUP);
      if (group === undefined) continue;
      const finished = parseEntryId(group.finished);
      if (compareEntryIds(finished, START) === 0) continue; // nothing yet: there is nowhere to look from
      // Entries of the millisecond that is under way may still lack their predecessor.
      const idle = group.pending === 0 && group.lag === 0 && finished.ms < Date.now() - SETTLED_MS;
      const toMs = idle ? finished.ms : finished.ms - 1;
      const gaps = await this.#gaps(watched, toMs).catch((error: unknown) => {
        if (!this.#checked.has(watched.key)) throw error; // nobody knows what Redis alone has
        this.#warn(error); // a look that takes too long, say: that alone must not keep the stream from being trimmed
        return [];
      });
      const missing = [...gaps, ...(await this.#unwritten(watched, finished, toMs))];
      const [from] = missing.sort(compareEntryIds);
      if (from !== undefined) setbacks.push({ partition: watched.partition, key: watched.key, from });
    }
    this.#isBlind = false;
    this.#note(setbacks);
  }

  /** Tells the gaps in what was written since the last time; returns what lies before those that Redis can fill. */
  async #gaps(watched: WatchedStream, toMs: number): Promise<EntryId[]> {
    const { partition, key } = watched;
    const open = await this.#unfilled(watched);
    const fromMs = this.#checked.get(key) ?? Math.min(toMs - FIRST_LOOK_MS, await this.#oldestIn(key, toMs));
    if (toMs < fromMs) return [];
    const gaps = await this.#search(watched, Math.max(0, fromMs), toMs);
    this.#checked.set(key, toMs + 1);
    if (gaps.length === 0) return [];
    this.#keep(key, [...open, ...gaps]);
    this.#options.log.error(
      { partition, stream: key, gaps },
      "GAP IN THE LOG: entries whose predecessor is not in the journal",
    );
    return await this.#fillable(watched, gaps);
  }

  /** The first gaps in a stretch of the journal. */
  async #search({ partition, stream }: WatchedStream, fromMs: number, toMs: number): Promise<Gap[]> {
    const gaps: Gap[] = [];
    const sliceMs = Math.max(SLICE_MS, Math.ceil((toMs - fromMs + 1) / SLICES));
    for (let ms = fromMs; ms <= toMs && gaps.length < REPORTED; ms += sliceMs) {
      this.#stopping.signal.throwIfAborted();
      const slice = { fromMs: ms, toMs: Math.min(toMs, ms + sliceMs - 1), limit: REPORTED - gaps.length };
      gaps.push(...(await findGaps(this.#options.sql, { stream, partition, oldestMs: this.#oldestMs, ...slice })));
    }
    return gaps;
  }

  /** The time of the oldest entry that Redis has, ms; `otherwise` where it has none. */
  async #oldestIn(key: string, otherwise: number): Promise<number> {
    const [oldest] = await this.#options.redis.xrange(key, "-", "+", "COUNT", 1);
    return oldest === undefined ? otherwise : parseEntryId(oldest[0]).ms;
  }

  /** Behind what the group has finished entries that the journal lacks, and Redis has. */
  async #unwritten(watched: WatchedStream, finished: EntryId, toMs: number): Promise<EntryId[]> {
    const { sql, redis } = this.#options;
    const { partition, stream, key } = watched;
    const [newest] = await redis.xrevrange(key, formatEntryId(finished), "-", "COUNT", 1);
    const id = newest && parseEntryId(newest[0]);
    if (id === undefined || id.ms < this.#oldestMs) return [];
    if ((await findWritten(sql, stream, partition, [id])).length === 0) return [await this.#before(watched, id)];
    if (!this.#behind.has(key)) return [];
    // It was behind: not only its end has to be there again.
    const gaps = await this.#search(watched, await this.#oldestIn(key, toMs), toMs);
    this.#keep(key, gaps);
    return await this.#fillable(watched, gaps);
  }

  /** The gaps that are still open of those that are known: a worker that was late may have filled one, or an operator closed it. */
  async #unfilled({ partition, stream, key }: WatchedStream): Promise<readonly Gap[]> {
    const known = this.#open.get(key) ?? [];
    if (known.length === 0) return known;
    const missing = known.map(({ prevMs, prevSeq }) => ({ ms: prevMs, seq: prevSeq }));
    const written = new Set((await findWritten(this.#options.sql, stream, partition, missing)).map(formatEntryId));
    const open = known.filter((_, i) => !written.has(formatEntryId(missing[i]!)));
    this.#keep(key, open);
    return open;
  }

  #keep(key: string, gaps: readonly Gap[]): void {
    this.#open.set(key, gaps.slice(0, REMEMBERED));
    this.#options.metrics.gaps.set([...this.#open.values()].reduce((sum, { length }) => sum + length, 0));
  }

  async #fillable(watched: WatchedStream, gaps: readonly Gap[]): Promise<EntryId[]> {
    const before: EntryId[] = [];
    for (const { prevMs, prevSeq } of gaps) {
      const missing = { ms: prevMs, seq: prevSeq };
      const id = formatEntryId(missing);
      const isThere = (await this.#options.redis.xrange(watched.key, id, id)).length > 0;
      if (isThere) before.push(await this.#before(watched, missing));
    }
    return before;
  }

  /** What the journal has before an ID. */
  async #before({ partition, stream }: WatchedStream, id: EntryId): Promise<EntryId> {
    return (await newestBefore(this.#options.sql, stream, partition, id)) ?? START;
  }

  #note(setbacks: readonly Setback[]): void {
    const { metrics, log, streams } = this.#options;
    const behind = new Set(setbacks.map(({ key }) => key));
    for (const { partition, stream, key } of streams) {
      const labels = { partition, stream: stream === ORDERS_STREAM ? "orders" : "events" };
      metrics.behind.set(labels, behind.has(key) ? 1 : 0);
      if (this.#behind.has(key) && !behind.has(key))
        log.info({ partition, stream: key }, "the journal has again what the group had finished: trimming goes on");
    }
    const fresh = setbacks.filter(({ key }) => !this.#behind.has(key));
    for (const partition of new Set(fresh.map((setback) => setback.partition))) {
      const both = setbacks.filter((setback) => setback.partition === partition);
      const [{ from } = { from: START }] = both.sort((a, b) => compareEntryIds(a.from, b.from));
      const command = `penstock replay --from ${formatEntryId(from)}`;
      log.error(
        { partition, streams: both.map(({ key }) => key), run: command },
        `POSTGRES WENT BACK: it lacks entries that were written before and that Redis still has; no worker gets them again. Run: ${command}`,
      );
    }
    this.#behind = behind;
  }

  /** What is older was dropped by the retention, ms. */
  get #oldestMs(): number {
    const { retentionDays } = this.#options;
    return retentionDays === 0 ? 0 : Date.now() - retentionDays * DAY_MS;
  }
}
