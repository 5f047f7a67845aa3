import { hash } from "node:crypto";
import type postgres from "postgres";
import { EVENT_ROWS } from "../consumers/event-rows.ts";
import { ORDER_ROWS } from "../consumers/order-rows.ts";
import { recordOfLetter, type TradeSide } from "../consumers/record.ts";
import { recordDone } from "../store/admin-actions.ts";
import { momentsOf, writeEntryRows } from "../store/batch.ts";
import { type NewDeadLetter, writeDeadLetters } from "../store/dead-letters.ts";
import {
  findLetter,
  findLetterBytes,
  type KnownLetter,
  type LetterPage,
  listLetters,
  lockLetter,
  noteAttempt,
  settleLetter,
  type StoredLetter,
} from "../store/dead-letter-shelf.ts";
import { type EntryRecord, EVENTS_STREAM, ORDERS_STREAM, type Receipt } from "../store/entry-record.ts";
import { isMissingPartition } from "../store/errors.ts";
import { findTradeSide } from "../store/executions.ts";
import { readEntry } from "../store/journal.ts";
import { holdPartition } from "../store/journal-lock.ts";
import { ensurePartitions } from "../store/partitions.ts";
import { findReceipt } from "../store/receipts.ts";
import type { Transaction, Writer } from "../store/writer.ts";
import { WriterQueue } from "../store/writer-queue.ts";
import { decodeRawEvent } from "../stream/event-decoder.ts";
import type { Instruments } from "../stream/instrument.ts";
import { formatEntryId } from "../stream/position.ts";
import { WireError } from "../stream/wire.ts";

/** Of one letter, in ms: at most the 500 rows of an entry, and the wait for workers that write the same states. A call has 10 s. */
const TIMEOUT_MS = 8_000;
/** Calls of one process that may wait: at some milliseconds each the last waits for well below a second. */
const MAX_WAITING = 64;

/** Why a letter stays as it is; the message says what to do instead. Nothing was changed. */
export class LetterError extends Error {
  override readonly name = "LetterError";
  readonly code: "unknown" | "refused" | "busy";

  constructor(code: LetterError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** What became of a letter that was asked for. */
export interface Settlement {
  /** As it is now: where a redrive failed, as it was but with its newest reason. */
  readonly letter: KnownLetter;
  /** It had come to this before, and nothing was done. */
  readonly before: boolean;
}

export interface Redrive extends Settlement {
  /** Of an entry that can be taken apart now: what of it cannot be written. */
  readonly letters: readonly NewDeadLetter[];
}

export interface LettersOptions {
  readonly databaseUrl: string;
  /** For what is read outside of a change. */
  readonly sql: postgres.Sql;
  readonly instruments: FreshInstruments;
}

/** Instruments that can be read again. */
interface FreshInstruments extends Instruments {
  refresh(): Promise<void>;
}

/**
 * The dead letters, as operators look at them and settle them.
 *
 * Invariant: the rows of a letter and that it is redriven commit in one transaction, which holds the letter: whoever tries it
 * too, at once or later, finds it redriven. What is done stands in the audit trail by the same commit.
 */
export class Letters {
  readonly #sql: postgres.Sql;
  readonly #instruments: FreshInstruments;
  readonly #queue: WriterQueue;

  constructor({ databaseUrl, sql, instruments }: LettersOptions) {
    this.#sql = sql;
    this.#instruments = instruments;
    const busy = () => new LetterError("busy", "too many dead letters are being settled, try again in a second");
    this.#queue = new WriterQueue(databaseUrl, { timeoutMs: TIMEOUT_MS, maxWaiting: MAX_WAITING, busy });
  }

  /** Newest first. */
  async list(page: LetterPage): Promise<readonly KnownLetter[]> {
    return await listLetters(this.#sql, page);
  }

  /** Throws a LetterError where there is none. */
  async find(id: number): Promise<StoredLetter> {
    const letter = await findLetter(this.#sql, id);
    if (letter === undefined) throw noSuchLetter();
    return letter;
  }

  /** Why it cannot be redriven, and what to do instead; undefined where it can be tried. */
  async whyNot(letter: StoredLetter): Promise<string | undefined> {
    if (letter.state === "redriven") return undefined;
    return whyNot(letter, await readEntry(this.#sql, letter.stream, letter.partition, letter));
  }

  /**
   * Writes the rows of the letter's place, as a worker would that came to it now. Where that fails the letter stays open, with
   * its new reason. Throws a LetterError, and whatever the servers bring.
   */
  async redrive(id: number, actor: string): Promise<Redrive> {
    const letter = await this.find(id);
    if (letter.state === "redriven") return { letter, before: true, letters: [] };
    // Before anything is made for it: the days of what is no longer kept must not come back.
    const refusal = await this.whyNot(letter);
    if (refusal !== undefined) throw new LetterError("refused", refusal);
    await this.#instruments.refresh();
    const { partition } = letter;
    const options = { partition, instruments: this.#instruments, instrumentsAreFresh: true };
    const record = recordOfLetter(rowsFor(letter), letter, options, await this.#restingSide(letter));
    return await this.#queue.run((writer) =>
      writing(writer, record, (transaction) => redriveIn(transaction, letter, record, actor)),
    );
  }

  /** Puts a letter away that will never be written. Throws a LetterError, and whatever Postgres brings. */
  async discard(id: number, actor: string, reason: string): Promise<Settlement> {
    return await this.#queue.run((writer) =>
      writer.transaction(async (transaction) => {
        const letter = await lockLetter(transaction, id);
        if (letter === undefined) throw noSuchLetter();
        if (letter.state === "discarded") return { letter, before: true };
        if (letter.state === "redriven") throw new LetterError("refused", "it is redriven: its rows are written");
        const details = { ...detailsOf(letter), reason };
        await recordDone(transaction, { actor, action: "DiscardDeadLetter", subject: subjectOf(id), details });
        return {
          letter: await settleLetter(transaction, id, { state: "discarded", by: actor, note: reason }),
          before: false,
        };
      }),
    );
  }

  async close(): Promise<void> {
    await this.#queue.close();
  }

  /** The event behind an aggressor's, which a trade needs too: it became a row, or a letter as well. */
  async #restingSide(letter: StoredLetter): Promise<TradeSide | undefined> {
    if (letter.stream !== EVENTS_STREAM || letter.index < 0) return undefined;
    const place = { ...letter, index: letter.index + 1 };
    const raw = await findLetterBytes(this.#sql, place);
    if (raw === undefined) return await findTradeSide(this.#sql, place);
    try {
      return decodeRawEvent(raw);
    } catch (error) {
      if (error instanceof WireError) return undefined;
      throw error;
    }
  }
}

/** Kinds for which there is nothing to write, whatever changes. */
const NEVER: Partial<Record<KnownLetter["kind"], string>> & { readonly fork: string } = {
  fork:
    "the journal has another payload in its place, whose rows are written: find out which history is the right one " +
    '(docs/dead-letters.md, "fork"), then discard this one',
  lost:
    "the entry was gone before it was written, so there are no bytes to write: look for it in a replica or a backup of " +
    "Redis and in what clients noted (penstock audit --acknowledged), then discard this one",
  foreign: "it is no entry of Penstock: find out who writes to the stream, then discard this one",
};

/** Its rows would be orders that nobody matches. */
const ORPHANED =
  "the log lost the entry and went on without it, so no engine will ever come to it: tell the clients whose orders it holds, " +
  'who send them again under other ids (docs/dead-letters.md, "orphaned"), then discard this one';

/** Why it cannot be redriven, with the receipt of its entry as it stands in the journal. */
function whyNot(letter: StoredLetter, receipt: Pick<Receipt, "version" | "hash"> | undefined): string | undefined {
  const never = NEVER[letter.kind];
  if (never !== undefined) return never;
  if (receipt === undefined) return letter.kind === "orphaned" ? ORPHANED : withoutReceipt(letter);
  const { version } = rowsFor(letter);
  if (receipt.version > version) {
    return `its entry has schema version ${receipt.version}, this ingest knows ${version}: upgrade it`;
  }
  const isWhole = letter.index < 0;
  if (!isWhole || receipt.hash.equals(hash("sha256", letter.raw, "buffer"))) return undefined;
  return letter.kind === "orphaned" ? ORPHANED : NEVER.fork; // what stands there may be what a gap was closed with
}

function withoutReceipt({ kind, index, ...id }: StoredLetter): string {
  const entry = formatEntryId(id);
  return kind === "refused" && index < 0
    ? `the receipt of its entry was refused and is not in the journal: write the entry whole with "penstock replay --from ${entry}", then redrive or discard this one`
    : `its entry is no longer in the journal, which keeps what the retention says: where it is to be written all the same, "penstock replay --from ${entry}" does it as long as the log has it`;
}

function rowsFor({ stream }: KnownLetter) {
  return stream === ORDERS_STREAM ? ORDER_ROWS : EVENT_ROWS;
}

async function writing<T>(writer: Writer, record: EntryRecord, work: (transaction: Transaction) => Promise<T>) {
  try {
    await ensurePartitions(writer, momentsOf([record]));
    return await writer.transaction(work);
  } catch (error) {
    if (isMissingPartition(error)) writer.knownDays.clear(); // dropped since they were seen: the next try makes them
    throw error;
  }
}

async function redriveIn(
  transaction: Transaction,
  stored: StoredLetter,
  record: EntryRecord,
  actor: string,
): Promise<Redrive> {
  const { id } = stored;
  await holdPartition(transaction, stored.partition);
  const present = await lockLetter(transaction, id);
  if (present === undefined) throw noSuchLetter();
  if (present.state === "redriven") return { letter: present, before: true, letters: [] };
  // Once more, and now it holds until the commit.
  const refusal = whyNot(stored, await findReceipt(transaction, stored));
  if (refusal !== undefined) throw new LetterError("refused", refusal);
  await transaction.query("SAVEPOINT redrive");
  const { letters } = await writeEntryRows(transaction, record);
  const refused = [...record.deadLetters.map((letter) => ({ entry: record, letter })), ...letters];
  // Of a whole entry each command stands for itself now, as if a worker had just read it.
  const own = present.index < 0 ? refused.find(({ letter }) => letter.index < 0) : refused[0];
  if (own !== undefined) await transaction.query("ROLLBACK TO redrive");
  const written = own === undefined ? await writeDeadLetters(transaction, refused) : [];
  const letter =
    own === undefined
      ? await settleLetter(transaction, id, { state: "redriven", by: actor })
      : await noteAttempt(transaction, id, own.letter);
  const outcome = own === undefined ? { outcome: "redriven" } : { outcome: "failed", reason: letter.reason };
  const details = { ...detailsOf(letter), ...outcome };
  await recordDone(transaction, { actor, action: "RedriveDeadLetter", subject: subjectOf(id), details });
  return { letter, before: false, letters: written };
}

function noSuchLetter(): LetterError {
  return new LetterError("unknown", "there is no dead letter of this id");
}

function subjectOf(id: number): string {
  return `dead letter ${id}`;
}

function detailsOf({ stream, partition, epoch, index, kind, ...id }: KnownLetter): Record<string, string> {
  const place = `${stream === ORDERS_STREAM ? "orders" : "events"} ${partition}/${epoch}/${formatEntryId(id)}/${index}`;
  return { place, kind };
}
