import type { Config } from "../config/config.ts";
import { runServices } from "../runtime/run.ts";
import type { Service } from "../runtime/service.ts";
import { connect } from "../store/connection.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { listInstruments } from "../store/instruments.ts";
import { findWritten } from "../store/journal.ts";
import { claimPartitionCount as claimInStore } from "../store/settings.ts";
import { Writer } from "../store/writer.ts";
import { verifyDurability } from "../stream/durability.ts";
import { GroupReader } from "../stream/group-reader.ts";
import { EVENTS_GROUPS, ORDERS_GROUPS, PERSIST_GROUP } from "../stream/groups.ts";
import { InstrumentBook } from "../stream/instrument-book.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { checkPartitionCount, claimPartitionCount as claimInLog } from "../stream/partition-count.ts";
import { Partitioning } from "../stream/partition.ts";
import { formatEntryId, parseEntryId } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { readStreamState } from "../stream/status.ts";
import { EVENTS_HORIZON_MS, Trimmer } from "../stream/trimmer.ts";
import { HttpServer } from "../telemetry/http-server.ts";
import { createLog } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { ChainWatch } from "./chain-watch.ts";
import { ConsumerMetrics } from "./metrics.ts";
import { Retention } from "./retention.ts";
import { Worker, type WorkerStore } from "./worker.ts";

/** A server that answers this late is gone; a blocking read may take BLOCK longer. */
const REDIS_TIMEOUT_MS = 5_000;
/** For the watch, retention and readiness; each worker has a connection of its own. */
const POSTGRES_CONNECTIONS = 2;

/** Runs the workers of all partitions until a signal. Any number of such processes share the groups. */
export async function runConsumers(config: Config): Promise<void> {
  const log = createLog("consumers", config.logLevel);
  const registry = createMetrics("consumers");
  const onError = (error: Error) => log.warn({ err: error }, "Redis connection");
  const redis = connectRedis(config.redisUrl, {
    name: "penstock-consumers",
    socketTimeoutMs: REDIS_TIMEOUT_MS,
    onError,
  });
  const sql = connect(config.databaseUrl, { max: POSTGRES_CONNECTIONS });

  const { consumers: settings, log: logConfig } = config;
  const partitions = new Partitioning(logConfig.partitions).all().map((partition) => new PartitionKeys(partition));
  const metrics = new ConsumerMetrics(registry, () =>
    Promise.all(
      partitions.map(async (keys) => ({ partition: keys.partition, ...(await readStreamState(redis, keys)) })),
    ),
  );
  const instruments = new InstrumentBook(redis, partitions, log);
  const store: WorkerStore = {
    instruments: () => listInstruments(sql),
    written: async (partition, ids) =>
      new Set((await findWritten(sql, ORDERS_STREAM, partition, ids.map(parseEntryId))).map(formatEntryId)),
  };
  const blocking = partitions.map((keys) =>
    connectRedis(config.redisUrl, {
      name: `penstock-read-${keys.partition}`,
      socketTimeoutMs: settings.readBlockMs + REDIS_TIMEOUT_MS,
      onError,
    }),
  );
  const workers = partitions.map(
    (keys, i) =>
      new Worker({
        partition: keys.partition,
        reader: new GroupReader({
          blocking: blocking[i]!,
          redis,
          stream: keys.orders,
          group: PERSIST_GROUP,
          consumer: settings.name,
          count: settings.readCount,
          blockMs: settings.readBlockMs,
          minIdleMs: settings.minIdleMs,
          claimIntervalMs: settings.claimIntervalMs,
          onGroupLost: () => {
            metrics.groupsLost.inc();
            log.error(
              { partition: keys.partition, group: PERSIST_GROUP },
              "GROUP LOST: all that the stream holds is read again",
            );
          },
        }),
        writer: new Writer(config.databaseUrl, { timeoutMs: settings.transactionTimeoutMs }),
        instruments,
        store,
        transactionRows: settings.transactionRows,
        metrics,
        log,
      }),
  );

  const connections: Service = {
    name: "connections",
    start: async () => {
      await verifyDurability(redis, logConfig.durability);
      // Recorded in neither where one of them has another number already.
      await checkPartitionCount(redis, logConfig.partitions);
      await claimInStore(sql, logConfig.partitions);
      await claimInLog(redis, logConfig.partitions);
      await instruments.start();
    },
    stop: async () => {
      await instruments.stop();
      for (const connection of [redis, ...blocking]) connection.disconnect();
      await sql.end({ timeout: 1 });
    },
  };
  const trimmer = new Trimmer({
    redis,
    streams: partitions.flatMap((keys) => [
      { key: keys.orders, groups: ORDERS_GROUPS, engine: keys.engine, horizonMs: logConfig.replayHorizonMs },
      {
        key: keys.events,
        groups: EVENTS_GROUPS,
        horizonMs: Math.min(logConfig.replayHorizonMs, EVENTS_HORIZON_MS),
      },
    ]),
    intervalMs: logConfig.trimIntervalMs,
    log,
    onTrimmed: (stream, entries) => metrics.trimmed.inc({ stream }, entries),
  });
  const watch = new ChainWatch({ redis, sql, partitions, retentionDays: config.retentionDays, metrics, log });
  const retention = new Retention(config.databaseUrl, settings.transactionTimeoutMs, config.retentionDays, log);
  const http = new HttpServer({
    bind: config.listen.bind,
    port: config.listen.httpPort,
    log,
    metrics: registry,
    checks: {
      redis: async () => void (await redis.ping()),
      postgres: async () => void (await sql`SELECT`),
      workers: async () => {
        for (const { trouble } of workers) if (trouble !== undefined) throw trouble;
      },
    },
  });
  // All at once: each may be waiting for its blocking read to end.
  const allWorkers: Service = {
    name: "workers",
    start: async () => void (await Promise.all(workers.map((worker) => worker.start()))),
    stop: async () => void (await Promise.all(workers.map((worker) => worker.stop()))),
  };
  await runServices([connections, http, retention, trimmer, watch, allWorkers], log, {
    drainTimeoutMs: config.drainTimeoutMs,
  });
}
