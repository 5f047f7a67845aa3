import { Redis } from "ioredis";
import postgres from "postgres";
import { clientOptions } from "../../src/store/client.ts";
import { parseInfo } from "../../src/stream/durability.ts";
import type { PartitionKeys } from "../../src/stream/keys.ts";
import { parseEntryId } from "../../src/stream/position.ts";
import { readGroups } from "../../src/stream/status.ts";
import { portsOf, processesOf, type StackProcess, type Usage, usageOf } from "./processes.ts";

/** A second of the run. What could not be asked, because its server was away, is undefined. */
export interface Sample {
  /** Seconds since the start. */
  readonly at: number;
  readonly processes: readonly (Usage & { readonly heap: number | undefined })[];
  readonly redis: RedisSample | undefined;
  /** Of the database, bytes. */
  readonly database: number | undefined;
}

export interface RedisSample {
  readonly memory: number;
  readonly keys: number;
  /** Entries that the groups have not finished. */
  readonly unfinished: number;
  /** How far the engine is behind the log, ms of the log's time. */
  readonly engineBehind: number;
  /** In the group that has most. */
  readonly consumers: number;
}

/** A look at it takes each role some milliseconds of work, which must not be what is measured. */
const HEAP_EACH = 5;
const TIMEOUT_MS = 900;

/** Looks at a stack from outside, once a second. Never waits longer than that, whatever is away. */
export class Sampler {
  readonly #up: number;
  readonly #partitions: readonly PartitionKeys[];
  readonly #redis: Redis;
  readonly #sql: postgres.Sql;
  readonly #metrics = new Map<number, string>();
  readonly #heaps = new Map<number, number>();
  #samples = 0;

  constructor(stack: { pid: number; redisUrl: string; databaseUrl: string }, partitions: readonly PartitionKeys[]) {
    this.#up = stack.pid;
    this.#partitions = partitions;
    this.#redis = new Redis(stack.redisUrl, { maxRetriesPerRequest: 0, socketTimeout: TIMEOUT_MS, protocol: 2 });
    this.#redis.on("error", () => {}); // it is killed now and then
    this.#sql = postgres(stack.databaseUrl, { ...clientOptions(TIMEOUT_MS), max: 1 });
  }

  /** `others` are processes beside those of the stack. */
  async sample(at: number, others: readonly StackProcess[]): Promise<Sample> {
    const usages = [...processesOf(this.#up), ...others].map(usageOf).filter((usage) => usage !== undefined);
    if (this.#samples++ % HEAP_EACH === 0) await this.#readHeaps(usages);
    const [redis, database] = await Promise.all([
      within(this.#readRedis()),
      within(this.#sql<{ size: string }[]>`SELECT pg_database_size(current_database()) AS size`),
    ]);
    const processes = usages.map((usage) => ({ ...usage, heap: this.#heaps.get(usage.pid) }));
    return { at, processes, redis, database: database && Number(database[0]?.size) };
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
    await this.#sql.end({ timeout: 1 });
  }

  async #readRedis(): Promise<RedisSample> {
    const redis = this.#redis;
    const memory = Number(parseInfo(await redis.info("memory")).get("used_memory"));
    const keys = await redis.dbsize();
    let unfinished = 0;
    let consumers = 0;
    let engineBehind = 0;
    for (const { orders, events } of this.#partitions) {
      for (const group of [...(await readGroups(redis, orders)), ...(await readGroups(redis, events))]) {
        unfinished += group.pending + Math.max(0, group.lag);
        consumers = Math.max(consumers, group.consumers);
      }
      const [logged] = await redis.xrevrange(orders, "+", "-", "COUNT", 1);
      const [told] = await redis.xrevrange(events, "+", "-", "COUNT", 1);
      if (logged && told) {
        engineBehind = Math.max(engineBehind, parseEntryId(logged[0]).ms - parseEntryId(told[0]).ms);
      }
    }
    return { memory, keys, unfinished, engineBehind, consumers };
  }

  /** Of the roles, by their own metrics. */
  async #readHeaps(processes: readonly StackProcess[]): Promise<void> {
    const present = new Set(processes.map(({ pid }) => pid));
    for (const map of [this.#heaps, this.#metrics])
      for (const pid of map.keys()) if (!present.has(pid)) map.delete(pid);
    const roles = processes.filter(({ name }) => !["up", "redis", "postgres"].includes(name));
    await Promise.all(
      roles.map(async ({ pid }) => {
        const known = this.#metrics.get(pid);
        const urls = known === undefined ? portsOf(pid).map((port) => `http://127.0.0.1:${port}/metrics`) : [known];
        for (const url of urls) {
          const heap = await heapAt(url);
          if (heap === undefined) continue;
          this.#metrics.set(pid, url);
          this.#heaps.set(pid, heap);
        }
      }),
    );
  }
}

/** Undefined where that is no such port, or it does not answer. */
async function heapAt(url: string): Promise<number | undefined> {
  try {
    const text = await (await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })).text();
    const heap = /^nodejs_heap_size_used_bytes\S* (\S+)$/m.exec(text)?.[1];
    return heap === undefined ? undefined : Number(heap);
  } catch {
    return undefined;
  }
}

async function within<T>(work: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), TIMEOUT_MS);
  try {
    return await Promise.race([work.catch(() => undefined), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
