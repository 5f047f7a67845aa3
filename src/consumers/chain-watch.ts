import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type postgres from "postgres";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import type { StreamNumber } from "../store/entry-record.ts";
import { findGaps } from "../store/journal.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { parseEntryId } from "../stream/position.ts";
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
/** How far back the first look goes, behind what the group had finished then; `penstock audit` looks at everything. */
const FIRST_LOOK_MS = 3_600_000;
/** No entry is given an ID of a millisecond that is so long past, whatever the clocks say to each other. */
const SETTLED_MS = 10_000;
const REPORTED = 10;
const DAY_MS = 86_400_000;

/**
 * Notices a gap in the log: an entry whose predecessor never reached the journal. A group hands its entries to many
 * workers, so none of them sees the chain; the journal does.
 *
 * Invariant: of each stream everything before `#checked` (ms, by its key) was looked at, and all of it had been written by then.
 */
export class ChainWatch implements Service {
  readonly name = "chain watch";
  readonly #options: ChainWatchOptions;
  readonly #checked = new Map<string, number>();
  readonly #rounds: Periodic;

  constructor(options: ChainWatchOptions) {
    this.#options = options;
    this.#rounds = new Periodic(INTERVAL_MS, () => this.look(), this.#complain);
  }

  /** Looks at once, so that what the workers are about to catch up with lies behind the beginning. */
  async start(): Promise<void> {
    await this.look().catch(this.#complain);
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  readonly #complain = (error: unknown): void =>
    this.#options.log.warn({ err: error }, "the chain could not be looked at");

  /** Looks at what was written since the last time. */
  async look(): Promise<void> {
    const { redis, sql, streams, retentionDays, metrics, log } = this.#options;
    for (const { partition, stream, key } of streams) {
      const groups = await readGroups(redis, key);
      const group = groups.find((state) => state.group === PERSIST_GROUP);
      if (group === undefined) continue;
      const finished = parseEntryId(group.finished).ms;
      // Entries of the millisecond that is under way may still lack their predecessor.
      const idle = group.pending === 0 && group.lag === 0 && finished < Date.now() - SETTLED_MS;
      const toMs = idle ? finished : finished - 1;
      const fromMs = this.#checked.get(key) ?? toMs - FIRST_LOOK_MS;
      if (toMs < fromMs) continue;
      const oldestMs = retentionDays === 0 ? 0 : Date.now() - retentionDays * DAY_MS;
      const range = { stream, partition, fromMs, toMs, oldestMs, limit: REPORTED };
      const gaps = await findGaps(sql, range);
      this.#checked.set(key, toMs + 1);
      if (gaps.length === 0) continue;
      metrics.gaps.inc(gaps.length);
      log.error({ partition, stream: key, gaps }, "GAP IN THE LOG: entries whose predecessor is not in the journal");
    }
  }
}
