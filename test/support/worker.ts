import type { TestContext } from "node:test";

import type { Redis } from "ioredis";
import type postgres from "postgres";

import { EVENT_ROWS } from "../../src/consumers/event-rows.ts";
import { fencedLog } from "../../src/consumers/fenced-log.ts";
import { ConsumerMetrics } from "../../src/consumers/metrics.ts";
import { LetterAlarm } from "../../src/consumers/letter-alarm.ts";
import { ORDER_ROWS } from "../../src/consumers/order-rows.ts";
import { Worker } from "../../src/consumers/worker.ts";
import { connect } from "../../src/store/connection.ts";
import { listInstruments } from "../../src/store/instruments.ts";
import { findWritten } from "../../src/store/journal.ts";
import { Writer } from "../../src/store/writer.ts";
import { GroupReader } from "../../src/stream/group-reader.ts";
import { PERSIST_GROUP } from "../../src/stream/groups.ts";
import { InstrumentBook } from "../../src/stream/instrument-book.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { formatEntryId, parseEntryId } from "../../src/stream/position.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { readGroups } from "../../src/stream/status.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { HandLog } from "./hand-log.ts";
import { eventually } from "./pipeline.ts";
import { createTestDatabase, startTestRedis } from "./servers.ts";
import type { TestPostgres, TestRedis } from "./servers.ts";

type Stream = "orders" | "events";

export interface WorkerSettings {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** The orders, where it is absent. */
  readonly stream?: Stream;
  readonly name?: string;
  readonly count?: number;
  readonly minIdleMs?: number;
  readonly claimIntervalMs?: number;
  readonly transactionRows?: number;
  readonly transactionTimeoutMs?: number;
}

interface Line {
  readonly level: string;
  readonly msg: string;
}

/** A worker of partition 0 in this process, with what it logged and counted. */
export class TestWorker {
  readonly worker: Worker;
  readonly #instruments: InstrumentBook;
  readonly lines: Line[] = [];
  readonly #registry = createMetrics("consumers");
  #stopped: Promise<void> | undefined;
  readonly #close: () => Promise<unknown>;

  constructor(settings: WorkerSettings) {
    const log = createLog("consumers", "info", { write: (line) => this.lines.push(JSON.parse(line) as Line) });
    const open = (name: string) => connectRedis(settings.redisUrl, { name, socketTimeoutMs: 5_000 });
    const [redis, blocking] = [open("worker"), open("worker-read")];
    const sql = connect(settings.databaseUrl, { max: 1 });
    const keys = new PartitionKeys(0);
    const { stream = "orders" } = settings;
    const metrics = new ConsumerMetrics(
      this.#registry,
      () => Promise.resolve([]),
      () => Promise.resolve([]),
    ).of(stream);
    this.#instruments = new InstrumentBook(redis, [keys], log);
    this.worker = new Worker({
      partition: 0,
      rows: stream === "orders" ? ORDER_ROWS : EVENT_ROWS,
      reader: new GroupReader({
        blocking,
        redis,
        stream: keys[stream],
        group: PERSIST_GROUP,
        consumer: settings.name ?? "worker",
        count: settings.count ?? 50,
        blockMs: 50,
        minIdleMs: settings.minIdleMs ?? 60_000,
        claimIntervalMs: settings.claimIntervalMs ?? 50,
        onGroupLost: () => log.error("GROUP LOST"),
      }),
      writer: new Writer(settings.databaseUrl, { timeoutMs: settings.transactionTimeoutMs ?? 10_000 }),
      instruments: this.#instruments,
      store: {
        instruments: () => listInstruments(sql),
        written: async (stream, partition, ids) =>
          new Set((await findWritten(sql, stream, partition, ids.map(parseEntryId))).map(formatEntryId)),
      },
      transactionRows: settings.transactionRows ?? 5_000,
      metrics,
      onDeadLetters: new LetterAlarm(log).tell,
      fencedLog: fencedLog(redis, keys),
      log,
    });
    this.#close = () => {
      for (const connection of [redis, blocking]) connection.disconnect();
      return sql.end({ timeout: 1 });
    };
  }

  async start(): Promise<void> {
    await this.#instruments.refresh();
    await this.worker.start();
  }

  /** Resolves when it has drained. */
  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    try {
      await this.worker.stop();
    } finally {
      await this.#close();
    }
  }

  logged(message: string): number {
    return this.lines.filter(({ msg }) => msg.includes(message)).length;
  }

  async hasLogged(message: string): Promise<void> {
    await eventually(async () => this.logged(message) > 0, `the line "${message}"`);
  }

  async count(metric: string): Promise<number> {
    const { values } = (await this.#registry.registry.getSingleMetric(`penstock_${metric}`)!.get()) as {
      values: { value: number }[];
    };
    return values.reduce((sum, { value }) => sum + value, 0);
  }
}

/** Servers of a test's own, and what it looks at them with. */
export interface Scene {
  readonly server: TestRedis;
  readonly databaseUrl: string;
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly log: HandLog;
  /** Starts a worker, which is stopped with the test. */
  worker(settings?: Partial<WorkerSettings>): Promise<TestWorker>;
}

/** The database is on the server that the tests of the process share, or on the one given. */
export async function setScene(t: TestContext, postgresServer?: TestPostgres): Promise<Scene> {
  const workers: TestWorker[] = [];
  const closing: (() => unknown)[] = [];
  // Before the servers' own, so that what uses them ends first.
  t.after(async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
    for (const close of closing) await close();
  });
  const [server, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t, postgresServer)]);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
  closing.push(() => redis.disconnect());
  const sql = connect(databaseUrl, { max: 2 });
  closing.push(() => sql.end({ timeout: 1 }));
  return {
    server,
    databaseUrl,
    redis,
    sql,
    log: await HandLog.begin(redis),
    async worker(settings) {
      const worker = new TestWorker({ redisUrl: server.url, databaseUrl, ...settings });
      workers.push(worker);
      await worker.start();
      return worker;
    },
  };
}

/** How many entries of the stream the group has not acknowledged. */
export async function unfinishedOf({ redis, log }: Pick<Scene, "redis" | "log">, stream: Stream = "orders") {
  const [group] = await readGroups(redis, log.keys[stream]);
  return (await redis.xrange(log.keys[stream], `(${group?.finished ?? "0-0"}`, "+")).length;
}

/** How many entries the workers of the group hold. */
export async function pendingOf({ redis, log }: Pick<Scene, "redis" | "log">): Promise<number> {
  const [group] = await readGroups(redis, log.keys.orders);
  return group?.pending ?? 0;
}

/** Waits until the group has finished all that is in the stream. */
export async function untilFinished(scene: Pick<Scene, "redis" | "log">, stream: Stream = "orders"): Promise<void> {
  await eventually(async () => (await unfinishedOf(scene, stream)) === 0, "the group to be through");
}
