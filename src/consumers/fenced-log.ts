import type { Redis } from "ioredis";
import type { FencedLog } from "../store/fences.ts";
import { recallLate } from "../stream/entry-keys.ts";
import { assertOpenSince } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";

/** The log of a partition, as Postgres' side asks for it where entries in hand may have been lost by it. */
export function fencedLog(redis: Redis, keys: PartitionKeys): FencedLog {
  return {
    recall: ({ payload, ...place }, epoch) =>
      recallLate(redis, keys, { ...place, payload: payload ?? Buffer.alloc(0) }, epoch),
    assertOpenSince: (epoch) => assertOpenSince(redis, keys, epoch),
  };
}
