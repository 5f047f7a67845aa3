import type { EntryPosition } from "../stream/position.ts";

/** A point from which an engine can start again: its whole state behind an entry, all of whose events stand. */
export interface Snapshot extends EntryPosition {
  /** The number of the rules that held. */
  readonly rules: number;
  /** Taken at a switch of rules: never removed, so that old history can be replayed. */
  readonly kept: boolean;
  /** Unsigned, 64 bits. */
  readonly stateHash: bigint;
  /** SHA-256 of the entry's payload, by which it is seen whether the snapshot lies on the chain. */
  readonly entryHash: Buffer;
  /** The engine's own format, about 50 bytes an open order; it is checked against its own hash where it is restored. */
  readonly data: Uint8Array;
}

/** Where snapshots lie. */
export interface SnapshotStore {
  /**
   * Those of a partition at `upTo` or before it, the newest position first. Each is read when it is asked for: nearly always
   * the first one alone.
   */
  newest(partition: number, upTo: EntryPosition): AsyncIterable<Snapshot>;
  /** Stores one, and removes what is old. One that is stored already (two engines take the same) changes nothing. */
  save(partition: number, snapshot: Snapshot): Promise<void>;
}
