import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import { auditServers } from "../../src/audit/audit.ts";
import type { StreamNumber } from "../../src/store/entry-record.ts";
import { claimPartitionCount } from "../../src/store/settings.ts";
import { allLetters } from "../../src/store/test-entries.ts";
import type { Entry } from "../../src/stream/entry.ts";
import { PERSIST_GROUP } from "../../src/stream/groups.ts";
import { eventsOf, FileSnapshots, startEngine, untilMatched } from "./engine.ts";
import { Flow } from "./flow.ts";
import { LogScene, order, type TestAppender, type TestAppenderOptions } from "./log.ts";
import { eventually } from "./pipeline.ts";
import { PostgresWire } from "./postgres-wire.ts";
import { Proxy } from "./proxy.ts";
import { type Scene, TestWorker, untilFinished } from "./worker.ts";

type Stream = "orders" | "events";

/** A worker whose way to Postgres can be cut, while it keeps what it has read. */
export class HeldWorker {
  readonly worker: TestWorker;
  readonly toPostgres: Proxy;

  private constructor(worker: TestWorker, toPostgres: Proxy) {
    this.worker = worker;
    this.toPostgres = toPostgres;
  }

  /** `closed`: it comes to nothing until it is let go. */
  static async start(scene: LogScene, stream: Stream, { closed = false } = {}): Promise<HeldWorker> {
    const toPostgres = await Proxy.open(scene.databaseUrl, { wire: () => new PostgresWire() });
    toPostgres.closed = closed;
    const worker = new TestWorker({ redisUrl: scene.server.url, databaseUrl: toPostgres.url, stream, name: stream });
    scene.closing(async () => {
      await toPostgres.heal();
      await worker.stop();
      await toPostgres.close();
    });
    await worker.start();
    return new HeldWorker(worker, toPostgres);
  }

  release(): void {
    this.toPostgres.closed = false;
  }

  async untilOrphaned(entries: number): Promise<void> {
    await eventually(async () => (await this.worker.count("orphans_total")) === entries, `${entries} orphans`);
    await this.worker.hasLogged("ENTRIES ORPHANED");
  }
}

/** Waits until a worker has so many entries of the stream in hand. */
export async function untilHeld({ redis, keys }: LogScene, stream: Stream, entries: number): Promise<void> {
  const holds = async () => (await redis.xpending(keys[stream], PERSIST_GROUP))[0] === entries;
  await eventually(holds, `${entries} ${stream} in a worker's hands`);
}

export async function untilWritten({ redis, keys }: LogScene, stream: Stream): Promise<void> {
  await untilFinished({ redis, log: { keys } as Scene["log"] }, stream);
}

/** A log with an engine, of which all is written, and no worker is left. */
export class FencedVenue {
  readonly scene: LogScene;
  readonly log: TestAppender;

  private constructor(scene: LogScene, log: TestAppender) {
    this.scene = scene;
    this.log = log;
  }

  static async open(
    t: TestContext,
    { server = [], ...options }: TestAppenderOptions & { server?: readonly string[] } = {},
  ): Promise<FencedVenue> {
    const scene = await LogScene.set(t, server);
    await claimPartitionCount(scene.sql, 1);
    const log = scene.appender(options);
    await Flow.define(log);
    await startEngine(t, scene, { snapshots: FileSnapshots.make(t) });
    const venue = new FencedVenue(scene, log);
    const workers = [await venue.start("orders"), await venue.start("events")];
    await log.one(order("written"));
    await venue.untilWritten();
    for (const { worker } of workers) await worker.stop();
    return venue;
  }

  start(stream: Stream): Promise<HeldWorker> {
    return HeldWorker.start(this.scene, stream);
  }

  /** Logs and has matched an entry for each of these orders, which workers of both streams then hold and cannot write. */
  async hold(...names: readonly string[]) {
    const { scene, log } = this;
    for (const name of names) await log.one(order(name));
    await untilMatched(scene);
    const orders = await HeldWorker.start(scene, "orders", { closed: true });
    const events = await HeldWorker.start(scene, "events", { closed: true });
    for (const stream of ["orders", "events"] as const) await untilHeld(scene, stream, names.length);
    const entries = (await scene.entries()).slice(-names.length);
    return { orders, events, entries, told: (await eventsOf(scene)).slice(-names.length) };
  }

  async untilWritten(): Promise<void> {
    await untilMatched(this.scene);
    for (const stream of ["orders", "events"] as const) await untilWritten(this.scene, stream);
  }

  /** The client order ids of the rows, in the log's order. */
  async rows(): Promise<string[]> {
    const rows = await this.scene.sql<{ id: string }[]>`SELECT client_order_id AS id FROM orders ORDER BY order_id`;
    return rows.map(({ id }) => id);
  }

  /** The audit finds these kinds, and no others. */
  async assertFound(...kinds: readonly string[]): Promise<void> {
    const lines: string[] = [];
    const { redis, sql } = this.scene;
    const { verdicts } = await auditServers(redis, sql, { print: (line) => void lines.push(line) });
    const found = verdicts.flatMap(({ found }) => found.map(({ kind }) => kind));
    assert.deepEqual(found, kinds, lines.join("\n"));
  }
}

/** Entries as the letters name them, with the bytes that they must have. */
export function orphansOf(stream: StreamNumber, entries: readonly Entry[]) {
  return entries.map(({ id, epoch, payload }) => ({ stream, id, epoch, raw: payload }));
}

/** The dead letters, all of which must be those of orphaned entries: by stream, in the log's order. */
export async function orphans({ sql }: LogScene) {
  const letters = await allLetters(sql);
  for (const { kind, index, state } of letters) assert.deepEqual([kind, index, state], ["orphaned", -1, "open"]);
  return letters
    .map(({ stream, epoch, ms, seq, raw }) => ({ stream, id: `${ms}-${seq}`, epoch, raw }))
    .sort((a, b) => a.stream - b.stream || (a.id < b.id ? -1 : 1));
}
