import { hash } from "node:crypto";
import type postgres from "postgres";
import { type EntryRecord, EVENTS_STREAM, type LogPosition, type StreamNumber } from "../store/entry-record.ts";
import { orderTime } from "../store/partitions.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { decodeEvents } from "../stream/event-decoder.ts";
import { WireError, WireWriter } from "../stream/wire.ts";

/**
 * The dead letters of a stretch of a stream: what stands there is no row, and is not missing, unless it is redriven. They are read before the rows: one
 * that is redriven meanwhile may be neither otherwise. A fork is another entry's, which has no place of its own, and an orphan's is
 * in the log no more.
 */
export class Letters {
  readonly #letters: readonly StoredLetter[];
  readonly #places: ReadonlySet<string>;

  private constructor(letters: readonly StoredLetter[]) {
    this.#letters = letters;
    this.#places = new Set(letters.map((letter) => `${entryText(letter)}/${letter.index}`));
  }

  /** From one entry to another, both included. */
  static async read(
    sql: postgres.Sql,
    stream: StreamNumber,
    partition: number,
    from: LogPosition,
    to: LogPosition,
  ): Promise<Letters> {
    const rows = await sql<StoredLetter[]>`
      SELECT id, epoch, ms, seq, index, sha256(raw) AS hash FROM dead_letters
      WHERE stream = ${stream} AND partition = ${partition}
        AND (epoch, ms, seq) >= (${from.epoch}::smallint, ${from.ms}::bigint, ${from.seq}::bigint)
        AND (epoch, ms, seq) <= (${to.epoch}::smallint, ${to.ms}::bigint, ${to.seq}::bigint)
        AND kind NOT IN ('fork', 'orphaned') AND state <> 'redriven'`;
    return new Letters(rows);
  }

  /** Whether the command or event at that index is one, or the whole entry is. */
  has(entry: LogPosition, index: number): boolean {
    const text = entryText(entry);
    return this.#places.has(`${text}/${index}`) || this.#places.has(`${text}/-1`);
  }

  /** Which of them keep other bytes than these entries have there: such a letter cannot be redriven. */
  altered(records: readonly EntryRecord[]): string[] {
    if (this.#letters.length === 0) return [];
    const entries = new Map(records.map((record) => [entryText(record.receipt), record]));
    return this.#letters.flatMap((letter) => {
      const raw = entries.get(entryText(letter))?.raw(letter.index);
      if (raw === undefined || letter.hash.equals(hash("sha256", raw, "buffer"))) return [];
      const place = `of ${letter.ms}-${letter.seq}, ${letter.index < 0 ? "the whole entry" : `index ${letter.index}`}`;
      return [`dead_letters, id ${letter.id}, ${place}: its bytes are not those of the log`];
    });
  }
}

interface StoredLetter {
  readonly id: string;
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly index: number;
  /** SHA-256 of its bytes. */
  readonly hash: Buffer;
}

function entryText({ epoch, ms, seq }: { epoch: number; ms: number | string; seq: number | string }): string {
  return `${epoch}/${ms}-${seq}`;
}

/** How many entries of the partition are dead letters because the log lost them and went on. Nobody has put them away yet. */
export async function countOrphans(sql: postgres.Sql, partition: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::integer AS count FROM dead_letters
    WHERE partition = ${partition} AND kind = 'orphaned' AND state = 'open'`;
  return row?.count ?? 0;
}

/** Whether there is a dead letter of an entry of whatever epoch: a row that cannot be read, or an entry that was lost. */
export async function hasLetter(
  sql: postgres.Sql,
  stream: StreamNumber,
  partition: number,
  { ms, seq }: Pick<LogPosition, "ms" | "seq">,
): Promise<boolean> {
  const rows = await sql`
    SELECT FROM dead_letters
    WHERE stream = ${stream} AND partition = ${partition} AND ms = ${ms} AND seq = ${seq} AND state <> 'redriven' LIMIT 1`;
  return rows.length > 0;
}

/** Those rows of orders none of whose events is a dead letter: of the others the reports and the state lack something. */
export async function withoutLetters<Row>(
  sql: postgres.Sql,
  rows: readonly Row[],
  orderOf: (row: Row) => string,
): Promise<readonly Row[]> {
  const left = new Set(rows.map(orderOf));
  const sinceMs = rows.reduce((oldest, row) => Math.min(oldest, orderTime(orderOf(row))), Number.MAX_SAFE_INTEGER);
  for await (const { event } of letterEvents(sql, sinceMs, Number.MAX_SAFE_INTEGER)) {
    left.delete(event.orderId);
    left.delete(event.otherOrderId);
    if (left.size === 0) return [];
  }
  return rows.filter((row) => left.has(orderOf(row)));
}

/** What lies between two trades of a symbol, both included. */
export interface TradeSpan {
  readonly symbol: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Those rows in whose time no event of a trade of their symbol is a dead letter. */
export async function withoutTradeLetters<Row>(
  sql: postgres.Sql,
  rows: readonly Row[],
  spanOf: (row: Row) => TradeSpan,
): Promise<readonly Row[]> {
  const left = new Map<string, Map<Row, TradeSpan>>();
  let [fromMs, toMs] = [Number.MAX_SAFE_INTEGER, 0];
  for (const row of rows) {
    const span = spanOf(row);
    const spans = left.get(span.symbol) ?? new Map<Row, TradeSpan>();
    left.set(span.symbol, spans.set(row, span));
    [fromMs, toMs] = [Math.min(fromMs, span.fromMs), Math.max(toMs, span.toMs)];
  }
  for await (const { ms, event } of letterEvents(sql, fromMs, toMs)) {
    if (event.trade === 0) continue;
    const spans = left.get(event.symbol);
    for (const [row, span] of spans ?? []) if (span.fromMs <= ms && ms <= span.toMs) spans?.delete(row);
  }
  return rows.filter((row) => left.get(spanOf(row).symbol)?.has(row) === true);
}

/** So many are read at once; one holds an event, or a whole entry. */
const PAGE = 100;

/** The events of that time that are dead letters. */
async function* letterEvents(
  sql: postgres.Sql,
  fromMs: number,
  toMs: number,
): AsyncGenerator<{ readonly ms: number; readonly event: EngineEvent }> {
  for (let after = "0"; ;) {
    const rows = await sql<{ id: string; ms: string; index: number; raw: Buffer }[]>`
      SELECT id, ms, index, raw FROM dead_letters
      WHERE stream = ${EVENTS_STREAM} AND ms BETWEEN ${fromMs} AND ${toMs} AND state <> 'redriven' AND id > ${after}
      ORDER BY id LIMIT ${PAGE}`;
    for (const { ms, index, raw } of rows) for (const event of eventsOf(index, raw)) yield { ms: Number(ms), event };
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return;
    after = last.id;
  }
}

function eventsOf(index: number, raw: Buffer): readonly EngineEvent[] {
  const batch = new WireWriter(raw.length + 16);
  if (index >= 0) batch.header(3, raw.length); // EventBatch.events
  try {
    return decodeEvents(Buffer.concat([batch.bytes(), raw]));
  } catch (error) {
    if (error instanceof WireError) return [];
    throw error;
  }
}
