import type { Config } from "../config/config.ts";
import { runServices } from "../runtime/run.ts";
import type { Service } from "../runtime/service.ts";
import { connect } from "../store/connection.ts";
import { countOpenLetters } from "../store/dead-letter-shelf.ts";
import { listInstruments } from "../store/instruments.ts";
import { findWritten } from "../store/journal.ts";
import { claimPartitionCount as claimInStore } from "../store/settings.ts";
import { Writer } from "../store/writer.ts";
import { verifyDurability } from "../stream/durability.ts";
import { GoneConsumers } from "../stream/gone-consumers.ts";
import { ensureGroup, GroupReader } from "../stream/group-reader.ts";
import { EVENTS_GROUPS, ORDERS_GROUPS, PERSIST_GROUP } from "../stream/groups.ts";
import { InstrumentBook } from "../stream/instrument-book.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { checkPartitionCount, claimPartitionCount as claimInLog } from "../stream/partition-count.ts";
import { Partitioning } from "../stream/partition.ts";
import { formatEntryId, parseEntryId } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { RollCall } from "../stream/roll-call.ts";
import { readGroups } from "../stream/status.ts";
import { EVENTS_HORIZON_MS, Trimmer } from "../stream/trimmer.ts";
import { HttpServer } from "../telemetry/http-server.ts";
import { createLog } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { ChainWatch, type WatchedStream } from "./chain-watch.ts";
import { EVENT_ROWS } from "./event-rows.ts";
import { fencedLog } from "./fenced-log.ts";
import { ConsumerMetrics } from "./metrics.ts";
import { LetterAlarm } from "./letter-alarm.ts";
import { ORDER_ROWS } from "./order-rows.ts";
import { Retention } from "./retention.ts";
import { Worker, type WorkerStore } from "./worker.ts";

/** A server that answers this late is gone; a blocking read may take BLOCK longer. */
const REDIS_TIMEOUT_MS = 5_000;
/** For the watch, retention and readiness; each worker has a connection of its own. */
const POSTGRES_CONNECTIONS = 2;

/**
 * What the engine makes of an order is about so many rows of reports and trades: transactions of both streams then hold as many
 * orders, and a state that is changed twice in one of them is written once.
 */
const ROWS_OF_AN_ORDER = 4;
/** Entries of the first read: one of orders has 1 MiB at most, one of events up to 10 MB. */
const FIRST_COUNT = { orders: Infinity, events: 8 } as const;

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
  // A worker for each stream of each partition.
  const streams = partitions.flatMap((keys) => {
    const { partition, orders, events } = keys;
    return [
      { partition, keys, rows: ORDER_ROWS, key: orders, transactionRows: settings.transactionRows },
      { partition, keys, rows: EVENT_ROWS, key: events, transactionRows: settings.transactionRows * ROWS_OF_AN_ORDER },
    ];
  });
  const metrics = new ConsumerMetrics(
    registry,
    () =>
      Promise.all(
        streams.map(async ({ partition, rows, key }) => {
          return { partition, stream: rows.name, groups: await readGroups(redis, key) };
        }),
      ),
    async () => {
      const letters = await countOpenLetters(sql);
      return letters.map((open) => ({ ...open, stream: open.stream === EVENT_ROWS.stream ? "events" : "orders" }));
    },
  );
  const metricsOf = { orders: metrics.of("orders"), events: metrics.of("events") };
  const instruments = new InstrumentBook(redis, partitions, log);
  const alarm = new LetterAlarm(log);
  const store: WorkerStore = {
    instruments: () => listInstruments(sql),
    written: async (stream, partition, ids) =>
      new Set((await findWritten(sql, stream, partition, ids.map(parseEntryId))).map(formatEntryId)),
  };
  const blocking = streams.map(({ partition, rows }) =>
    connectRedis(config.redisUrl, {
      name: `penstock-read-${rows.name}-${partition}`,
      socketTimeoutMs: settings.readBlockMs + REDIS_TIMEOUT_MS,
      onError,
    }),
  );
  const workers = streams.map(
    ({ partition, keys, rows, key, transactionRows }, i) =>
      new Worker({
        partition,
        rows,
        reader: new GroupReader({
          blocking: blocking[i]!,
          redis,
          stream: key,
          group: PERSIST_GROUP,
          consumer: settings.name,
          count: settings.readCount,
          firstCount: Math.min(settings.readCount, FIRST_COUNT[rows.name]),
          blockMs: settings.readBlockMs,
          minIdleMs: settings.minIdleMs,
          claimIntervalMs: settings.claimIntervalMs,
          onGroupLost: () => {
            metricsOf[rows.name].add("groupsLost");
            log.error(
              { partition, stream: rows.name, group: PERSIST_GROUP },
              "GROUP LOST: all that the stream holds is read again",
            );
          },
        }),
        writer: new Writer(config.databaseUrl, { timeoutMs: settings.transactionTimeoutMs }),
        instruments,
        store,
        transactionRows,
        metrics: metricsOf[rows.name],
        onDeadLetters: alarm.tell,
        fencedLog: fencedLog(redis, keys),
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
      // The engine may have begun before there were workers: their group is not lost then.
      for (const { events } of partitions) await ensureGroup(redis, events, PERSIST_GROUP);
      await instruments.start();
    },
    stop: async () => {
      alarm.close();
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
    isHeld: (key) => watch.holds(key),
    log,
    onTrimmed: (stream, entries) => metrics.trimmed.inc({ stream }, entries),
  });
  const gone = new GoneConsumers({
    redis,
    streams: streams.map(({ key }) => key),
    group: PERSIST_GROUP,
    self: settings.name,
    goneMs: settings.goneMs,
    log,
    onRemoved: (stream, consumers) => metrics.consumersRemoved.inc({ stream }, consumers),
  });
  const watched: readonly WatchedStream[] = streams.map(({ partition, rows, key }) => ({
    partition,
    stream: rows.stream,
    key,
  }));
  const watch: ChainWatch = new ChainWatch({
    redis,
    sql,
    streams: watched,
    retentionDays: config.retentionDays,
    metrics,
    log,
  });
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
  const rollCall = new RollCall({ role: "consumers", redis, registry: registry.registry });
  await runServices([connections, http, retention, watch, trimmer, gone, rollCall, allWorkers], log, {
    drainTimeoutMs: config.drainTimeoutMs,
  });
}
