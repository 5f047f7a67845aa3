import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { Service } from "../runtime/service.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import type { EntryPosition } from "../stream/position.ts";
import type { EngineJournal } from "./engine-journal.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import type { SnapshotStore } from "./snapshots.ts";

/**
 * - `starting`: comes to the present: waits for the log to be opened, restores a snapshot, replays what is behind it.
 * - `active`: appends events. Of two engines that are idle both may say so, until the next entry.
 * - `standby`: another engine appends; this one compares.
 * - `stopped`: with an alarm, until an operator acts.
 */
export type EngineState = "starting" | "active" | "standby" | "stopped";

export interface EngineStatus {
  readonly partition: number;
  readonly state: EngineState;
  /** What it waits for, or why it stopped; "" where there is nothing to say. */
  readonly detail: string;
  /** The newest entry that it has applied and whose events stand; undefined before the first. */
  readonly position: EntryPosition | undefined;
  /** Of the state behind it. Unsigned, 64 bits. */
  readonly stateHash: bigint;
  readonly rules: number;
  readonly openOrders: number;
  /** Of the newest snapshot that was stored, or from which it started. */
  readonly snapshot: EntryPosition | undefined;
}

/** The engine of a new partition, and of a snapshot. Throws a RangeError where the bytes are none. */
export interface EngineFactory {
  create(): MatchingEngine;
  restore(data: Uint8Array): MatchingEngine;
}

export interface PartitionEngineOptions {
  /** May be shared. */
  readonly redis: Redis;
  /** A connection of its own, whose socketTimeoutMs is above READ_BLOCK_MS: it reads with BLOCK. */
  readonly blocking: Redis;
  readonly keys: PartitionKeys;
  readonly journal: EngineJournal;
  readonly snapshots: SnapshotStore;
  /** A snapshot is taken after so many commands, or so many ms where there was any, whichever comes first. */
  readonly snapshotCommands: number;
  readonly snapshotIntervalMs: number;
  /** How long the place of an order's newest event is kept in Redis at least, ms, and of how many orders at most (twice over). */
  readonly statusGenerationMs: number;
  readonly statusGenerationOrders: number;
  readonly log: Logger;
  /** Told of each entry that was applied, in a replay too. */
  readonly onApplied?: (entry: { commands: number; events: number }) => void;
  /** Told of each append that was taken. */
  readonly onAppended?: (append: { entries: number; bytes: number; seconds: number }) => void;
  readonly onTick?: () => void;
  readonly onSnapshot?: (snapshot: { bytes: number; seconds: number }) => void;
  readonly onDivergence?: () => void;
  /** Those of src/engine/matching, unless a test has its own. */
  readonly engines?: EngineFactory;
}

/** For how long a read of the log waits, ms: how soon at the latest an idle engine notices that the log was opened anew. */
export const READ_BLOCK_MS = 1_000;

/** It has no state to read now: it is starting or stopped, or was thrown back before the events of what was read stood. */
export class EngineUnavailableError extends Error {
  override readonly name = "EngineUnavailableError";
}

export declare class PartitionEngine implements Service {
  readonly name: string;
  constructor(options: PartitionEngineOptions);
  /** Resolves at once: it may have to wait for the log. */
  start(): Promise<void>;
  /** Resolves when nothing is on its way any more. */
  stop(): Promise<void>;
  get status(): EngineStatus;
  /** What is being tried again, or why it stopped, for readiness; undefined while all is well. */
  get trouble(): Error | undefined;
  /**
   * What `look` finds in the engine now, with the position of the newest entry in it; once that entry's events stand.
   * Rejects with an EngineUnavailableError.
   */
  read<Result>(look: (engine: MatchingEngine) => Result): Promise<{ result: Result; position: EntryPosition }>;
}
