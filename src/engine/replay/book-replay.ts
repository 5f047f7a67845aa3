import { hash } from "node:crypto";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import { listVoided } from "../../store/admin-actions.ts";
import { listSnapshots, readSnapshot } from "../../store/engine-snapshots.ts";
import type { Entry } from "../../stream/entry.ts";
import type { LevelChange } from "../../stream/event-batch.ts";
import { encodeEventBatch } from "../../stream/event-encoder.ts";
import { PartitionKeys } from "../../stream/keys.ts";
import { findEntry } from "../../stream/lookup.ts";
import { findEventEntry } from "../../stream/order-status.ts";
import {
  compareEntries,
  compareEntryIds,
  type EntryId,
  type EntryPosition,
  formatEntryId,
  START,
} from "../../stream/position.ts";
import { commandsOf } from "../command-of.ts";
import { type EngineJournal, engineJournal } from "../engine-journal.ts";
import { saysVoided } from "../entry-outcome.ts";
import { Engine } from "../matching/engine.ts";
import type { MatchingEngine } from "../matching/interface.ts";
import { type Around, BookTrack, headOf, type TrackedBook } from "./book-track.ts";
import { BrokenChainError, HistoryReader } from "./history-reader.ts";

export interface BookQuestion {
  readonly partition: number;
  readonly symbol: string;
  /** The last entry that touched the book at or before this one. */
  readonly at: EntryId;
  /** Levels of each side. */
  readonly depth: number;
}

/** Positions are those of entries; in what is asked for they are absent where there is none. */
export interface BookAnswer {
  readonly book: TrackedBook;
  readonly position: EntryPosition | undefined;
  readonly previous: EntryPosition | undefined;
  readonly next: EntryPosition | undefined;
  /** An encoded EventBatch; empty where the entry itself is not known any more. */
  readonly events: Uint8Array;
}

/** It takes longer than one call may: the same question goes on where this one ended. */
export class UnderWayError extends Error {
  override readonly name = "UnderWayError";
}

/** Log and journal no longer reach back so far. */
export class TooOldError extends Error {
  override readonly name = "TooOldError";
}

/** Each with an engine of its own, of a symbol: for two who look. */
const MAX_RUNS = 2;
/** An engine works so many in a tenth of a second; with them a step back of any length is one of a tenth of a second. */
const CHECKPOINT_COMMANDS = 100_000;
/** Of all: beyond this, every other one of them is dropped. */
const MAX_CHECKPOINTS = 32;
const MAX_CHECKPOINT_BYTES = 128 * 1024 * 1024;

const BEGINNING: EntryPosition = { epoch: 0, ...START };

/** An engine on its way through the log, and the book that it is asked for. */
interface Run {
  readonly partition: number;
  readonly engine: MatchingEngine;
  readonly reader: HistoryReader;
  readonly track: BookTrack;
  readonly voided: ReadonlySet<string>;
  /** Where it began, and for what. */
  readonly start: EntryPosition;
  readonly goal: EntryId;
  position: EntryPosition;
  /** Read, and not yet worked. */
  ahead: readonly Entry[];
  commands: number;
}

/** A place to begin at. */
interface Origin extends EntryPosition {
  restore(): Promise<MatchingEngine | undefined>;
}

interface Checkpoint extends EntryPosition {
  readonly partition: number;
  readonly data: Uint8Array;
}

/**
 * Works old stretches of the log again, to show a book as it was. It writes nothing anywhere.
 *
 * Always true: a run's engine has worked the log up to its position, and its track has the book from its beginning up to there.
 */
export class BookReplay {
  readonly #redis: Redis;
  readonly #sql: postgres.Sql;
  readonly #journal: EngineJournal;
  /** The one that was asked last comes last. */
  #runs: Run[] = [];
  #checkpoints: Checkpoint[] = [];

  constructor(redis: Redis, sql: postgres.Sql) {
    this.#redis = redis;
    this.#sql = sql;
    this.#journal = engineJournal(sql);
  }

  /** Within some `budgetMs`. Throws an UnderWayError or a TooOldError. */
  async book(question: BookQuestion, budgetMs: number): Promise<BookAnswer> {
    const { at } = question;
    const until = performance.now() + budgetMs;
    let answer: BookAnswer | undefined;
    let run: Run | undefined = (await this.#runFor(question)) ?? (await this.#begin(question, at));
    while (run !== undefined) {
      const { track, start } = run;
      this.#runs = [...this.#runs.filter((one) => one !== run), run].slice(-MAX_RUNS);
      try {
        await this.#advance(run, at, until);
      } catch (error) {
        if (error instanceof UnderWayError) throw error;
        this.#forget(run);
        if (!(error instanceof BrokenChainError)) throw error;
        // The log does not go on there, or no longer: an earlier place may lie on it.
        run = await this.#begin(question, start);
        continue;
      }
      const around = track.around(at);
      answer = answerOf(track, around, question.depth);
      const isWhole = !track.hasPast || (around.frame !== undefined && answer.previous !== undefined);
      run = isWhole ? undefined : await this.#begin(question, track.begin);
    }
    if (answer === undefined) throw new TooOldError("log and journal no longer reach back to that place");
    return answer;
  }

  /** The one that was asked last of those that can go on to it, unless there is a place to begin that is nearer. */
  async #runFor({ partition, symbol, at }: BookQuestion): Promise<Run | undefined> {
    const run = this.#runs.findLast(
      (one) => one.partition === partition && one.track.symbol === symbol && compareEntryIds(one.track.begin, at) <= 0,
    );
    if (run === undefined || compareEntryIds(run.position, at) >= 0 || compareEntryIds(run.goal, at) === 0) return run;
    const isNearer = (origin: EntryId) => compareEntryIds(origin, at) < 0 && compareEntryIds(origin, run.position) > 0;
    return (await this.#origins(partition)).some(isNearer) ? undefined : run;
  }

  /** A run from the nearest place before an ID at which one can begin; undefined where there is none. */
  async #begin({ partition, symbol, at }: BookQuestion, before: EntryId): Promise<Run | undefined> {
    const origins = (await this.#origins(partition))
      .filter((origin) => compareEntryIds(origin, before) < 0)
      .sort((a, b) => compareEntryIds(b, a));
    for (const origin of origins) {
      const engine = await origin.restore();
      if (engine === undefined) continue;
      const start = placeOf(origin);
      const keys = new PartitionKeys(partition);
      return {
        ...{ partition, engine, start, goal: at, position: start, ahead: [], commands: 0 },
        reader: new HistoryReader({ redis: this.#redis, journal: this.#journal, keys }),
        track: new BookTrack(symbol, engine, start),
        voided: new Set(await listVoided(this.#sql, partition)),
      };
    }
    return undefined;
  }

  async #origins(partition: number): Promise<Origin[]> {
    const kept = this.#checkpoints.filter((checkpoint) => checkpoint.partition === partition);
    const stored = await listSnapshots(this.#sql, partition);
    return [
      { ...BEGINNING, restore: async () => new Engine() },
      ...kept.map((checkpoint) => ({
        ...placeOf(checkpoint),
        restore: async () => Engine.restore(checkpoint.data),
      })),
      ...stored.map((snapshot) => ({
        ...placeOf(snapshot),
        restore: async () => {
          const keys = new PartitionKeys(partition);
          const entry = await findEntry(this.#redis, keys, snapshot);
          const found = entry && hash("sha256", entry.payload, "buffer");
          const entryHash = found ?? (await this.#journal.hashOf(partition, snapshot));
          if (entryHash?.equals(snapshot.entryHash) !== true) return undefined;
          const data = await readSnapshot(this.#sql, partition, snapshot);
          try {
            const engine = Engine.restore(data);
            return engine.stateHash === snapshot.stateHash ? engine : undefined;
          } catch (error) {
            if (error instanceof RangeError) return undefined; // damaged, or removed meanwhile
            throw error;
          }
        },
      })),
    ];
  }

  /** Until an entry behind that ID touches the book, or the log ends. */
  async #advance(run: Run, at: EntryId, until: number): Promise<void> {
    const { track } = run;
    while (track.newest === undefined || compareEntryIds(track.newest, at) <= 0) {
      if (run.ahead.length === 0) run.ahead = await run.reader.next(run.position);
      const [entry, ...rest] = run.ahead;
      if (entry === undefined) return;
      run.ahead = rest;
      await this.#work(run, entry);
      if (performance.now() > until) {
        throw new UnderWayError(`the replay has come to ${formatEntryId(run.position)}: ask again`);
      }
    }
  }

  async #work(run: Run, entry: Entry): Promise<void> {
    const { partition, engine, track } = run;
    const isVoided = run.voided.has(entry.id) && (await this.#wasVoided(partition, entry));
    const { commands, requestIdOf } = commandsOf(partition, entry.payload, isVoided);
    const { epoch, ms, seq } = entry;
    const { events, levels } = engine.apply({ epoch, ms, seq, commands });
    run.position = { epoch, ms, seq };
    const own: LevelChange[] = [];
    for (let i = 0; i < levels.count; i++) {
      const { symbol, version, side, price, quantityHigh, quantityLow, orders } = levels.at(i);
      if (symbol === track.symbol) own.push({ symbol, version, side, price, quantityHigh, quantityLow, orders });
    }
    if (own.length > 0) {
      const { stateHash, rules } = engine;
      const encoded = encodeEventBatch(partition, { stateHash, rules, events, levels }, requestIdOf);
      track.push({ ...run.position, ...headOf(engine, track.symbol), levels: own, events: encoded });
    }
    run.commands += commands.length;
    if (run.commands >= CHECKPOINT_COMMANDS) this.#keepCheckpoint(run);
  }

  /** A void counts where it came before the entry's events; where those are gone, it did. */
  async #wasVoided(partition: number, entry: Entry): Promise<boolean> {
    const events = await findEventEntry(this.#redis, new PartitionKeys(partition), entry);
    return events === undefined || saysVoided(events.payload);
  }

  #keepCheckpoint(run: Run): void {
    run.commands = 0;
    const { partition, engine, position } = run;
    const isKept = this.#checkpoints.some((one) => one.partition === partition && compareEntries(one, position) === 0);
    if (isKept) return;
    this.#checkpoints.push({ ...position, partition, data: engine.snapshot() });
    const bytes = () => this.#checkpoints.reduce((sum, { data }) => sum + data.length, 0);
    while (this.#checkpoints.length > MAX_CHECKPOINTS || bytes() > MAX_CHECKPOINT_BYTES) {
      this.#checkpoints = this.#checkpoints.filter((_, i) => i % 2 === 1);
    }
  }

  /** It came to nothing. Where it had gone on, what lies behind its beginning may stand on a stretch that the log has lost. */
  #forget(run: Run): void {
    const hasGoneOn = compareEntries(run.position, run.start) > 0;
    const isBehind = (one: { readonly partition: number }, at: EntryPosition) =>
      hasGoneOn && one.partition === run.partition && compareEntries(at, run.start) > 0;
    this.#runs = this.#runs.filter((one) => one !== run && !isBehind(one, one.position));
    this.#checkpoints = this.#checkpoints.filter((one) => !isBehind(one, one));
  }
}

function answerOf(track: BookTrack, { frame, previous, next }: Around, depth: number): BookAnswer {
  const position = frame ?? (track.hasPast ? track.begin : undefined);
  const before = previous ?? (frame !== undefined && track.beginsWithFrame ? track.begin : undefined);
  return {
    book: track.book(frame, depth),
    position: position && placeOf(position),
    previous: before && placeOf(before),
    next: next && placeOf(next),
    events: frame?.events ?? new Uint8Array(),
  };
}

function placeOf({ epoch, ms, seq }: EntryPosition): EntryPosition {
  return { epoch, ms, seq };
}
