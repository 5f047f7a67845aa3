import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DetachedProcess } from "../../src/stack/detached-process.ts";
import { connect } from "../../src/store/connection.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { Random } from "../../test/fault/random.ts";
import { newStateFolder, removeStateFolder, type Stack, startStack } from "../stack.ts";
import { Crowd, tokensOf } from "./crowd.ts";
import { activeAt } from "./day.ts";
import { ExtraWorker } from "./extra-worker.ts";
import { type Kill, Kills } from "./kills.ts";
import { LatencyProbe, type LatencyWindow } from "./latency.ts";
import { SoakRecord } from "./record.ts";
import { countRows } from "./rows.ts";
import { type Sample, Sampler } from "./sampler.ts";

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: string;
  /** Clients at the height of the day. */
  readonly clients: number;
  readonly say: (line: string) => void;
}

/** A stretch of the run, seconds since its start. */
export interface Window extends LatencyWindow {
  readonly from: number;
  readonly to: number;
  /** How many clients traded at its end. */
  readonly clients: number;
  /** Commands acknowledged in it. */
  readonly acknowledged: number;
}

/** As JSON it stays what it is: nothing in it is NaN or infinite. */
export interface SoakResult {
  /** As they were given. */
  readonly options: Omit<SoakOptions, "say">;
  readonly seconds: number;
  readonly samples: readonly Sample[];
  readonly windows: readonly Window[];
  readonly kills: readonly Kill[];
  readonly settings: SoakSettings;
  /** Of the servers, by their names. */
  readonly versions: Readonly<Record<string, string>>;
  readonly acknowledged: number;
  readonly retries: number;
  /** Orders of the clients' record that are rows, once everything is written. */
  readonly rows: number;
  /** How long after the load everything was matched and written, seconds; absent where it was not within `SETTLE_LIMIT_MS`. */
  readonly settledAfter?: number;
  /** How many workers came under a name that never came again. */
  readonly extraWorkers: number;
  readonly audit: { readonly code: number | null; readonly output: string };
  /** What clients were told that must not be, and lines at level error that must not be. */
  readonly findings: readonly string[];
}

export interface SoakSettings {
  /** Of a day, seconds. */
  readonly daySeconds: number;
  readonly killSeconds: number;
  readonly idempotencyMs: number;
  readonly goneMs: number;
  /** Seconds of the time without kills that the trend of memory leaves out. */
  readonly warmUpSeconds: number;
}

const PARTITIONS = 2;
const WORKERS = 2;
const SYMBOLS = ["BTC-USD", "ETH-USD"];
const PROBE = "probe";
const ROOT = join(import.meta.dirname, "..", "..");
/** The last third of a run has no kills: memory is judged there, in lives that have filled their heaps. */
export const KILLED_SHARE = 2 / 3;
export const SETTLE_LIMIT_MS = 120_000;
const AUDIT_LIMIT_MS = 30 * 60_000;
/** A role says nothing at these levels because another process was killed: the fault matrix holds it to that as well. */
const ERROR_LINE = /"level":"(?:error|fatal)".*"msg":"((?:[^"\\]|\\.)*)"/;

/**
 * Runs a whole stack of its own under the load of a day, over and over, and kills its processes now and then. Ends by itself, and
 * leaves nothing behind but what it returns.
 */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const { say } = options;
  const settings = settingsFor(options.minutes * 60);
  const signingKey = randomBytes(32).toString("hex");
  const env = { ...environmentOf(settings), PENSTOCK_SIGNING_KEY: signingKey };
  const folder = await newStateFolder();
  let stack: Stack | undefined;
  try {
    say("starting the stack");
    stack = await startStack({ folder, workers: WORKERS, engine: true, env });
    const measured = await run(stack, options, settings, env, folder);
    const errors = await errorsIn(join(folder, "logs"));
    const { minutes, seed, clients } = options;
    return { ...measured, findings: [...measured.findings, ...errors], options: { minutes, seed, clients }, settings };
  } finally {
    await stack?.stop();
    await removeStateFolder(folder);
  }
}

/** As short as a run of minutes needs them, and never longer than a deployment has them by default. */
function settingsFor(seconds: number): SoakSettings {
  const between = (least: number, value: number, most: number) => Math.round(Math.min(Math.max(least, value), most));
  return {
    daySeconds: between(60, seconds / 3, 600),
    killSeconds: between(30, seconds / 24, 300),
    idempotencyMs: between(30_000, (seconds * 1000) / 6, 3_600_000),
    goneMs: between(20_000, (seconds * 1000) / 12, 600_000),
    warmUpSeconds: between(60, seconds / 12, 900),
  };
}

function environmentOf({ idempotencyMs, goneMs }: SoakSettings): Record<string, string> {
  return {
    PENSTOCK_PARTITIONS: String(PARTITIONS),
    PENSTOCK_IDEMPOTENCY_HORIZON_MS: String(idempotencyMs),
    PENSTOCK_REPLAY_HORIZON_MS: String(Math.min(idempotencyMs, 60_000)),
    PENSTOCK_CONSUMER_GONE_MS: String(goneMs),
    // What a killed worker held is taken over soon, so that its consumer can go.
    PENSTOCK_MIN_IDLE_MS: "10000",
    PENSTOCK_TRANSACTION_TIMEOUT_MS: "8000",
    PENSTOCK_CLAIM_INTERVAL_MS: "2500",
    PENSTOCK_SNAPSHOT_COMMANDS: "20000",
    PENSTOCK_SNAPSHOT_INTERVAL_MS: "30000",
  };
}

async function run(
  stack: Stack,
  { minutes, seed, clients, say }: SoakOptions,
  settings: SoakSettings,
  env: Readonly<Record<string, string>>,
  folder: string,
) {
  const file = join(folder, "acknowledged.tsv");
  const seconds = minutes * 60;
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => new PartitionKeys(partition));
  const record = new SoakRecord(file);
  const door = `127.0.0.1:${stack.target.port}`;
  const { token } = await tokensOf(env["PENSTOCK_SIGNING_KEY"] ?? "").issue(PROBE, "trader");
  const probe = new LatencyProbe({ door, account: PROBE, token, run: PROBE, symbol: SYMBOLS[0]!, record });
  const crowd = await Crowd.gather({
    ...{ door, clients, symbols: SYMBOLS, partitions: PARTITIONS, seed, record },
    signingKey: env["PENSTOCK_SIGNING_KEY"] ?? "",
  });
  stack.redis.on("error", () => {}); // it is killed now and then
  const servers = { REDIS_URL: stack.redisUrl, DATABASE_URL: stack.databaseUrl };
  const extra = new ExtraWorker(
    { PATH: process.env["PATH"], PENSTOCK_LOG_LEVEL: "warn", ...env, ...servers },
    join(folder, "logs"),
  );
  const kills = new Kills(stack.pid, extra, new Random(seed, "kills"));
  const sampler = new Sampler(stack, partitions);
  const samples: Sample[] = [];
  const windows: Window[] = [];
  const windowSeconds = Math.min(10, Math.max(5, seconds / 60));
  let nextKill = Math.max(settings.killSeconds, seconds / 10);
  let acknowledged = 0;
  const started = performance.now();
  const at = () => (performance.now() - started) / 1000;
  try {
    await extra.start();
    probe.start();
    let windowFrom = 0;
    for (let second = 0; at() < seconds; second++) {
      await sleep(Math.max(0, second - at()) * 1000);
      crowd.resize(activeAt(at() / settings.daySeconds, clients));
      samples.push(await sampler.sample(at(), extra.processes));
      if (at() >= nextKill && at() < seconds * KILLED_SHARE) {
        await kills.next(at());
        nextKill += settings.killSeconds;
      }
      if (at() - windowFrom < windowSeconds) continue;
      const { counts } = crowd;
      const window = { from: windowFrom, to: at(), clients: crowd.active, ...probe.takeWindow() };
      windows.push({ ...window, acknowledged: counts.acknowledged - acknowledged });
      acknowledged = counts.acknowledged;
      windowFrom = window.to;
      if (windows.length % 6 === 0) say(progress(seconds, samples.at(-1)!, windows.at(-1)!, kills.done.length));
    }
    say("the clients ask for what they do not know yet");
    await crowd.pause();
    await probe.stop();
    const paused = at();
    let settledAfter: number | undefined;
    for (; settledAfter === undefined && at() - paused < SETTLE_LIMIT_MS / 1000; await sleep(500)) {
      const last = await sampler.sample(at(), extra.processes);
      samples.push(last);
      const { redis } = last;
      if (redis !== undefined && redis.unfinished === 0 && redis.engineBehind === 0) settledAfter = at() - paused;
    }
    record.close();
    say("auditing");
    const audit = await auditOf(servers, file);
    return {
      ...{ seconds: at(), samples, windows, kills: kills.done, audit },
      ...{ acknowledged: record.count, retries: crowd.counts.retries, rows: await rowsOf(stack, file) },
      ...{ extraWorkers: extra.count, findings: crowd.findings, versions: stack.versions },
      ...(settledAfter !== undefined && { settledAfter }),
    };
  } finally {
    await extra.kill();
    await sampler.close();
    crowd.close();
  }
}

function progress(seconds: number, { at, redis }: Sample, window: Window, kills: number): string {
  const minutes = (value: number) => (value / 60).toFixed(1);
  const { logged, matched, clients, acknowledged, from, to } = window;
  return (
    `${minutes(at)} of ${minutes(seconds)} min: ${clients} clients, ${(acknowledged / (to - from)).toFixed(0)} commands/s, ` +
    `logged p99 ${msOf(logged.p99)}, matched p99 ${msOf(matched.p99)}, ${kills} kills, ` +
    `Redis ${redis === undefined ? "away" : `${(redis.memory / 2 ** 20).toFixed(1)} MiB, ${redis.consumers} consumers`}`
  );
}

async function auditOf(servers: NodeJS.ProcessEnv, file: string): Promise<{ code: number | null; output: string }> {
  let output = "";
  const child = await DetachedProcess.spawn({
    command: process.execPath,
    args: [join(ROOT, "src", "main.ts"), "audit", "--acknowledged", file],
    cwd: ROOT,
    env: { PATH: process.env["PATH"], ...servers },
    onOutput: (chunk) => (output += chunk.toString()),
    orphan: { signal: "SIGKILL", graceSeconds: 0 },
  });
  const timer = setTimeout(() => void child.kill(), AUDIT_LIMIT_MS);
  const { code } = await child.exited;
  clearTimeout(timer);
  return { code, output: output.trim() };
}

function msOf(value: number | null): string {
  return value === null ? "unknown" : `${value.toFixed(1)} ms`;
}

async function rowsOf({ databaseUrl }: Stack, file: string): Promise<number> {
  const sql = connect(databaseUrl, { max: 1 });
  try {
    return await countRows(sql, file);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Each line at level error or above, with how often it was told. */
async function errorsIn(folder: string): Promise<string[]> {
  const counts = new Map<string, number>();
  for (const name of await readdir(folder)) {
    for (const line of (await readFile(join(folder, name), "utf8")).split("\n")) {
      const message = ERROR_LINE.exec(line)?.[1];
      if (message === undefined) continue;
      const told = `${name}: ${message}`;
      counts.set(told, (counts.get(told) ?? 0) + 1);
    }
  }
  return Array.from(counts, ([told, count]) => `${told} (${count} times)`);
}
