import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM, type StreamNumber } from "../store/entry-record.ts";
import { findWritten } from "../store/journal.ts";
import { compareEntryIds, formatEntryId, START } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { hasLetter } from "./letters.ts";
import { isOffChain, type Scope } from "./scope.ts";
import { REPORTED, suspectsOf } from "./suspects.ts";

interface Link {
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  /** What it names as the one before it. */
  readonly prev_ms: string;
  readonly prev_seq: string;
  /** The row before it in its epoch. */
  readonly before_ms: string | null;
  readonly before_seq: string | null;
}

/**
 * I4: the chain of a stream's journal is unbroken, up to where all is written. Within an epoch each entry names the row before it;
 * the first of an epoch may name one of another epoch, which is there.
 */
export async function auditChain(scope: Scope, name: "orders" | "events", findings: Findings): Promise<void> {
  const { sql, partition, kept, redis } = scope;
  const { stream, settled } = scope[name];
  const isLinked = async (link: Link): Promise<boolean> => {
    const { before_ms: before, prev_ms: ms, prev_seq: seq } = link;
    if (isOffChain(scope, { epoch: link.epoch, ms: Number(link.ms), seq: Number(link.seq) })) return true;
    const previous = { ms: Number(ms), seq: Number(seq) };
    if (before === null && (await findWritten(sql, stream, partition, [previous])).length > 0) return true;
    return await hasLetter(sql, stream, partition, previous);
  };
  const suspects = await suspectsOf<Link>(kept, {
    keyOf: ({ epoch, ms, seq }) => `${epoch}/${ms}-${seq}`,
    // What the retention dropped between two looks was the row before.
    timeOf: ({ ms, before_ms: before }) => Number(before ?? ms),
    // The first one that is kept may name one that was dropped, and the first of all names none.
    ask: ({ sinceMs, after, limit }) => sql<Link[]>`
      WITH chain AS (
        SELECT epoch, ms, seq, prev_ms, prev_seq, lag(ms) OVER log AS before_ms, lag(seq) OVER log AS before_seq
        FROM journal
        WHERE stream = ${stream} AND partition = ${partition} AND epoch >= 1 AND ms BETWEEN ${sinceMs} AND ${settled.ms}
          AND (ms, seq) <= (${settled.ms}::bigint, ${settled.seq}::bigint)
        WINDOW log AS (PARTITION BY epoch ORDER BY ms, seq)
      )
      SELECT * FROM chain
      WHERE CASE WHEN before_ms IS NULL THEN prev_ms >= ${sinceMs} AND (prev_ms, prev_seq) <> (0, 0)
                 ELSE (prev_ms, prev_seq) <> (before_ms, before_seq) END
        AND (epoch, ms, seq) > (${after?.epoch ?? 0}::smallint, ${after?.ms ?? "0"}::bigint, ${after?.seq ?? "0"}::bigint)
      ORDER BY epoch, ms, seq LIMIT ${limit}`,
    async unexplained(links) {
      const broken: Link[] = [];
      for (const link of links) if (broken.length < REPORTED && !(await isLinked(link))) broken.push(link);
      return broken;
    },
  });
  for (const link of suspects) {
    const previous = { ms: Number(link.prev_ms), seq: Number(link.prev_seq) };
    const where = `partition ${partition}, ${name === "orders" ? "entry" : "events"} ${link.ms}-${link.seq}`;
    const isThere =
      compareEntryIds(previous, START) === 0 || (await findWritten(sql, stream, partition, [previous])).length > 0;
    const doubt = redis === undefined ? ", and there is no log in Redis that may have it" : "";
    const words = isThere
      ? `it names ${formatEntryId(previous)} as the one before it, and follows ${link.before_ms}-${link.before_seq}`
      : `${formatEntryId(previous)} before it is missing${doubt}`;
    findings.add(name === "orders" ? "a gap in the journal" : "a gap in the events", `${where}: ${words}`);
  }
}

/** I4: what stands in the stream and is no entry of the log, or was lost there, is a dead letter. */
export async function auditStrange({ sql, partition }: Scope, stream: StreamNumber, findings: Findings): Promise<void> {
  const rows = await sql<{ ms: string; seq: string }[]>`
    SELECT ms, seq FROM journal WHERE stream = ${stream} AND partition = ${partition} AND epoch = 0
      AND NOT EXISTS (
        SELECT FROM dead_letters AS letter
        WHERE letter.stream = ${stream} AND letter.partition = ${partition} AND letter.epoch = 0
          AND letter.ms = journal.ms AND letter.seq = journal.seq
      )
    LIMIT ${REPORTED}`;
  for (const { ms, seq } of rows)
    findings.add("neither row nor dead letter", `partition ${partition}, ${ms}-${seq}: what was no entry of the log`);
}

/** I3: everything stands in a partition that there is. */
export async function auditPartitions(sql: postgres.Sql, partitions: number, findings: Findings): Promise<void> {
  const rows = await sql<{ name: string; partition: number; count: string }[]>`
    SELECT 'journal' AS name, partition, count(*) AS count FROM journal
    WHERE stream IN (${ORDERS_STREAM}, ${EVENTS_STREAM}) AND partition >= ${partitions} GROUP BY partition
    UNION ALL
    SELECT 'executions', partition, count(*) FROM executions WHERE partition >= ${partitions} GROUP BY partition
    UNION ALL
    SELECT 'trades', partition, count(*) FROM trades WHERE partition >= ${partitions} GROUP BY partition
    ORDER BY name, partition LIMIT ${REPORTED}`;
  for (const { name, partition, count } of rows)
    findings.add("another number of partitions", `${name}: ${count} rows of partition ${partition}, of ${partitions}`);
}
