import type { Redis } from "ioredis";
import * as v from "valibot";
import type { Vitals } from "../telemetry/vitals.ts";

/** Hash: process → what it tells of itself, each second while it lives. */
const KEY = "penstock:roll";
/** A kilobyte or two each, of some ten processes; whatever else is written there is not read. */
const MAX_VALUE = 16 * 1024;

/** A process as it told of itself last. */
export interface RollEntry {
  /** Of the process, for one life of it. */
  readonly id: string;
  readonly role: string;
  /** For people: its host and its number there. */
  readonly name: string;
  /** Its own clock, that only goes on, in ms. */
  readonly clockMs: number;
  readonly vitals: Vitals;
}

const Numbers = v.record(v.string(), v.pipe(v.number(), v.finite()));
const Written = v.object({
  role: v.string(),
  name: v.string(),
  clockMs: v.pipe(v.number(), v.finite()),
  vitals: v.object({
    counters: Numbers,
    distributions: v.record(v.string(), v.object({ buckets: Numbers, sum: v.pipe(v.number(), v.finite()) })),
  }),
});

export async function writeRoll(redis: Redis, { id, ...entry }: RollEntry): Promise<void> {
  await redis.hset(KEY, id, JSON.stringify(entry));
}

/** Strikes off processes that are gone. */
export async function strikeOff(redis: Redis, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await redis.hdel(KEY, ...ids);
}

/** Those that have told of themselves, whether they live or not; without what this code cannot read. */
export async function readRoll(redis: Redis): Promise<RollEntry[]> {
  const written = await redis.hgetall(KEY);
  return Object.entries(written).flatMap(([id, text]) => {
    const parsed = text.length > MAX_VALUE ? undefined : v.safeParse(Written, parsedJson(text));
    return parsed?.success === true ? [{ id, ...parsed.output }] : [];
  });
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
