import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { deserialize, serialize } from "node:v8";

import type { Redis } from "ioredis";

import { engineJournal } from "../../src/engine/engine-journal.ts";
import { READ_BLOCK_MS } from "../../src/engine/engine-run.ts";
import { workEntry } from "../../src/engine/entry-outcome.ts";
import { Engine } from "../../src/engine/matching/engine.ts";
import type { MatchingEngine } from "../../src/engine/matching/interface.ts";
import { PartitionEngine, type PartitionEngineOptions } from "../../src/engine/partition-engine.ts";
import type { Snapshot, SnapshotStore } from "../../src/engine/snapshots.ts";
import { connect } from "../../src/store/connection.ts";
import { type Entry, readEntry, type StreamReply } from "../../src/stream/entry.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { compareEntries, type EntryPosition } from "../../src/stream/position.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { voidedBy } from "../../src/stream/voids.ts";
import { createLog } from "../../src/telemetry/log.ts";
import type { LogScene } from "./log.ts";
import { until } from "./until.ts";

const HOUR_MS = 3_600_000;

/** Snapshots as files of a folder: they outlive the process that took them. */
export class FileSnapshots implements SnapshotStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** In a folder that goes with the test. */
  static make(t: TestContext): FileSnapshots {
    const folder = mkdtempSync(join(tmpdir(), "penstock-test-snapshots-"));
    t.after(() => rmSync(folder, { recursive: true }));
    return new FileSnapshots(folder);
  }

  get folder(): string {
    return this.#folder;
  }

  /** All of them, the newest first. */
  all(): Snapshot[] {
    return readdirSync(this.#folder)
      .filter((name) => name.endsWith(".snapshot"))
      .map((name) => deserialize(readFileSync(join(this.#folder, name))) as Snapshot)
      .sort((a, b) => compareEntries(b, a));
  }

  async *newest(_partition: number, upTo: EntryPosition): AsyncIterable<Snapshot> {
    for (const snapshot of this.all()) if (compareEntries(snapshot, upTo) <= 0) yield snapshot;
  }

  async save(_partition: number, snapshot: Snapshot): Promise<void> {
    const file = join(this.#folder, `${snapshot.epoch}-${snapshot.ms}-${snapshot.seq}`);
    writeFileSync(`${file}.${process.pid}`, serialize(snapshot));
    renameSync(`${file}.${process.pid}`, `${file}.snapshot`);
  }
}

export interface TestEngineOptions extends Partial<PartitionEngineOptions> {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly snapshots: SnapshotStore;
}

interface Line {
  readonly level: string;
  readonly msg: string;
}

/** The engine of partition 0 in this process, with connections of its own, and what it said. */
export class TestEngine {
  readonly engine: PartitionEngine;
  readonly lines: Line[] = [];
  ticks = 0;
  divergences = 0;
  appended = 0;
  readonly #connections: readonly Redis[];
  readonly #sql: ReturnType<typeof connect>;
  #ended: Promise<void> | undefined;

  constructor({ redisUrl, databaseUrl, ...given }: TestEngineOptions) {
    const open = (name: string) =>
      connectRedis(redisUrl, { name, socketTimeoutMs: READ_BLOCK_MS + 2_000, onError: () => {} });
    const [redis, blocking] = [open("engine"), open("engine-read")];
    this.#connections = [redis, blocking];
    this.#sql = connect(databaseUrl, { max: 1 });
    this.engine = new PartitionEngine({
      ...{ redis, blocking, keys: new PartitionKeys(0), journal: engineJournal(this.#sql) },
      ...{ snapshotCommands: 1_000_000, snapshotIntervalMs: HOUR_MS },
      ...{ statusGenerationMs: HOUR_MS, statusGenerationOrders: 1_000_000 },
      log: createLog("engine", "info", { write: (line) => this.lines.push(JSON.parse(line) as Line) }),
      onTick: () => this.ticks++,
      onDivergence: () => this.divergences++,
      onAppended: ({ entries }) => (this.appended += entries),
      ...given,
    });
  }

  /** Stopped in good order. */
  stop(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  /** Its connections go first, so that nothing more leaves it: as if its process had been killed. */
  kill(): Promise<void> {
    for (const connection of this.#connections) connection.disconnect();
    return this.stop();
  }

  logged(message: string): number {
    return this.lines.filter(({ msg }) => msg.includes(message)).length;
  }

  async #end(): Promise<void> {
    try {
      await this.engine.stop();
    } finally {
      for (const connection of this.#connections) connection.disconnect();
      await this.#sql.end({ timeout: 1 });
    }
  }
}

/** Starts one over the scene's servers; it ends with the test. */
export async function startEngine(
  t: TestContext,
  scene: LogScene,
  options: Partial<TestEngineOptions> & Pick<TestEngineOptions, "snapshots">,
): Promise<TestEngine> {
  const engine = new TestEngine({ redisUrl: scene.server.url, databaseUrl: scene.databaseUrl, ...options });
  scene.closing(() => {
    if (!t.passed) for (const line of engine.lines) process.stderr.write(`${JSON.stringify(line)}\n`);
    return engine.stop();
  });
  t.signal.throwIfAborted();
  await engine.engine.start();
  return engine;
}

export async function eventsOf({ redis, keys }: Pick<LogScene, "redis" | "keys">): Promise<Entry[]> {
  const replies = (await redis.callBuffer("XRANGE", keys.events, "-", "+")) as StreamReply[];
  return replies.map(([id, fields]) => readEntry(id.toString(), fields ?? []));
}

/** Waits until the events of the newest entry of the log stand. */
export async function untilMatched({ redis, keys }: Pick<LogScene, "redis" | "keys">, limitMs?: number): Promise<void> {
  await until(
    "every entry of the log has its events",
    async () => {
      const [newest] = await redis.xrevrange(keys.events, "+", "-", "COUNT", 1);
      return newest?.[0] === (await redis.hget(keys.head, "last"));
    },
    limitMs,
  );
}

/**
 * Asserts that the events stream is, byte for byte, what a new engine makes of the log that has never stopped: each entry once,
 * in order, without a hole. `before`: the beginning of the log, where the stream has it no more.
 */
export async function assertMatched(
  scene: LogScene,
  before: readonly Entry[] = [],
  engine: MatchingEngine = new Engine(),
): Promise<void> {
  let log: readonly Entry[] = [];
  let events: readonly Entry[] = [];
  // A tick may come at any time, and its events a moment later.
  await until("log and events end with the same entry", async () => {
    log = [...before, ...(await scene.entries())];
    events = await eventsOf(scene);
    return log.at(-1)?.id === events.at(-1)?.id;
  });
  const voided = new Set(log.flatMap(({ payload }) => voidedBy(payload)));
  assert.deepEqual(
    events.map(({ id }) => id),
    log.map(({ id }) => id),
  );
  for (const [i, entry] of log.entries()) {
    const expected = workEntry(engine, 0, entry, voided.has(entry.id));
    const { epoch, previous, payload } = events[i]!;
    assert.deepEqual({ epoch, previous }, { epoch: expected.epoch, previous: expected.previous }, entry.id);
    assert.ok(payload.equals(expected.payload), `the events of ${entry.id}`);
  }
}
