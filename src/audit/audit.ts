import { connect } from "../store/connection.ts";
import { partitionCount } from "../store/settings.ts";
import { PARTITION_COUNT_KEY, PartitionKeys } from "../stream/keys.ts";
import { connectRedis } from "../stream/redis.ts";
import { auditAcknowledged } from "./acknowledged-audit.ts";
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

/**
 * Proves on live data: acknowledged (where a client's record is given) = logged = journaled = rows, once each, and the
 * chain unbroken. Works in pages, so in bounded memory. Returns the number of findings, and prints each.
 */
export async function audit(options: AuditOptions): Promise<number> {
  const print = (line: string) => process.stdout.write(`${line}\n`);
  const findings = new Findings(print);
  const redis = connectRedis(options.redisUrl, { name: "penstock-audit", socketTimeoutMs: REDIS_TIMEOUT_MS });
  const sql = connect(options.databaseUrl, { max: 2 });
  try {
    const count = Number((await redis.get(PARTITION_COUNT_KEY)) ?? (await partitionCount(sql)) ?? 0);
    const partitions = Array.from({ length: count }, (_, partition) => new PartitionKeys(partition));
    if (count === 0) print("nothing was ever started here: no partitions are recorded");

    for (const keys of partitions) {
      const logged = await auditLog(redis, sql, keys, findings);
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
    }
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
