import postgres from "postgres";

import { type AdminAction, recordDone } from "./admin-actions.ts";
import { EVENTS_STREAM, type EntryKey, type LogPosition, ORDERS_STREAM, type Receipt } from "./entry-record.ts";
import { lockJournal } from "./journal-lock.ts";
import { ensurePartitions } from "./partitions.ts";
import { withdrawEvents } from "./withdraw.ts";
import type { Transaction, Writer } from "./writer.ts";

/** A gap in a partition's log, and what is to stand in it. */
export interface NewClosing {
  readonly partition: number;
  /** The last entry before it; of epoch 0 at 0-0 where that is the log's beginning. */
  readonly after: LogPosition;
  /** The last entry that is missing, and the epoch of the first one behind it. */
  readonly missing: Pick<LogPosition, "ms" | "seq">;
  readonly epoch: number;
  /** Of the empty entry; with its hash and the version of its schema. It has one command, which does nothing. */
  readonly payload: Buffer;
  readonly hash: Buffer;
  readonly version: number;
}

/** A gap that is closed. */
export interface Closing extends LogPosition {
  readonly after: LogPosition;
  readonly hash: Buffer;
  /** Of so many entries the events were taken back by the call that closed it. */
  readonly withdrawn: number;
  /** So many snapshots were removed. */
  readonly snapshots: number;
}

/** Why a gap cannot be closed; the message says what to do instead. Of the log and its rows nothing was changed. */
export class ClosingError extends Error {
  override readonly name = "ClosingError";
}

/** A worker's transactions take some tens of milliseconds. Others wait behind one who waits for the lock, so not for long. */
const LOCK_WAIT_MS = 2_000;
/** Entries whose events one transaction takes back, some 2 ms each: others wait behind it. */
const PAGE = 100;
/** Entries of some seconds at the highest rate: what a power cut takes. More was told to clients over a longer time. */
const MOST_WITHDRAWN = 50_000;

interface ClosingRow {
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly hash: Buffer;
  readonly after_epoch: number;
  readonly after_ms: string;
  readonly after_seq: string;
  readonly withdrawn: number;
  readonly snapshots: number;
}

const FIND = `
  SELECT epoch, ms, seq, hash, after_epoch, after_ms, after_seq, withdrawn, snapshots FROM log_closings
  WHERE partition = $1`;

/** All of a partition. There are few. */
export async function findClosings(transaction: Transaction, partition: number): Promise<readonly Closing[]> {
  const { rows } = await transaction.query<ClosingRow>(FIND, [partition]);
  return rows.map(toClosing);
}

/** The closing whose entry has this ID. */
export async function findClosing(
  sql: postgres.Sql,
  partition: number,
  { ms, seq }: Pick<LogPosition, "ms" | "seq">,
): Promise<Closing | undefined> {
  const [row] = await sql.unsafe<ClosingRow[]>(`${FIND} AND ms = $2 AND seq = $3`, [partition, ms, seq]);
  return row && toClosing(row);
}

/**
 * Whether an entry is one of those without which a gap was closed. The empty entry itself is none, nor are its events; what stands
 * in its very place otherwise is told by its hash, of events by their receipt alone.
 */
export function isClosedOut(entry: EntryKey & Pick<Receipt, "hash">, closings: readonly Closing[]): boolean {
  return closings.some((closing) => {
    const { epoch, after } = closing;
    if (entry.epoch < Math.max(1, after.epoch) || entry.epoch > epoch) return false;
    if (comparePlaces(entry, after) <= 0 || comparePlaces(entry, closing) > 0) return false;
    const isInPlace = entry.epoch === epoch && comparePlaces(entry, closing) === 0;
    return !isInPlace || (entry.stream === ORDERS_STREAM && !entry.hash.equals(closing.hash));
  });
}

/**
 * Closes a gap with an empty entry, alone with the journal as who raises a fence (fences.ts), and in one transaction with it: no
 * snapshot is left whose state has seen what is missing, and the action stands in the audit trail. Events at or behind the gap, which
 * an engine made that had seen it, are taken back before, a page in a transaction: where this ends in between they are made again by
 * whichever engine comes to them, and the gap is as it was. Where it is closed already, that closing.
 *
 * Throws a ClosingError; a ClosingBusyError where workers do not let go of the journal, or `until` (ms, as performance.now) has
 * come, and the next call goes on; and whatever Postgres brings.
 */
export async function closeGap(
  writer: Writer,
  gap: NewClosing,
  action: AdminAction,
  until: number,
): Promise<{ readonly closing: Closing; readonly before: boolean }> {
  await ensurePartitions(writer, [gap.missing.ms]);
  let withdrawn = 0;
  do {
    const step = await writer.transaction((transaction) => closeIn(transaction, gap, action, withdrawn)).catch(asBusy);
    if (typeof step === "object") return step;
    withdrawn += step;
  } while (performance.now() < until);
  throw new ClosingBusyError(`events of ${withdrawn} entries were taken back, and there are more`);
}

/** It may be asked for again at once. */
export class ClosingBusyError extends Error {
  override readonly name = "ClosingBusyError";
}

const LOCK_NOT_AVAILABLE = "55P03";

function asBusy(error: unknown): never {
  const isHeld = error instanceof postgres.PostgresError && error.code === LOCK_NOT_AVAILABLE;
  throw isHeld ? new ClosingBusyError("workers are writing this partition") : error;
}

/** Each transaction looks anew. Of how many entries it took the events back, where it did only that. */
async function closeIn(
  transaction: Transaction,
  gap: NewClosing,
  action: AdminAction,
  withdrawnBefore: number,
): Promise<{ readonly closing: Closing; readonly before: boolean } | number> {
  const { partition, after, missing, epoch, payload, hash, version } = gap;
  await lockJournal(transaction, partition, LOCK_WAIT_MS);
  const closed = (await findClosings(transaction, partition)).find((one) => comparePlaces(one, missing) === 0);
  if (closed !== undefined) return { closing: closed, before: true };
  await assertEmpty(transaction, gap);
  if (withdrawnBefore === 0) await assertFew(transaction, gap);
  const withdrawn = await withdrawPage(transaction, gap);
  if (withdrawn === PAGE) return withdrawn;

  const { count: snapshots } = await transaction.query(
    "DELETE FROM engine_snapshots WHERE partition = $1 AND (epoch, ms, seq) > ($2::smallint, $3::bigint, $4::bigint)",
    [partition, after.epoch, after.ms, after.seq],
  );
  const place = [partition, epoch, missing.ms, missing.seq];
  await transaction.query(
    `INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
     VALUES (${ORDERS_STREAM}, $1, $2, $3, $4, $5, $6, $7, 1, $8, $9)`,
    [...place, after.ms, after.seq, version, hash, payload],
  );
  const closing = { epoch, ...missing, after, hash, withdrawn: withdrawnBefore + withdrawn, snapshots };
  await transaction.query(
    `INSERT INTO log_closings (partition, epoch, ms, seq, hash, after_epoch, after_ms, after_seq, withdrawn, snapshots)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [...place, hash, after.epoch, after.ms, after.seq, closing.withdrawn, snapshots],
  );
  const taken = { withdrawn: String(closing.withdrawn), snapshots: String(snapshots) };
  const details = { ...action.details, ...taken };
  await recordDone(transaction, { ...action, details });
  return { closing, before: false };
}

/** Throws a ClosingError where a worker has brought something of it. */
async function assertEmpty(transaction: Transaction, { partition, after, missing }: NewClosing): Promise<void> {
  const { rows } = await transaction.query<{ ms: string; seq: string }>(
    `SELECT ms, seq FROM journal
     WHERE stream = ${ORDERS_STREAM} AND partition = $1 AND epoch >= $6 AND ms BETWEEN $2 AND $4
       AND (ms, seq) > ($2::bigint, $3::bigint) AND (ms, seq) <= ($4::bigint, $5::bigint)
     ORDER BY ms, seq LIMIT 1`,
    [partition, after.ms, after.seq, missing.ms, missing.seq, Math.max(1, after.epoch)],
  );
  if (rows[0] === undefined) return;
  throw new ClosingError(`the journal has entry ${rows[0].ms}-${rows[0].seq} of that gap: the engine finds it there`);
}

const EVENTS_BEHIND = `
  SELECT epoch, ms, seq FROM journal
  WHERE stream = ${EVENTS_STREAM} AND partition = $1 AND epoch >= 1 AND ms >= $3
    AND (epoch, ms, seq) > ($2::smallint, $3::bigint, $4::bigint)`;

/** Throws a ClosingError where too much was made with what is missing. */
async function assertFew(transaction: Transaction, { partition, after }: NewClosing): Promise<void> {
  const { rows } = await transaction.query<{ count: string }>(
    `SELECT count(*) FROM (${EVENTS_BEHIND} LIMIT ${MOST_WITHDRAWN + 1}) AS behind`,
    [partition, after.epoch, after.ms, after.seq],
  );
  if (Number(rows[0]?.count) <= MOST_WITHDRAWN) return;
  throw new ClosingError(
    `events of more than ${MOST_WITHDRAWN} entries behind the gap are written and were told to clients`,
  );
}

/** Takes back events behind the gap's beginning, a page of them at most, and tells of how many entries. */
async function withdrawPage(transaction: Transaction, { partition, after }: NewClosing): Promise<number> {
  const { rows } = await transaction.query<{ epoch: number; ms: string; seq: string }>(
    `${EVENTS_BEHIND} ORDER BY epoch, ms, seq LIMIT ${PAGE}`,
    [partition, after.epoch, after.ms, after.seq],
  );
  for (const { epoch, ms, seq } of rows)
    await withdrawEvents(transaction, partition, { epoch, ms: Number(ms), seq: Number(seq) });
  return rows.length;
}

function toClosing({ epoch, ms, seq, hash, withdrawn, snapshots, ...row }: ClosingRow): Closing {
  const after = { epoch: row.after_epoch, ms: Number(row.after_ms), seq: Number(row.after_seq) };
  return { epoch, ms: Number(ms), seq: Number(seq), after, hash, withdrawn, snapshots };
}

type Place = Pick<LogPosition, "ms" | "seq">;

function comparePlaces(a: Place, b: Place): number {
  return a.ms - b.ms || a.seq - b.seq;
}
