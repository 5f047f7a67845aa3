import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
import { parseInfo } from "../../src/stream/durability.ts";
import type { Stack } from "../stack.ts";
import { measure } from "./measure.ts";

/** Bytes of Redis' memory for one order that waits for the consumers. */
export interface WaitingMemory {
  readonly batch: number;
  readonly orders: number;
  readonly ordersPerEntry: number;
  /** The stream's share, which goes when the order is trimmed. */
  readonly stream: number;
  /** All of Redis' memory, the keys of idempotency included. */
  readonly total: number;
}

/** A moment of a long run. Bytes. */
export interface MemorySample {
  readonly minute: number;
  readonly used: number;
  readonly stream: number;
  readonly entries: number;
  readonly seen: number;
}

// 50 s at the calm rate.
const WAITING_ORDERS = 50_000;

/** Fills the log while the consumers stand still. */
export async function waitingMemory(stack: Stack, batch: number, rate: number): Promise<WaitingMemory> {
  await stack.target.settled();
  stack.pauseConsumers(true);
  try {
    const before = await sample(stack, 0);
    const target = { ...stack.target, databaseUrl: undefined, settled: async () => {} };
    const { report } = await measure(target, { rate, seconds: WAITING_ORDERS / rate, warmupSeconds: 0, batch });
    const after = await sample(stack, 0);
    const orders = report.acknowledged;
    return {
      batch,
      orders,
      ordersPerEntry: orders / (after.entries - before.entries),
      stream: (after.stream - before.stream) / orders,
      total: (after.used - before.used) / orders,
    };
  } finally {
    stack.pauseConsumers(false);
    await stack.target.settled();
  }
}

/** Redis' memory, each minute of a long load, and a minute after it. */
export async function memoryOverTime(
  stack: Stack,
  rate: number,
  batch: number,
  minutes: number,
): Promise<MemorySample[]> {
  const samples = [await sample(stack, 0)];
  const load = { rate, seconds: minutes * 60, warmupSeconds: 0, batch };
  const target = { ...stack.target, databaseUrl: undefined };
  const running = measure(target, load);
  for (let minute = 1; minute <= minutes; minute++) {
    await Promise.race([delay(60_000), running]);
    samples.push(await sample(stack, minute));
  }
  await running;
  return samples;
}

async function sample({ redis, stream }: Stack, minute: number): Promise<MemorySample> {
  const used = Number(parseInfo(await redis.info("memory")).get("used_memory"));
  const seenKeys = await redis.keys(`${stream.replace(/orders$/, "seen")}:*`);
  const seen = await Promise.all(seenKeys.map((key) => memoryOf(redis, key, 100)));
  return {
    minute,
    used,
    // All its nodes are looked at, since a node full of batches is a hundred times one of single orders.
    stream: await memoryOf(redis, stream, 0),
    entries: await redis.xlen(stream),
    seen: seen.reduce((sum, bytes) => sum + bytes, 0),
  };
}

// `samples` fields or nodes stand for all; 0 looks at every one, and Redis does nothing else meanwhile.
async function memoryOf(redis: Redis, key: string, samples: number): Promise<number> {
  return Number(await redis.call("MEMORY", "USAGE", key, "SAMPLES", samples));
}
