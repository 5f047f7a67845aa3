import { ORDER_ROWS } from "../consumers/order-rows.ts";
import { type EntryRecord, ORDERS_STREAM } from "../store/entry-record.ts";
import { type JournalEntry, readJournal } from "../store/journal.ts";
import { ORDERS } from "../store/order-table.ts";
import { firstOrderId, orderTime } from "../store/partitions.ts";
import { storedLines } from "../store/stored-lines.ts";
import type { Instruments } from "../stream/instrument.ts";
import { Partitioning } from "../stream/partition.ts";
import { PageSize } from "../stream/page-size.ts";
import {
  compareEntries,
  compareEntryIds,
  type EntryPosition,
  formatEntryId,
  orderIdAt,
  orderIdPrefix,
} from "../stream/position.ts";
import { voidedBy } from "../stream/voids.ts";
import { expectedRecord, toEntry } from "./expected.ts";
import type { Findings } from "./findings.ts";
import { KeyAudit } from "./key-audit.ts";
import { Letters } from "./letters.ts";
import { JOURNAL_PAGE } from "./pages.ts";
import type { Progress } from "./progress.ts";
import { compareRows } from "./row-comparison.ts";
import { isOffChain, type Scope } from "./scope.ts";
import { NO_ORDER, suspectsOf } from "./suspects.ts";

/** No command has this index: an entry has 500 at most. */
const BEYOND = 0xffff;

/** The newest definition of a symbol, and where it stands. */
interface Definition extends EntryPosition {
  readonly version: number;
  readonly index: number;
  readonly definition: Buffer;
}

export interface JournalFigures {
  readonly entries: number;
  readonly commands: number;
  readonly orders: number;
  readonly rows: number;
  readonly deadLetters: number;
  /** Idempotency keys that were looked up. */
  readonly keys: number;
  /** IDs of entries that commands in here void. */
  readonly voided: ReadonlySet<string>;
}

/**
 * I2, I3, I5: every order of the journal is a row as its command says, or a dead letter, and nothing else is a row; where Redis is
 * there, what its commands' ids stand for is their place.
 */
export async function auditJournal(
  scope: Scope,
  instruments: Instruments,
  findings: Findings,
  progress: Progress,
): Promise<JournalFigures> {
  const { sql, partition, kept, orders } = scope;
  const [total] = await sql<{ commands: string | null }[]>`
    SELECT sum(commands) AS commands FROM journal WHERE stream = ${ORDERS_STREAM} AND partition = ${partition}`;
  progress.begin(`partition ${partition}: orders of the journal`, Number(total?.commands ?? 0));
  const audit = new JournalAudit(scope, instruments, findings);
  const size = new PageSize(JOURNAL_PAGE);
  // At epoch 0 stands what is no entry of the log.
  let after: Pick<JournalEntry, "epoch" | "ms" | "seq"> = { epoch: 1, ms: 0, seq: 0 };
  for (;;) {
    const range = { stream: ORDERS_STREAM, partition, after, sinceMs: kept.sinceMs, limit: size.limit };
    const page = await readJournal(sql, range);
    const last = page.at(-1);
    if (last === undefined) break;
    size.adapt(page.map(({ payload }) => payload?.length ?? 0));
    after = last;
    const settled = page.filter((entry) => compareEntryIds(entry, orders.settled) <= 0);
    // A page of its own for each epoch, since ids are in the log's order within one only.
    for (const epoch of new Set(settled.map(({ epoch }) => epoch)))
      await audit.check(settled.filter((entry) => entry.epoch === epoch));
    progress.add(page.reduce((sum, { commands }) => sum + commands, 0));
  }
  await audit.conclude();
  progress.end();
  return audit;
}

class JournalAudit implements JournalFigures {
  entries = 0;
  commands = 0;
  orders = 0;
  rows = 0;
  deadLetters = 0;
  readonly voided = new Set<string>();
  readonly #scope: Scope;
  readonly #instruments: Instruments;
  readonly #partitioning: Partitioning;
  readonly #findings: Findings;
  readonly #keys: KeyAudit | undefined;
  /** By symbol. */
  readonly #definitions = new Map<string, Definition>();
  /** The newest entry that was checked; of what begins there no row was looked at. */
  #before: JournalEntry | undefined;
  /** What was looked at of each epoch: ids from the first one to the last. */
  readonly #stretches: { readonly place: string; readonly first: string; last: string }[] = [];

  constructor(scope: Scope, instruments: Instruments, findings: Findings) {
    this.#scope = scope;
    this.#instruments = instruments;
    this.#findings = findings;
    this.#partitioning = new Partitioning(scope.partitions);
    const { redis, head } = scope;
    if (redis !== undefined && head !== undefined) this.#keys = new KeyAudit(redis, scope, head, findings);
  }

  get keys(): number {
    return this.#keys?.checked ?? 0;
  }

  /** The next entries, all of one epoch. */
  async check(page: readonly JournalEntry[]): Promise<void> {
    const [first, last] = [page[0], page.at(-1)];
    if (first === undefined || last === undefined) return;
    const { sql, partition, kept } = this.#scope;
    const letters = await Letters.read(sql, ORDERS_STREAM, partition, first, last);
    const records = page.map((entry) => this.#expect(entry));
    const stored = await this.#stored(first, last);
    const figures = await compareRows(
      { table: ORDERS, records, stored, letters, stranger: "a row of no command" },
      kept,
      this.#findings,
    );
    this.rows += figures.rows;
    this.deadLetters += figures.deadLetters;
    for (const record of records) {
      for (const { index } of record.deadLetters) {
        if (letters.has(record.receipt, index)) this.deadLetters++;
        else this.#findings.add("neither row nor dead letter", `${this.#where(record.receipt)}, command ${index}`);
      }
    }
    for (const where of letters.altered(records)) this.#findings.add("a row is not what it must be", where);
    await this.#keys?.check(page);
  }

  /** What concerns the stretch as a whole. */
  async conclude(): Promise<void> {
    await this.#auditStrangers();
    await this.#auditDefinitions();
  }

  #expect(entry: JournalEntry): EntryRecord {
    const { partition } = this.#scope;
    const record = expectedRecord(ORDER_ROWS, toEntry(entry), { partition, instruments: this.#instruments });
    this.entries++;
    this.commands += record.receipt.commands;
    this.orders += record.orders.length;
    for (const id of voidedBy(record.receipt.payload ?? Buffer.alloc(0))) this.voided.add(id);
    if (!record.receipt.hash.equals(entry.hash) || record.receipt.commands !== entry.commands)
      this.#findings.add(
        "a receipt is not its entry's",
        `${this.#where(entry)}: the payload is not what its hash says`,
      );
    if (isOffChain(this.#scope, entry))
      this.#findings.add("the log went on without it", `${this.#where(entry)}, ${entry.commands} commands`);
    for (const { symbol, orderId } of record.orders) {
      if (this.#partitioning.of(symbol) !== partition)
        this.#findings.add("a symbol of another partition", `${symbol} in partition ${partition}: order ${orderId}`);
    }
    const { epoch, ms, seq } = entry;
    for (const { symbol, version, index, definition } of record.instruments) {
      if (version >= (this.#definitions.get(symbol)?.version ?? 0))
        this.#definitions.set(symbol, { version, epoch, ms, seq, index, definition });
    }
    return record;
  }

  /** The rows of this partition and epoch from the page before to the end of this one. */
  async #stored(first: JournalEntry, last: JournalEntry): Promise<string[]> {
    const { sql, partition } = this.#scope;
    const isNext = this.#before?.epoch === first.epoch;
    const from = orderIdAt(orderIdPrefix(partition, isNext ? this.#before! : first), isNext ? BEYOND : 0);
    const to = orderIdAt(orderIdPrefix(partition, last), BEYOND);
    this.#before = last;
    const place = from.slice(15, 23);
    const stretch = this.#stretches.at(-1);
    if (isNext && stretch !== undefined) stretch.last = to;
    else this.#stretches.push({ place, first: from, last: to });
    return await storedLines(
      sql,
      ORDERS,
      "orders WHERE order_id BETWEEN $1 AND $2 AND substr(order_id::text, 16, 8) = $3",
      [from, to, place],
    );
  }

  /** I3: rows whose ids name a place before, between or behind all that the journal has of this partition. */
  async #auditStrangers(): Promise<void> {
    const { sql, partition, kept, orders } = this.#scope;
    const digits = orderIdPrefix(partition, { epoch: 0, ms: 0, seq: 0 }).slice(15, 18);
    const known = this.#stretches.map(
      ({ place, first, last }) =>
        sql`(substr(order_id::text, 16, 8) = ${place} AND order_id BETWEEN ${first} AND ${last})`,
    );
    const isKnown = known.reduce((all, one) => sql`${all} OR ${one}`, sql`false`);
    const suspects = await suspectsOf<{ order_id: string }>(kept, {
      keyOf: ({ order_id: id }) => id,
      timeOf: ({ order_id: id }) => orderTime(id),
      ask: ({ sinceMs, after, limit }) => sql<{ order_id: string }[]>`
        SELECT order_id FROM orders
        WHERE order_id >= ${firstOrderId(sinceMs)} AND order_id < ${firstOrderId(orders.settled.ms)}
          AND order_id > ${after?.order_id ?? NO_ORDER} AND substr(order_id::text, 16, 3) = ${digits} AND NOT (${isKnown})
        ORDER BY order_id LIMIT ${limit}`,
    });
    for (const { order_id: id } of suspects) this.#findings.add("a row of no command", `orders, order_id ${id}`);
  }

  /** I5: the newest definition is what everybody reads. */
  async #auditDefinitions(): Promise<void> {
    const { sql, partition } = this.#scope;
    for (const [symbol, newest] of this.#definitions) {
      const [row] = await sql<DefinitionRow[]>`
        SELECT version, partition, epoch, ms, seq, index, definition FROM instruments WHERE symbol = ${symbol}`;
      const stored = row && { ...row, version: Number(row.version), ms: Number(row.ms), seq: Number(row.seq) };
      if (stored === undefined) {
        this.#complain(symbol, newest, "is missing");
        continue;
      }
      const isSame =
        stored.version === newest.version &&
        stored.definition.equals(newest.definition) &&
        stored.partition === partition &&
        stored.index === newest.index &&
        compareEntries(stored, newest) === 0;
      if (isSame || (await this.#isNewer(stored, newest))) continue;
      this.#complain(symbol, newest, `has version ${stored.version} of ${formatEntryId(stored)}`);
    }
  }

  /** Others may have come since; and what came before may have been of a day that was dropped. */
  async #isNewer(stored: Omit<Definition, "definition">, newest: Definition): Promise<boolean> {
    if (compareEntryIds(stored, this.#scope.orders.settled) > 0) return stored.version >= newest.version;
    return stored.version > newest.version && !(await this.#scope.kept.has(stored.ms));
  }

  #complain(symbol: string, { version, ...place }: Definition, words: string): void {
    const must = `must be version ${version} of ${formatEntryId(place)}, command ${place.index}`;
    const where = `partition ${this.#scope.partition}, ${symbol}`;
    this.#findings.add("an instrument is not its newest definition", `${where} ${words}, ${must}`);
  }

  #where(entry: { readonly ms: number; readonly seq: number }): string {
    return `partition ${this.#scope.partition}, entry ${formatEntryId(entry)}`;
  }
}

interface DefinitionRow {
  readonly version: string;
  readonly partition: number;
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly index: number;
  readonly definition: Buffer;
}
