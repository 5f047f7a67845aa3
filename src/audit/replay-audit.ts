import { hash } from "node:crypto";
import { EVENT_ROWS } from "../consumers/event-rows.ts";
import { type EntryOutcome, PoisonError, workEntry } from "../engine/entry-outcome.ts";
import { Engine } from "../engine/matching/engine.ts";
import type { MatchingEngine } from "../engine/matching/interface.ts";
import { Side } from "../engine/matching/sets.ts";
import { messageOf } from "../runtime/errors.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { type JournalReceipt, readJournal, readReceipts } from "../store/journal.ts";
import type { Entry } from "../stream/entry.ts";
import { EVENTS_VERSION } from "../stream/event-batch.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import type { Instruments } from "../stream/instrument.ts";
import { findEventEntry } from "../stream/order-status.ts";
import { compareEntries, compareEntryIds, type EntryPosition, formatEntryId, START } from "../stream/position.ts";
import { ChainReader } from "./chain-reader.ts";
import { EventRows } from "./event-rows-audit.ts";
import { expectedRecord } from "./expected.ts";
import type { Findings } from "./findings.ts";
import type { Progress } from "./progress.ts";
import { number } from "./report.ts";
import type { Scope } from "./scope.ts";
import { Snapshots } from "./snapshots-audit.ts";
import { ToldEvents } from "./told-events.ts";

export interface ReplayOptions {
  readonly scope: Scope;
  readonly instruments: Instruments;
  /** IDs of entries that the log has voided. */
  readonly voided: ReadonlySet<string>;
  /** Of all orders and other commands that the journal has of this partition. */
  readonly commands: number;
  readonly findings: Findings;
  readonly progress: Progress;
}

export interface ReplayFigures {
  readonly entries: number;
  /** Rows that were compared with what the replay makes. */
  readonly rows: number;
  readonly deadLetters: number;
}

const BEGINNING: EntryPosition = { epoch: 0, ms: 0, seq: 0 };
/** At epoch 0 the journal has what is no entry of the log. */
const LOG_BEGIN: EntryPosition = { epoch: 1, ms: 0, seq: 0 };

/**
 * I5, I7, I8, I9: an engine that works the log again comes to the same events, byte for byte and with them to the same state hash,
 * and the rows are what those events say; its books are not crossed, and the snapshots on its way are its states.
 *
 * It begins at the beginning of the log, or where the journal has that no more from the oldest snapshot. Where the log has a gap it
 * goes on from the next snapshot behind it, and the audit is not complete. The engine holds open orders, and nothing else grows.
 */
export async function auditReplay(options: ReplayOptions): Promise<ReplayFigures> {
  const { scope, progress, commands } = options;
  progress.begin(`partition ${scope.partition}: replay`, commands);
  const snapshots = await Snapshots.list(scope, options.findings);
  const audit = new ReplayAudit(options, snapshots);
  await audit.run();
  await snapshots.checkOthers();
  progress.end();
  return audit;
}

class ReplayAudit implements ReplayFigures {
  entries = 0;
  readonly #options: ReplayOptions;
  readonly #snapshots: Snapshots;
  readonly #reader: ChainReader;
  readonly #rows: EventRows;
  readonly #told: ToldEvents;
  /** The newest entry that was worked. */
  #at = BEGINNING;

  constructor(options: ReplayOptions, snapshots: Snapshots) {
    this.#options = options;
    this.#snapshots = snapshots;
    this.#reader = new ChainReader(options.scope);
    this.#rows = new EventRows(options.scope, options.findings);
    this.#told = new ToldEvents(options.scope);
  }

  get rows(): number {
    return this.#rows.rows;
  }

  get deadLetters(): number {
    return this.#rows.deadLetters;
  }

  async run(): Promise<void> {
    if ((await this.#reader.next(BEGINNING)).length > 0) await this.#follow(new Engine(), BEGINNING);
    for (const snapshot of this.#snapshots.onChain) {
      if (this.#isAtEnd) return;
      if (compareEntries(snapshot, this.#at) <= 0) continue; // the replay went beyond it
      const engine = await this.#snapshots.restore(snapshot);
      if (engine === undefined) continue;
      const isExpected = this.#at === BEGINNING && (await this.#isBeginningDropped());
      this.#leaveOut(`up to the snapshot at ${formatEntryId(snapshot)}`, isExpected);
      await this.#follow(engine, snapshot);
    }
    if (!this.#isAtEnd) this.#leaveOut("to the end", false);
  }

  /** Whether the oldest entry that is there follows one that the retention has dropped. */
  async #isBeginningDropped(): Promise<boolean> {
    const { sql, partition, kept } = this.#options.scope;
    const [first] = await readJournal(sql, { stream: ORDERS_STREAM, partition, after: LOG_BEGIN, limit: 1 });
    if (first === undefined) return true;
    return compareEntryIds({ ms: first.prevMs, seq: first.prevSeq }, START) > 0 && first.prevMs < kept.sinceMs;
  }

  get #isAtEnd(): boolean {
    return compareEntryIds(this.#at, this.#options.scope.events.newest) >= 0;
  }

  /** What the retention has dropped is expected to be missing; nothing else is. */
  #leaveOut(to: string, isExpected: boolean): void {
    const { scope, findings } = this.#options;
    const from = this.#at === BEGINNING ? "from the beginning of the log" : `behind ${formatEntryId(this.#at)}`;
    const words = `partition ${scope.partition} was not replayed ${from} ${to}: there is no whole history of it, nor an older snapshot`;
    if (isExpected) findings.unproved(words, "I5", "I7", "I9");
    else findings.missed(words, "I5", "I7", "I9");
  }

  /** Replays what is behind a place: to the newest event, a gap, or an entry that the engine cannot work. */
  async #follow(engine: MatchingEngine, from: EntryPosition): Promise<void> {
    const { scope, findings } = this.#options;
    const begun = this.entries;
    this.#at = from;
    this.#rows.begin(from);
    const segment = new Segment(engine, this.#options);
    for (;;) {
      const next = await this.#reader.next(this.#at);
      const page = next.filter((entry) => compareEntryIds(entry, scope.events.newest) <= 0);
      if (page.length === 0 || !(await this.#work(segment, page))) break;
    }
    await this.#rows.flush();
    if (this.entries === begun) return;
    this.#checkBooks(segment.engine);
    const beginning = from.epoch === 0 ? "the beginning" : `the snapshot at ${formatEntryId(from)}`;
    const words = `partition ${scope.partition}: ${number(this.entries - begun)} entries replayed from ${beginning} to ${formatEntryId(this.#at)}`;
    findings.proved("I7", words);
  }

  /** False where the engine cannot go on. */
  async #work(segment: Segment, page: readonly Entry[]): Promise<boolean> {
    const { scope, instruments, findings, progress } = this.#options;
    const { sql, partition, events } = scope;
    const receipts = new Map<string, JournalReceipt>();
    for (const receipt of await readReceipts(sql, EVENTS_STREAM, partition, page[0]!, page.at(-1)!))
      receipts.set(placeOf(receipt), receipt);
    for (const entry of page) {
      const receipt = receipts.get(placeOf(entry));
      const event = receipt === undefined ? await this.#told.find(entry) : undefined;
      let outcome: EntryOutcome;
      try {
        outcome = segment.work(entry, receipt?.hash ?? (event && hash("sha256", event.payload, "buffer")));
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error;
        const words = error.cause === undefined ? "" : `: ${messageOf(error.cause)}`;
        findings.add("an entry that the engine cannot work", `${this.#where(entry)}${words}`);
        return false;
      }
      this.#at = { epoch: entry.epoch, ms: entry.ms, seq: entry.seq };
      this.entries++;
      if (receipt !== undefined) await this.#compareReceipt(entry, outcome, receipt);
      else if (event !== undefined) this.#compareEvent(entry, outcome, event);
      else await this.#lookAgain(entry, outcome);
      this.#snapshots.compare(entry, outcome.stateHash);
      if (receipt !== undefined && compareEntryIds(entry, events.settled) <= 0) {
        const { id, epoch, ms, seq, previous, payload } = outcome;
        const made = { id, epoch, ms, seq, previous, version: EVENTS_VERSION, payload };
        await this.#rows.add(expectedRecord(EVENT_ROWS, made, { partition, instruments }));
      }
      progress.add(outcome.commands);
    }
    return true;
  }

  /** They were written and trimmed between two looks, or are nowhere. Of what is settled another question tells. */
  async #lookAgain(entry: Entry, outcome: EntryOutcome): Promise<void> {
    const { scope, findings } = this.#options;
    const [receipt] = await readReceipts(scope.sql, EVENTS_STREAM, scope.partition, entry, entry);
    if (receipt !== undefined) await this.#compareReceipt(entry, outcome, receipt);
    else if (compareEntryIds(entry, scope.events.settled) > 0) findings.add("no events", this.#where(entry));
  }

  async #compareReceipt(entry: Entry, outcome: EntryOutcome, receipt: JournalReceipt): Promise<void> {
    const { redis, keys } = this.#options.scope;
    const { ms, seq } = outcome.previous;
    const isSame =
      receipt.hash.equals(hash("sha256", outcome.payload, "buffer")) &&
      receipt.prevMs === ms &&
      receipt.prevSeq === seq;
    if (isSame && receipt.commands === outcome.events) return;
    const event = redis && (await findEventEntry(redis, keys, entry));
    const there = event === undefined ? "the journal has the hash of others" : `there it is ${stateOf(event.payload)}`;
    this.#differs(entry, outcome, there);
  }

  #compareEvent(entry: Entry, outcome: EntryOutcome, event: Entry): void {
    const isSame =
      event.payload.equals(outcome.payload) &&
      event.epoch === entry.epoch &&
      compareEntryIds(event.previous, outcome.previous) === 0;
    if (!isSame) this.#differs(entry, outcome, `there it is ${stateOf(event.payload)}`);
  }

  #differs(entry: Entry, { stateHash }: EntryOutcome, there: string): void {
    const words = `the state by the replay is ${hex(stateHash)}, ${there}`;
    this.#options.findings.add("other events in a replay", `${this.#where(entry)}: ${words}`);
  }

  #checkBooks(engine: MatchingEngine): void {
    const { scope, findings } = this.#options;
    for (const book of crossedBooks(engine))
      findings.add("a crossed book", `partition ${scope.partition}, behind ${formatEntryId(this.#at)}: ${book}`);
  }

  #where(entry: EntryPosition): string {
    return `partition ${this.#options.scope.partition}, entry ${formatEntryId(entry)}`;
  }
}

/** I9: the books whose best bid is not below their best ask, with both, in ticks. */
export function crossedBooks(engine: Pick<MatchingEngine, "symbols" | "depth">): string[] {
  return engine.symbols().flatMap(({ symbol }) => {
    const [bid] = engine.depth(symbol, Side.BUY, 1);
    const [ask] = engine.depth(symbol, Side.SELL, 1);
    const isCrossed = bid !== undefined && ask !== undefined && bid.price >= ask.price;
    return isCrossed ? [`${symbol}: bid ${bid.price}, ask ${ask.price} ticks`] : [];
  });
}

/** An engine on its way through the log. */
class Segment {
  readonly #options: Pick<ReplayOptions, "scope" | "voided">;
  #engine: MatchingEngine;

  constructor(engine: MatchingEngine, options: Pick<ReplayOptions, "scope" | "voided">) {
    this.#engine = engine;
    this.#options = options;
  }

  get engine(): MatchingEngine {
    return this.#engine;
  }

  /**
   * What the entry comes to. A void counts where it came before the entry's events, and only these tell: `told` is their SHA-256.
   * Throws a PoisonError.
   */
  work(entry: Entry, told: Buffer | undefined): EntryOutcome {
    const { scope, voided } = this.#options;
    if (!voided.has(entry.id)) return workEntry(this.#engine, scope.partition, entry, false);
    const before = this.#engine.snapshot();
    const outcome = workEntry(this.#engine, scope.partition, entry, true);
    if (told === undefined || told.equals(hash("sha256", outcome.payload, "buffer"))) return outcome;
    this.#engine = Engine.restore(before);
    return workEntry(this.#engine, scope.partition, entry, false);
  }
}

function placeOf({ epoch, ms, seq }: EntryPosition): string {
  return `${epoch}/${ms}-${seq}`;
}

function stateOf(payload: Buffer): string {
  try {
    return hex(decodeEventBatch(payload).stateHash);
  } catch {
    return "unreadable";
  }
}

function hex(stateHash: bigint): string {
  return stateHash.toString(16).padStart(16, "0");
}
