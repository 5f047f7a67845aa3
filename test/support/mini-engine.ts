import { setTimeout as sleep } from "node:timers/promises";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import type { Rules } from "../../src/engine/matching/rules.ts";
import { workEntry } from "../../src/engine/entry-outcome.ts";
import { Engine } from "../../src/engine/matching/engine.ts";
import { type Entry, readEntry, type StreamReply } from "../../src/stream/entry.ts";
import { EVENTS_VERSION } from "../../src/stream/event-batch.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { formatEntryId } from "../../src/stream/position.ts";
import { connectRedis } from "../../src/stream/redis.ts";

const BLOCK_MS = 50;
/** Of the states of orders. */
const GENERATION = 1;
/** A touched order: its id, and the place of its newest event. */
const RECORD_BYTES = 28;
const ID_BYTES = 16;

/**
 * An engine for tests, in the test's own process: it reads the log of each partition, matches, and appends what the real one
 * appends. It knows nothing of standby, snapshots and repair.
 *
 * Always true: events stand in the stream for each entry up to the engine's position, and for the next one at most.
 */
export class MiniEngine {
  readonly #partitions: readonly MiniPartition[];

  private constructor(partitions: readonly MiniPartition[]) {
    this.#partitions = partitions;
  }

  /** It ends with the test. `rules`: in place of those that are in force. */
  static start(t: TestContext, redisUrl: string, partitions = 1, rules?: ReadonlyMap<number, Rules>): MiniEngine {
    const engines = Array.from({ length: partitions }, (_, partition) => new MiniPartition(redisUrl, partition, rules));
    const engine = new MiniEngine(engines);
    t.after(() => engine.stop());
    return engine;
  }

  /** The matching engine of a partition: what it holds now. */
  engine(partition = 0): Engine {
    return this.#partitions[partition]!.engine;
  }

  /** From now on it does nothing, until `resume`. */
  pause(): void {
    for (const partition of this.#partitions) partition.pause();
  }

  resume(): void {
    for (const partition of this.#partitions) partition.resume();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => partition.stop()));
  }
}

class MiniPartition {
  readonly engine: Engine;
  readonly #keys: PartitionKeys;
  readonly #redis: Redis;
  readonly #running: Promise<void>;
  #stopped = false;
  #paused: PromiseWithResolvers<void> | undefined;

  constructor(redisUrl: string, partition: number, rules?: ReadonlyMap<number, Rules>) {
    this.engine = new Engine(rules);
    this.#keys = new PartitionKeys(partition);
    this.#redis = connectRedis(redisUrl, { name: `mini-engine-${partition}`, socketTimeoutMs: 5_000 });
    this.#running = this.#run();
  }

  pause(): void {
    this.#paused ??= Promise.withResolvers();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.resume();
    // A command that waits for a connection, to a server that ended before, is never answered.
    const isConnected = this.#redis.status === "ready";
    this.#redis.disconnect();
    if (isConnected) await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const entries = await this.#next();
        await this.#paused?.promise;
        for (const entry of entries) await this.#work(entry);
      } catch (error) {
        // A mistake of the test's is told; a Redis that is away comes back.
        if (error instanceof TypeError || error instanceof RangeError) throw error;
        await sleep(BLOCK_MS);
      }
    }
  }

  async #next(): Promise<Entry[]> {
    const after = formatEntryId(this.engine.position);
    const reply = (await this.#redis.callBuffer(
      ...["XREAD", "COUNT", 100, "BLOCK", BLOCK_MS],
      ...["STREAMS", this.#keys.orders, after],
    )) as [[Buffer, StreamReply[]]] | null;
    return (reply?.[0][1] ?? []).map(([id, fields]) => readEntry(id.toString(), fields ?? []));
  }

  async #work(entry: Entry): Promise<void> {
    const { id, epoch, previous, payload, touched } = workEntry(this.engine, this.#keys.partition, entry, false);
    const fields = { d: payload, p: formatEntryId(previous), e: epoch, v: EVENTS_VERSION };
    for (let isAppended = false; !isAppended && !this.#stopped;) {
      const transaction = this.#redis.multi();
      transaction.xadd(this.#keys.events, id, ...Object.entries(fields).flat());
      transaction.hset(this.#keys.engine, "generation", GENERATION);
      for (let at = 0; at < touched.length; at += RECORD_BYTES) {
        const record = touched.subarray(at, at + RECORD_BYTES);
        transaction.hset(this.#keys.status(GENERATION), record.subarray(0, ID_BYTES), record.subarray(ID_BYTES));
      }
      try {
        const [[refusal] = []] = (await transaction.exec()) ?? [];
        // That its ID is not beyond the last one says that an answer was lost.
        if (refusal && !refusal.message.includes("equal or smaller")) throw refusal;
        isAppended = true;
      } catch {
        await sleep(BLOCK_MS);
      }
    }
  }
}
