import type postgres from "postgres";
import type { Transaction } from "./writer.ts";

const PARTITIONS = "partitions";
const DROPPED_BEFORE = "dropped_before";

/** The database belongs to a log with another number of partitions. */
export class PartitionCountError extends Error {
  override readonly name = "PartitionCountError";

  constructor(wanted: number, recorded: string) {
    super(
      `the number of partitions is ${recorded} in this database, not ${wanted}: it cannot change once it is recorded`,
    );
  }
}

/** Records the number of partitions at the first start. Throws a PartitionCountError where it is another already. */
export async function claimPartitionCount(sql: postgres.Sql, count: number): Promise<void> {
  await sql`INSERT INTO settings (key, value) VALUES (${PARTITIONS}, ${String(count)}) ON CONFLICT DO NOTHING`;
  const recorded = await partitionCount(sql);
  if (recorded !== count) throw new PartitionCountError(count, String(recorded));
}

/** The number of partitions that is recorded, or undefined before the first start. */
export async function partitionCount(sql: postgres.Sql): Promise<number | undefined> {
  return await readNumber(sql, PARTITIONS);
}

/** The moment (ms) before which the retention has dropped something; 0 where it never did. */
export async function droppedBefore(sql: postgres.Sql): Promise<number> {
  return (await readNumber(sql, DROPPED_BEFORE)) ?? 0;
}

/** Notes that what is older than a moment (ms) is not whole any more. It never goes back. */
export async function noteDropped(transaction: Transaction, beforeMs: number): Promise<void> {
  await transaction.query(
    `INSERT INTO settings (key, value) VALUES ($1, $2)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE settings.value::bigint < excluded.value::bigint`,
    [DROPPED_BEFORE, String(beforeMs)],
  );
}

async function readNumber(sql: postgres.Sql, key: string): Promise<number | undefined> {
  const [row] = await sql<{ value: string }[]>`SELECT value FROM settings WHERE key = ${key}`;
  return row && Number(row.value);
}
