import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { SCHEMA_VERSION } from "../stream/command.ts";
import { type Entry, EntryError, readEntry, type StreamReply, versionOf } from "../stream/entry.ts";
import { type Head, readHead } from "../stream/head.ts";
import { type JournalEntry, successor } from "../stream/journal.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import {
  compareEntryIds,
  type EntryId,
  type EntryPosition,
  formatEntryId,
  parseEntryId,
  START,
} from "../stream/position.ts";
import type { EngineJournal } from "./engine-journal.ts";
import { Halt, Setback } from "./setback.ts";

export interface LogReaderOptions {
  readonly redis: Redis;
  /** Reads with BLOCK. */
  readonly blocking: Redis;
  readonly keys: PartitionKeys;
  readonly journal: EngineJournal;
  /** As the log was open when the reading began. */
  readonly head: Pick<Head, "run" | "epoch">;
  readonly log: Logger;
}

/** What is missing between two entries of the log. */
export interface LogGap {
  /** The last entry before it. */
  readonly after: EntryPosition;
  /** The last one in it: the first entry behind it names that as the one before. */
  readonly missing: EntryId;
}

/** Neither the stream nor the journal has the entry that comes next, though there are later ones. */
export class GapError extends Error {
  override readonly name = "GapError";
  /** Undefined where the chain is broken in another way. */
  readonly gap: LogGap | undefined;

  constructor(message: string, gap?: LogGap) {
    super(message);
    this.gap = gap;
  }
}

/** Entries read at once: at most 1 MiB each, and a few kilobytes nearly always. */
const PAGE = 64;

/**
 * Reads a partition's log along its chain: each entry names the one before it, and the epoch never falls.
 *
 * Invariant: what it gives follows, without a gap, what it was asked to begin behind; what the stream has trimmed or lost
 * comes from the journal. Entries that are none of ours stand outside the chain, and are passed over.
 */
export class LogReader {
  readonly #options: LogReaderOptions;
  /** Behind the entry that was asked for last, up to there, stands only what is none of ours. */
  #foreign: { readonly after: EntryId; readonly to: EntryId } = { after: START, to: START };

  /** What Redis calls the connection that waits; another one after a reconnect. */
  #client: number | undefined;

  constructor(options: LogReaderOptions) {
    this.#options = options;
  }

  /**
   * The next entries behind `after`, waiting for up to `waitMs` where there is none; at 0 not at all. Throws a GapError; a
   * Setback where the log was opened anew; a Halt at an entry of a newer version.
   */
  async next(after: EntryPosition, waitMs: number): Promise<readonly Entry[]> {
    const found = await this.#read(after, waitMs);
    const first = found[0] ?? (await this.#missed(after));
    if (first === undefined) return [];
    const entries = compareEntryIds(first.previous, after) === 0 ? found : await this.#bridge(after, first);
    return this.#chained(after, entries);
  }

  /** Ends the waiting of a `next` that is under way. Where it cannot, that one waits to its end. */
  interrupt(): void {
    const { redis } = this.#options;
    if (this.#client !== undefined) redis.call("CLIENT", "UNBLOCK", this.#client).catch(() => {});
  }

  async #read(after: EntryPosition, waitMs: number): Promise<Entry[]> {
    const { blocking, keys } = this.#options;
    if (waitMs > 0) this.#client ??= (await blocking.call("CLIENT", "ID")) as number;
    const from = compareEntryIds(this.#foreign.after, after) === 0 ? this.#foreign.to : after;
    const block = waitMs > 0 ? ["BLOCK", Math.ceil(waitMs)] : [];
    const reply = (await blocking.callBuffer(
      ...["XREAD", "COUNT", String(PAGE)],
      ...[...block, "STREAMS", keys.orders, formatEntryId(from)],
    )) as [[Buffer, StreamReply[]]] | null;
    const found = reply?.[0][1] ?? [];
    const entries = found.flatMap(([id, fields]) => this.#entryOf(id.toString(), fields ?? []) ?? []);
    const newest = found.at(-1);
    if (entries.length === 0 && newest !== undefined) this.#foreign = { after, to: parseEntryId(newest[0].toString()) };
    return entries;
  }

  #entryOf(id: string, fields: readonly Buffer[]): Entry | undefined {
    assertKnown(id, versionOf(fields));
    try {
      return readEntry(id, fields);
    } catch (error) {
      if (!(error instanceof EntryError)) throw error;
      this.#options.log.warn({ err: error, entry: id }, "passed over what is no entry of the log");
      return undefined;
    }
  }

  /**
   * Nothing came: the log may have ended here, or have been opened anew, or have an end that the stream does not reach
   * (what was too old to be put back into an emptied Redis). In the last case, something behind what is missing.
   */
  async #missed(after: EntryPosition): Promise<Pick<Entry, "id" | "previous"> | undefined> {
    const { redis, keys } = this.#options;
    const now = await this.#sameHead();
    if (compareEntryIds(now.last, after) <= 0) return undefined;
    // It may have come just now. Head and stream are written together, so if it did, it is there.
    const range = [keys.orders, `(${formatEntryId(after)}`, formatEntryId(now.last), "COUNT", "1"];
    const isThere = ((await redis.callBuffer("XRANGE", ...range)) as unknown[]).length > 0;
    return isThere ? undefined : { id: `the end of the log, ${formatEntryId(now.last)}`, previous: now.last };
  }

  async #bridge(after: EntryPosition, first: Pick<Entry, "id" | "previous">): Promise<Entry[]> {
    const { journal, keys } = this.#options;
    // What was worked may have been lost since, and others went on where it is not.
    await this.#sameHead();
    const page = await journal.read(keys.partition, after, PAGE);
    const entries: Entry[] = [];
    for (let next = successor(page, after); next !== undefined; next = successor(page, next)) {
      assertKnown(formatEntryId(next), next.version);
      entries.push(fromJournal(next));
    }
    if (entries.length > 0) return entries;
    const words = `no entry follows ${formatEntryId(after)} of epoch ${after.epoch}`;
    throw new GapError(
      `${words}: ${first.id} follows ${formatEntryId(first.previous)}, and the journal has no other`,
      gapBehind(after, [first, ...page]),
    );
  }

  /** The log's head, unless it is that of another run or epoch by now. */
  async #sameHead(): Promise<Head> {
    const { redis, keys, head } = this.#options;
    const now = await readHead(redis, keys);
    if (now.run !== head.run || now.epoch !== head.epoch) throw new Setback("the log was opened anew");
    return now;
  }

  /** As far as each follows the one before it: what comes behind a gap is read again. */
  #chained(after: EntryPosition, entries: readonly Entry[]): readonly Entry[] {
    let last = after;
    for (const [i, entry] of entries.entries()) {
      if (entry.epoch > this.#options.head.epoch) throw new Setback("the log was opened anew");
      if (entry.epoch < last.epoch)
        throw new GapError(`the epoch falls from ${last.epoch} to ${entry.epoch} at ${entry.id}`);
      if (compareEntryIds(entry.previous, last) !== 0) return entries.slice(0, i);
      last = entry;
    }
    return entries;
  }
}

/** Of what comes behind a place in the stream and in the journal, the first names what is missing. */
function gapBehind(
  { epoch, ms, seq }: EntryPosition,
  later: readonly { readonly previous: EntryId }[],
): LogGap | undefined {
  const after = { epoch, ms, seq };
  const [missing] = later
    .map(({ previous }) => previous)
    .filter((previous) => compareEntryIds(previous, after) > 0)
    .sort(compareEntryIds);
  return missing && { after, missing };
}

function assertKnown(id: string, version: number): void {
  if (version > SCHEMA_VERSION) {
    throw new Halt(`entry ${id} has schema version ${version}; this engine knows ${SCHEMA_VERSION}: upgrade it`);
  }
}

function fromJournal(entry: JournalEntry): Entry {
  return { ...entry, id: formatEntryId(entry) };
}
