import type postgres from "postgres";
import { ORDERS_STREAM, type StreamNumber } from "../store/entry-record.ts";
import { findGaps, type JournalEntry, readJournal } from "../store/journal.ts";
import { decodeBatch } from "../stream/command.ts";
import { type EntryId, formatEntryId, orderIdAt, orderIdPrefix } from "../stream/position.ts";
import type { Findings } from "./findings.ts";

/** Entries of a page: 500 orders each at most, so 100,000 ids are at hand at once. */
const PAGE = 200;
const REPORTED = 100;
/** The index of a dead letter that stands for all of its entry. */
const WHOLE = -1;

export interface JournalFigures {
  readonly entries: number;
  readonly orders: number;
  readonly rows: number;
  readonly deadLetters: number;
}

/**
 * I4, I5: the chain of a partition's journal is unbroken, and every order in it is a row or a dead letter, and nothing
 * else is a row.
 */
export async function auditJournal(
  sql: postgres.Sql,
  partition: number,
  finished: EntryId,
  findings: Findings,
  progress: (entries: number) => void,
): Promise<JournalFigures> {
  await auditChain(sql, ORDERS_STREAM, partition, finished, findings);
  const figures = { entries: 0, orders: 0, rows: 0, deadLetters: 0 };
  let after: JournalEntry | undefined;
  for (;;) {
    const page = await readJournal(sql, { stream: ORDERS_STREAM, partition, after, limit: PAGE });
    if (page.length === 0) break;
    const letters = await deadLettersOf(sql, partition, page);
    const expected = new Set<string>();
    for (const entry of page) {
      figures.entries++;
      for (const index of submitsOf(entry)) {
        figures.orders++;
        const place = `${entry.epoch}/${formatEntryId(entry)}`;
        const dead = letters.has(`${place}/${index}`) || letters.has(`${place}/${WHOLE}`);
        if (dead) figures.deadLetters++;
        else expected.add(orderIdAt(orderIdPrefix(partition, entry), index));
      }
    }
    const rows = await rowsOf(sql, partition, page);
    figures.rows += rows.size;
    for (const id of expected)
      if (!rows.has(id)) findings.add("journaled, but no row and no dead letter", `order ${id}`);
    for (const id of rows) if (!expected.has(id)) findings.add("a row that no journaled command made", `order ${id}`);
    after = page.at(-1);
    progress(figures.entries);
  }
  return figures;
}

/** I4: each entry's predecessor is in the journal, up to where all is written. Returns the first one's time, if there is one. */
export async function auditChain(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  finished: EntryId,
  findings: Findings,
): Promise<number | undefined> {
  const [oldest] = await sql<{ ms: string | null }[]>`
    SELECT min(ms) AS ms FROM journal WHERE stream = ${stream} AND partition = ${partition} AND epoch > 0`;
  if (oldest === undefined || oldest.ms === null) return undefined;
  const oldestMs = Number(oldest.ms);
  for (const gap of await findGaps(sql, {
    ...{ stream, partition, fromMs: 0, toMs: finished.ms - 1, oldestMs, limit: REPORTED },
  })) {
    const previous = formatEntryId({ ms: gap.prevMs, seq: gap.prevSeq });
    const entry = `${stream === ORDERS_STREAM ? "entry" : "events"} ${formatEntryId(gap)}`;
    findings.add("gap in the journal", `partition ${partition}, ${entry}: ${previous} before it is missing`);
  }
  return oldestMs;
}

/** The indexes of the orders in an entry; none where it cannot be taken apart, which is a dead letter of its own. */
function submitsOf(entry: JournalEntry): number[] {
  try {
    const commands = decodeBatch(entry.payload ?? Buffer.alloc(0));
    return commands.flatMap(({ kind }, index) => (kind === "submit" ? [index] : []));
  } catch {
    return [];
  }
}

/** The ids of the rows that belong to the entries of a page. */
async function rowsOf(sql: postgres.Sql, partition: number, page: readonly JournalEntry[]): Promise<Set<string>> {
  const prefixes = new Set(page.map((entry) => orderIdPrefix(partition, entry)));
  const times = page.map(({ ms }) => ms);
  const first = orderIdAt(orderIdPrefix(0, { ms: Math.min(...times), seq: 0, epoch: 0 }), 0);
  const last = orderIdAt(orderIdPrefix(4095, { ms: Math.max(...times), seq: 0xffff_ffff, epoch: 0x3fff }), 0xffff);
  const ids = new Set<string>();
  const rows = sql<{ order_id: string }[]>`SELECT order_id FROM orders WHERE order_id BETWEEN ${first} AND ${last}`;
  for await (const chunk of rows.cursor(10_000)) {
    for (const { order_id: id } of chunk) if (prefixes.has(id.slice(0, -4))) ids.add(id);
  }
  return ids;
}

/** Places whose rows are not written: what was redriven is. A fork is another entry's, which has no place of its own. */
async function deadLettersOf(
  sql: postgres.Sql,
  partition: number,
  page: readonly JournalEntry[],
): Promise<Set<string>> {
  const times = page.map(({ ms }) => ms);
  const rows = await sql<{ epoch: number; ms: string; seq: string; index: number }[]>`
    SELECT epoch, ms, seq, index FROM dead_letters
    WHERE stream = ${ORDERS_STREAM} AND partition = ${partition} AND ms BETWEEN ${Math.min(...times)} AND ${Math.max(...times)}
      AND state <> 'redriven' AND kind <> 'fork'`;
  return new Set(rows.map(({ epoch, ms, seq, index }) => `${epoch}/${ms}-${seq}/${index}`));
}
