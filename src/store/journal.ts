import type postgres from "postgres";

import type { LogPosition, StreamNumber } from "./entry-record.ts";
import { plainArray } from "./parameters.ts";

/** An entry as the journal keeps it. */
export interface JournalEntry extends LogPosition {
  readonly prevMs: number;
  readonly prevSeq: number;
  readonly version: number;
  readonly commands: number;
  readonly hash: Buffer;
  /** Null for events. */
  readonly payload: Buffer | null;
}

/** The highest position that stands there, or undefined where the partition has none. */
export async function journalEnd(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
): Promise<LogPosition | undefined> {
  const [row] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal WHERE stream = ${stream} AND partition = ${partition}
    ORDER BY epoch DESC, ms DESC, seq DESC LIMIT 1`;
  return row && toPosition(row);
}

/** The lowest position of an entry of the log (at epoch 0 stands what is none), or undefined where there is none. */
export async function journalBegin(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
): Promise<LogPosition | undefined> {
  const [row] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal WHERE stream = ${stream} AND partition = ${partition} AND epoch >= 1
    ORDER BY epoch, ms, seq LIMIT 1`;
  return row && toPosition(row);
}

// A place is compared by epoch first, and the planner takes that for all of the comparison: in a journal of one epoch it expects
// nothing behind a place, and sorts all there is for each page. So each epoch is asked for by itself; there are few.

/** The highest position that stands there and is below another one, or undefined where none is. */
export async function journalBefore(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  { epoch, ms, seq }: LogPosition,
): Promise<LogPosition | undefined> {
  const [row] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch = ${epoch}
      AND ms <= ${ms} AND (ms, seq) < (${ms}::bigint, ${seq}::bigint)
    ORDER BY ms DESC, seq DESC LIMIT 1`;
  if (row !== undefined) return toPosition(row);
  const [older] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch = (
      SELECT max(epoch) FROM journal WHERE stream = ${stream} AND partition = ${partition} AND epoch < ${epoch})
    ORDER BY ms DESC, seq DESC LIMIT 1`;
  return older && toPosition(older);
}

/**
 * The position so many entries behind another one, or the last of its epoch where that comes before, or the first of the next
 * epoch where that was the last; undefined where none follows.
 */
export async function journalAhead(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  after: LogPosition,
  entries: number,
): Promise<LogPosition | undefined> {
  const behind = sql`
    SELECT epoch, ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch = ${after.epoch}
      AND ms >= ${after.ms} AND (ms, seq) > (${after.ms}::bigint, ${after.seq}::bigint)`;
  const [far] = await sql<PositionRow[]>`${behind} ORDER BY ms, seq OFFSET ${entries - 1} LIMIT 1`;
  if (far !== undefined) return toPosition(far);
  const [last] = await sql<PositionRow[]>`${behind} ORDER BY ms DESC, seq DESC LIMIT 1`;
  if (last !== undefined) return toPosition(last);
  const epoch = await nextEpoch(sql, stream, partition, after.epoch);
  if (epoch === undefined) return undefined;
  const [first] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch = ${epoch} ORDER BY ms, seq LIMIT 1`;
  return first && toPosition(first);
}

async function nextEpoch(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  epoch: number,
): Promise<number | undefined> {
  const [row] = await sql<{ epoch: number | null }[]>`
    SELECT min(epoch) AS epoch FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch > ${epoch}`;
  return row?.epoch ?? undefined;
}

/** The highest position of an entry of the log whose ID is below another one, or undefined where none is. */
export async function newestBefore(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  { ms, seq }: Pick<LogPosition, "ms" | "seq">,
): Promise<LogPosition | undefined> {
  const [row] = await sql<PositionRow[]>`
    SELECT epoch, ms, seq FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch >= 1
      AND ms <= ${ms} AND (ms, seq) < (${ms}::bigint, ${seq}::bigint)
    ORDER BY epoch DESC, ms DESC, seq DESC LIMIT 1`;
  return row && toPosition(row);
}

export interface JournalRange {
  readonly stream: StreamNumber;
  readonly partition: number;
  /** Entries behind this position; from the first one where it is absent. */
  readonly after?: LogPosition | undefined;
  /** None older than this, in ms. */
  readonly sinceMs?: number | undefined;
  /** Of entries; each is at most 1 MiB. */
  readonly limit: number;
}

/** One page in the log's order. The next one begins after its last entry. */
export async function readJournal(sql: postgres.Sql, range: JournalRange): Promise<JournalEntry[]> {
  const { stream, partition, sinceMs = 0, limit } = range;
  const entries: JournalEntry[] = [];
  let after: LogPosition | undefined = range.after ?? { epoch: -1, ...BEGIN };
  while (after !== undefined) {
    const { epoch, ms, seq }: LogPosition = after;
    const rows = await sql<EntryRow[]>`
      SELECT ${columns(sql)} FROM journal
      WHERE stream = ${stream} AND partition = ${partition} AND epoch = ${epoch}
        AND ms >= ${Math.max(ms, sinceMs)} AND (ms, seq) > (${ms}::bigint, ${seq}::bigint)
      ORDER BY ms, seq LIMIT ${limit - entries.length}`;
    entries.push(...rows.map(toEntry));
    if (entries.length === limit) break;
    const next = await nextEpoch(sql, stream, partition, epoch);
    after = next === undefined ? undefined : { epoch: next, ...BEGIN };
  }
  return entries;
}

/** Before every entry of an epoch. */
const BEGIN = { ms: -1, seq: 0 };

export async function readEntry(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  position: LogPosition,
): Promise<JournalEntry | undefined> {
  const [row] = await sql<EntryRow[]>`
    SELECT ${columns(sql)} FROM journal
    WHERE stream = ${stream} AND partition = ${partition}
      AND epoch = ${position.epoch} AND ms = ${position.ms} AND seq = ${position.seq}`;
  return row && toEntry(row);
}

/** That an entry is written: its commit, and how many commands or events it holds. */
export interface WrittenEntry {
  readonly stream: StreamNumber;
  readonly commands: number;
  /** Null where Postgres does not keep the times of commits (track_commit_timestamp), or no longer this one. */
  readonly committedAt: Date | null;
}

/** What is written at one place of a partition: of each stream the receipt, where it has one. */
export async function findCommits(
  sql: postgres.Sql,
  partition: number,
  { epoch, ms, seq }: LogPosition,
): Promise<WrittenEntry[]> {
  return sql<WrittenEntry[]>`
    SELECT stream, commands,
           CASE WHEN current_setting('track_commit_timestamp') = 'on' THEN pg_xact_commit_timestamp(xmin) END
             AS "committedAt"
    FROM journal
    WHERE stream IN (0, 1) AND partition = ${partition} AND epoch = ${epoch} AND ms = ${ms} AND seq = ${seq}`;
}

/** How many entries of the log stand there that are as young as that, in ms. One walk over them. */
export async function countJournal(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  sinceMs: number,
): Promise<number> {
  const [row] = await sql<{ count: string }[]>`
    SELECT count(*) AS count FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch >= 1 AND ms >= ${sinceMs}`;
  return Number(row?.count ?? 0);
}

/** What the journal keeps of an entry besides its payload. */
export type JournalReceipt = Omit<JournalEntry, "payload">;

/** The receipts from one place to another, both included, in the log's order. The range bounds what comes. */
export async function readReceipts(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  from: LogPosition,
  to: LogPosition,
): Promise<JournalReceipt[]> {
  const rows = await sql<Omit<EntryRow, "payload">[]>`
    SELECT epoch, ms, seq, prev_ms, prev_seq, version, commands, hash FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND ms BETWEEN ${from.ms} AND ${to.ms}
      AND (epoch, ms, seq) >= (${from.epoch}::smallint, ${from.ms}::bigint, ${from.seq}::bigint)
      AND (epoch, ms, seq) <= (${to.epoch}::smallint, ${to.ms}::bigint, ${to.seq}::bigint)
    ORDER BY epoch, ms, seq`;
  return rows.map(toReceipt);
}

/** Of each epoch of which anything stands there, in their sequence, where the log stood when it began. */
export async function epochBegins(sql: postgres.Sql, stream: StreamNumber, partition: number): Promise<EpochBegin[]> {
  const first = sql`stream = ${stream} AND partition = ${partition}`;
  const rows = await sql<{ epoch: number; prev_ms: string; prev_seq: string }[]>`
    WITH RECURSIVE begins AS (
      (SELECT epoch, prev_ms, prev_seq FROM journal WHERE ${first} AND epoch >= 1 ORDER BY epoch, ms, seq LIMIT 1)
      UNION ALL
      SELECT later.epoch, later.prev_ms, later.prev_seq FROM begins, LATERAL (
        SELECT epoch, prev_ms, prev_seq FROM journal WHERE ${first} AND epoch > begins.epoch
        ORDER BY epoch, ms, seq LIMIT 1) AS later
    )
    SELECT begins.epoch, coalesce(base_ms, prev_ms) AS prev_ms, coalesce(base_seq, prev_seq) AS prev_seq
    FROM begins LEFT JOIN log_fences ON log_fences.partition = ${partition} AND log_fences.epoch = begins.epoch
    ORDER BY begins.epoch`;
  return rows.map(({ epoch, prev_ms, prev_seq }) => ({ epoch, prevMs: Number(prev_ms), prevSeq: Number(prev_seq) }));
}

/** The SHA-256 of the payloads of entries behind `after` up to `upTo`, by "<epoch>/<ms>-<seq>". */
export async function receiptHashes(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  after: LogPosition,
  upTo: LogPosition,
): Promise<Map<string, Buffer>> {
  const rows = await sql<(PositionRow & { hash: Buffer })[]>`
    SELECT epoch, ms, seq, hash FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND ms BETWEEN ${after.ms} AND ${upTo.ms}
      AND (epoch, ms, seq) > (${after.epoch}::smallint, ${after.ms}::bigint, ${after.seq}::bigint)
      AND (epoch, ms, seq) <= (${upTo.epoch}::smallint, ${upTo.ms}::bigint, ${upTo.seq}::bigint)`;
  return new Map(rows.map(({ epoch, ms, seq, hash }) => [`${epoch}/${ms}-${seq}`, hash]));
}

/** Those of these places of a partition that have a receipt, of whatever epoch. */
export async function findWritten(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  places: readonly Pick<LogPosition, "ms" | "seq">[],
): Promise<Pick<LogPosition, "ms" | "seq">[]> {
  const rows = await sql<Pick<PositionRow, "ms" | "seq">[]>`
    SELECT DISTINCT ms, seq
    FROM unnest(${plainArray(places.map(({ ms }) => ms))}::bigint[], ${plainArray(places.map(({ seq }) => seq))}::bigint[])
      AS place (ms, seq)
    JOIN journal USING (ms, seq) WHERE stream = ${stream} AND partition = ${partition}`;
  return rows.map(({ ms, seq }) => ({ ms: Number(ms), seq: Number(seq) }));
}

/** Of an epoch the base of its fence, or where it has none, the ID before its first entry, unless that one is missing. */
export interface EpochBegin {
  readonly epoch: number;
  readonly prevMs: number;
  readonly prevSeq: number;
}

/** An entry whose predecessor is not in the journal. */
export interface Gap extends LogPosition {
  readonly prevMs: number;
  readonly prevSeq: number;
}

export interface GapRange {
  readonly stream: StreamNumber;
  readonly partition: number;
  /** Both inclusive, in ms. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Predecessors that are older have been dropped by the retention and are no gap, in ms. */
  readonly oldestMs: number;
  readonly limit: number;
}

/** Where the chain is broken, in the log's order. Costs one walk over the range, 1 µs an entry or so. */
export async function findGaps(sql: postgres.Sql, range: GapRange): Promise<Gap[]> {
  // In an unbroken chain the predecessor is the row before. Only where it is not, it is looked for: across an opening of the
  // partition two entries may follow the same one.
  const rows = await sql<(PositionRow & { prev_ms: string; prev_seq: string })[]>`
    WITH chain AS (
      SELECT epoch, ms, seq, prev_ms, prev_seq,
             lag(ms) OVER log AS before_ms, lag(seq) OVER log AS before_seq
      FROM journal
      WHERE stream = ${range.stream} AND partition = ${range.partition} AND ms BETWEEN ${range.fromMs} AND ${range.toMs}
      WINDOW log AS (ORDER BY epoch, ms, seq)
    ), suspects AS MATERIALIZED (
      SELECT * FROM chain
      WHERE (prev_ms, prev_seq) IS DISTINCT FROM (before_ms, before_seq) AND (prev_ms, prev_seq) <> (0, 0)
        AND prev_ms >= ${range.oldestMs}
    )
    SELECT epoch, ms, seq, prev_ms, prev_seq FROM suspects
    WHERE NOT EXISTS (
      SELECT FROM journal before
      WHERE before.stream = ${range.stream} AND before.partition = ${range.partition} AND before.epoch <= suspects.epoch
        AND before.ms = suspects.prev_ms AND before.seq = suspects.prev_seq
    )
    ORDER BY epoch, ms, seq LIMIT ${range.limit}`;
  return rows.map((row) => ({ ...toPosition(row), prevMs: Number(row.prev_ms), prevSeq: Number(row.prev_seq) }));
}

interface PositionRow {
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
}

interface EntryRow extends PositionRow {
  readonly prev_ms: string;
  readonly prev_seq: string;
  readonly version: number;
  readonly commands: number;
  readonly hash: Buffer;
  readonly payload: Buffer | null;
}

function columns(sql: postgres.Sql) {
  return sql`epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload`;
}

function toPosition(row: PositionRow): LogPosition {
  return { epoch: row.epoch, ms: Number(row.ms), seq: Number(row.seq) };
}

function toEntry(row: EntryRow): JournalEntry {
  return { ...toReceipt(row), payload: row.payload };
}

function toReceipt(row: Omit<EntryRow, "payload">): JournalReceipt {
  const { version, commands, hash } = row;
  return {
    ...toPosition(row),
    prevMs: Number(row.prev_ms),
    prevSeq: Number(row.prev_seq),
    version,
    commands,
    hash,
  };
}
