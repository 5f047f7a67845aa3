import { hash } from "node:crypto";
import { Engine } from "../engine/matching/engine.ts";
import type { MatchingEngine } from "../engine/matching/interface.ts";
import { listSnapshots, readSnapshot, type SnapshotPlace } from "../store/engine-snapshots.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry } from "../store/journal.ts";
import { findEntry } from "../stream/lookup.ts";
import { compareEntries, type EntryPosition, formatEntryId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import { isOffChain, type Scope } from "./scope.ts";

/** I7: the stored snapshots of a partition's engine are its states, and can be restored. */
export class Snapshots {
  /** Those that an engine would take, oldest first: what is not on the chain it passes over. */
  readonly onChain: readonly SnapshotPlace[];
  readonly #scope: Scope;
  readonly #findings: Findings;
  readonly #byPlace: ReadonlyMap<string, SnapshotPlace>;
  /** Those that were restored, or found to be of another state. */
  readonly #checked = new Set<SnapshotPlace>();

  private constructor(onChain: readonly SnapshotPlace[], scope: Scope, findings: Findings) {
    this.onChain = onChain;
    this.#scope = scope;
    this.#findings = findings;
    this.#byPlace = new Map(onChain.map((snapshot) => [placeOf(snapshot), snapshot]));
  }

  static async list(scope: Scope, findings: Findings): Promise<Snapshots> {
    const onChain: SnapshotPlace[] = [];
    for (const snapshot of (await listSnapshots(scope.sql, scope.partition)).toReversed()) {
      if (isOffChain(scope, snapshot)) continue;
      const stored = await entryHash(scope, snapshot);
      if (stored === undefined) continue; // its entry was dropped by the retention
      if (stored.equals(snapshot.entryHash)) onChain.push(snapshot);
      else
        findings.add("a snapshot of another state", `${whereOf(scope, snapshot)}: it was taken behind another entry`);
    }
    return new Snapshots(onChain, scope, findings);
  }

  /** The engine of a snapshot; undefined where it cannot be made, which is a finding. */
  async restore(snapshot: SnapshotPlace): Promise<MatchingEngine | undefined> {
    this.#checked.add(snapshot);
    const trouble = (words: string) => this.#complain(snapshot, words);
    try {
      const { sql, partition } = this.#scope;
      const engine = Engine.restore(await readSnapshot(sql, partition, snapshot));
      if (compareEntries(engine.position, snapshot) === 0 && engine.stateHash === snapshot.stateHash) return engine;
      await trouble("it is another one than it says");
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      await trouble(error.message);
    }
    return undefined;
  }

  /** Those that the replay had no need of: an engine starts from the newest that is good, and old history from each of them. */
  async checkOthers(): Promise<void> {
    for (const snapshot of this.onChain) if (!this.#checked.has(snapshot)) await this.restore(snapshot);
  }

  /** The replay has worked this entry, and come to this state. */
  compare(entry: EntryPosition, stateHash: bigint): void {
    const stored = this.#byPlace.get(placeOf(entry));
    if (stored === undefined || stored.stateHash === stateHash) return;
    this.#checked.add(stored);
    const where = whereOf(this.#scope, entry);
    this.#findings.add("a snapshot of another state", `${where}: the replay comes to another state there`);
  }

  /** Unless an engine has removed it meanwhile. */
  async #complain(snapshot: SnapshotPlace, words: string): Promise<void> {
    const { sql, partition } = this.#scope;
    const present = await listSnapshots(sql, partition);
    if (!present.some((other) => compareEntries(other, snapshot) === 0)) return;
    this.#findings.add("a snapshot that cannot be restored", `${whereOf(this.#scope, snapshot)}: ${words}`);
  }
}

function whereOf({ partition }: Scope, snapshot: EntryPosition): string {
  return `partition ${partition}, the snapshot at ${formatEntryId(snapshot)}`;
}

async function entryHash({ redis, sql, keys, partition }: Scope, at: EntryPosition): Promise<Buffer | undefined> {
  const journaled = await readEntry(sql, ORDERS_STREAM, partition, at);
  if (journaled !== undefined) return journaled.hash;
  const entry = redis && (await findEntry(redis, keys, at));
  return entry && hash("sha256", entry.payload, "buffer");
}

function placeOf({ epoch, ms, seq }: EntryPosition): string {
  return `${epoch}/${ms}-${seq}`;
}
