import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { JournalEntry } from "../store/journal.ts";
import { firstOrderId, orderTime } from "../store/partitions.ts";
import { MAX_CLOCK_AHEAD_MS } from "../stream/append.ts";
import { decodeBatch, keyOfLogged } from "../stream/logged-command.ts";
import type { Head } from "../stream/head.ts";
import { formatEntryId, formatOrderId } from "../stream/position.ts";
import { decodeSeen, type Seen } from "../stream/seen.ts";
import { WireError } from "../stream/wire.ts";
import type { Findings } from "./findings.ts";
import { withoutLetters } from "./letters.ts";
import { isOffChain, sameHead, type Scope, settledEvents, type Tables } from "./scope.ts";
import { NO_ORDER, REPORTED, suspectsOf } from "./suspects.ts";

/** A clock that was ahead by less than this, and set back, has given entries times beyond a turn of the generation. */
const CLOCK_MS = MAX_CLOCK_AHEAD_MS;
/** Keys that are asked for at once: under a millisecond of Redis' time. */
const FIELDS = 1_000;

interface Wanted {
  readonly field: Buffer;
  readonly entry: JournalEntry;
  readonly index: number;
  readonly payloadHash: string;
}

/**
 * I2: the idempotency key of every command, as far back as Redis recognises ids, stands for that command's place and payload. So no
 * id was taken twice in that time, and one that is sent again gets its first answer.
 */
export class KeyAudit {
  readonly #redis: Redis;
  readonly #scope: Scope;
  readonly #findings: Findings;
  #head: Head;
  checked = 0;

  constructor(redis: Redis, scope: Scope, head: Head, findings: Findings) {
    this.#redis = redis;
    this.#scope = scope;
    this.#head = head;
    this.#findings = findings;
  }

  async check(page: readonly JournalEntry[]): Promise<void> {
    const wanted = page.flatMap((entry) => (this.#isRecognised(entry) ? commandsOf(entry) : []));
    if (wanted.length === 0) return;
    let found = await this.#find(wanted);
    if (found.includes(null)) {
      // The generation may have turned: then what is older may be gone.
      this.#head = await sameHead(this.#redis, this.#scope);
      found = await this.#find(wanted);
    }
    for (const [i, { entry, index, payloadHash }] of wanted.entries()) {
      const seen = found[i];
      this.checked++;
      const where = `partition ${this.#scope.partition}, entry ${formatEntryId(entry)}, command ${index}`;
      if (seen === undefined || seen === null) {
        if (this.#isRecognised(entry)) this.#findings.add("an idempotency key is missing", where);
      } else if (!isPlace(seen, entry, index)) {
        const first = formatOrderId({ ...seen, partition: this.#scope.partition });
        this.#findings.add("an id was taken twice", `${where}: its id stands for ${first}`);
      } else if (seen.payloadHash !== payloadHash) {
        this.#findings.add("an id was taken twice", `${where}: its id stands for another payload`);
      }
    }
  }

  /** What the log lost has lost its key, too. */
  #isRecognised(entry: JournalEntry): boolean {
    return entry.ms > this.#head.recognisedSince + CLOCK_MS && !isOffChain(this.#scope, entry);
  }

  async #find(wanted: readonly Wanted[]): Promise<(Seen | null)[]> {
    const { keys } = this.#scope;
    const { generation } = this.#head;
    const found: (Seen | null)[] = [];
    for (let from = 0; from < wanted.length; from += FIELDS) {
      const fields = wanted.slice(from, from + FIELDS).map(({ field }) => field);
      const [current, previous] = await Promise.all([
        this.#redis.hmgetBuffer(keys.seen(generation), ...fields),
        this.#redis.hmgetBuffer(keys.seen(generation - 1), ...fields),
      ]);
      for (let i = 0; i < fields.length; i++) {
        const value = current[i] ?? previous[i] ?? null;
        found.push(value && decodeSeen(value));
      }
    }
    return found;
  }
}

function commandsOf(entry: JournalEntry): Wanted[] {
  try {
    return decodeBatch(entry.payload ?? Buffer.alloc(0)).flatMap((command, index) => {
      const key = command.kind === "undecodable" ? undefined : keyOfLogged(command);
      if (key === undefined || command.kind === "undecodable") return [];
      return [{ field: Buffer.from(key, "latin1"), entry, index, payloadHash: command.payloadHash }];
    });
  } catch (error) {
    if (error instanceof WireError) return []; // a dead letter, which has no keys
    throw error;
  }
}

function isPlace(seen: Seen, entry: JournalEntry, index: number): boolean {
  return seen.epoch === entry.epoch && seen.ms === entry.ms && seen.seq === entry.seq && seen.index === index;
}

/**
 * I2, I3: of all orders of one id that the engine took, each had ended before the next one came, however long ago; and every id of
 * an order names a partition and an epoch.
 */
export async function auditIds(tables: Tables, partitions: number, findings: Findings): Promise<void> {
  await auditTaken(tables, findings);
  const { sql, kept } = tables;
  const strange = await sql<{ order_id: string }[]>`
    SELECT order_id FROM orders
    WHERE order_id >= ${firstOrderId(kept.sinceMs)} AND NOT (
      ${digits(sql, 13, 1)} = 'x7' AND ${digits(sql, 14, 3)}::bit(12)::integer < ${partitions}
      AND ${digits(sql, 17, 1)} IN ('x8', 'x9', 'xa', 'xb') AND ${digits(sql, 17, 4)} <> 'x8000'
    )
    LIMIT ${REPORTED}`;
  for (const { order_id: id } of strange) findings.add("an id that is no place in the log", `orders, order_id ${id}`);
}

/** Of an order's id, as hexadecimal digits. */
function digits(sql: postgres.Sql, from: number, count: number) {
  return sql`('x' || substr(replace(order_id::text, '-', ''), ${from}, ${count}))`;
}

interface Taken {
  readonly order_id: string;
  /** The one that had its id before it. */
  readonly before: string;
  readonly account: string;
  readonly symbol: string;
  readonly id: string;
}

/** Of orders before which all events are written: else the end of the one before may be under way. */
async function auditTaken({ sql, scopes, kept }: Tables, findings: Findings): Promise<void> {
  const suspects = await suspectsOf<Taken>(kept, {
    keyOf: ({ order_id: id }) => id,
    timeOf: ({ before }) => orderTime(before),
    ask: ({ sinceMs, after, limit }) => sql<Taken[]>`
      WITH several AS (
        SELECT client_key FROM orders WHERE order_id >= ${firstOrderId(sinceMs)} GROUP BY client_key HAVING count(*) > 1
      ), taken AS (
        SELECT order_id, orders.account, orders.symbol, client_order_id AS id, open, ms, seq,
               ${digits(sql, 1, 12)}::bit(48)::bigint AS born_ms, ${digits(sql, 21, 8)}::bit(32)::bigint AS born_seq,
               ${digits(sql, 14, 3)}::bit(12)::integer AS partition
        FROM orders JOIN several USING (client_key) JOIN order_states USING (order_id)
        WHERE order_id >= ${firstOrderId(sinceMs)} AND status <> 'REJECTED'
      ), following AS (
        SELECT taken.*, lag(order_id) OVER log AS before, lag(open) OVER log AS before_open, lag(ms) OVER log AS before_ms,
               lag(seq) OVER log AS before_seq
        FROM taken JOIN ${settledEvents(sql, scopes)} USING (partition)
        WHERE (born_ms, born_seq) <= (until_ms, until_seq)
        WINDOW log AS (PARTITION BY account, symbol, id ORDER BY order_id)
      )
      SELECT order_id, before, account, symbol, id FROM following
      WHERE before IS NOT NULL AND (before_open OR (before_ms, before_seq) > (born_ms, born_seq))
        AND order_id > ${after?.order_id ?? NO_ORDER}
      ORDER BY order_id LIMIT ${limit}`,
    // The end of the one before may be a dead letter.
    unexplained: (rows) => withoutLetters(sql, rows, ({ before }) => before),
  });
  for (const { order_id: order, before, account, symbol, id } of suspects) {
    const where = `${account} ${symbol} ${id}: order ${order}`;
    findings.add("a live order's id was taken again", `${where}, while ${before} was open`);
  }
}
