import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import postgres from "postgres";
import { clientOptions } from "../../src/store/client.ts";

// Joining a million acknowledgements with their rows takes some seconds; a minute is patience.
const STATEMENT_TIMEOUT_MS = 60_000;

/** What became of acknowledged orders in Postgres. */
export interface RowFigures {
  readonly acknowledged: number;
  /** Those of them that are rows with the acknowledged id. */
  readonly written: number;
  /** From the acknowledgement at the client to the commit of the row; 0 where the row was first. Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** The last commit, microseconds since 1970. */
  readonly lastCommitUs: number;
}

/** Compares a client's record of acknowledgements (load/record.ts) with the table `orders`. */
export async function compareWithRows(databaseUrl: string, acknowledgedFile: string): Promise<RowFigures> {
  return withAcknowledged(databaseUrl, acknowledgedFile, async (client) => {
    const [row] = await client<
      { acknowledged: number; written: number; waits: number[] | null; last: number | null }[]
    >`
      WITH written AS (
        SELECT order_id, client_order_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 * 1e6 AS us
        FROM orders WHERE order_id >= (SELECT id FROM first_acknowledged)
      )
      SELECT count(*)::int AS acknowledged, count(written.us)::int AS written, max(written.us) AS last,
        to_json(percentile_disc(ARRAY[0.5, 0.99, 1])
          WITHIN GROUP (ORDER BY greatest(0, written.us - acknowledged.us))) AS waits
      FROM acknowledged LEFT JOIN written USING (order_id, client_order_id)`;
    const [p50 = NaN, p99 = NaN, max = NaN] = row?.waits?.map((us) => us / 1000) ?? [];
    return {
      acknowledged: row?.acknowledged ?? 0,
      written: row?.written ?? 0,
      lastCommitUs: row?.last ?? 0,
      p50,
      p99,
      max,
    };
  });
}

/** Client order ids among the acknowledged that have no row at all, and rows that some of them have beyond their first. */
export interface RowCounts {
  readonly missing: number;
  readonly surplus: number;
}

/** Counts by client order id, whatever order id was acknowledged: what the client sees of its orders. */
export async function countRows(databaseUrl: string, acknowledgedFile: string): Promise<RowCounts> {
  return withAcknowledged(databaseUrl, acknowledgedFile, async (client) => {
    const [row] = await client<RowCounts[]>`
      WITH written AS (
        SELECT client_order_id, count(*) AS rows
        FROM orders WHERE order_id >= (SELECT id FROM first_acknowledged) GROUP BY client_order_id
      )
      SELECT count(*) FILTER (WHERE rows IS NULL)::int AS missing, coalesce(sum(rows - 1), 0)::int AS surplus
      FROM acknowledged LEFT JOIN written USING (client_order_id)`;
    return { missing: row?.missing ?? 0, surplus: row?.surplus ?? 0 };
  });
}

/** What became of acknowledged orders in `order_states`. */
export interface StateFigures {
  readonly missing: number;
  /** That the engine refused: its answer to them costs less than matching does. */
  readonly rejected: number;
  /** The last commit of any state of them, microseconds since 1970. */
  readonly lastCommitUs: number;
}

export async function lastState(databaseUrl: string, acknowledgedFile: string): Promise<StateFigures> {
  return withAcknowledged(databaseUrl, acknowledgedFile, async (client) => {
    const [row] = await client<{ missing: number; rejected: number; last: number | null }[]>`
      WITH states AS (
        SELECT order_id, status, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 * 1e6 AS us
        FROM order_states WHERE order_id >= (SELECT id FROM first_acknowledged)
      )
      SELECT count(*) FILTER (WHERE states.us IS NULL)::int AS missing, max(states.us) AS last,
             count(*) FILTER (WHERE states.status = 'REJECTED')::int AS rejected
      FROM acknowledged LEFT JOIN states USING (order_id)`;
    return { missing: row?.missing ?? 0, rejected: row?.rejected ?? 0, lastCommitUs: row?.last ?? 0 };
  });
}

// With the record as the temporary table `acknowledged`, and its least order id in `first_acknowledged`.
async function withAcknowledged<T>(
  databaseUrl: string,
  acknowledgedFile: string,
  ask: (client: postgres.Sql) => Promise<T>,
): Promise<T> {
  const client = postgres(databaseUrl, { ...clientOptions(STATEMENT_TIMEOUT_MS), max: 1 });
  try {
    await client`CREATE TEMPORARY TABLE acknowledged (client_order_id text, symbol text, order_id uuid, us float8)`;
    await pipeline(createReadStream(acknowledgedFile), await client`COPY acknowledged FROM STDIN`.writable());
    await client`
      CREATE TEMPORARY TABLE first_acknowledged AS SELECT min(order_id::text)::uuid AS id FROM acknowledged`;
    // What is asked for is the end of a table of maybe many millions, which the planner cannot know.
    await client`SET enable_seqscan = off`;
    return await ask(client);
  } finally {
    await client.end({ timeout: 5 });
  }
}
