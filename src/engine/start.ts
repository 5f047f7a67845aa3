import { hash } from "node:crypto";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { EventLog } from "../stream/event-log.ts";
import type { Head } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry } from "../stream/lookup.ts";
import { compareEntries, compareEntryIds, type EntryPosition, formatEntryId, START } from "../stream/position.ts";
import { voidedBy } from "../stream/voids.ts";
import type { EngineJournal } from "./engine-journal.ts";
import { GapError, type LogReader } from "./log-reader.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import { markSnapshot } from "./snapshot-keeper.ts";
import type { Snapshot, SnapshotStore } from "./snapshots.ts";

/** The engine of a new partition, and of a snapshot. Throws a RangeError where the bytes are none. */
export interface EngineFactory {
  create(): MatchingEngine;
  restore(data: Uint8Array): MatchingEngine;
}

export interface StartOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly journal: EngineJournal;
  readonly snapshots: SnapshotStore;
  readonly engines: EngineFactory;
  readonly events: EventLog;
  readonly log: Logger;
}

/** From where an engine goes on. */
export interface Start {
  readonly engine: MatchingEngine;
  /** The entry up to which it has worked; before every entry where it is a new one. */
  readonly position: EntryPosition;
  /** The snapshot that it is made of; undefined for a new one. */
  readonly snapshot: EntryPosition | undefined;
  /** The newest entry of the events stream; before every entry where there is none. */
  readonly eventsEnd: EntryPosition;
  /** IDs of entries for which a void stands in the log behind that place. */
  readonly voided: ReadonlySet<string>;
}

const BEGINNING: EntryPosition = { epoch: 0, ...START };

/**
 * The newest good snapshot that lies on the chain, and behind which no event entry can be missing:
 *
 * A snapshot is stored once the events up to it stand, so nearly always the events stream reaches at least to it, and the
 * newest one will do. But a Redis that was emptied, or set back to an older copy, has lost events that perhaps no worker had
 * written to Postgres yet. What surely is somewhere are the events that the stream still has (and all before them, which
 * were trimmed once they were written), and those behind its end whose receipts stand in the journal without a gap. A
 * snapshot beyond that would leave the others out for ever; from one at or before it, they are made and appended again.
 */
export async function findStart(
  options: StartOptions,
  head: Head,
  reader: LogReader,
  signal: AbortSignal,
): Promise<Start> {
  const { redis, keys, journal, snapshots, engines, events, log } = options;
  if (await events.mend(head))
    log.error({ partition: keys.partition }, "THE EVENTS STREAM HAD LOST ITS END: it is made anew from the log");
  const eventsEnd = positionOf((await events.bounds())?.newest ?? BEGINNING);
  const covered = await journal.eventsEnd(keys.partition, eventsEnd);
  for await (const snapshot of snapshots.newest(keys.partition, covered)) {
    const found = await restored(options, head, reader, snapshot);
    if (typeof found === "string") {
      log.warn(
        { partition: keys.partition, snapshot: formatEntryId(snapshot) },
        `passed over a snapshot that ${found}`,
      );
      continue;
    }
    const position = positionOf(snapshot);
    await markSnapshot(redis, keys, position);
    return {
      engine: found,
      position,
      snapshot: position,
      eventsEnd,
      voided: await findVoids(reader, position, head, signal),
    };
  }
  await markSnapshot(redis, keys, BEGINNING);
  const voided = await findVoids(reader, BEGINNING, head, signal);
  return { engine: engines.create(), position: BEGINNING, snapshot: undefined, eventsEnd, voided };
}

function positionOf({ epoch, ms, seq }: EntryPosition): EntryPosition {
  return { epoch, ms, seq };
}

/** The engine, or what is wrong with the snapshot. */
async function restored(
  { redis, keys, journal, engines }: StartOptions,
  head: Head,
  reader: LogReader,
  snapshot: Snapshot,
): Promise<MatchingEngine | string> {
  const entry = await findEntry(redis, keys, snapshot);
  const found = entry && hash("sha256", entry.payload, "buffer");
  const entryHash = found ?? (await journal.hashOf(keys.partition, snapshot));
  if (entryHash?.equals(snapshot.entryHash) !== true) return "does not lie on the chain";
  // The journal also keeps entries that the log lost in the end; none follows these.
  if (entry === undefined && !(await goesOn(reader, head, snapshot))) return "does not lie on the chain";
  return engineOf(engines, snapshot);
}

/** The engine of a snapshot, or what is wrong with it. */
export function engineOf(engines: EngineFactory, snapshot: Snapshot): MatchingEngine | string {
  try {
    const engine = engines.restore(snapshot.data);
    const isRight = compareEntries(engine.position, snapshot) === 0 && engine.stateHash === snapshot.stateHash;
    return isRight ? engine : "is another one than it says";
  } catch (error) {
    if (error instanceof RangeError) return `is damaged: ${error.message}`;
    throw error;
  }
}

async function goesOn(reader: LogReader, head: Head, at: EntryPosition): Promise<boolean> {
  if (compareEntryIds(head.last, at) === 0) return true;
  try {
    return (await reader.next(at, 0)).length > 0;
  } catch (error) {
    if (error instanceof GapError) return false;
    throw error;
  }
}

/**
 * The entries that the log behind a place has voided. It has to be known before they are worked: an engine that no longer
 * throws at one must come to the same.
 */
async function findVoids(
  reader: LogReader,
  from: EntryPosition,
  head: Head,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const voided = new Set<string>();
  let at = from;
  while (compareEntryIds(at, head.last) < 0) {
    signal.throwIfAborted(); // it may be a long way
    const entries = await reader.next(at, 0);
    for (const { payload } of entries) for (const id of voidedBy(payload)) voided.add(id);
    const newest = entries.at(-1);
    if (newest === undefined) break;
    at = newest;
  }
  return voided;
}
