import type { Redis } from "ioredis";
import type postgres from "postgres";
import { messageOf } from "../runtime/errors.ts";
import { connect } from "../store/connection.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { partitionCount } from "../store/settings.ts";
import type { Instruments } from "../stream/instrument.ts";
import { PARTITION_COUNT_KEY } from "../stream/keys.ts";
import { compareEntryIds, START } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { auditAcknowledged } from "./acknowledged-audit.ts";
import { auditEvents } from "./event-audit.ts";
import { storedInstruments } from "./expected.ts";
import { Findings, type Verdict } from "./findings.ts";
import { auditGaps, auditJournal, auditStrange, type JournalFigures } from "./journal-audit.ts";
import { auditIds } from "./key-audit.ts";
import { countOrphans } from "./letters.ts";
import { auditLog, type LogFigures } from "./log-audit.ts";
import { Progress } from "./progress.ts";
import { auditReplay } from "./replay-audit.ts";
import { number, verdictLines } from "./report.ts";
import { Kept, sameHead, type Scope, takeScope } from "./scope.ts";
import { auditStates } from "./state-audit.ts";

export interface AuditOptions {
  /** A client's own record of what it was answered. */
  readonly acknowledged?: string;
  /** Lines of JSON: the figures of each partition, the verdicts, the end. */
  readonly json?: true;
  /** Where the lines go; standard output without it. */
  readonly print?: (line: string) => void;
}

export interface AuditOutcome {
  readonly findings: number;
  /** Why not all could be looked at that a whole system has; undefined where it could. */
  readonly incomplete: string | undefined;
  readonly verdicts: readonly Verdict[];
}

const REDIS_TIMEOUT_MS = 10_000;
/** What compares whole tables takes some 6 µs a report, statement by statement: two hours are a billion of them. */
const STATEMENT_TIMEOUT_MS = 2 * 3_600_000;

/**
 * Proves I1 to I9 (docs/invariants.md) on what stands in Redis and Postgres, whether the roles run or not. Works in pages, or
 * within Postgres; the replay holds the open orders: so in bounded memory. Changes nothing.
 *
 * Where Redis does not answer, or has no log, it looks at what Postgres has, and says what it cannot prove. Throws where Postgres does
 * not answer, and where the log is opened anew meanwhile.
 */
export async function audit({
  redisUrl,
  databaseUrl,
  ...options
}: AuditOptions & { readonly redisUrl: string; readonly databaseUrl: string }): Promise<AuditOutcome> {
  const redis = connectRedis(redisUrl, { name: "penstock-audit", socketTimeoutMs: REDIS_TIMEOUT_MS });
  const sql = connect(databaseUrl, { max: 2, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  try {
    return await auditServers(redis, sql, options);
  } finally {
    redis.disconnect();
    await sql.end({ timeout: 1 });
  }
}

/** The same over connections of the caller's. */
export async function auditServers(redis: Redis, sql: postgres.Sql, options: AuditOptions): Promise<AuditOutcome> {
  const progress = new Progress(process.stderr);
  try {
    return await new Audit(options, sql, progress).run(redis);
  } finally {
    progress.end();
  }
}

class Audit {
  readonly #options: AuditOptions;
  readonly #sql: postgres.Sql;
  readonly #progress: Progress;
  readonly #findings = new Findings();
  #incomplete: string | undefined;
  /** Sums over the partitions. */
  #journaled = { entries: 0, orders: 0, rows: 0, deadLetters: 0, keys: 0 };
  #replayed = { entries: 0, rows: 0, deadLetters: 0 };
  #hasEngine = false;

  constructor(options: AuditOptions, sql: postgres.Sql, progress: Progress) {
    this.#options = options;
    this.#sql = sql;
    this.#progress = progress;
  }

  async run(connection: Redis): Promise<AuditOutcome> {
    const redis = await this.#reach(connection);
    const recorded = (await redis?.get(PARTITION_COUNT_KEY)) ?? (await partitionCount(this.#sql));
    const partitions = Number(recorded ?? 0);
    if (partitions === 0) this.#say("nothing was ever started here: no partitions are recorded");
    const kept = await Kept.read(this.#sql);
    const scopes: Scope[] = [];
    for (let partition = 0; partition < partitions; partition++)
      scopes.push(await takeScope(redis, this.#sql, { partition, partitions, kept }));
    const instruments = await storedInstruments(this.#sql);
    for (const scope of scopes) await this.#auditPartition(scope, instruments);
    if (partitions > 0) await this.#auditTables(partitions, kept);
    const { acknowledged } = this.#options;
    if (acknowledged === undefined) {
      this.#findings.unproved("there is no record of a client (--acknowledged FILE)", "I1");
    } else if (scopes.length > 0) {
      this.#progress.begin("the clients' record");
      await auditAcknowledged(acknowledged, scopes, this.#findings);
      this.#progress.end();
    }
    for (const scope of scopes) if (scope.redis !== undefined) await sameHead(scope.redis, scope);
    this.#sumUp();
    return this.#conclude();
  }

  /** The connection, where there is somebody at its other end. */
  async #reach(redis: Redis): Promise<Redis | undefined> {
    let trouble: unknown;
    const note = (error: Error): void => void (trouble = error);
    redis.on("error", note);
    try {
      await redis.ping();
      return redis;
    } catch (error) {
      this.#incomplete = `Redis cannot be reached: ${messageOf(trouble ?? error)}`;
      return undefined;
    } finally {
      redis.off("error", note);
    }
  }

  async #auditPartition(scope: Scope, instruments: Instruments): Promise<void> {
    const findings = this.#findings;
    const { partition, redis, events } = scope;
    const logs = redis && {
      events: await auditLog(scope, redis, "events", findings, this.#progress),
      orders: await auditLog(scope, redis, "orders", findings, this.#progress),
    };
    if (logs === undefined)
      this.#incomplete ??= `Redis has no log of partition ${partition}: it is put back when an ingest opens it`;
    this.#progress.begin(`partition ${partition}: the chain of the journal`);
    await auditGaps(scope, "orders", findings);
    await auditGaps(scope, "events", findings);
    await auditStrange(scope, ORDERS_STREAM, findings);
    await auditStrange(scope, EVENTS_STREAM, findings);
    const journaled = await auditJournal(scope, instruments, findings, this.#progress);
    for (const name of ["entries", "orders", "rows", "deadLetters", "keys"] as const)
      this.#journaled[name] += journaled[name];
    this.#tellPartition(partition, logs?.orders, journaled);
    await this.#tellOrphans(partition);
    if (compareEntryIds(events.newest, START) === 0 && compareEntryIds(events.settled, START) === 0) return;

    this.#hasEngine = true;
    this.#progress.begin(`partition ${partition}: entries, events and their numbers`);
    const told = await auditEvents(scope, findings);
    const replayed = await auditReplay({
      ...{ scope, instruments, findings, progress: this.#progress, commands: journaled.commands },
      voided: new Set([...journaled.voided, ...(logs?.orders.voided ?? [])]),
    });
    for (const name of ["entries", "rows", "deadLetters"] as const) this.#replayed[name] += replayed[name];
    const underWay = logs === undefined ? "" : `, ${number(logs.events.underWay)} more of them under way`;
    this.#tell(
      { partition, eventEntries: told.entries, reports: told.reports, trades: told.trades, replayed: replayed.entries },
      `partition ${partition}: events of ${number(told.entries)} entries${underWay}: ${number(told.reports)} reports, ` +
        `${number(told.trades)} trades; ${number(replayed.entries)} entries replayed`,
    );
  }

  #tellPartition(partition: number, logged: LogFigures | undefined, journaled: JournalFigures): void {
    const { entries, orders, rows, deadLetters } = journaled;
    if (logged !== undefined) {
      const { entries, underWay } = logged;
      const words = `${number(entries)} entries in the log, ${number(underWay)} of them under way`;
      this.#tell({ partition, logged: entries, underWay }, `partition ${partition}: ${words}`);
    }
    this.#tell(
      { partition, journaled: entries, orders, rows, deadLetters },
      `partition ${partition}: ${number(entries)} entries journaled, ${number(orders)} orders in them: ` +
        `${number(rows)} rows, ${number(deadLetters)} dead letters`,
    );
  }

  /** No finding: nothing that stands anywhere depends on them. But their clients have to be told. */
  async #tellOrphans(partition: number): Promise<void> {
    const orphans = await countOrphans(this.#sql, partition);
    const words = `${number(orphans)} entries that the log lost, and went on without, are dead letters`;
    if (orphans > 0) this.#tell({ partition, orphans }, `partition ${partition}: ${words}`);
  }

  /** What concerns the tables as a whole. */
  async #auditTables(partitions: number, { sinceMs }: Kept): Promise<void> {
    this.#progress.begin("ids of all orders");
    await auditIds(this.#sql, partitions, sinceMs, this.#findings);
    if (this.#hasEngine) {
      this.#progress.begin("states, reports and trades");
      const states = await auditStates(this.#sql, sinceMs, this.#findings);
      this.#tell({ states }, `${number(states)} orders have a state`);
      this.#findings.proved(
        "I9",
        `${number(states)} states are the newest reports, whose amounts fit, and trades balance`,
      );
    }
    this.#progress.end();
  }

  /** What was looked at, for each invariant. */
  #sumUp(): void {
    const findings = this.#findings;
    const { entries, orders, rows, keys } = this.#journaled;
    findings.proved("I2", "no order took the id of one that was open");
    if (keys > 0) findings.proved("I2", `${number(keys)} idempotency keys stand for the places of their commands`);
    findings.proved("I3", `${number(rows)} rows of orders have the ids of their commands' places`);
    findings.proved("I4", `${number(entries)} entries are journaled along one chain`);
    findings.proved("I5", `${number(orders)} orders of the journal are rows, or dead letters`);
    findings.unproved("it is a property of how rows are written, which the tests hold (docs/invariants.md)", "I6");
    if (this.#hasEngine) {
      const replayed = number(this.#replayed.rows);
      findings.proved("I5", `${replayed} reports and trades are rows as the replay makes them`);
      findings.proved("I8", "each entry has one event entry, and reports and trades are numbered without a gap");
    } else {
      findings.unproved("no engine has worked here", "I7", "I8", "I9");
    }
    if (this.#incomplete !== undefined) findings.unproved(this.#incomplete, "I1", "I2", "I4");
  }

  #conclude(): AuditOutcome {
    const verdicts = this.#findings.verdicts();
    const { count } = this.#findings;
    for (const verdict of verdicts) {
      if (this.#options.json) this.#print(JSON.stringify(verdict));
      else for (const line of verdictLines(verdict)) this.#print(line);
    }
    const end = count === 0 ? "all is well" : `${number(count)} findings`;
    const doubt = this.#incomplete === undefined ? "" : `, but not all could be looked at: ${this.#incomplete}`;
    this.#tell({ findings: count, incomplete: this.#incomplete ?? null }, `${end}${doubt}`);
    return { findings: count, incomplete: this.#incomplete, verdicts };
  }

  /** Figures, as JSON or as a line. */
  #tell(figures: object, line: string): void {
    this.#print(this.#options.json ? JSON.stringify(figures) : line);
  }

  #say(line: string): void {
    if (!this.#options.json) this.#print(line);
  }

  #print(line: string): void {
    this.#progress.end();
    if (this.#options.print !== undefined) this.#options.print(line);
    else process.stdout.write(`${line}\n`);
  }
}
