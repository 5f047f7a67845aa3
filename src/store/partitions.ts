import postgres from "postgres";

import { droppedBefore, noteDropped } from "./settings.ts";
import type { Transaction, Writer } from "./writer.ts";

const DAY_MS = 86_400_000;

/** Days that are made beyond the one that is asked for: a day's change then finds its partitions, and rows may be a day early. */
const AHEAD = 2;

/** How long a drop may wait for the table, in ms. All who use the table wait behind it for that long. */
const DROP_WAIT_MS = 500;

/** Any fixed number, the same in every version: whoever makes or drops partitions holds this advisory lock. */
const LOCK = 7_366_512;

const byTime = (ms: number) => String(ms);
const byOrder = (ms: number) => `'${firstOrderId(ms)}'`;

/** What is partitioned by day, and how a moment is written as a bound. */
const TABLES = [
  { table: "journal", bound: byTime },
  { table: "orders", bound: byOrder },
  { table: "executions", bound: byTime },
  { table: "trades", bound: byTime },
  { table: "order_states", bound: byOrder },
] as const;

/** The least order id of a moment: its milliseconds and zeros. */
export function firstOrderId(ms: number): string {
  const digits = ms.toString(16).padStart(12, "0");
  return `${digits.slice(0, 8)}-${digits.slice(8)}-0000-0000-000000000000`;
}

/** The moment that an order id begins with, in ms; NaN where it is none. */
export function orderTime(orderId: string): number {
  return Number.parseInt(orderId.slice(0, 8) + orderId.slice(9, 13), 16);
}

/**
 * The days on which orders began.
 *
 * Always true: `moments` has a moment (ms) of each day of an order that was added. What is no order id has none: a decoder's
 * mistake in the ids alone must not look like a partition that is missing for ever.
 */
export class OrderDays {
  readonly moments: number[] = [];
  // Of the day that was added last. Nearly all are of one: two comparisons tell, and reading the time takes ten times as long.
  #from = "";
  #to = "";

  add(orderId: string): void {
    if (orderId >= this.#from && orderId < this.#to) return;
    const ms = orderTime(orderId);
    if (Number.isNaN(ms)) return;
    this.#from = firstOrderId(dayOf(ms) * DAY_MS);
    this.#to = firstOrderId((dayOf(ms) + 1) * DAY_MS);
    this.moments.push(ms);
  }
}

/** Days since 1970 (UTC). */
function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS);
}

/**
 * Makes the partitions of these moments (ms) and of the two days after each, where they are missing. Costs nothing for
 * days that this writer has seen. A day is made whatever the clock says: a row with no partition is refused by Postgres with
 * an error of class 23 that says nothing about the row.
 */
export async function ensurePartitions(writer: Writer, moments: Iterable<number>): Promise<void> {
  const days = new Set<number>();
  for (const ms of moments) for (let ahead = 0; ahead <= AHEAD; ahead++) days.add(dayOf(ms) + ahead);
  const missing = [...days].filter((day) => day >= 0 && !writer.knownDays.has(day)).sort((a, b) => a - b);
  if (missing.length === 0) return;
  await writer.transaction((transaction) => createDays(transaction, missing));
  for (const day of missing) writer.knownDays.add(day);
}

/** True where `ensurePartitions` has been there for these moments, the days ahead apart. */
export function partitionsKnown(writer: Writer, moments: Iterable<number>): boolean {
  for (const ms of moments) if (!writer.knownDays.has(dayOf(ms))) return false;
  return true;
}

async function createDays(transaction: Transaction, days: readonly number[]): Promise<void> {
  await transaction.query(`SELECT pg_advisory_xact_lock(${LOCK})`);
  const existing = new Set(daysOf((await transaction.query<PartitionRow>(PARTITIONS)).rows).map(({ name }) => name));
  for (const { table, bound } of TABLES) {
    for (const day of days) {
      const name = partitionName(table, day);
      if (existing.has(name)) continue;
      // CREATE TABLE … PARTITION OF would lock out every reader and writer of the table; ATTACH does not.
      await transaction.query(
        `CREATE TABLE ${name} (LIKE ${table} INCLUDING ALL);
         ALTER TABLE ${table} ATTACH PARTITION ${name}
           FOR VALUES FROM (${bound(day * DAY_MS)}) TO (${bound((day + 1) * DAY_MS)})`,
      );
    }
  }
}

/**
 * Drops the partitions whose last moment is more than `retentionDays` before `nowMs`, oldest first, each in a transaction.
 * Stops, to be tried again later, where a table is so busy that the drop would make others wait.
 */
export async function dropExpiredPartitions(
  writer: Writer,
  retentionDays: number,
  nowMs: number,
): Promise<{ dropped: string[] }> {
  const limit = dayOf(nowMs - retentionDays * DAY_MS);
  const dropped: string[] = [];
  for (;;) {
    try {
      const name = await writer.transaction((transaction) => dropOldest(transaction, limit));
      if (name === undefined) return { dropped };
      dropped.push(name);
    } catch (error) {
      if (error instanceof postgres.PostgresError && error.code === "55P03") return { dropped }; // lock not available
      throw error;
    }
  }
}

async function dropOldest(transaction: Transaction, limit: number): Promise<string | undefined> {
  await transaction.query(`SELECT pg_advisory_xact_lock(${LOCK})`);
  const { rows } = await transaction.query<PartitionRow>(PARTITIONS);
  const oldest = daysOf(rows).sort((a, b) => a.day - b.day)[0];
  if (oldest === undefined || oldest.day >= limit) return undefined;
  await transaction.query(`SET LOCAL lock_timeout = ${DROP_WAIT_MS}; DROP TABLE ${oldest.name}`);
  await noteDropped(transaction, (oldest.day + 1) * DAY_MS);
  return oldest.name;
}

/** orders_20261122, by UTC. */
function partitionName(table: string, day: number): string {
  const [date] = new Date(day * DAY_MS).toISOString().split("T");
  return `${table}_${date!.replace(/\D/g, "")}`;
}

/**
 * The moment (ms) from which on no table lacks a day. The oldest days alone do not tell: an order that stays open for longer than
 * the retention has its own day made again, with a hole behind it.
 */
export async function keptSince(sql: postgres.Sql): Promise<number> {
  const first = new Map<string, number>();
  for (const { parent, day } of daysOf(await sql.unsafe<PartitionRow[]>(PARTITIONS)))
    first.set(parent, Math.min(day, first.get(parent) ?? day));
  return Math.max(await droppedBefore(sql), Math.max(0, ...first.values()) * DAY_MS);
}

interface PartitionRow {
  readonly parent: string;
  readonly name: string;
}

const PARTITIONS = `
  SELECT inhparent::regclass::text AS parent, child.relname AS name
  FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
  WHERE inhparent IN (${TABLES.map(({ table }) => `'${table}'::regclass`).join(", ")})`;

function daysOf(rows: readonly PartitionRow[]): (PartitionRow & { readonly day: number })[] {
  return rows.flatMap(({ parent, name }) => {
    const date = /_(\d{4,6})(\d\d)(\d\d)$/.exec(name);
    if (date === null) return [];
    return [{ parent, name, day: dayOf(Date.UTC(Number(date[1]), Number(date[2]) - 1, Number(date[3]))) }];
  });
}
