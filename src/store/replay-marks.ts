import type postgres from "postgres";

import type { LogPosition } from "./entry-record.ts";
import type { Transaction } from "./writer.ts";

/** Of each kind of finding how many there were, and where the first of them are. */
export type MarkedFindings = Readonly<Record<string, { readonly count: number; readonly first: readonly string[] }>>;

/**
 * How far a replay of a partition has come. It stands in `settings`, and is written in the transaction of the rows that it
 * speaks of: whatever ends the replay, another one with the same bounds goes on behind it.
 */
export interface ReplayMark {
  /** What was asked for, so that another replay is not taken for this one. */
  readonly bounds: string;
  /** What it was at; `done` while other partitions are not. */
  readonly stage: "orders" | "events" | "done";
  /** The newest entry of the stage that is written. */
  readonly at: LogPosition;
  /** What was found up to there: nobody looks at it again. Absent where an older version wrote the mark. */
  readonly findings?: MarkedFindings;
}

const PREFIX = "replay:";

/** By partition. */
export async function readMarks(sql: postgres.Sql): Promise<ReadonlyMap<number, ReplayMark>> {
  const rows = await sql<{ key: string; value: string }[]>`
    SELECT key, value FROM settings WHERE starts_with(key, ${PREFIX})`;
  return new Map(
    rows.map(({ key, value }) => [Number(key.slice(PREFIX.length)), JSON.parse(value) as ReplayMark] as const),
  );
}

export async function writeMark(transaction: Transaction, partition: number, mark: ReplayMark): Promise<void> {
  await transaction.query(
    "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    [`${PREFIX}${partition}`, JSON.stringify(mark)],
  );
}

/** Of a replay that has come to its end. */
export async function removeMarks(sql: postgres.Sql, bounds: string): Promise<void> {
  for (const [partition, mark] of await readMarks(sql))
    if (mark.bounds === bounds) await sql`DELETE FROM settings WHERE key = ${`${PREFIX}${partition}`}`;
}
