/**
 * Fences keep from the journal what the log has lost (stream/opening.ts, migrations/0008_log_fences.sql).
 *
 * Always true: a transaction that writes entries of a partition holds the partition's lock in common with others, from before it
 * reads the fences until it has ended; whoever raises a fence holds it alone. So each entry is either in the journal when the
 * opener reads its end, or meets the fence.
 */
import postgres from "postgres";

import { type Closing, findClosings, isClosedOut } from "./closings.ts";
import {
  type EntryKey,
  type EntryRecord,
  EVENTS_STREAM,
  type LogPosition,
  ORDERS_STREAM,
  type Receipt,
} from "./entry-record.ts";
import { holdPartition, JOURNAL_LOCK, lockJournal } from "./journal-lock.ts";
import { plainArray } from "./parameters.ts";
import { withdrawEvents } from "./withdraw.ts";
import type { Transaction, Writer } from "./writer.ts";

/** A worker's transactions take some tens of milliseconds. Others wait behind one who waits for the lock, so not for long at once. */
const LOCK_WAIT_MS = 1_000;
/**
 * Entries whose events are taken back by one transaction, and how long it goes on, while others wait behind it: one of a hundred orders
 * took 10 to 40 ms on a busy machine, beside 800,000 reports.
 */
const STRAYS = 100;
const WITHDRAW_PAGE_MS = 500;
/** For how long an opening takes back, before it goes on: clients wait for it. Some hundred such entries, or thousands of single orders. */
const WITHDRAW_MS = 10_000;
/** How long a fence waits beyond the time of a transaction: for those that it ended to be gone. */
const PATIENCE_MS = 5_000;

/** An epoch's beginning. */
interface Fence {
  readonly epoch: number;
  readonly base: LogPosition;
  readonly from: Place;
}

type Place = Pick<LogPosition, "ms" | "seq">;

export interface NewFence extends Fence {
  readonly claim: string;
}

/** The entries of a batch, by whether the log has them. */
interface Fenced {
  readonly welcome: readonly EntryRecord[];
  readonly orphans: readonly Orphan[];
}

/** An entry that the log had lost when this epoch began; undefined where it stood in a gap that was closed since. */
export interface Orphan {
  readonly entry: EntryRecord;
  readonly epoch: number | undefined;
}

/** The log whose entries are written, in Redis. What throws is to be tried again. */
export interface FencedLog {
  /**
   * Has the log know the client ids of an entry again that fills a gap in it: with its end Redis had lost them, and the log was opened
   * without, in this epoch. False where one of them stands for another command by now. It may be told of the same entry again.
   */
  recall(receipt: Receipt, epoch: number): Promise<boolean>;
  /** Throws unless the log is open, in this epoch or a later one. */
  assertOpenSince(epoch: number): Promise<void>;
}

/** How an epoch began without an entry. */
interface Without {
  readonly epoch: number;
  /** It stood behind the end of the log; otherwise within what was put back, where the journal did not have it. */
  readonly isBehind: boolean;
}

interface FenceRow {
  readonly epoch: number;
  readonly base_epoch: number;
  readonly base_ms: string;
  readonly base_seq: string;
  readonly from_ms: string;
  readonly from_seq: string;
}

const FIND_FENCES = `
  SELECT epoch, base_epoch, base_ms, base_seq, from_ms, from_seq FROM log_fences
  WHERE partition = $1 AND epoch > $2 ORDER BY epoch DESC`;

/**
 * Tells the entries that the log has from those that it has lost, and keeps it so until the transaction ends: first in each
 * transaction that writes entries. Throws what the transaction throws, and what `log` does. `log`: where entries come from it now;
 * they are of one partition then.
 *
 * An entry that fills a gap is welcome, once its ids are known again: before the commit, or a client that sends one of them once more
 * would place a second order. A worker that dies between the two leaves ids that are answered with an order that nobody has: its gap
 * has to be closed (docs/recovery.md). Where an id was sent once more while the gap was open, that order
 * counts, and the entry is an orphan.
 *
 * An entry behind a fence is an orphan only once the log is open behind that fence. Before, it may be the log of another server, in
 * whose place this one was for a while: where nothing of this one was written, that goes on with all it has (stream/opening.ts).
 *
 * Statements of their own, since what each sees is settled when it begins; sent together, they cost one way.
 */
export async function holdFences(
  transaction: Transaction,
  entries: readonly EntryRecord[],
  log?: FencedLog,
): Promise<Fenced> {
  const lowest = new Map<number, number>();
  for (const { receipt } of entries) {
    if (receipt.epoch === 0) continue; // what is no entry of the log
    lowest.set(receipt.partition, Math.min(lowest.get(receipt.partition) ?? Infinity, receipt.epoch));
  }
  const fences = new Map<number, readonly Fence[]>();
  const closings = new Map<number, readonly Closing[]>();
  for (const [partition, epoch] of [...lowest].sort(([a], [b]) => a - b)) {
    const [, { rows }, closed] = await Promise.all([
      holdPartition(transaction, partition),
      transaction.query<FenceRow>(FIND_FENCES, [partition, epoch]),
      findClosings(transaction, partition),
    ]);
    if (rows.length > 0) fences.set(partition, rows.map(toFence));
    if (closed.length > 0) closings.set(partition, closed);
  }
  if (fences.size === 0 && closings.size === 0) return { welcome: entries, orphans: [] };

  const suspects = new Map<EntryRecord, Without>();
  const orphans: Orphan[] = [];
  for (const entry of entries) {
    const { partition } = entry.receipt;
    const without = epochWithout(entry.receipt, fences.get(partition) ?? []);
    if (isClosedOut(entry.receipt, closings.get(partition) ?? [])) orphans.push({ entry, epoch: undefined });
    else if (without !== undefined) suspects.set(entry, without);
  }
  const journaled = suspects.size > 0 ? await findJournaled(transaction, [...suspects.keys()]) : new Set<string>();
  for (const [entry, { epoch, isBehind }] of suspects) {
    if (journaled.has(placeOf(entry.receipt))) continue;
    // Events of commands that are missing are made again, if these come; only the commands fill a gap.
    const mayFill = !isBehind && entry.receipt.stream === ORDERS_STREAM;
    if (isBehind) await log?.assertOpenSince(epoch);
    const isWelcome = mayFill && ((await log?.recall(entry.receipt, epoch)) ?? true);
    if (!isWelcome) orphans.push({ entry, epoch });
  }
  const without = new Set(orphans.map(({ entry }) => entry));
  return { welcome: entries.filter((entry) => !without.has(entry)), orphans };
}

/** The epoch that began without the entry, unless the journal has its commands. `fences`: of the partition, the newest first. */
function epochWithout(entry: EntryKey, fences: readonly Fence[]): Without | undefined {
  let within: Without | undefined;
  let history = Infinity;
  for (const { epoch, base, from } of fences) {
    if (epoch <= entry.epoch) break;
    if (epoch > history) continue; // the log went on behind an older one, as if this had never been
    if (entry.epoch > base.epoch || comparePlaces(entry, base) > 0) return { epoch, isBehind: true };
    if (comparePlaces(entry, from) > 0) within ??= { epoch, isBehind: false };
    history = base.epoch;
  }
  return within;
}

const FIND_COMMANDS = `
  SELECT partition, epoch, ms, seq
  FROM unnest($1::smallint[], $2::smallint[], $3::bigint[], $4::bigint[]) AS place (partition, epoch, ms, seq)
  JOIN journal USING (partition, epoch, ms, seq) WHERE stream = ${ORDERS_STREAM}`;

/** The places of those entries whose commands the journal has. */
async function findJournaled(transaction: Transaction, entries: readonly EntryRecord[]): Promise<ReadonlySet<string>> {
  const receipts = entries.map(({ receipt }) => receipt);
  const { rows } = await transaction.query<Record<"ms" | "seq", string> & { partition: number; epoch: number }>(
    FIND_COMMANDS,
    [
      plainArray(receipts.map(({ partition }) => partition)),
      plainArray(receipts.map(({ epoch }) => epoch)),
      plainArray(receipts.map(({ ms }) => ms)),
      plainArray(receipts.map(({ seq }) => seq)),
    ],
  );
  return new Set(rows.map(placeOf));
}

/** The newest fence of the partition. */
export async function newestFence(
  sql: postgres.Sql,
  partition: number,
): Promise<Pick<NewFence, "epoch" | "claim"> | undefined> {
  const [row] = await sql<{ epoch: number; claim: string }[]>`
    SELECT epoch, claim FROM log_fences WHERE partition = ${partition} ORDER BY epoch DESC LIMIT 1`;
  return row;
}

/**
 * The fence that left this place out of the log to which entries of `epoch` belong; undefined where it is part of that log, or
 * before it.
 */
export async function fenceWithout(
  sql: postgres.Sql,
  partition: number,
  place: LogPosition,
  epoch: number,
): Promise<Pick<Fence, "epoch" | "base"> | undefined> {
  const fences = (await sql.unsafe<FenceRow[]>(FIND_FENCES, [partition, place.epoch])).map(toFence);
  const own = fences.filter((fence) => fence.epoch <= epoch);
  const without = epochWithout({ ...place, stream: ORDERS_STREAM, partition }, own);
  return without?.isBehind === true ? own.find(({ epoch }) => epoch === without.epoch) : undefined;
}

/** What became of a fence (stream/journal.ts). */
type Raising = "raised" | "grown" | "overtaken";

/**
 * Raises a fence, alone with the journal. A transaction that has held the partition for longer than `stalledMs` (the bound of a
 * worker's) is ended: its process has stalled, or the way to it is cut, and within a COPY Postgres looks at none of its own
 * limits. Throws where that cannot be done, and whatever Postgres brings; then it may be raised, and can be raised again.
 */
export async function raiseFence(
  writer: Writer,
  partition: number,
  fence: NewFence,
  stalledMs: number,
): Promise<Raising> {
  return alone(writer, partition, stalledMs, (transaction) => raiseIn(transaction, partition, fence));
}

/**
 * Takes back what was written of events behind a fence that was raised: their worker had come to them before that of the commands
 * did, and the log has lost these. Alone with the journal, for a moment at a time. Returns of how many entries, and whether these
 * were all; throws as raiseFence, and then some may have been taken back. What is left makes nothing wrong but itself.
 */
export async function withdrawLost(
  writer: Writer,
  partition: number,
  fence: NewFence,
  stalledMs: number,
): Promise<{ readonly entries: number; readonly isAll: boolean }> {
  const until = performance.now() + WITHDRAW_MS;
  let entries = 0;
  while (performance.now() < until) {
    const page = await alone(writer, partition, stalledMs, (transaction) => withdrawIn(transaction, partition, fence));
    entries += page;
    if (page === 0) return { entries, isAll: true };
  }
  return { entries, isAll: false };
}

/** What no transaction that writes entries of the partition may see half of. */
async function alone<T>(
  writer: Writer,
  partition: number,
  stalledMs: number,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  const until = performance.now() + stalledMs + PATIENCE_MS;
  for (;;) {
    try {
      return await writer.transaction(async (transaction) => {
        await lockJournal(transaction, partition, LOCK_WAIT_MS);
        return await work(transaction);
      });
    } catch (error) {
      if (!(error instanceof postgres.PostgresError) || error.code !== LOCK_NOT_AVAILABLE) throw error;
      if (performance.now() > until) throw new Error(heldWords(partition, stalledMs), { cause: error });
      await endHolders(writer, partition, stalledMs);
    }
  }
}

const LOCK_NOT_AVAILABLE = "55P03";

function heldWords(partition: number, stalledMs: number): string {
  return (
    `transactions that write partition ${partition} do not end: one has lasted for more than ${stalledMs} ms, and Postgres ` +
    "does not let this role end it (pg_signal_backend)"
  );
}

async function raiseIn(transaction: Transaction, partition: number, fence: NewFence): Promise<Raising> {
  const { epoch, base, from, claim } = fence;
  const { rows: newest } = await transaction.query<{ epoch: number; claim: string }>(
    "SELECT epoch, claim FROM log_fences WHERE partition = $1 AND epoch >= $2 ORDER BY epoch DESC LIMIT 1",
    [partition, epoch],
  );
  if (newest.some((other) => other.epoch > epoch || other.claim !== claim)) return "overtaken";
  const { rows: ends } = await transaction.query<{ epoch: number; ms: string; seq: string }>(
    `SELECT epoch, ms, seq FROM journal WHERE stream = ${ORDERS_STREAM} AND partition = $1 AND epoch >= 1
     ORDER BY epoch DESC, ms DESC, seq DESC LIMIT 1`,
    [partition],
  );
  const isGrown = ends.some(
    (end) => (end.epoch - base.epoch || comparePlaces({ ms: Number(end.ms), seq: Number(end.seq) }, base)) > 0,
  );
  if (isGrown) return "grown";
  await transaction.query(
    `INSERT INTO log_fences (partition, epoch, base_epoch, base_ms, base_seq, from_ms, from_seq, claim)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (partition, epoch) DO UPDATE SET
       base_epoch = excluded.base_epoch, base_ms = excluded.base_ms, base_seq = excluded.base_seq,
       from_ms = excluded.from_ms, from_seq = excluded.from_seq`,
    [partition, epoch, base.epoch, base.ms, base.seq, from.ms, from.seq, claim],
  );
  return "raised";
}

// Behind the base the journal has no commands of these epochs, or the fence would not have been raised.
const FIND_STRAYS = `
  SELECT epoch, ms, seq FROM journal
  WHERE stream = ${EVENTS_STREAM} AND partition = $1 AND epoch BETWEEN 1 AND $5 AND (epoch, ms, seq) > ($2, $3, $4)
    AND EXISTS (SELECT FROM log_fences WHERE partition = $1 AND epoch = $5 + 1 AND claim = $6)
    AND NOT EXISTS (SELECT FROM log_fences WHERE partition = $1 AND epoch > $5 + 1)
  ORDER BY epoch, ms, seq LIMIT ${STRAYS}`;

/** Takes back the first of them, and tells of how many entries. None where another opening has gone beyond this fence. */
async function withdrawIn(
  transaction: Transaction,
  partition: number,
  { epoch, base, claim }: NewFence,
): Promise<number> {
  const { rows } = await transaction.query<{ epoch: number; ms: string; seq: string }>(FIND_STRAYS, [
    ...[partition, base.epoch, base.ms, base.seq, epoch - 1, claim],
  ]);
  const until = performance.now() + WITHDRAW_PAGE_MS;
  let entries = 0;
  for (const { epoch, ms, seq } of rows) {
    await withdrawEvents(transaction, partition, { epoch, ms: Number(ms), seq: Number(seq) });
    entries++;
    if (performance.now() > until) break;
  }
  return entries;
}

// What pg_stat_activity does not show to this role is null, and stays.
const END_HOLDERS = `
  SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = $1::oid AND objid = $2::oid AND objsubid = 2 AND granted AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - $3::integer * interval '1 ms'`;

const NOT_PERMITTED = "42501";

async function endHolders(writer: Writer, partition: number, stalledMs: number): Promise<void> {
  try {
    await writer.transaction((transaction) => transaction.query(END_HOLDERS, [JOURNAL_LOCK, partition, stalledMs]));
  } catch (error) {
    if (!(error instanceof postgres.PostgresError) || error.code !== NOT_PERMITTED) throw error;
  }
}

function toFence(row: FenceRow): Fence {
  return {
    epoch: row.epoch,
    base: { epoch: row.base_epoch, ms: Number(row.base_ms), seq: Number(row.base_seq) },
    from: { ms: Number(row.from_ms), seq: Number(row.from_seq) },
  };
}

function comparePlaces(a: Place, b: Place): number {
  return a.ms - b.ms || a.seq - b.seq;
}

function placeOf({
  partition,
  epoch,
  ms,
  seq,
}: Pick<EntryKey, "partition" | "epoch"> & Record<"ms" | "seq", number | string>): string {
  return `${partition}/${epoch}/${ms}-${seq}`;
}
