import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { firstOrderId, orderTime } from "../store/partitions.ts";
import { compareEntryIds, type EntryId, formatEntryId, orderIdPrefix, parseOrderId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { withoutLetters, withoutTradeLetters } from "./letters.ts";
import { isOffChain, type Scope } from "./scope.ts";
import { NO_ORDER, REPORTED, suspectsOf } from "./suspects.ts";

export interface EventFigures {
  readonly entries: number;
  readonly reports: number;
  readonly trades: number;
}

/**
 * I5, I8, I9: every journaled entry has its events and nothing else has, every order has a state, accounts' reports and symbols'
 * trades are numbered without a gap, up to where both streams are written; and none stands where no events are. Each is one statement
 * of Postgres.
 */
export async function auditEvents(scope: Scope, findings: Findings): Promise<EventFigures> {
  const { sql, partition } = scope;
  await auditPairs(scope, findings);
  await auditOrders(scope, findings);
  await auditReports(scope, findings);
  await auditTradeNumbers(scope, findings);
  await auditUntold(scope, findings);
  const [row] = await sql<{ entries: string; reports: string; trades: string }[]>`
    SELECT (SELECT count(*) FROM journal WHERE stream = ${EVENTS_STREAM} AND partition = ${partition}) AS entries,
           (SELECT count(*) FROM executions WHERE partition = ${partition}) AS reports,
           (SELECT count(*) FROM trades WHERE partition = ${partition}) AS trades`;
  return { entries: Number(row?.entries), reports: Number(row?.reports), trades: Number(row?.trades) };
}

/** What is under way may be written in one stream and not yet in the other. */
function settledOf({ orders, events }: Scope): EntryId {
  return compareEntryIds(orders.settled, events.settled) < 0 ? orders.settled : events.settled;
}

interface Place {
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
}

const byPlace = {
  keyOf: ({ epoch, ms, seq }: Place) => `${epoch}/${ms}-${seq}`,
  timeOf: ({ ms }: Place) => Number(ms),
};

/** Entries with no events, and events of no entry. */
async function auditPairs(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept } = scope;
  const { ms, seq } = settledOf(scope);
  type Row = Place & { readonly commanded: boolean };
  const suspects = await suspectsOf<Row>(kept, {
    ...byPlace,
    ask({ sinceMs, after, limit }) {
      const journaled = (stream: number) => sql`
        SELECT epoch, ms, seq, true AS there FROM journal
        WHERE stream = ${stream} AND partition = ${partition} AND epoch > 0 AND ms BETWEEN ${sinceMs} AND ${ms}
          AND (ms, seq) <= (${ms}::bigint, ${seq}::bigint)`;
      return sql<Row[]>`
        SELECT epoch, ms, seq, command.there IS NOT NULL AS commanded
        FROM (${journaled(ORDERS_STREAM)}) AS command
        FULL JOIN (${journaled(EVENTS_STREAM)}) AS event USING (epoch, ms, seq)
        WHERE (command.there IS NULL OR event.there IS NULL) AND (ms, seq, epoch) > ${placeBehind(sql, after)}
        ORDER BY ms, seq, epoch LIMIT ${limit}`;
    },
    // What the log lost is told as that.
    unexplained: async (rows) => rows.filter((row) => !row.commanded || !isOffChain(scope, positionOf(row))),
  });
  for (const { ms, seq, commanded } of suspects) {
    const where = `partition ${partition}, entry ${ms}-${seq}`;
    if (commanded) findings.add("no events", `${where} is journaled, and its events are not`);
    else findings.add("events of no entry", `${where} is not journaled, and its events are`);
  }
}

function placeBehind(sql: Scope["sql"], after: Place | undefined) {
  return sql`(${after?.ms ?? "-1"}::bigint, ${after?.seq ?? "0"}::bigint, ${after?.epoch ?? 0}::smallint)`;
}

function positionOf({ epoch, ms, seq }: Place) {
  return { epoch, ms: Number(ms), seq: Number(seq) };
}

/** Orders that the engine never told of. */
async function auditOrders(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept } = scope;
  const { ms, seq } = settledOf(scope);
  const digits = orderIdPrefix(partition, { ms: 0, seq: 0, epoch: 0 }).slice(15, 18);
  type Row = { readonly order_id: string };
  const isLost = ({ order_id: id }: Row) => {
    const place = parseOrderId(id);
    return place !== undefined && isOffChain(scope, place);
  };
  const suspects = await suspectsOf<Row>(kept, {
    keyOf: ({ order_id: id }) => id,
    timeOf: ({ order_id: id }) => orderTime(id),
    ask: ({ sinceMs, after, limit }) => sql<Row[]>`
      SELECT order_id FROM orders LEFT JOIN order_states AS state USING (order_id)
      WHERE order_id >= ${firstOrderId(sinceMs)} AND order_id < ${firstOrderId(ms + 1)} AND state.ms IS NULL
        AND substr(order_id::text, 16, 3) = ${digits} AND order_id > ${after?.order_id ?? NO_ORDER}
        AND (order_id < ${firstOrderId(ms)} OR ('x' || substr(order_id::text, 25, 8))::bit(32)::bigint <= ${seq})
      ORDER BY order_id LIMIT ${limit}`,
    unexplained: (rows) =>
      withoutLetters(
        sql,
        rows.filter((row) => !isLost(row)),
        ({ order_id: id }) => id,
      ),
  });
  for (const { order_id: id } of suspects) findings.add("an order without a state", `order ${id}`);
}

/** What an account was told, in the order of the log. Where reports became dead letters, their numbers are missing. */
async function auditReports(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept, events } = scope;
  const { ms, seq } = events.settled;
  const rows = await sql<{ account: string; before: string; sequence: string; ms: string; seq: string }[]>`
    WITH told AS (
      SELECT account, sequence, epoch, ms, seq, index, lag(sequence) OVER log AS before, lag(epoch) OVER log AS before_epoch,
             lag(ms) OVER log AS before_ms, lag(seq) OVER log AS before_seq, lag(index) OVER log AS before_index
      FROM executions
      WHERE partition = ${partition} AND sequence > 0 AND ms BETWEEN ${kept.sinceMs} AND ${ms}
        AND (ms, seq) <= (${ms}::bigint, ${seq}::bigint)
      WINDOW log AS (PARTITION BY account ORDER BY epoch, ms, seq, index)
    )
    SELECT account, before, sequence, ms, seq FROM told
    WHERE sequence <> before + 1 AND NOT EXISTS (
      SELECT FROM dead_letters AS letter
      WHERE letter.stream = ${EVENTS_STREAM} AND letter.partition = ${partition} AND letter.state <> 'redriven'
        AND (letter.epoch, letter.ms, letter.seq, letter.index) > (before_epoch, before_ms, before_seq, before_index)
        AND (letter.epoch, letter.ms, letter.seq, letter.index) < (told.epoch, told.ms, told.seq, told.index)
    )
    ORDER BY account, epoch, ms, seq LIMIT ${REPORTED}`;
  for (const { account, before, sequence, ms, seq } of rows) {
    const place = `partition ${partition}, entry ${formatEntryId({ ms: Number(ms), seq: Number(seq) })}`;
    findings.add("a gap in an account's reports", `${place}: report ${sequence} of ${account} follows ${before}`);
  }
}

async function auditTradeNumbers(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept, events } = scope;
  const { ms, seq } = events.settled;
  type Row = Readonly<Record<"symbol" | "before" | "trade" | "from_ms" | "to_ms", string>>;
  const suspects = await suspectsOf<Row>(kept, {
    keyOf: ({ symbol, trade, to_ms: to }) => `${symbol} ${trade} ${to}`,
    timeOf: ({ from_ms: from }) => Number(from),
    ask: ({ sinceMs, after, limit }) => sql<Row[]>`
      WITH traded AS (
        SELECT symbol, trade, ms, lag(trade) OVER log AS before, lag(ms) OVER log AS before_ms
        FROM trades
        WHERE partition = ${partition} AND ms BETWEEN ${sinceMs} AND ${ms}
          AND (ms, seq) <= (${ms}::bigint, ${seq}::bigint)
        WINDOW log AS (PARTITION BY symbol ORDER BY trade, ms)
      )
      SELECT symbol, before, trade, before_ms AS from_ms, ms AS to_ms FROM traded
      WHERE trade <> before + 1
        AND (symbol, trade, ms) > (${after?.symbol ?? ""}::text, ${after?.trade ?? "0"}::bigint, ${after?.to_ms ?? "0"}::bigint)
      ORDER BY symbol, trade, ms LIMIT ${limit}`,
    unexplained: (rows) =>
      withoutTradeLetters(sql, rows, ({ symbol, from_ms: from, to_ms: to }) => ({
        ...{ symbol, fromMs: Number(from), toMs: Number(to) },
      })),
  });
  for (const { symbol, before, trade } of suspects) {
    const where = `partition ${partition}, trade ${trade} of ${symbol} follows ${before}`;
    findings.add("a gap in a symbol's trades", where);
  }
}

/** Reports and trades of what has no events: a worker writes them together with the receipt. Wherever they stand, and of any time. */
async function auditUntold({ sql, partition, kept }: Scope, findings: Findings): Promise<void> {
  type Row = Place & { readonly reports: string; readonly trades: string };
  const suspects = await suspectsOf<Row>(kept, {
    ...byPlace,
    ask: ({ sinceMs, after, limit }) => sql<Row[]>`
      SELECT epoch, ms, seq, count(*) FILTER (WHERE is_report) AS reports, count(*) FILTER (WHERE NOT is_report) AS trades
      FROM (
        SELECT epoch, ms, seq, true AS is_report FROM executions WHERE partition = ${partition} AND ms >= ${sinceMs}
        UNION ALL
        SELECT epoch, ms, seq, false FROM trades WHERE partition = ${partition} AND ms >= ${sinceMs}
      ) AS told
      WHERE NOT EXISTS (
        SELECT FROM journal AS event
        WHERE event.stream = ${EVENTS_STREAM} AND event.partition = ${partition} AND event.ms >= ${sinceMs}
          AND event.epoch = told.epoch AND event.ms = told.ms AND event.seq = told.seq
      ) AND (ms, seq, epoch) > ${placeBehind(sql, after)}
      GROUP BY epoch, ms, seq ORDER BY ms, seq, epoch LIMIT ${limit}`,
  });
  for (const { epoch, ms, seq, reports, trades } of suspects) {
    const where = `partition ${partition}, epoch ${epoch}, ${ms}-${seq}`;
    findings.add("a row of no event", `${where}: ${reports} reports and ${trades} trades, and no events are journaled`);
  }
}
