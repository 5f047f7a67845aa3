import type { Redis } from "ioredis";
import type postgres from "postgres";
import { messageOf } from "../runtime/errors.ts";
import { connect } from "../store/connection.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { partitionCount } from "../store/settings.ts";
import type { Instruments } from "../stream/instrument.ts";
import { PARTITION_COUNT_KEY } from "../stream/keys.ts";
import { compareEntryIds, formatEntryId, START } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { auditAcknowledged } from "./acknowledged-audit.ts";
import { auditChain, auditPartitions, auditStrange } from "./chain-audit.ts";
import { auditEvents } from "./event-audit.ts";
import { storedInstruments } from "./expected.ts";
import { Findings, type Verdict } from "./findings.ts";
import { auditJournal, type JournalFigures } from "./journal-audit.ts";
import { auditIds } from "./key-audit.ts";
import { type Invariant, INVARIANTS } from "./kinds.ts";
import { countOrphans } from "./letters.ts";
import { auditLog, type LogFigures } from "./log-audit.ts";
import { Progress } from "./progress.ts";
import { auditReplay } from "./replay-audit.ts";
import { number, verdictLines } from "./report.ts";
import { Kept, ReopenedError, sameHead, type Scope, type StreamScope, takeScope } from "./scope.ts";
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
 * Where Redis does not answer, or has no log, it looks at what Postgres has, and says what it cannot prove. Where it cannot go on
 * it tells what was found by then; it throws where nothing was, and where the log is opened anew meanwhile.
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
  /** Sums over the partitions. */
  #journaled = { entries: 0, orders: 0, rows: 0, deadLetters: 0, keys: 0 };
  #replayed = { entries: 0, rows: 0, deadLetters: 0 };
  #events = 0;
  #states = 0;
  #hasEngine = false;

  constructor(options: AuditOptions, sql: postgres.Sql, progress: Progress) {
    this.#options = options;
    this.#sql = sql;
    this.#progress = progress;
  }

  async run(connection: Redis): Promise<AuditOutcome> {
    try {
      await this.#look(connection);
    } catch (error) {
      // Where the log was opened anew, it is that which may have been found.
      if (this.#findings.count === 0 || error instanceof ReopenedError) throw error;
      this.#findings.missed(`it ended early: ${messageOf(error)}`, ...INVARIANTS);
    }
    return this.#conclude();
  }

  async #look(connection: Redis): Promise<void> {
    const redis = await this.#reach(connection);
    const partitions = await this.#countPartitions(redis);
    const kept = await Kept.read(this.#sql);
    const scopes: Scope[] = [];
    for (let partition = 0; partition < partitions; partition++)
      scopes.push(await takeScope(redis, this.#sql, { partition, partitions, kept }));
    const instruments = await storedInstruments(this.#sql);
    for (const scope of scopes) {
      if (redis !== undefined && scope.redis === undefined) {
        const words = `Redis has no log of partition ${scope.partition}: it is put back when an ingest opens it`;
        this.#findings.missed(words, "I1", "I2", "I4");
      }
      this.#tellStuck(scope.partition, "entry", scope.orders, "I2", "I3", "I4", "I5");
      this.#tellStuck(scope.partition, "events", scope.events, "I5", "I8", "I9");
      await this.#auditPartition(scope, instruments);
    }
    if (partitions > 0) await this.#auditTables(scopes, kept);
    const { acknowledged } = this.#options;
    if (acknowledged === undefined) {
      this.#findings.unproved("there is no record of a client (--acknowledged FILE)", "I1");
    } else {
      this.#progress.begin("the clients' record");
      const servers = { sql: this.#sql, kept, scopes, hasRedis: redis !== undefined };
      await auditAcknowledged(acknowledged, servers, this.#findings);
      this.#progress.end();
    }
    for (const scope of scopes) if (scope.redis !== undefined) await sameHead(scope.redis, scope);
    this.#sumUp();
  }

  /** As many as either says, since each has recorded its number at the first start. */
  async #countPartitions(redis: Redis | undefined): Promise<number> {
    const inRedis = Number((await redis?.get(PARTITION_COUNT_KEY)) ?? 0);
    const inPostgres = (await partitionCount(this.#sql)) ?? 0;
    if (inRedis === 0 && inPostgres === 0) {
      const words = "no partitions are recorded: nothing was ever started here, or nothing is left of it";
      this.#findings.missed(words, "I1", "I2", "I3", "I4", "I5");
    }
    if (inRedis > 0 && inPostgres > 0 && inRedis !== inPostgres)
      this.#findings.add("another number of partitions", `Redis says ${inRedis}, Postgres says ${inPostgres}`);
    return Math.max(inRedis, inPostgres);
  }

  #tellStuck(partition: number, what: string, { stuck }: StreamScope, ...invariants: readonly Invariant[]): void {
    if (stuck === undefined) return;
    const age = `${number(Math.round(stuck.ageMs / 60_000))} minutes`;
    const words = `partition ${partition}: ${what} ${formatEntryId(stuck)} has been under way for ${age}, and what is written behind it was not looked at`;
    this.#findings.missed(words, ...invariants);
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
      this.#findings.missed(`Redis cannot be reached: ${messageOf(trouble ?? error)}`, "I1", "I2", "I4");
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
    this.#progress.begin(`partition ${partition}: the chain of the journal`);
    await auditChain(scope, "orders", findings);
    await auditChain(scope, "events", findings);
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
    this.#events += told.entries;
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
  async #auditTables(scopes: readonly Scope[], kept: Kept): Promise<void> {
    const tables = { sql: this.#sql, scopes, kept };
    this.#progress.begin("ids of all orders");
    await auditIds(tables, scopes.length, this.#findings);
    await auditPartitions(this.#sql, scopes.length, this.#findings);
    if (this.#hasEngine) {
      this.#progress.begin("states, reports and trades");
      this.#states = await auditStates(tables, this.#findings);
      this.#tell({ states: this.#states }, `${number(this.#states)} orders have a state`);
    }
    this.#progress.end();
  }

  /** What was looked at, for each invariant. */
  #sumUp(): void {
    const { entries, orders, rows, keys } = this.#journaled;
    const states = this.#states;
    this.#prove(
      "I2",
      [states, "no order took the id of one that was open"],
      [keys, `${number(keys)} idempotency keys stand for the places of their commands`],
    );
    this.#prove("I3", [rows, `${number(rows)} rows of orders have the ids of their commands' places`]);
    this.#prove("I4", [entries, `${number(entries)} entries are journaled along one chain`]);
    this.#prove(
      "I5",
      [orders, `${number(orders)} orders of the journal are rows, or dead letters`],
      [this.#replayed.rows, `${number(this.#replayed.rows)} reports and trades are rows as the replay makes them`],
    );
    this.#findings.unproved(
      "it is a property of how rows are written, which the tests hold (docs/invariants.md)",
      "I6",
    );
    if (this.#hasEngine) {
      this.#prove("I8", [
        this.#events,
        "each entry has one event entry, and reports and trades are numbered without a gap",
      ]);
      const words = `${number(states)} states are the newest reports, whose amounts fit, and trades balance`;
      this.#prove("I9", [states, words]);
    } else {
      this.#findings.unproved("no engine has worked here", "I7", "I8", "I9");
    }
  }

  /** Nothing is proved by having looked at nothing. */
  #prove(invariant: Invariant, ...claims: readonly (readonly [count: number, words: string])[]): void {
    const proved = claims.filter(([count]) => count > 0);
    for (const [, words] of proved) this.#findings.proved(invariant, words);
    if (proved.length === 0) this.#findings.unproved("there is nothing here of which it says anything", invariant);
  }

  #conclude(): AuditOutcome {
    const verdicts = this.#findings.verdicts();
    const { count, incomplete } = this.#findings;
    for (const verdict of verdicts) {
      if (this.#options.json) this.#print(JSON.stringify(verdict));
      else for (const line of verdictLines(verdict)) this.#print(line);
    }
    const end = count === 0 ? "all is well" : `${number(count)} findings`;
    const doubt = incomplete === undefined ? "" : `, but not all could be looked at: ${incomplete}`;
    this.#tell({ findings: count, incomplete: incomplete ?? null }, `${end}${doubt}`);
    return { findings: count, incomplete, verdicts };
  }

  /** Figures, as JSON or as a line. */
  #tell(figures: object, line: string): void {
    this.#print(this.#options.json ? JSON.stringify(figures) : line);
  }

  #print(line: string): void {
    this.#progress.end();
    if (this.#options.print !== undefined) this.#options.print(line);
    else process.stdout.write(`${line}\n`);
  }
}
