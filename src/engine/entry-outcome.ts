import { hash } from "node:crypto";
import type { Entry } from "../stream/entry.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import { encodeEventBatch } from "../stream/event-encoder.ts";
import type { NewEvents } from "../stream/event-log.ts";
import { touchedOrders } from "../stream/order-status.ts";
import { commandsOf } from "./command-of.ts";
import type { MatchingEngine } from "./matching/interface.ts";
import { Reason } from "./matching/sets.ts";
import type { Snapshot } from "./snapshots.ts";

/** What an entry of the log came to: what is appended for it, and the state behind it in short. */
export interface EntryOutcome extends NewEvents {
  readonly commands: number;
  readonly events: number;
  readonly stateHash: bigint;
  readonly rules: number;
  readonly openOrders: number;
}

/** An entry with which the engine came to grief. */
export class PoisonError extends Error {
  override readonly name = "PoisonError";
  readonly entry: Entry;

  constructor(entry: Entry, cause: unknown) {
    super(`the engine cannot work entry ${entry.id} of epoch ${entry.epoch}`, { cause });
    this.entry = entry;
  }
}

/**
 * Works the next entry. A function of the engine's state and the entry, and of whether the entry is voided, which the log
 * says too (I7). Throws a PoisonError; the engine is then good for nothing any more.
 */
export function workEntry(engine: MatchingEngine, partition: number, entry: Entry, isVoided: boolean): EntryOutcome {
  const { id, epoch, ms, seq, previous } = entry;
  try {
    const { commands, requestIdOf } = commandsOf(partition, entry.payload, isVoided);
    const { events, levels } = engine.apply({ epoch, ms, seq, commands });
    const { stateHash, rules, openOrders } = engine;
    return {
      ...{ id, epoch, ms, seq, previous },
      payload: encodeEventBatch(partition, { stateHash, rules, events, levels }, requestIdOf),
      touched: touchedOrders(partition, entry, events),
      ...{ commands: commands.length, events: events.count, stateHash, rules, openOrders },
    };
  } catch (error) {
    throw new PoisonError(entry, error);
  }
}

/** Whether the events are those of an entry that was voided, and in which something was refused for it. */
export function saysVoided(payload: Buffer): boolean {
  return decodeEventBatch(payload).events.some(({ reason }) => reason === Reason.VOIDED);
}

/** The engine's state behind an entry that it has just worked. */
export function takeSnapshot(engine: MatchingEngine, entry: Entry, kept: boolean): Snapshot {
  const { epoch, ms, seq, payload } = entry;
  const { rules, stateHash } = engine;
  return {
    epoch,
    ms,
    seq,
    rules,
    kept,
    stateHash,
    entryHash: hash("sha256", payload, "buffer"),
    data: engine.snapshot(),
  };
}
