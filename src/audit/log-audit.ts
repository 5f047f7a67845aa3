import { hash } from "node:crypto";
import type { Redis } from "ioredis";
import { findClosing } from "../store/closings.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { findWritten, type JournalReceipt, readReceipts } from "../store/journal.ts";
import { SCHEMA_VERSION } from "../stream/command.ts";
import { type Entry, EntryError, readEntry, sizeOf, type StreamReply, versionOf } from "../stream/entry.ts";
import { EVENTS_VERSION } from "../stream/event-batch.ts";
import { EVENT_PAGE_BYTES } from "../stream/event-pages.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { PageSize } from "../stream/page-size.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseEntryId, START } from "../stream/position.ts";
import { voidedBy } from "../stream/voids.ts";
import type { Findings } from "./findings.ts";
import { hasLetter } from "./letters.ts";
import type { Progress } from "./progress.ts";
import type { Scope, StreamScope } from "./scope.ts";

/** Entries usually have some kilobytes under load and a hundred bytes at rest. */
const PAGE = { bytes: EVENT_PAGE_BYTES, most: 100 };
/** Of a page's entries that workers hold: with those that were removed from the stream, more than a page has. */
const HELD = 10_000;

export interface LogFigures {
  readonly entries: number;
  /** Entries that the workers have not written yet, or not said so: they are compared with nothing. */
  readonly underWay: number;
  /** IDs of entries that commands in here void. */
  readonly voided: readonly string[];
}

/**
 * I4, I8: the chain of what Redis holds of a stream is unbroken and joins the journal's, and what the workers have done stands in
 * the journal as it is here.
 */
export async function auditLog(
  scope: Scope,
  redis: Redis,
  name: "orders" | "events",
  findings: Findings,
  progress: Progress,
): Promise<LogFigures> {
  const audit = new LogAudit(scope, redis, name, findings);
  progress.begin(`partition ${scope.partition}: the ${name} in Redis`);
  const { newest, key } = scope[name];
  const to = formatEntryId(newest);
  const size = new PageSize(PAGE);
  for (let from = "-"; ;) {
    const { limit } = size;
    const page = (await redis.callBuffer("XRANGE", key, from, to, "COUNT", limit)) as StreamReply[];
    size.adapt(page.map(sizeOf));
    await audit.check(page);
    progress.add(page.length);
    const last = page.at(-1);
    if (last === undefined || page.length < limit) break;
    from = `(${last[0].toString()}`;
  }
  if (name === "orders") await audit.checkEnd();
  progress.end();
  return audit;
}

class LogAudit implements LogFigures {
  entries = 0;
  underWay = 0;
  readonly voided: string[] = [];
  readonly #scope: Scope;
  readonly #redis: Redis;
  readonly #name: "orders" | "events";
  readonly #stream: StreamScope;
  readonly #findings: Findings;
  #previous: EntryId | undefined;

  constructor(scope: Scope, redis: Redis, name: "orders" | "events", findings: Findings) {
    this.#scope = scope;
    this.#redis = redis;
    this.#name = name;
    this.#stream = scope[name];
    this.#findings = findings;
  }

  async check(page: readonly StreamReply[]): Promise<void> {
    const entries: Entry[] = [];
    for (const [id, fields] of page) {
      this.entries++;
      const entry = await this.#read(id.toString(), fields ?? []);
      if (entry === undefined) continue;
      await this.#checkChain(entry);
      this.#previous = entry;
      entries.push(entry);
      if (this.#name === "orders") this.voided.push(...voidedBy(entry.payload));
    }
    await this.#checkWritten(entries);
  }

  /** The log ends where its head says, unless that entry was too old to be put back and is in the journal. */
  async checkEnd(): Promise<void> {
    const { head, sql, partition } = this.#scope;
    const { newest } = this.#stream;
    if (head === undefined || compareEntryIds(newest, head.last) >= 0) return;
    if ((await findWritten(sql, ORDERS_STREAM, partition, [head.last])).length > 0) return;
    const where = `${formatEntryId(newest)}, before ${formatEntryId(head.last)}`;
    this.#findings.add("the log ends before its head", `partition ${partition}: it ends at ${where}`);
  }

  async #read(id: string, fields: readonly Buffer[]): Promise<Entry | undefined> {
    const known = this.#name === "orders" ? SCHEMA_VERSION : EVENTS_VERSION;
    const version = versionOf(fields);
    if (version > known) {
      throw new Error(`${this.#where(id)} has schema version ${version}; this audit knows ${known}: take a newer one`);
    }
    try {
      return readEntry(id, fields);
    } catch (error) {
      if (!(error instanceof EntryError)) throw error;
      const { sql, partition } = this.#scope;
      const isTold = await hasLetter(sql, this.#stream.stream, partition, parseEntryId(id));
      const words = isTold ? "; it is a dead letter" : "";
      this.#findings.add("not an entry of the log", `${this.#where(id)}: ${error.message}${words}`);
      return undefined;
    }
  }

  async #checkChain({ id, previous }: Entry): Promise<void> {
    const { sql, partition, kept } = this.#scope;
    const { stream } = this.#stream;
    const names = `${this.#where(id)} names ${formatEntryId(previous)} as the one before it`;
    const kind = this.#name === "orders" ? "a gap in the log" : "a gap in the events";
    if (this.#previous !== undefined) {
      if (compareEntryIds(previous, this.#previous) === 0) return;
      const last = formatEntryId(this.#previous);
      if ((await this.#redis.xrange(this.#stream.key, last, last)).length > 0) {
        // In the journal alone is what stands in a gap that was closed; and the events of entries up to a snapshot from which the engine
        // went on, where their stream had lost its end: `auditChain` looks whether they are all there.
        const isWritten =
          this.#name === "orders"
            ? (await findClosing(sql, partition, previous)) !== undefined
            : (await findWritten(sql, stream, partition, [previous])).length > 0;
        if (isWritten) return;
        this.#findings.add(kind, `${names}, and follows ${last}`);
        return;
      }
      // Between two pages the trimmer went beyond the first of them.
    }
    // The first one that is still here: the one before it was written before it was trimmed.
    if (compareEntryIds(previous, START) === 0) return;
    if ((await findWritten(sql, stream, partition, [previous])).length > 0) return;
    if ((await hasLetter(sql, stream, partition, previous)) || !(await kept.has(previous.ms))) return;
    this.#findings.add(kind, `${names}, which neither Redis nor the journal has`);
  }

  /**
   * What was handed to a worker and is held by none any more was written, and by what is here. The position was taken first, then
   * the held ones are read, then the journal: so all that seems done by then has its receipt.
   */
  async #checkWritten(entries: readonly Entry[]): Promise<void> {
    const [first, last] = [entries[0], entries.at(-1)];
    if (first === undefined || last === undefined) return;
    const { sql, partition } = this.#scope;
    const { stream, delivered } = this.#stream;
    const held = compareEntryIds(first, delivered) > 0 ? new Set<string>() : await this.#held(first.id, last.id);
    const receipts = new Map<string, JournalReceipt>();
    for (const receipt of await readReceipts(sql, stream, partition, first, last))
      receipts.set(keyOf(receipt), receipt);
    const missing: Entry[] = [];
    for (const entry of entries) {
      const receipt = receipts.get(keyOf(entry));
      const isDone = compareEntryIds(entry, delivered) <= 0 && !held.has(entry.id);
      if (!isDone) this.underWay++;
      if (receipt !== undefined) this.#compare(entry, receipt);
      else if (isDone) missing.push(entry);
    }
    if (missing.length === 0) return;
    await this.#scope.kept.refresh();
    for (const entry of missing) {
      if (!(await this.#isExplained(entry)))
        this.#findings.add("done by the workers, and not journaled", this.#where(entry.id));
    }
  }

  #compare(entry: Entry, receipt: JournalReceipt): void {
    const before = { ms: receipt.prevMs, seq: receipt.prevSeq };
    if (!receipt.hash.equals(hash("sha256", entry.payload, "buffer"))) {
      this.#findings.add("two entries in one place", `${this.#where(entry.id)}: log and journal differ`);
    } else if (compareEntryIds(before, entry.previous) !== 0) {
      const words = `it has ${formatEntryId(before)} before it, in the log it names ${formatEntryId(entry.previous)}`;
      this.#findings.add("a receipt is not its entry's", `${this.#where(entry.id)}: ${words}`);
    }
  }

  async #held(from: string, to: string): Promise<Set<string>> {
    const pending = (await this.#redis.xpending(this.#stream.key, PERSIST_GROUP, from, to, HELD)) as [string][];
    return new Set(pending.map(([id]) => id));
  }

  /** An entry whose receipt could not be written is a dead letter; one of a day that was dropped meanwhile is gone. */
  async #isExplained(entry: Entry): Promise<boolean> {
    const { sql, partition, kept } = this.#scope;
    return !kept.keeps(entry.ms) || (await hasLetter(sql, this.#stream.stream, partition, entry));
  }

  #where(id: string): string {
    return `partition ${this.#scope.partition}, ${this.#name === "orders" ? "entry" : "events"} ${id}`;
  }
}

function keyOf({ epoch, ms, seq }: { epoch: number; ms: number; seq: number }): string {
  return `${epoch}/${ms}-${seq}`;
}
