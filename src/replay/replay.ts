import { countMarked, Findings, FindingTotals } from "./findings.ts";
import { UsageError } from "../runtime/errors.ts";
import { connect } from "../store/connection.ts";
import { readMarks, removeMarks } from "../store/replay-marks.ts";
import { partitionCount } from "../store/settings.ts";
import { Writer } from "../store/writer.ts";
import { PARTITION_COUNT_KEY, PartitionKeys } from "../stream/keys.ts";
import { type EntryId, formatEntryId, START } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { KnownInstruments } from "./known-instruments.ts";
import { PartitionReplay } from "./partition-replay.ts";
import { Progress } from "./progress.ts";

export interface ReplayOptions {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** The first entry; `journal`: all that the journal has, and nothing that it has not. */
  readonly from: EntryId | "journal";
  /** The last one. */
  readonly to: EntryId | undefined;
  /** All where it is absent. */
  readonly partition: number | undefined;
  /** Not to go on where an interrupted replay of the same bounds ended. */
  readonly restart: boolean;
  /** Whether to take back the rows of events whose command the log has lost. */
  readonly withdraw: boolean;
  readonly signal: AbortSignal;
  /** Told of what it finds and comes to, a line each; and shown how far it is. */
  readonly print: (line: string) => void;
  readonly terminal: NodeJS.WriteStream;
}

const REDIS_TIMEOUT_MS = 10_000;
/** What looks at the whole journal takes a microsecond an entry. */
const STATEMENT_TIMEOUT_MS = 3_600_000;
/** Of a transaction of some thousand rows that waits for the workers'. */
const TRANSACTION_TIMEOUT_MS = 60_000;

/**
 * Feeds Postgres again: writes what is missing of the entries in the bounds, whatever their receipts say, and touches nothing
 * that is there. Beside running workers, and any number of times. Returns the number of findings, and prints each: places
 * that hold something else, entries that nobody has, events that cannot be made. Where it goes on behind an interruption,
 * those from before it are among them.
 */
export async function replay(options: ReplayOptions): Promise<number> {
  const { from, to, restart, withdraw, signal, print, terminal } = options;
  const totals = new FindingTotals(print);
  const progress = new Progress(terminal);
  const redis =
    from === "journal"
      ? undefined
      : connectRedis(options.redisUrl, { name: "penstock-replay", socketTimeoutMs: REDIS_TIMEOUT_MS });
  const sql = connect(options.databaseUrl, { max: 2, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  const writer = new Writer(options.databaseUrl, { timeoutMs: TRANSACTION_TIMEOUT_MS });
  try {
    const count = Number((await redis?.get(PARTITION_COUNT_KEY)) ?? (await partitionCount(sql)) ?? 0);
    if (count === 0) throw new UsageError("nothing was ever started here: no partitions are recorded");
    if (options.partition !== undefined && options.partition >= count)
      throw new UsageError(`there is no partition ${options.partition}: there are ${count}`);
    const all = Array.from({ length: count }, (_, partition) => new PartitionKeys(partition));
    const chosen = options.partition === undefined ? all : all.slice(options.partition, options.partition + 1);
    const bounds = `${from === "journal" ? from : formatEntryId(from)} ${to === undefined ? "" : formatEntryId(to)}`;
    if (restart) await removeMarks(sql, bounds);
    const marks = await readMarks(sql);
    const instruments = await KnownInstruments.read(sql, redis, all);
    for (const keys of chosen) {
      const { partition } = keys;
      const found = marks.get(partition);
      const mark = found?.bounds === bounds ? found : undefined;
      const findings = new Findings(totals);
      if (mark !== undefined) {
        const where = mark.stage === "done" ? "its end" : `${mark.stage} at ${formatEntryId(mark.at)}`;
        print(`partition ${partition}: goes on where a replay of the same bounds was interrupted: behind ${where}`);
        const known = countMarked(mark.findings ?? {});
        if (known > 0) print(`partition ${partition}: by then it had found ${known} (as it was at that time):`);
        findings.resume(mark.findings ?? {});
      }
      if (mark?.stage === "done") continue;
      const bound = { from: from === "journal" ? START : from, to, bounds, mark };
      const servers = { redis, sql, writer, keys, instruments };
      const one = new PartitionReplay({ ...servers, ...bound, withdraw, progress, findings, signal });
      const { entries, receipts, rows } = await one.run();
      progress.end();
      print(
        `partition ${partition}: went through ${entries} entries; ${receipts} had no receipt, ${rows} rows were missing`,
      );
    }
    print(totals.count === 0 ? "all that was missing is written" : `${totals.count} findings`);
    for (const line of totals.summary()) print(line);
    await removeMarks(sql, bounds); // now that it is told what they keep
    return totals.count;
  } finally {
    progress.end();
    redis?.disconnect();
    await writer.close();
    await sql.end({ timeout: 1 });
  }
}
