import type { Transaction } from "./writer.ts";

/** Postgres' clock, ms since 1970. */
export async function readClock(transaction: Transaction): Promise<number> {
  const { rows } = await transaction.query<{ ms: string }>(
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text AS ms",
  );
  return Number(rows[0]?.ms);
}
