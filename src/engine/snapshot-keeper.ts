import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Backoff, delay } from "../runtime/backoff.ts";
import type { Entry } from "../stream/entry.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { type EntryPosition, formatEntryId } from "../stream/position.ts";
import { type EntryOutcome, takeSnapshot } from "./entry-outcome.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import type { Snapshot, SnapshotStore } from "./snapshots.ts";

export interface SnapshotKeeperOptions {
  readonly redis: Redis;
  readonly keys: PartitionKeys;
  readonly snapshots: SnapshotStore;
  /** One is due after so many commands, or after so many ms in which there was any. */
  readonly snapshotCommands: number;
  readonly snapshotIntervalMs: number;
  /** The one from which the engine started. */
  readonly newest: EntryPosition | undefined;
  readonly log: Logger;
  readonly onSnapshot?: ((snapshot: { bytes: number; seconds: number }) => void) | undefined;
}

/** Each is some 50 MB where there are a million open orders. Four are a regular one and three switches of rules at once. */
const MAX_IN_HAND = 4;
const LEAST_BACKOFF_MS = 1_000;
/** A store that was away is asked again within half a minute: what is behind the last snapshot stays in the log meanwhile. */
const MOST_BACKOFF_MS = 30_000;

/**
 * Takes snapshots when it is time, and stores them once the events up to them stand.
 *
 * Invariants:
 * - One that is taken is in hand until it is stored. A regular one is taken only where none is in hand.
 * - One is stored at a time, in the order of their positions, and each is tried until it is, or until the end.
 * - The engine's key in Redis names a stored one, or the one from which the engine started: what is behind it is not trimmed.
 */
export class SnapshotKeeper {
  readonly #options: SnapshotKeeperOptions;
  readonly #closing = new AbortController();
  #commands = 0;
  #since = performance.now();
  #inHand = 0;
  #newest: EntryPosition | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: SnapshotKeeperOptions) {
    this.#options = options;
    this.#newest = options.newest;
  }

  /** Of the newest that is stored. */
  get newest(): EntryPosition | undefined {
    return this.#newest;
  }

  /**
   * One behind the entry that was just worked: where it is time and this engine is the one that appends (`isOurs`), or where
   * the rules were switched by the entry. To take it makes a pause, in which a standby may take over: it is stored all the same.
   * Never throws: where there is no memory for one, the entry has its events without it.
   */
  take(
    engine: MatchingEngine,
    entry: Entry,
    outcome: EntryOutcome,
    { isSwitch, isOurs }: { readonly isSwitch: boolean; readonly isOurs: boolean },
  ): Snapshot | undefined {
    const { snapshotCommands, snapshotIntervalMs, log, keys } = this.#options;
    this.#commands += outcome.commands;
    const now = performance.now();
    const isDue = this.#commands >= snapshotCommands || now - this.#since >= snapshotIntervalMs;
    if (!isSwitch && !(isOurs && isDue && this.#inHand === 0)) return undefined;
    if (this.#inHand === MAX_IN_HAND) {
      log.error({ partition: keys.partition, entry: entry.id }, "no snapshot is kept at this switch of rules");
      return undefined;
    }
    this.#inHand++;
    this.#commands = 0;
    this.#since = now;
    try {
      return takeSnapshot(engine, entry, isSwitch);
    } catch (error) {
      this.#inHand--;
      log.error({ err: error, partition: keys.partition, entry: entry.id }, "no snapshot could be taken");
      return undefined;
    }
  }

  /** The events up to it stand. */
  store(snapshot: Snapshot): void {
    this.#saving = this.#saving.then(() => this.#save(snapshot)).finally(() => this.#inHand--);
  }

  /** Resolves when the attempt that is under way has ended; what is not stored by then is not. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#saving;
  }

  async #save(snapshot: Snapshot): Promise<void> {
    const { redis, keys, snapshots, log, onSnapshot } = this.#options;
    const backoff = new Backoff(LEAST_BACKOFF_MS, MOST_BACKOFF_MS);
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const started = performance.now();
        await snapshots.save(keys.partition, snapshot);
        const { epoch, ms, seq } = snapshot;
        this.#newest = { epoch, ms, seq };
        await markSnapshot(redis, keys, snapshot);
        onSnapshot?.({ bytes: snapshot.data.length, seconds: (performance.now() - started) / 1000 });
        return;
      } catch (error) {
        log.warn({ err: error, partition: keys.partition }, "a snapshot could not be stored");
        await delay(backoff.next(), signal);
      }
    }
  }
}

/** Tells the trimmer what is still needed: all that is behind this place. */
export async function markSnapshot(redis: Redis, keys: PartitionKeys, at: EntryPosition): Promise<void> {
  await redis.hset(keys.engine, "snapshot", formatEntryId(at));
}
