import type { Redis } from "ioredis";
import { PARTITION_COUNT_KEY } from "./keys.ts";

/** The log was made with another number of partitions. It cannot change: ids and keys name the partition. */
export class PartitionCountError extends Error {
  override readonly name = "PartitionCountError";
}

/** Records the number of partitions at the first start; throws a PartitionCountError where another is recorded. */
export async function claimPartitionCount(redis: Redis, count: number): Promise<void> {
  await redis.setnx(PARTITION_COUNT_KEY, count);
  await checkPartitionCount(redis, count);
}

/** Throws a PartitionCountError where another number is recorded. Records nothing, so it may come before other checks. */
export async function checkPartitionCount(redis: Redis, count: number): Promise<void> {
  const recorded = await redis.get(PARTITION_COUNT_KEY);
  if (recorded !== null && recorded !== String(count)) {
    throw new PartitionCountError(`the log in Redis has ${recorded} partitions, not ${count}`);
  }
}
