import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { shut } from "./claim.ts";
import { type Durability, verifyDurability } from "./durability.ts";
import { EntryError, readEntry, type StreamReply } from "./entry.ts";
import { giveUp } from "./given-up.ts";
import { EVENTS_GROUPS } from "./groups.ts";
import { type Head, readHead } from "./head.ts";
import type { Fence, Journal } from "./journal.ts";
import type { PartitionKeys } from "./keys.ts";
import { compareEntryIds, type EntryPosition, formatEntryId, parseEntryId, START } from "./position.ts";
import { recallGaps, restore } from "./restoring.ts";
import { Script } from "./script.ts";

/**
 * Opens a partition of the log: after the first start, and whenever the server restarted, failed over or lost its tail.
 *
 * What the stream lost and the journal has is put back, under the same IDs; then a compare-and-set on the head lets
 * writing go on. Until that, the commit script refuses everybody. Any number of processes may open at once: each step
 * is refused to all but one of them, and the others look again.
 *
 * Each time a new epoch begins. A server that flushes each entry before it is acknowledged comes back with all of them, but for a
 * disk that lied; and who opens cannot know, since another process may have had the answers that are missing, and a worker may
 * still have the entries in hand. Such an entry must not reach the journal when the log has gone on without it: no engine would
 * ever come to it. So a fence is raised in Postgres before the log is opened (`Fence`, store/fences.ts). Where nothing was lost
 * it leaves nothing out. The steps, and what holds where the opener dies between two of them:
 *
 * 1. The log is shut: a claim, with the epoch that is to begin, takes the place of the run id in the head. Nothing is appended
 *    to a lower epoch from here on, so a fence can never stand in the way of a log that is alive. The next opener goes on
 *    with this claim where the server has run ever since (then that epoch was surely not opened), else makes one of a
 *    higher epoch, and this one opens nothing any more.
 * 2. The journal's entries are put back. The next opener goes on behind them; the head says from where on they were. Where the
 *    journal goes on from a place before the stream's end, the stream is given up first (`giveUp`), and all of it comes from there.
 * 3. The fence. Of no effect on what stands before it, and what stands behind it is lost already. Where the journal has grown
 *    by then, back to 2. It also keeps the number of its epoch: no other opening ever has it again, whatever Redis forgets. Then
 *    events behind it that were written before their commands are taken back.
 * 4. The log is opened. Refused where the claim is another's or gone, because Redis was emptied once more: back to 1.
 *
 * A gap in what was put back stays open: the entries that fill it stand before the base, and the engine waits for them, or until an
 * operator has it closed (store/closings.ts). Who fills it puts their keys back as well (store/fences.ts); what has filled it before
 * the fence stood gets them from the opener.
 */
export interface OpeningOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly journal: Journal;
  readonly durability: Durability;
  /** Of the orders stream. */
  readonly groups: readonly string[];
  readonly replayHorizonMs: number;
  readonly idempotencyHorizonMs: number;
  /** How many idempotency keys a generation may hold. */
  readonly generationKeys: (maxMemoryBytes: number) => number;
  /**
   * For how long to wait first, ms: workers have in hand what they read of the stream, and what they have written by then can be put
   * back, where it has lost that.
   */
  readonly settleMs: number;
  readonly log: Logger;
}

export interface Opened {
  readonly head: Head;
  readonly maxMemoryBytes: number;
}

// Each race that was lost means that another process made progress. A minute: 100,000 entries are put back in 45 s.
const RACES = 600;
const RACE_DELAY_MS = 100;

const openScript = new Script("open");

/** Resolves once the partition is open on the present server, whoever opened it. Throws where Redis or Postgres fails. */
export async function openPartition(options: OpeningOptions, acknowledged?: EntryPosition): Promise<Opened> {
  const { redis, keys, log, settleMs } = options;
  let settled = settleMs === 0;
  for (let race = 0; race < RACES; race++) {
    if (race > 0) await delay(RACE_DELAY_MS);
    const server = await verifyDurability(redis, options.durability);
    const head = await readHead(redis, keys);
    const lostTail = acknowledged?.epoch === head.epoch && compareEntryIds(acknowledged, head.last) > 0;
    const exists = (await redis.exists(keys.orders)) === 1;
    if (head.run === server.runId && exists && !lostTail) return { head, maxMemoryBytes: server.maxMemoryBytes };

    // Without Postgres it stays shut: these throw.
    const journalEnd = await options.journal.end(keys.partition);
    if (!settled && journalEnd !== undefined) {
      settled = true;
      await delay(settleMs);
      continue;
    }
    const fenced = await options.journal.newestFence(keys.partition);
    const instruments = await missingInstruments(options);
    const before = await streamEnd(redis, keys, head);
    const known = Math.max(before.epoch, journalEnd?.epoch ?? 0, acknowledged?.epoch ?? 0);
    const claim = await shut(redis, keys, { head, server: server.runId, known, fenced });
    if (claim === undefined) continue;
    const { run, epoch } = claim;
    // Another server took this one's place for a while: the journal has what that one was given, and the log is that. A stream of
    // which nothing says the epoch is kept.
    const toEpoch = before.epoch === 0 ? 0 : (journalEnd?.epoch ?? 0);
    const other = await options.journal.fenceWithout(keys.partition, before, toEpoch);
    if (other !== undefined) {
      await giveUp(options, { ...head, run }, before, other);
      continue;
    }
    const from = head.restored ?? before;
    const maxKeys = options.generationKeys(server.maxMemoryBytes);
    const end = await restore(options, maxKeys, { ...head, run }, before, from, journalEnd ?? before);
    if (end === undefined) continue;
    const fence = { epoch, base: end, from, claim: run };
    if ((await options.journal.raiseFence(keys.partition, fence)) !== "raised") continue;
    if (!(await recallGaps(options))) continue;
    await withdrawLost(options, fence);

    const expected = end === before ? head.last : end;
    const opened = await openScript.run(
      redis,
      [keys.orders, keys.head, keys.instruments, keys.events],
      [
        ...[run, formatEntryId(expected), server.runId, epoch, formatEntryId(end)],
        // An older copy of Redis' file came back: while it was away, what it has behind a fence counted as lost, and events of it that
        // were written were taken back.
        (fenced?.epoch ?? 0) > head.epoch ? "again" : "",
        head.generation,
        ...[options.groups.length, ...options.groups, EVENTS_GROUPS.length, ...EVENTS_GROUPS, ...instruments],
      ],
    );
    if (opened !== 1) continue;
    log.info(
      { ...{ partition: keys.partition, epoch }, end: formatEntryId(end), server: server.version },
      "opened the log",
    );
  }
  throw new Error(`partition ${keys.partition} was not opened: others were quicker ${RACES} times`);
}

/** What stays of it makes nothing wrong but itself: the log is not kept shut for it. */
async function withdrawLost({ journal, keys, log }: OpeningOptions, fence: Fence): Promise<void> {
  const place = { partition: keys.partition, after: formatEntryId(fence.base) };
  try {
    const { entries, isAll } = await journal.withdrawLost(keys.partition, fence);
    if (entries > 0)
      log.warn({ ...place, entries }, "took back what had been written of events of entries that the log has lost");
    if (!isAll) log.error(place, `${STRAYS_STAY}: there are many`);
  } catch (err) {
    log.error({ ...place, err }, STRAYS_STAY);
  }
}

const STRAYS_STAY = 'EVENTS OF LOST ENTRIES STAY: "penstock replay --from <after> --withdraw" takes them back';

/**
 * The end of the stream itself. The head is written together with it, so they differ only where somebody meddled; where the
 * head is gone, the newest entry tells the epoch.
 */
async function streamEnd(redis: Redis, keys: PartitionKeys, head: Head): Promise<EntryPosition> {
  const [newest] = (await redis.callBuffer("XREVRANGE", keys.orders, "+", "-", "COUNT", 1)) as StreamReply[];
  const id = newest === undefined ? START : parseEntryId(newest[0].toString());
  const epoch = Math.max(head.epoch, newest === undefined ? 0 : epochOf(newest));
  return { epoch, ...(compareEntryIds(id, head.last) > 0 ? id : head.last) };
}

/** 0 of what is none of ours. */
function epochOf([id, fields]: StreamReply): number {
  try {
    return readEntry(id.toString(), fields ?? []).epoch;
  } catch (error) {
    if (error instanceof EntryError) return 0;
    throw error;
  }
}

/** Symbol and definition of each instrument that Redis lacks, or has in an older version, in turns. */
async function missingInstruments(options: OpeningOptions): Promise<(string | Buffer)[]> {
  const present = await options.redis.hgetallBuffer(options.keys.instruments);
  const missing: (string | Buffer)[] = [];
  for (const { symbol, version, definition } of await options.journal.instruments(options.keys.partition)) {
    const there = present[symbol];
    if (there === undefined || fromBinary(InstrumentSchema, there).version < version) missing.push(symbol, definition);
  }
  return missing;
}
