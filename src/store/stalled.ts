import { EXECUTIONS } from "./execution-table.ts";
import { STATES_TABLE } from "./order-states.ts";
import { ORDERS } from "./order-table.ts";
import { stagedName } from "./staging.ts";
import { TRADES } from "./trade-table.ts";
import type { Writer } from "./writer.ts";

const ROW_TABLES = [ORDERS.name, EXECUTIONS.name, TRADES.name];

/**
 * How the COPYs of workers and of replays begin: both hold the receipts of the entries that they write. By the tables, because
 * a connection's name is whatever its URL says; no further than to the columns, which other versions have others of, and
 * Postgres keeps but the beginning of a statement (`track_activity_query_size`).
 */
const STATEMENT = `^\\s*COPY (${[...ROW_TABLES, ...ROW_TABLES.map(stagedName), STATES_TABLE].join("|")}) \\(`;

// Whoever may not signal a role sees none of its statements, or at least must not try: that fails for all of them.
const END_STALLED = `
  SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
  WHERE datname = current_database() AND pg_has_role(usesysid, 'USAGE') AND state = 'active' AND wait_event = 'ClientRead'
    AND query ~ $2 AND xact_start < clock_timestamp() - $1::integer * interval '1 ms'`;

/**
 * Ends the transactions of other writers of entries that wait for the rest of a COPY though their time is up (the one of this
 * writer), and says how many they were. Their process has stalled, or the way to it is cut: it would have given up itself. What they
 * hold locked keeps everybody else from the same entries, and Postgres never ends them: within a COPY's input it looks at
 * none of its own timeouts.
 */
export async function endStalledCopies(writer: Writer): Promise<number> {
  return await writer.transaction(async (transaction) => {
    const { rows } = await transaction.query<{ ended: boolean }>(END_STALLED, [writer.timeoutMs, STATEMENT]);
    return rows.filter(({ ended }) => ended).length;
  });
}
