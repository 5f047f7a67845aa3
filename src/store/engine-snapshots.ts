import type postgres from "postgres";
import type { LogPosition } from "./entry-record.ts";
import type { Writer } from "./writer.ts";

/** A point from which an engine can start again, as migrations/0006_events.sql keeps it. */
export interface StoredSnapshot extends LogPosition {
  readonly partition: number;
  readonly rules: number;
  /** Never removed. */
  readonly kept: boolean;
  /** 64 bits without sign. */
  readonly stateHash: bigint;
  /** SHA-256 of the payload of the entry behind which it was taken. */
  readonly entryHash: Buffer;
  /** Up to some hundred MB. */
  readonly data: Uint8Array;
}

/** How many of the newest stay: the newest may be damaged, and the one before it ahead of a log that lost its tail. */
const KEPT_NEWEST = 3;
const DAY_MS = 86_400_000;
/** Of a row: neither side holds more than some of them at once. Measured: see docs/operating.md. */
const PART_BYTES = 1024 * 1024;

/**
 * Of the older ones the first of each day (UTC) stays for as long as the journal has entries of that day: what the engine made
 * of them can be made once more from there, though the log's beginning is long gone. $1 partition, $2 how many newest but one.
 */
const REMOVE = `
  DELETE FROM engine_snapshots AS old WHERE partition = $1 AND NOT kept
    AND (epoch, ms, seq) < (
      SELECT epoch, ms, seq FROM engine_snapshots WHERE partition = $1
      ORDER BY epoch DESC, ms DESC, seq DESC OFFSET $2 LIMIT 1)
    AND NOT coalesce(
      ms >= (SELECT ms FROM journal WHERE stream = 0 AND partition = $1 AND epoch >= 1 ORDER BY epoch, ms, seq LIMIT 1)
      AND NOT EXISTS (
        SELECT FROM engine_snapshots AS earlier
        WHERE earlier.partition = $1 AND earlier.ms / ${DAY_MS} = old.ms / ${DAY_MS}
          AND (earlier.epoch, earlier.ms, earlier.seq) < (old.epoch, old.ms, old.seq)), false)`;

/**
 * Stores a snapshot and removes those that are no longer among the newest nor to be kept, in one transaction. Where one stands
 * at its position already (two engines take the same) it stays as it is. Throws as Writer.transaction.
 */
export async function saveSnapshot(writer: Writer, snapshot: StoredSnapshot): Promise<void> {
  const { partition, epoch, ms, seq, rules, kept, stateHash, entryHash, data } = snapshot;
  await writer.transaction(async (transaction) => {
    const { count } = await transaction.query(
      `INSERT INTO engine_snapshots (partition, epoch, ms, seq, rules, kept, state_hash, entry_hash, bytes)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
      [partition, epoch, ms, seq, rules, kept, BigInt.asIntN(64, stateHash).toString(), entryHash, data.length],
    );
    if (count === 0) return;
    await transaction.copy("COPY engine_snapshot_parts FROM STDIN (FORMAT binary)", partRows(snapshot));
    await transaction.query(REMOVE, [partition, KEPT_NEWEST - 1]);
  });
}

/** A snapshot without its data. */
export type SnapshotPlace = Omit<StoredSnapshot, "data">;

/** All that are kept of a partition, newest first. */
export async function listSnapshots(sql: postgres.Sql, partition: number): Promise<SnapshotPlace[]> {
  const rows = await sql<SnapshotRow[]>`
    SELECT epoch, ms, seq, rules, kept, state_hash, entry_hash, bytes FROM engine_snapshots
    WHERE partition = ${partition} ORDER BY epoch DESC, ms DESC, seq DESC`;
  return rows.map((row) => toPlace(partition, row));
}

/** The data of one of them, as they are found; fewer bytes where it was removed meanwhile. */
export async function readSnapshot(sql: postgres.Sql, partition: number, at: LogPosition): Promise<Buffer> {
  const [row] = await sql<{ bytes: string }[]>`
    SELECT bytes FROM engine_snapshots
    WHERE partition = ${partition} AND epoch = ${at.epoch} AND ms = ${at.ms} AND seq = ${at.seq}`;
  return readParts(sql, partition, at, Number(row?.bytes ?? 0));
}

/**
 * The snapshots of a partition at `upTo` or before it, newest first, each read when it is asked for. The data are as they are
 * found: whoever takes them checks them.
 */
export async function* newestSnapshots(
  sql: postgres.Sql,
  partition: number,
  upTo: LogPosition,
): AsyncGenerator<StoredSnapshot, undefined> {
  const rows = await sql<SnapshotRow[]>`
    SELECT epoch, ms, seq, rules, kept, state_hash, entry_hash, bytes FROM engine_snapshots
    WHERE partition = ${partition}
      AND (epoch, ms, seq) <= (${upTo.epoch}::smallint, ${upTo.ms}::bigint, ${upTo.seq}::bigint)
    ORDER BY epoch DESC, ms DESC, seq DESC`;
  for (const row of rows) {
    const place = toPlace(partition, row);
    yield { ...place, data: await readParts(sql, partition, place, Number(row.bytes)) };
  }
}

/** The positions of all snapshots of a partition, the oldest first. */
export async function snapshotPlaces(sql: postgres.Sql, partition: number): Promise<LogPosition[]> {
  const rows = await sql<{ epoch: number; ms: string; seq: string }[]>`
    SELECT epoch, ms, seq FROM engine_snapshots WHERE partition = ${partition} ORDER BY epoch, ms, seq`;
  return rows.map(({ epoch, ms, seq }) => ({ epoch, ms: Number(ms), seq: Number(seq) }));
}

interface SnapshotRow {
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly rules: number;
  readonly kept: boolean;
  readonly state_hash: string;
  readonly entry_hash: Buffer;
  readonly bytes: string;
}

function toPlace(partition: number, row: SnapshotRow): SnapshotPlace {
  return {
    partition,
    epoch: row.epoch,
    ms: Number(row.ms),
    seq: Number(row.seq),
    rules: row.rules,
    kept: row.kept,
    stateHash: BigInt.asUintN(64, BigInt(row.state_hash)),
    entryHash: row.entry_hash,
  };
}

async function readParts(
  sql: postgres.Sql,
  partition: number,
  { epoch, ms, seq }: LogPosition,
  bytes: number,
): Promise<Buffer> {
  const data = Buffer.alloc(bytes);
  for (let part = 0, at = 0; at < bytes; part++) {
    const [row] = await sql<{ data: Buffer }[]>`
      SELECT data FROM engine_snapshot_parts
      WHERE partition = ${partition} AND epoch = ${epoch} AND ms = ${ms} AND seq = ${seq} AND part = ${part}`;
    if (row === undefined) break;
    at += row.data.copy(data, at);
  }
  return data;
}

/** The rows in Postgres' binary form of COPY: as text each byte would be two, made on one side and parsed on the other. */
function* partRows({ partition, epoch, ms, seq, data }: StoredSnapshot): Generator<Buffer> {
  yield Buffer.from("PGCOPY\n\xff\r\n\0" + "\0".repeat(8), "latin1"); // no flags, no extension
  for (let part = 0; part * PART_BYTES < data.length; part++) {
    const bytes = data.subarray(part * PART_BYTES, (part + 1) * PART_BYTES);
    const head = Buffer.alloc(50);
    let at = head.writeInt16BE(6); // fields, each behind its length
    at = head.writeInt16BE(partition, head.writeInt32BE(2, at));
    at = head.writeInt16BE(epoch, head.writeInt32BE(2, at));
    at = head.writeBigInt64BE(BigInt(ms), head.writeInt32BE(8, at));
    at = head.writeBigInt64BE(BigInt(seq), head.writeInt32BE(8, at));
    at = head.writeInt32BE(part, head.writeInt32BE(4, at));
    head.writeInt32BE(bytes.length, at);
    yield head;
    yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  yield Buffer.from([0xff, 0xff]);
}
