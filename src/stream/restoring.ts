import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { keysOf, recallKeys } from "./entry-keys.ts";
import { type Head, readHead } from "./head.ts";
import { type Journal, type JournalEntry, successor } from "./journal.ts";
import type { PartitionKeys } from "./keys.ts";
import { compareEntries, compareEntryIds, type EntryId, type EntryPosition, formatEntryId } from "./position.ts";
import { earlierClock } from "./redis.ts";
import { Script } from "./script.ts";

export interface RestoringOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly journal: Journal;
  readonly replayHorizonMs: number;
  readonly idempotencyHorizonMs: number;
  readonly log: Logger;
}

const PAGE = 100; // entries of at most 1 MiB each, sent to Redis together; usually a few hundred bytes
const GAP_TRIES = 10; // a worker that still holds the entries in between commits within a few seconds
const GAP_DELAY_MS = 500;

const restoreScript = new Script("restore");

/**
 * Puts back what the journal has behind `before`, along the chain. Returns the new end (`before` itself where nothing was
 * lost), or undefined where another opener was quicker. `from`: where the log ended before anything was put back.
 */
export async function restore(
  options: RestoringOptions,
  maxKeys: number,
  head: Head,
  before: EntryPosition,
  from: EntryId,
  journalEnd: EntryPosition,
): Promise<EntryPosition | undefined> {
  const { redis, keys, journal, log } = options;
  const { streamSince, since } = await horizons(options);
  let end = before;
  let expected: EntryId = head.last;
  let gapTries = 0;
  let { generation } = head;
  let held = await redis.hlen(keys.seen(generation));
  const put = (
    entry: JournalEntry,
    payload: Buffer | "",
    identities: readonly Buffer[],
    gapAfter?: EntryPosition,
  ): Promise<unknown> => {
    // Turned by count, as the commit script does: however much there is to put back, the keys stay within their bound.
    if (held >= maxKeys) [generation, held] = [generation + 1, 0];
    held += identities.length / 2;
    const place = [head.run, formatEntryId(expected), formatEntryId(entry), formatEntryId(entry.previous)];
    const gap = gapAfter === undefined ? "" : `${gapAfter.epoch} ${formatEntryId(gapAfter)}`;
    end = expected = entry;
    return restoreScript.run(
      redis,
      [keys.orders, keys.head, keys.seen(generation), keys.seen(generation - 2)],
      [...place, entry.epoch, entry.version, payload, generation, formatEntryId(from), gap, ...identities],
    );
  };

  while (compareEntries(end, journalEnd) < 0) {
    const page = await journal.read(keys.partition, end, since, PAGE);
    const first = page[0];
    if (first === undefined) {
      // All that is left is older than the horizons: the log goes on behind it, so that IDs never go back.
      const placeholder = { ...journalEnd, previous: end, version: 0, payload: Buffer.alloc(0) };
      if ((await put(placeholder, "", [])) !== 1) return undefined;
      break;
    }
    let next = successor(page, end);
    // What stands before the first entry may be older than the horizons, and then is not missing.
    const gap = next === undefined && first.previous.ms >= since;
    if (gap && gapTries++ < GAP_TRIES) {
      await delay(GAP_DELAY_MS);
      continue;
    }
    if (gap) {
      log.error(
        {
          partition: keys.partition,
          after: formatEntryId(end),
          missing: formatEntryId(first.previous),
          next: formatEntryId(first),
        },
        "GAP IN THE LOG: neither Redis nor the journal has the entries before this one; going on behind the gap",
      );
    }
    // Taken apart before any is sent: of one that is not known here nothing is put back, nor left behind on its way.
    const chain: { readonly entry: JournalEntry; readonly keys: readonly Buffer[] }[] = [];
    for (next ??= first; next !== undefined; next = successor(page, next)) {
      chain.push({ entry: next, keys: keysOf(next) });
    }
    // Sent together: each is refused where the one before it was.
    const gapAfter = gap ? end : undefined;
    const puts = chain.map(({ entry, keys }, i) =>
      put(entry, entry.ms >= streamSince ? entry.payload : "", keys, i === 0 ? gapAfter : undefined),
    );
    if ((await Promise.all(puts)).some((done) => done !== 1)) return undefined;
  }
  if (end !== before) {
    log.warn(
      { partition: keys.partition, from: formatEntryId(before), to: formatEntryId(end) },
      "put entries back from the journal",
    );
  }
  return end;
}

/**
 * Puts the keys of those entries back that have filled a gap: since it was passed over, or in an earlier epoch, where Redis has lost
 * them again. Behind the fence, while the log is still shut: so later ones are known as such (store/fences.ts), and nobody has sent
 * the same id again. Resolves with false where another opener was quicker.
 */
export async function recallGaps(options: RestoringOptions): Promise<boolean> {
  const { redis, keys, journal, log } = options;
  const head = await readHead(redis, keys);
  if (head.gap === undefined) return true;
  const { after, until } = head.gap;
  const { since } = await horizons(options);
  for (let at = after; compareEntryIds(at, until) < 0;) {
    const page = await journal.read(keys.partition, at, since, PAGE);
    const last = page.at(-1);
    if (last === undefined) break;
    const missing = page.filter((entry) => compareEntryIds(entry, until) < 0);
    const done = await Promise.all(missing.map((entry) => recallKeys(redis, keys, entry, head)));
    if (done.includes(undefined)) return false;
    for (const [i, entry] of missing.entries()) {
      const place = { partition: keys.partition, entry: formatEntryId(entry) };
      if (done[i] === false) log.error(place, "AN ID STANDS FOR TWO COMMANDS: one of this entry, and another");
    }
    at = last;
  }
  return true;
}

/**
 * From when on (ms since 1970) entries are wanted in the stream, and from when on at all: older commands are wanted neither for their
 * rows nor for their keys. A clock that has jumped ahead would leave out what is wanted: the other one counts then.
 */
async function horizons({ redis, replayHorizonMs, idempotencyHorizonMs }: RestoringOptions) {
  const now = await earlierClock(redis);
  const streamSince = now - replayHorizonMs;
  return { streamSince, since: Math.min(streamSince, now - idempotencyHorizonMs) };
}
