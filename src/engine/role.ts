import type { Config } from "../config/config.ts";
import { runServices } from "../runtime/run.ts";
import type { Service } from "../runtime/service.ts";
import { connect } from "../store/connection.ts";
import { claimPartitionCount as claimInStore } from "../store/settings.ts";
import { verifyDurability } from "../stream/durability.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { checkPartitionCount, claimPartitionCount as claimInLog } from "../stream/partition-count.ts";
import { Partitioning } from "../stream/partition.ts";
import { connectRedis } from "../stream/redis.ts";
import { RollCall } from "../stream/roll-call.ts";
import { readAgeBehind } from "../stream/status.ts";
import { EVENTS_HORIZON_MS } from "../stream/trimmer.ts";
import { HttpServer } from "../telemetry/http-server.ts";
import { createLog } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { READ_BLOCK_MS } from "./engine-run.ts";
import { EngineServer } from "./engine-server.ts";
import { EngineAnswers } from "./engine-service.ts";
import { engineJournal } from "./engine-journal.ts";
import { EngineMetrics } from "./metrics.ts";
import { PartitionEngine } from "./partition-engine.ts";
import { BookReplays } from "./replay/book-replays.ts";
import { StoreSnapshots } from "./store-snapshots.ts";

/** A server that answers this late is gone; a blocking read may take READ_BLOCK_MS longer. */
const REDIS_TIMEOUT_MS = 5_000;
/** For snapshots and the journal, where the log is not enough, and for readiness. */
const POSTGRES_CONNECTIONS = 2;
/**
 * Orders whose newest event can be found in Redis, in each of two generations: some seconds at the highest rates, and by then
 * it is in Postgres. At 100 bytes each they take 50 MB a partition at most.
 */
const STATUS_ORDERS = 250_000;

/** Runs the engines of all partitions until a signal. Where others run too, all but one stand by. */
export async function runEngine(config: Config): Promise<void> {
  const log = createLog("engine", config.logLevel);
  const registry = createMetrics("engine");
  const onError = (error: Error) => log.warn({ err: error }, "Redis connection");
  const connection = (name: string, waitMs = 0) =>
    connectRedis(config.redisUrl, {
      name: `penstock-engine-${name}`,
      socketTimeoutMs: REDIS_TIMEOUT_MS + waitMs,
      onError,
    });
  const redis = connection("status");
  const sql = connect(config.databaseUrl, { max: POSTGRES_CONNECTIONS });

  const { log: logConfig, engine: settings } = config;
  const partitioning = new Partitioning(logConfig.partitions);
  const partitions = partitioning.all().map((partition) => new PartitionKeys(partition));
  // A large append of one partition does not hold up another.
  const appending = partitions.map((keys) => connection(`append-${keys.partition}`));
  const blocking = partitions.map((keys) => connection(`read-${keys.partition}`, READ_BLOCK_MS));
  const metrics = new EngineMetrics(
    registry,
    () => engines.map(({ status }) => status),
    () =>
      Promise.all(
        partitions.map(async (keys, i) => ({
          partition: keys.partition,
          behindMs: await readAgeBehind(redis, keys.orders, engines[i]!.status.position),
        })),
      ),
  );
  const snapshots = new StoreSnapshots(config.databaseUrl, sql);
  const journal = engineJournal(sql);
  const engines: readonly PartitionEngine[] = partitions.map(
    (keys, i) =>
      new PartitionEngine({
        redis: appending[i]!,
        blocking: blocking[i]!,
        keys,
        journal,
        snapshots,
        snapshotCommands: settings.snapshotCommands,
        snapshotIntervalMs: settings.snapshotIntervalMs,
        statusGenerationMs: EVENTS_HORIZON_MS,
        statusGenerationOrders: STATUS_ORDERS,
        log,
        ...metrics.hooks(keys.partition),
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
    },
    stop: async () => {
      for (const connection of [redis, ...appending, ...blocking]) connection.disconnect();
      await snapshots.close();
      await sql.end({ timeout: 1 });
    },
  };
  const http = new HttpServer({
    bind: config.listen.bind,
    port: config.listen.httpPort,
    log,
    metrics: registry,
    checks: {
      redis: async () => void (await redis.ping()),
      postgres: async () => void (await sql`SELECT`),
      engines: async () => {
        for (const { trouble, status } of engines) {
          if (trouble !== undefined) throw trouble;
          if (status.state === "starting")
            throw new Error(`partition ${status.partition} is starting: ${status.detail}`);
        }
      },
    },
  });
  // All at once: each may be waiting for its blocking read to end.
  const allEngines: Service = {
    name: "engines",
    start: async () => void (await Promise.all(engines.map((engine) => engine.start()))),
    stop: async () => void (await Promise.all(engines.map((engine) => engine.stop()))),
  };
  const replays = new BookReplays({ redisUrl: config.redisUrl, databaseUrl: config.databaseUrl }, log);
  const server = new EngineServer({
    bind: config.listen.bind,
    port: settings.port,
    answers: new EngineAnswers(engines, partitioning, replays),
    log,
  });
  const rollCall = new RollCall({ role: "engine", redis, registry: registry.registry });
  const services = [connections, http, allEngines, rollCall, replays, server];
  await runServices(services, log, { drainTimeoutMs: config.drainTimeoutMs });
}
