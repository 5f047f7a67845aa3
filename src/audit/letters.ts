import type postgres from "postgres";
import { EVENTS_STREAM, type LogPosition, type StreamNumber } from "../store/entry-record.ts";
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
  readonly #places: ReadonlySet<string>;

  private constructor(places: ReadonlySet<string>) {
    this.#places = places;
  }

  /** From one entry to another, both included. */
  static async read(
    sql: postgres.Sql,
    stream: StreamNumber,
    partition: number,
    from: LogPosition,
    to: LogPosition,
  ): Promise<Letters> {
    const rows = await sql<{ epoch: number; ms: string; seq: string; index: number }[]>`
      SELECT epoch, ms, seq, index FROM dead_letters
      WHERE stream = ${stream} AND partition = ${partition}
        AND (epoch, ms, seq) >= (${from.epoch}::smallint, ${from.ms}::bigint, ${from.seq}::bigint)
        AND (epoch, ms, seq) <= (${to.epoch}::smallint, ${to.ms}::bigint, ${to.seq}::bigint)
        AND kind NOT IN ('fork', 'orphaned') AND state <> 'redriven'`;
    return new Letters(new Set(rows.map(({ epoch, ms, seq, index }) => `${epoch}/${ms}-${seq}/${index}`)));
  }

  /** Whether the command or event at that index is one, or the whole entry is. */
  has({ epoch, ms, seq }: LogPosition, index: number): boolean {
    const entry = `${epoch}/${ms}-${seq}`;
    return this.#places.has(`${entry}/${index}`) || this.#places.has(`${entry}/-1`);
  }
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

/** Whether an event of the order is a dead letter: then its reports and its state lack something. For suspects, so seldom asked. */
export async function hasLetterOfOrder(sql: postgres.Sql, orderId: string): Promise<boolean> {
  const isIts = (event: EngineEvent) => event.orderId === orderId || event.otherOrderId === orderId;
  return hasLetterOf(sql, orderTime(orderId), Number.MAX_SAFE_INTEGER, isIts);
}

/** Whether an event of a trade of the symbol is one, of that time. */
export async function hasLetterOfTrade(
  sql: postgres.Sql,
  symbol: string,
  fromMs: number,
  toMs: number,
): Promise<boolean> {
  return hasLetterOf(sql, fromMs, toMs, (event) => event.symbol === symbol && event.trade > 0);
}

/** So many are read at once; one holds an event, or a whole entry. */
const PAGE = 100;

async function hasLetterOf(
  sql: postgres.Sql,
  fromMs: number,
  toMs: number,
  isIts: (event: EngineEvent) => boolean,
): Promise<boolean> {
  for (let after = "0"; ;) {
    const rows = await sql<{ id: string; index: number; raw: Buffer }[]>`
      SELECT id, index, raw FROM dead_letters
      WHERE stream = ${EVENTS_STREAM} AND ms BETWEEN ${fromMs} AND ${toMs} AND state <> 'redriven' AND id > ${after}
      ORDER BY id LIMIT ${PAGE}`;
    for (const { index, raw } of rows) if (eventsOf(index, raw).some(isIts)) return true;
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return false;
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
