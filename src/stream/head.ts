import type { Redis } from "ioredis";
import { parseInfo } from "./durability.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, type EntryPosition, formatEntryId, parseEntryId, START } from "./position.ts";

/** The state of a partition's log, as its head key holds it. */
export interface Head {
  /** Run id of the server that the log was opened on, or the claim of who is opening it; "" where neither was, or it was lost. */
  readonly run: string;
  readonly epoch: number;
  /** The end of the log when the epoch began: what came before it, and only that, is in the log for good. */
  readonly base: EntryId;
  /** The newest entry. */
  readonly last: EntryId;
  /** Generation of idempotency keys, ms when it began, and when the one before it did (itself, where it is the first). */
  readonly generation: number;
  readonly turned: number;
  readonly recognisedSince: number;
  /** Where the log ended before entries were put back since it was last open; undefined where none were. */
  readonly restored: EntryId | undefined;
  /** Where entries were missing among those that were ever put back: behind the one, before the other; undefined where nowhere. */
  readonly gap: { readonly after: EntryPosition; readonly until: EntryId } | undefined;
}

export async function readHead(redis: Redis, keys: PartitionKeys): Promise<Head> {
  const hash = await redis.hgetall(keys.head);
  // A head that is lost alone must not hide the keys, or what was acknowledged a moment ago could be placed twice.
  const generation = hash["generation"] ?? (await newestGeneration(redis, keys));
  return {
    run: hash["run"] ?? "",
    epoch: Number(hash["epoch"] ?? 0),
    base: hash["base"] === undefined ? START : parseEntryId(hash["base"]),
    last: hash["last"] === undefined ? START : parseEntryId(hash["last"]),
    generation: Number(generation),
    turned: Number(hash["turned"] ?? 0),
    recognisedSince: Number(hash["previous"] ?? hash["turned"] ?? 0),
    restored: hash["restored"] === undefined ? undefined : restoredFrom(hash["restored"], hash["last"]),
    gap: gapIn(hash),
  };
}

/** Of the keys that are there; 1 where there are none. Redis has some dozens of keys, of whatever kind. */
async function newestGeneration(redis: Redis, keys: PartitionKeys): Promise<number> {
  const prefix = keys.seen("");
  let newest = 1;
  for await (const page of redis.scanStream({ match: `${prefix}*`, count: 1_000 }) as AsyncIterable<string[]>) {
    newest = Math.max(newest, ...page.map((key) => Number(key.slice(prefix.length))));
  }
  return newest;
}

/** The log is not open at present: an ingest opens it. */
export class NotOpenError extends Error {
  override readonly name = "NotOpenError";
}

/** The log's head, where the log is open on this server. Throws a NotOpenError. */
export async function openHead(redis: Redis, keys: PartitionKeys): Promise<Head> {
  const head = await readHead(redis, keys);
  const run = parseInfo(await redis.info("server")).get("run_id");
  if (head.run === "" || head.run !== run) throw new NotOpenError("the log is not open: no ingest has opened it yet");
  return head;
}

/**
 * Throws a NotOpenError unless the log is open on this server in that epoch or a later one. Asks nothing of a server that reads its
 * file back: a command would wait for as long as that takes.
 */
export async function assertOpenSince(redis: Redis, keys: PartitionKeys, epoch: number): Promise<void> {
  assertReady(redis);
  const head = await openHead(redis, keys);
  if (head.epoch < epoch) throw new NotOpenError(`the log is open in epoch ${head.epoch}, which is before ${epoch}`);
}

export function assertReady({ status }: Redis): void {
  if (status !== "ready") throw new NotOpenError(`Redis is not ready: ${status}`);
}

/** An older version says only that something was put back: then all that is there counts as what was. */
function restoredFrom(restored: string, last = formatEntryId(START)): EntryId {
  return parseEntryId(restored === "1" ? last : restored);
}

function gapIn({ gap, gap_until: until }: Readonly<Record<string, string>>): Head["gap"] {
  if (gap === undefined || until === undefined) return undefined;
  const [epoch = "", id = ""] = gap.split(" ");
  return { after: { epoch: Number(epoch), ...parseEntryId(id) }, until: parseEntryId(until) };
}
