import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { pino } from "pino";
import { findRedis, RedisServer } from "../../src/stack/redis-server.ts";
import { findServiceUser } from "../../src/stack/service-user.ts";
import { Appender } from "../../src/stream/append.ts";
import { prepareSubmit } from "../../src/stream/prepared-command.ts";
import { parseInfo } from "../../src/stream/durability.ts";
import { ORDERS_GROUPS } from "../../src/stream/groups.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { submitFields } from "../measure/commands.ts";
import { printRow } from "../measure/loop.ts";

// tinybench repeats one pass; a flush can be sent once only, because its keys are then known. So the flushes are made
// beforehand, and Redis itself says how long its script took.

const FLUSHES = 200;
const TIMEOUT_MS = 5_000;

const folder = await mkdtemp(join(tmpdir(), "penstock-bench-"));
const server = new RedisServer({
  folder,
  program: findRedis(join(import.meta.dirname, "..", "..", ".penstock")),
  user: findServiceUser(),
  removeWhenOrphaned: true,
});
try {
  await server.start();
  const redis = connectRedis(server.url, { name: "penstock-bench", socketTimeoutMs: TIMEOUT_MS });
  await measureFlushes(redis);
  redis.disconnect();
} finally {
  await server.stop();
  await rm(folder, { recursive: true });
}

async function measureFlushes(redis: Redis): Promise<void> {
  const appender = new Appender({
    redis,
    keys: new PartitionKeys(0),
    journal: {
      end: async () => undefined,
      read: async () => [],
      has: async () => false,
      newestFence: async () => undefined,
      raiseFence: async () => "raised",
      withdrawLost: async () => ({ entries: 0, isAll: true }),
      fenceWithout: async () => undefined,
      keepOrphans: async () => {},
      instruments: async () => [],
    },
    durability: { level: "always", replicas: 0, replicaTimeoutMs: 0 },
    groups: ORDERS_GROUPS,
    replayHorizonMs: 0,
    idempotencyHorizonMs: 3_600_000,
    log: pino({ level: "silent" }),
    maxWaiting: 1_000,
    generationMs: 3_600_000,
    generationKeys: () => 10_000_000,
    settleMs: 0,
  });
  await appender.open();
  let first = 0;
  for (const commands of [1, 10, 100, 500]) {
    const flushes = Array.from({ length: FLUSHES }, () => {
      first += 1000;
      return submitFields(commands, Math.ceil(first / commands) * commands).map((submit) =>
        prepareSubmit("demo", submit),
      );
    });
    await redis.config("RESETSTAT");
    const started = performance.now();
    for (const flush of flushes) {
      await appender.append(flush, { deadline: Date.now() + TIMEOUT_MS, cancelled: false });
    }
    const milliseconds = performance.now() - started;
    const usage = parseInfo(await redis.info("commandstats")).get("cmdstat_evalsha") ?? "";
    const microseconds = Number(/usec=(\d+)/.exec(usage)?.[1]);
    const orders = `${commands} command${commands === 1 ? "" : "s"}`;
    printRow(`the commit script with ${orders}: Redis' time for a command`, (microseconds * 1e3) / FLUSHES / commands);
    printRow(`a flush of ${orders} until it is on disk: for a command`, (milliseconds * 1e6) / FLUSHES / commands);
  }
}
