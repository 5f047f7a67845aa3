import type { Redis } from "ioredis";
import { SCHEMA_VERSION } from "../../stream/command.ts";
import { type Entry, EntryError, readEntry, type StreamReply, versionOf } from "../../stream/entry.ts";
import { readHead } from "../../stream/head.ts";
import type { JournalEntry } from "../../stream/journal.ts";
import type { PartitionKeys } from "../../stream/keys.ts";
import { compareEntryIds, type EntryId, type EntryPosition, formatEntryId } from "../../stream/position.ts";
import type { EngineJournal } from "../engine-journal.ts";

export interface HistoryReaderOptions {
  readonly redis: Redis;
  readonly journal: EngineJournal;
  readonly keys: PartitionKeys;
}

/** Of the stream: at most 1 MiB each, and a few kilobytes nearly always. */
const STREAM_PAGE = 64;
/** Of the journal: as many as make so many bytes, by those of the page before. */
const PAGE_BYTES = 4 * 1024 * 1024;
const LEAST_PAGE = 16;
const MOST_PAGE = 500;

/** Behind a place stands nothing, though the log goes on: it is no longer kept, or was lost. */
export class BrokenChainError extends Error {
  override readonly name = "BrokenChainError";
}

/**
 * Reads a partition's log from long ago along its chain: out of the journal, and where the stream has it, out of that. (The
 * engine's own reader is made for the end of the log.)
 */
export class HistoryReader {
  readonly #options: HistoryReaderOptions;
  #page = STREAM_PAGE;
  /** The stream has what follows it, as far as was seen. */
  #streamBegin: EntryId | undefined;

  constructor(options: HistoryReaderOptions) {
    this.#options = options;
  }

  /** The next entries behind `after`, each following the one before it; none at the end of the log. Throws a BrokenChainError. */
  async next(after: EntryPosition): Promise<readonly Entry[]> {
    this.#streamBegin ??= await this.#beginOfStream();
    if (compareEntryIds(after, this.#streamBegin) >= 0) {
      const entries = await this.#fromStream(after);
      if (entries.length > 0) return entries;
    }
    const entries = await this.#fromJournal(after);
    if (entries.length > 0) return entries;
    // It may have moved on while the journal was read.
    this.#streamBegin = await this.#beginOfStream();
    const rest = await this.#fromStream(after);
    if (rest.length > 0) return rest;
    const { redis, keys } = this.#options;
    if (compareEntryIds((await readHead(redis, keys)).last, after) <= 0) return [];
    throw new BrokenChainError(`neither log nor journal has what follows ${formatEntryId(after)}`);
  }

  async #beginOfStream(): Promise<EntryId> {
    const { redis, keys } = this.#options;
    const [oldest] = (await redis.callBuffer("XRANGE", keys.orders, "-", "+", "COUNT", 1)) as StreamReply[];
    return (oldest && entryOf(oldest)?.previous) ?? (await readHead(redis, keys)).last;
  }

  async #fromStream(after: EntryPosition): Promise<readonly Entry[]> {
    const { redis, keys } = this.#options;
    const range = ["XRANGE", keys.orders, `(${formatEntryId(after)}`, "+", "COUNT", String(STREAM_PAGE)];
    const replies = (await redis.callBuffer(...(range as [string, ...string[]]))) as StreamReply[];
    return chained(
      replies.flatMap((reply) => entryOf(reply) ?? []),
      after,
    );
  }

  async #fromJournal(after: EntryPosition): Promise<readonly Entry[]> {
    const { journal, keys } = this.#options;
    const page = await journal.read(keys.partition, after, this.#page);
    const bytes = page.reduce((sum, { payload }) => sum + payload.length, 0);
    if (page.length > 0) {
      const fitting = Math.floor(PAGE_BYTES / Math.max(1, bytes / page.length));
      this.#page = Math.min(MOST_PAGE, Math.max(LEAST_PAGE, fitting));
    }
    return chained(newestOfEach(page), after);
  }
}

/** Of what names the same predecessor the newest epoch's is the log's: the log lost the other one in the end. */
function newestOfEach(page: readonly JournalEntry[]): Entry[] {
  const newest = new Map<string, JournalEntry>();
  for (const entry of page) {
    const previous = formatEntryId(entry.previous);
    if (entry.epoch >= (newest.get(previous)?.epoch ?? 0)) newest.set(previous, entry);
  }
  return [...newest.values()].map((entry) => ({ ...entry, id: formatEntryId(entry) }));
}

/** Those that follow a place one behind the other, in whichever order they come. */
function chained(entries: readonly Entry[], after: EntryPosition): readonly Entry[] {
  const byPrevious = new Map(entries.map((entry) => [formatEntryId(entry.previous), entry]));
  const found: Entry[] = [];
  let last = after;
  for (;;) {
    const next = byPrevious.get(formatEntryId(last));
    if (next === undefined || next.epoch < last.epoch || compareEntryIds(next, last) <= 0) return found;
    assertKnown(next.id, next.version);
    found.push(next);
    last = next;
  }
}

/** Undefined for what is none of ours. */
function entryOf([id, fields]: StreamReply): Entry | undefined {
  const text = id.toString();
  assertKnown(text, versionOf(fields ?? []));
  try {
    return readEntry(text, fields ?? []);
  } catch (error) {
    if (error instanceof EntryError) return undefined;
    throw error;
  }
}

function assertKnown(id: string, version: number): void {
  if (version > SCHEMA_VERSION) {
    throw new Error(`entry ${id} has schema version ${version}; this code knows ${SCHEMA_VERSION}`);
  }
}
