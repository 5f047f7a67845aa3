import { connect } from "../store/connection.ts";
import { keptSince } from "../store/partitions.ts";
import { partitionCount } from "../store/settings.ts";
import { PARTITION_COUNT_KEY, PartitionKeys } from "../stream/keys.ts";
import { connectRedis } from "../stream/redis.ts";
import { auditAcknowledged } from "./acknowledged-audit.ts";
import { auditEvents, auditStates } from "./event-audit.ts";
import { Findings } from "./findings.ts";
import { auditJournal } from "./journal-audit.ts";
import { auditLog } from "./log-audit.ts";

export interface AuditOptions {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** A client's own record of what it was answered. */
  readonly acknowledged?: string;
}

const REDIS_TIMEOUT_MS = 10_000;
/** What compares whole tables takes some 6 µs a report, statement by statement: two hours are a billion of them. */
const STATEMENT_TIMEOUT_MS = 2 * 3_600_000;

/**
 * Proves on live data: acknowledged (where a client's record is given) = logged = journaled = rows, once each, and the
 * chains unbroken; every entry has its events, and reports, states and trades agree. Works in pages or within Postgres, so in
 * bounded memory. Returns the number of findings, and prints each.
 */
export async function audit(options: AuditOptions): Promise<number> {
  const print = (line: string) => process.stdout.write(`${line}\n`);
  const findings = new Findings(print);
  const redis = connectRedis(options.redisUrl, { name: "penstock-audit", socketTimeoutMs: REDIS_TIMEOUT_MS });
  const sql = connect(options.databaseUrl, { max: 2, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  try {
    const count = Number((await redis.get(PARTITION_COUNT_KEY)) ?? (await partitionCount(sql)) ?? 0);
    const partitions = Array.from({ length: count }, (_, partition) => new PartitionKeys(partition));
    if (count === 0) print("nothing was ever started here: no partitions are recorded");

    const sinceMs = await keptSince(sql);
    let hasEngine = false;
    for (const keys of partitions) {
      const told = await auditLog(redis, sql, keys, "events", findings);
      const logged = await auditLog(redis, sql, keys, "orders", findings);
      print(`partition ${keys.partition}: ${logged.entries} entries in the log, ${logged.underWay} of them under way`);
      const progress = (entries: number) => {
        if (process.stderr.isTTY) process.stderr.write(`\r  ${entries} entries of the journal …`);
      };
      const journaled = await auditJournal(sql, keys.partition, logged.finished, findings, progress);
      if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
      const { entries, orders, rows, deadLetters } = journaled;
      print(
        `partition ${keys.partition}: ${entries} entries journaled, ${orders} orders in them: ${rows} rows, ${deadLetters} dead letters`,
      );
      const range = { partition: keys.partition, orders: logged.finished, events: told.finished, sinceMs };
      const events = await auditEvents(sql, range, findings);
      if (events === undefined) continue;
      hasEngine = true;
      print(
        `partition ${keys.partition}: events of ${events.entries} entries, ${told.underWay} of them under way: ${events.reports} reports, ${events.trades} trades`,
      );
    }
    if (hasEngine) print(`${await auditStates(sql, sinceMs, findings)} orders have a state`);
    if (options.acknowledged !== undefined) {
      const record = await auditAcknowledged(options.acknowledged, redis, sql, partitions, findings);
      print(`${record.acknowledged} acknowledged: ${record.rows} rows, ${record.underWay} under way`);
    }
    print(findings.count === 0 ? "all is well" : `${findings.count} findings`);
    for (const line of findings.summary()) print(line);
    return findings.count;
  } finally {
    redis.disconnect();
    await sql.end({ timeout: 1 });
  }
}
