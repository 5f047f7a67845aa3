import { create, toBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";

import { Engine } from "../../src/engine/matching/engine.ts";
import type { Entry, MatchingEvent } from "../../src/engine/matching/interface.ts";
import { ReferenceEngine } from "../../src/engine/matching/reference/book.ts";
import { narrow, type Step, Workload } from "../../src/engine/matching/reference/workload.ts";
import { InstrumentSchema } from "../../src/gen/penstock/v1/instrument_pb.ts";
import { encodeEventBatch } from "../../src/stream/event-encoder.ts";
import type { Delivered } from "../../src/stream/group-reader.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import type { PartitionKeys } from "../../src/stream/keys.ts";

/** An entry of the events stream as the real engine makes it, with what it holds. */
export interface FlowEntry extends Delivered {
  readonly ms: number;
  readonly seq: number;
  readonly events: readonly MatchingEvent[];
}

const definitions = ["A-B", "C-D", "E-F"].map((symbol) =>
  create(InstrumentSchema, { symbol, tickSize: "0.01", lotSize: "0.001", version: 1 }),
);

/** The instruments of a flow. The engine does not know the last of them. */
export const flowInstruments = new Map(
  definitions.map((definition) => [definition.symbol, prepareInstrument(definition)]),
);

/**
 * Events of so many random commands of every kind, in entries of one to twelve commands; the same for the same seed. A client
 * request id is "request-<index>".
 */
export function eventFlow(seed: number, commands: number): FlowEntry[] {
  const scale = narrow(1);
  const reference = new ReferenceEngine(scale.rules);
  const workload = new Workload(scale, reference);
  const engine = new Engine(scale.rules);
  const entries: FlowEntry[] = [];
  const apply = (entry: Entry) => {
    reference.apply(entry);
    const { events, levels } = engine.apply(entry);
    const { stateHash, rules } = engine;
    const batch = encodeEventBatch(0, { stateHash, rules, events, levels }, (index) => `request-${index}`);
    const values = { d: batch, p: entries.at(-1)?.id ?? "0-0", e: String(entry.epoch), v: "1" };
    const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
    const { ms, seq } = entry;
    entries.push({ id: `${ms}-${seq}`, ms, seq, fields, deliveries: 1, events: events.copy() });
  };
  const next = random(seed);
  const steps = Array.from({ length: commands }, (): Step => [next(), next(), next(), next()]);
  apply(workload.begin());
  for (let at = 0; at < steps.length;) {
    const { entry, took } = workload.next(steps, at);
    apply(entry);
    at += took;
  }
  return entries;
}

/** Puts a flow into the events stream, and its instruments where workers look for them. */
export async function appendFlow(redis: Redis, keys: PartitionKeys, flow: readonly FlowEntry[]): Promise<void> {
  await defineFlowInstruments(redis, keys);
  for (const { id, fields } of flow) await redis.xadd(keys.events, id, ...fields);
}

async function defineFlowInstruments(redis: Redis, keys: PartitionKeys): Promise<void> {
  const defining = redis.multi().hincrby(keys.head, "defined", 1);
  for (const definition of definitions)
    defining.hset(keys.instruments, definition.symbol, Buffer.from(toBinary(InstrumentSchema, definition)));
  await defining.exec();
}

/** xorshift32, without its sign: a failure comes again from its seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 1;
  };
}
