import type postgres from "postgres";

const PARTITIONS = "partitions";

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
  const [row] = await sql<{ value: string }[]>`SELECT value FROM settings WHERE key = ${PARTITIONS}`;
  return row && Number(row.value);
}
