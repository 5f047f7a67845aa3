import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { firstOrderId } from "../store/partitions.ts";
import { compareEntryIds, type EntryId, formatEntryId, orderIdPrefix, parseOrderId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { hasLetterOfOrder, hasLetterOfTrade } from "./letters.ts";
import { isOffChain, type Scope } from "./scope.ts";

/** Of each question so many answers are told. */
const REPORTED = 100;

export interface EventFigures {
  readonly entries: number;
  readonly reports: number;
  readonly trades: number;
}

/**
 * I8, I9: every journaled entry has its events and nothing else has, every order has a state, and accounts' reports and symbols'
 * trades are numbered without a gap; up to where both streams are written. Each is one statement of Postgres.
 */
export async function auditEvents(scope: Scope, findings: Findings): Promise<EventFigures> {
  const { sql, partition } = scope;
  await auditPairs(scope, findings);
  await auditOrders(scope, findings);
  await auditReports(scope, findings);
  await auditTradeNumbers(scope, findings);
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

/** Entries with no events, and events of no entry. */
async function auditPairs(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept } = scope;
  const { ms, seq } = settledOf(scope);
  const journaled = (stream: number) => sql`
    SELECT epoch, ms, seq, true AS there FROM journal
    WHERE stream = ${stream} AND partition = ${partition} AND epoch > 0 AND ms BETWEEN ${kept.sinceMs} AND ${ms}
      AND (ms, seq) <= (${ms}::bigint, ${seq}::bigint)`;
  const rows = await sql<{ epoch: number; ms: string; seq: string; commanded: boolean }[]>`
    SELECT epoch, ms, seq, command.there IS NOT NULL AS commanded
    FROM (${journaled(ORDERS_STREAM)}) AS command FULL JOIN (${journaled(EVENTS_STREAM)}) AS event USING (epoch, ms, seq)
    WHERE command.there IS NULL OR event.there IS NULL ORDER BY ms, seq LIMIT ${REPORTED}`;
  for (const { epoch, ms, seq, commanded } of rows) {
    const entry = { epoch, ms: Number(ms), seq: Number(seq) };
    // What the log lost is told as that.
    if ((commanded && isOffChain(scope, entry)) || !(await kept.has(entry.ms))) continue;
    const where = `partition ${partition}, entry ${ms}-${seq}`;
    if (commanded) findings.add("no events", `${where} is journaled, and its events are not`);
    else findings.add("events of no entry", `${where} is not journaled, and its events are`);
  }
}

/** Orders that the engine never told of. */
async function auditOrders(scope: Scope, findings: Findings): Promise<void> {
  const { sql, partition, kept } = scope;
  const { ms, seq } = settledOf(scope);
  const digits = orderIdPrefix(partition, { ms: 0, seq: 0, epoch: 0 }).slice(15, 18);
  const rows = await sql<{ order_id: string }[]>`
    SELECT order_id FROM orders LEFT JOIN order_states AS state USING (order_id)
    WHERE order_id >= ${firstOrderId(kept.sinceMs)} AND order_id < ${firstOrderId(ms + 1)} AND state.ms IS NULL
      AND substr(order_id::text, 16, 3) = ${digits}
      AND (order_id < ${firstOrderId(ms)} OR ('x' || substr(order_id::text, 25, 8))::bit(32)::bigint <= ${seq})
    LIMIT ${REPORTED}`;
  for (const { order_id: id } of rows) {
    const place = parseOrderId(id);
    const isLost = place !== undefined && isOffChain(scope, place);
    if (!isLost && !(await hasLetterOfOrder(sql, id))) findings.add("an order without a state", `order ${id}`);
  }
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
  const rows = await sql<{ symbol: string; before: string; trade: string; from_ms: string; to_ms: string }[]>`
    WITH traded AS (
      SELECT symbol, trade, ms, lag(trade) OVER log AS before, lag(ms) OVER log AS before_ms
      FROM trades
      WHERE partition = ${partition} AND ms BETWEEN ${kept.sinceMs} AND ${ms}
        AND (ms, seq) <= (${ms}::bigint, ${seq}::bigint)
      WINDOW log AS (PARTITION BY symbol ORDER BY trade, ms)
    )
    SELECT symbol, before, trade, before_ms AS from_ms, ms AS to_ms FROM traded
    WHERE trade <> before + 1 ORDER BY symbol, trade LIMIT ${REPORTED}`;
  for (const { symbol, before, trade, from_ms: from, to_ms: to } of rows) {
    if (await hasLetterOfTrade(sql, symbol, Number(from), Number(to))) continue;
    const where = `partition ${partition}, trade ${trade} of ${symbol} follows ${before}`;
    findings.add("a gap in a symbol's trades", where);
  }
}
