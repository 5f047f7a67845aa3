import type { Writer } from "./writer.ts";

const END_STALLED = `
  SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
  WHERE datname = current_database() AND usename = current_user
    AND application_name = current_setting('application_name') AND state = 'active' AND wait_event = 'ClientRead'
    AND query ~* '^\\s*COPY' AND xact_start < clock_timestamp() - $1::integer * interval '1 ms'`;

/**
 * Ends the transactions of other writers that wait for the rest of a COPY though their time is up (the one of this writer),
 * and says how many they were. Their process has stalled, or the way to it is cut: it would have given up itself. What they
 * hold locked keeps everybody else from the same entries, and Postgres never ends them: within a COPY's input it looks at
 * none of its own timeouts.
 */
export async function endStalledCopies(writer: Writer): Promise<number> {
  return await writer.transaction(async (transaction) => {
    const { rows } = await transaction.query<{ ended: boolean }>(END_STALLED, [writer.timeoutMs]);
    return rows.filter(({ ended }) => ended).length;
  });
}
