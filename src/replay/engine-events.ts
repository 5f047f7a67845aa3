import { hash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type postgres from "postgres";
import { type EntryOutcome, PoisonError, workEntry } from "../engine/entry-outcome.ts";
import type { MatchingEngine } from "../engine/matching/interface.ts";
import { MATCHING } from "../engine/partition-engine.ts";
import type { Snapshot } from "../engine/snapshots.ts";
import { engineOf } from "../engine/start.ts";
import { messageOf } from "../runtime/errors.ts";
import { newestSnapshots, snapshotPlaces } from "../store/engine-snapshots.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry, receiptHashes } from "../store/journal.ts";
import type { Entry } from "../stream/entry.ts";
import { EVENTS_VERSION } from "../stream/event-batch.ts";
import { compareEntryIds, type EntryId, type EntryPosition, formatEntryId, START } from "../stream/position.ts";
import { voidedBy } from "../stream/voids.ts";
import type { JournalChain } from "./journal-chain.ts";

/** Told what keeps events from being made: `what` in a few words, and where. */
export type Tell = (what: string, where: string) => void;

export interface EngineEventsOptions {
  readonly sql: postgres.Sql;
  readonly partition: number;
  readonly chain: JournalChain;
  readonly tell: Tell;
  /** What is no fault, and worth a line. */
  readonly say: (line: string) => void;
}

/** An engine, and the entry up to which it has worked. */
interface Standpoint {
  readonly engine: MatchingEngine;
  readonly position: EntryPosition;
}

/** The entry behind which one is missing, and the one that comes next. */
interface Gap {
  readonly after: EntryPosition;
  readonly behind: EntryId;
}

/** The engine cannot be brought any further. */
class Stuck extends Error {
  override readonly name = "Stuck";
}

/**
 * The events of a stretch of the log, made once more by an engine of its own from what the journal has: the same, byte for
 * byte, as were told then (I7). Each is held against its receipt, where it has one; at the first that differs it ends.
 */
export class EngineEvents {
  readonly #options: EngineEventsOptions;

  constructor(options: EngineEventsOptions) {
    this.#options = options;
  }

  /** Those of the entries from `from` on and before `until`, in pages. It says where it can make none. */
  async *between(from: EntryId, until: EntryId): AsyncGenerator<readonly Entry[], void> {
    const { partition, tell, say } = this.#options;
    let standpoint: Standpoint | undefined = await this.#before(from);
    while (standpoint !== undefined) {
      const { position } = standpoint;
      say(`the engine works from ${position.epoch === 0 ? "the beginning" : formatEntryId(position)} on`);
      let gap: Gap | undefined;
      try {
        gap = yield* this.#stretch(standpoint, from, until);
      } catch (error) {
        if (!(error instanceof Stuck)) throw error;
        tell("no events can be made from here on", `partition ${partition}: ${error.message}`);
        return;
      }
      if (gap === undefined) return;
      const lost = later(from, gap.behind);
      standpoint = await this.#behindGap(gap.after, until);
      if (standpoint === undefined || compareEntryIds(lost, standpoint.position) <= 0) {
        const to = standpoint === undefined ? "" : ` to ${formatEntryId(standpoint.position)}`;
        const where = `partition ${partition}, entries from ${formatEntryId(lost)}${to}`;
        tell("no events can be made: what came before is missing, and no snapshot was taken behind it", where);
      }
    }
  }

  /** The newest good snapshot before an ID; else a new engine. */
  async #before(from: EntryId): Promise<Standpoint> {
    const { sql, partition, chain, say } = this.#options;
    const before = await chain.before(from);
    if (before !== undefined) {
      for await (const snapshot of newestSnapshots(sql, partition, before)) {
        const standpoint = await this.#restored(snapshot);
        if (typeof standpoint !== "string") return standpoint;
        say(`passed over the snapshot at ${formatEntryId(snapshot)}, which ${standpoint}`);
      }
    }
    return { engine: MATCHING.create(), position: { epoch: 0, ...START } };
  }

  /** The oldest good snapshot behind a gap and before `until`. */
  async #behindGap(after: EntryPosition, until: EntryId): Promise<Standpoint | undefined> {
    const { sql, partition, say } = this.#options;
    for (const place of await snapshotPlaces(sql, partition)) {
      if (compareEntryIds(place, after) <= 0 || compareEntryIds(place, until) >= 0) continue;
      const { value: snapshot } = await newestSnapshots(sql, partition, place).next();
      const standpoint = snapshot && (await this.#restored(snapshot));
      if (typeof standpoint === "object") return standpoint;
      say(`passed over the snapshot at ${formatEntryId(place)}, which ${standpoint ?? "is gone"}`);
    }
    return undefined;
  }

  /** The engine of a snapshot, or what is wrong with it. */
  async #restored(snapshot: Snapshot): Promise<Standpoint | string> {
    const { sql, partition, chain } = this.#options;
    const entry = await readEntry(sql, ORDERS_STREAM, partition, snapshot);
    const isOnChain = entry?.hash.equals(snapshot.entryHash) === true && chain.has(snapshot);
    if (!isOnChain) return "does not lie on the journal's chain";
    const engine = engineOf(MATCHING, snapshot);
    const { epoch, ms, seq } = snapshot;
    return typeof engine === "string" ? engine : { engine, position: { epoch, ms, seq } };
  }

  /** Undefined at the end. */
  async *#stretch(
    standpoint: Standpoint,
    from: EntryId,
    until: EntryId,
  ): AsyncGenerator<readonly Entry[], Gap | undefined> {
    const { sql, partition, chain } = this.#options;
    const voided = await this.#voidedBehind(standpoint.position);
    let { engine, position } = standpoint;
    for await (const page of chain.behind(position)) {
      const made: Entry[] = [];
      const last = page.at(-1);
      if (last === undefined) continue;
      const hashes = await receiptHashes(sql, EVENTS_STREAM, partition, position, last);
      for (const entry of page) {
        if (compareEntryIds(entry, until) >= 0) {
          yield made;
          return undefined;
        }
        if (compareEntryIds(entry.previous, position) !== 0) {
          yield made;
          return { after: position, behind: entry };
        }
        const known = hashes.get(`${entry.epoch}/${entry.id}`);
        const worked = this.#work(engine, entry, voided.has(entry.id), known);
        ({ engine } = worked);
        const { epoch, ms, seq, previous, payload } = worked.outcome;
        position = { epoch, ms, seq };
        const isWanted = compareEntryIds(entry, from) >= 0;
        if (isWanted) made.push({ id: entry.id, epoch, ms, seq, previous, version: EVENTS_VERSION, payload });
      }
      yield made;
      await turn();
    }
    return undefined;
  }

  /** Throws where it cannot be worked, or says something else than its receipt. */
  #work(
    engine: MatchingEngine,
    entry: Entry,
    hasVoid: boolean,
    known: Buffer | undefined,
  ): { engine: MatchingEngine; outcome: EntryOutcome } {
    const { partition } = this.#options;
    const isRight = ({ payload }: EntryOutcome) =>
      known === undefined || known.equals(hash("sha256", payload, "buffer"));
    // A void that came after the entry's events had no effect. The receipt tells; without one the void counts.
    const kept = hasVoid && known !== undefined ? engine.snapshot() : undefined;
    try {
      const outcome = workEntry(engine, partition, entry, hasVoid);
      if (isRight(outcome)) return { engine, outcome };
      if (kept !== undefined) {
        const again = MATCHING.restore(kept);
        const plain = workEntry(again, partition, entry, false);
        if (isRight(plain)) return { engine: again, outcome: plain };
      }
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error;
      throw new Stuck(`the engine cannot work entry ${entry.id}: ${messageOf(error.cause)}`, { cause: error });
    }
    throw new Stuck(`DIVERGENCE: the engine makes other events of entry ${entry.id} than their receipt says`);
  }

  async #voidedBehind(position: EntryPosition): Promise<ReadonlySet<string>> {
    const voided = new Set<string>();
    for await (const page of this.#options.chain.behind(position))
      for (const { payload } of page) for (const id of voidedBy(payload)) voided.add(id);
    return voided;
  }
}

function later(a: EntryId, b: EntryId): EntryId {
  return compareEntryIds(a, b) > 0 ? a : b;
}
