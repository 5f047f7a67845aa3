import { type EntryRecord, EVENTS_STREAM } from "../store/entry-record.ts";
import { EXECUTIONS } from "../store/execution-table.ts";
import { plainArray, textArray } from "../store/parameters.ts";
import { storedLines } from "../store/stored-lines.ts";
import { TRADES } from "../store/trade-table.ts";
import { type EntryPosition, formatEntryId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { Letters } from "./letters.ts";
import { compareRows } from "./row-comparison.ts";
import type { Scope } from "./scope.ts";

/** Entries, rows and dead letters that are compared at once; an entry more may come on top, of 50,000 events at most. */
const WAITING = 20_000;

/**
 * I5: the reports and trades of event entries are the rows that stand there.
 *
 * Always true: of all entries up to `#compared` every row was compared; the others that were given wait: at most some 70,000 entries,
 * rows and dead letters.
 */
export class EventRows {
  rows = 0;
  deadLetters = 0;
  readonly #scope: Scope;
  readonly #findings: Findings;
  #records: EntryRecord[] = [];
  #waiting = 0;
  #compared: EntryPosition = { epoch: 0, ms: 0, seq: 0 };

  constructor(scope: Scope, findings: Findings) {
    this.#scope = scope;
    this.#findings = findings;
  }

  /** What is given next follows this entry. */
  begin(behind: EntryPosition): void {
    const { epoch, ms, seq } = behind;
    this.#compared = { epoch, ms, seq };
  }

  async add(record: EntryRecord): Promise<void> {
    this.#records.push(record);
    this.#waiting += 1 + record.executions.length + record.deadLetters.length;
    if (this.#waiting >= WAITING) await this.flush();
  }

  /** Compares what waits. */
  async flush(): Promise<void> {
    const records = this.#records;
    const last = records.at(-1)?.receipt;
    if (last === undefined) return;
    const { sql, partition, kept } = this.#scope;
    const first = records[0]!.receipt;
    const letters = await Letters.read(sql, EVENTS_STREAM, partition, first, last);
    const { epoch, ms, seq } = this.#compared;
    const executions = await storedLines(
      sql,
      EXECUTIONS,
      `executions WHERE partition = $1 AND ms BETWEEN $2 AND $3
         AND (epoch, ms, seq) > ($4::smallint, $5::bigint, $6::bigint)
         AND (epoch, ms, seq) <= ($7::smallint, $8::bigint, $9::bigint)`,
      [partition, Math.max(ms, kept.sinceMs), last.ms, epoch, ms, seq, last.epoch, last.ms, last.seq],
    );
    const common = { records, letters, stranger: "a row of no event" } as const;
    this.#count(await compareRows({ ...common, table: EXECUTIONS, stored: executions }, kept, this.#findings));
    const trades = await this.#trades(records);
    this.#count(await compareRows({ ...common, table: TRADES, stored: trades }, kept, this.#findings));
    for (const { receipt, deadLetters } of records) {
      for (const { index } of deadLetters) {
        const where = `partition ${partition}, events ${formatEntryId(receipt)}, event ${index}`;
        if (letters.has(receipt, index)) this.deadLetters++;
        else this.#findings.add("neither row nor dead letter", where);
      }
    }
    for (const where of letters.altered(records)) this.#findings.add("a row is not what it must be", where);
    this.#compared = last;
    this.#records = [];
    this.#waiting = 0;
  }

  /** Those of the numbers that the entries have, symbol by symbol: they follow each other. */
  async #trades(records: readonly EntryRecord[]): Promise<string[]> {
    const numbers = new Map<string, { from: number; to: number }>();
    for (const { trades } of records) {
      for (const { symbol, trade } of trades) {
        const range = numbers.get(symbol);
        if (range === undefined) numbers.set(symbol, { from: trade, to: trade });
        else range.to = trade;
      }
    }
    if (numbers.size === 0) return [];
    const ranges = [...numbers.values()];
    return await storedLines(
      this.#scope.sql,
      TRADES,
      // Kept apart by OFFSET 0: one look into the key for each symbol, whatever the statistics say.
      `unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted (wanted_symbol, from_trade, to_trade)
       CROSS JOIN LATERAL (
         SELECT * FROM trades
         WHERE symbol = wanted_symbol AND trade BETWEEN from_trade AND to_trade AND ms BETWEEN $4 AND $5 OFFSET 0
       ) AS trades`,
      [
        textArray([...numbers.keys()]),
        plainArray(ranges.map(({ from }) => from)),
        plainArray(ranges.map(({ to }) => to)),
        ...[records[0]!.receipt.ms, records.at(-1)!.receipt.ms],
      ],
    );
  }

  #count({ rows, deadLetters }: { readonly rows: number; readonly deadLetters: number }): void {
    this.rows += rows;
    this.deadLetters += deadLetters;
  }
}
