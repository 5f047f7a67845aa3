import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";
import type postgres from "postgres";

import { type AuditOutcome, auditServers } from "../../src/audit/audit.ts";
import { KINDS } from "../../src/audit/kinds.ts";
import { StoreSnapshots } from "../../src/engine/store-snapshots.ts";
import { clientOptions, openClient } from "../../src/store/client.ts";
import { claimPartitionCount } from "../../src/store/settings.ts";
import { withdrawEvents } from "../../src/store/withdraw.ts";
import type { Transaction } from "../../src/store/writer.ts";
import { PARTITION_COUNT_KEY, PartitionKeys } from "../../src/stream/keys.ts";
import { type EntryId, formatEntryId, parseOrderId } from "../../src/stream/position.ts";
import { prepareRules, prepareVoid } from "../../src/stream/prepared-command.ts";
import { startEngine, untilMatched } from "./engine.ts";
import { Flow } from "./flow.ts";
import { LogScene, order } from "./log.ts";
import { TestWorker, untilFinished } from "./worker.ts";

const KEYS = new PartitionKeys(0);
const ROLLBACK = new Error("the damage is undone");

/** A stopped system: what a flow of some hundred commands of all kinds has left in Redis and Postgres. */
export async function makeScene(t: TestContext): Promise<LogScene> {
  const scene = await LogScene.set(t);
  const { server, databaseUrl, redis, sql } = scene;
  await redis.set(PARTITION_COUNT_KEY, 1);
  await claimPartitionCount(sql, 1);
  const appender = scene.appender();
  await Flow.define(appender);
  const snapshots = new StoreSnapshots(databaseUrl, sql);
  const engine = await startEngine(t, scene, { snapshots, snapshotCommands: 150 });
  const workers = (["orders", "events"] as const).map(
    (stream) => new TestWorker({ redisUrl: server.url, databaseUrl, stream, name: stream }),
  );
  for (const worker of workers) scene.closing(() => worker.stop());
  for (const worker of workers) await worker.start();
  const flow = new Flow(0xa0d17);
  for (let i = 0; i < 10; i++) {
    await flow.append(appender, 10);
    await untilMatched(scene);
  }
  // An entry that the engine cannot work, until it is voided; and a void that comes too late.
  const [beside] = await appender.append(order("beside"), prepareRules("root", "rules-1", 99));
  const poison = formatEntryId(parseOrderId(beside!.id)!);
  const [matched] = (await redis.xrange(KEYS.events, "-", "+", "COUNT", 9)).at(-1)!;
  await appender.one(prepareVoid("root", "void-1", poison, "unknown rules"));
  await appender.one(prepareVoid("root", "void-2", matched, "too late"));
  await flow.append(appender, 10);
  await untilMatched(scene);
  // It logs a tick where an order is due, whenever that is.
  await engine.stop();
  for (const stream of ["orders", "events"] as const)
    await untilFinished({ redis, log: { keys: KEYS } as never }, stream);
  for (const worker of workers) await worker.stop();
  await snapshots.close();
  await appender.stop();
  // Its keys are recognised since before the log began: the audit leaves some seconds for clocks.
  await redis.hset(KEYS.head, "turned", 1);
  return scene;
}

export interface LookOptions {
  readonly acknowledged?: string;
  readonly lines?: string[];
  readonly onLine?: (line: string, sql: postgres.Sql) => void;
}

export function look(redis: Redis, sql: postgres.Sql, options: LookOptions = {}): Promise<AuditOutcome> {
  const { acknowledged, lines = [], onLine } = options;
  const print = (line: string) => {
    lines.push(line);
    onLine?.(line, sql);
  };
  return auditServers(redis, sql, { print, ...(acknowledged !== undefined && { acknowledged }) });
}

/** What was found, each kind once. */
export function kindsOf({ verdicts }: AuditOutcome): string[] {
  for (const { invariant, found } of verdicts)
    for (const { kind } of found) assert.equal(KINDS[kind], invariant, `${kind} is a finding of ${invariant}`);
  return verdicts.flatMap(({ found }) => found.map(({ kind }) => kind)).sort(); // prettier-ignore
}

/** SQL that spoils something, or what does it. */
type Damage = string | ((sql: postgres.TransactionSql) => Promise<unknown>);

const STATEMENT_TIMEOUT_MS = 20_000;

/** Damages Postgres, looks, and undoes the damage. */
export async function spoiled(
  scene: LogScene,
  damages: readonly Damage[],
  options?: LookOptions,
): Promise<AuditOutcome> {
  let outcome: AuditOutcome | undefined;
  const sql = openClient(scene.databaseUrl, { ...clientOptions(STATEMENT_TIMEOUT_MS), max: 1 });
  const spoiling = sql.begin(async (transaction) => {
    for (const damage of damages) {
      if (typeof damage === "string") assert.ok((await transaction.unsafe(damage)).count > 0, damage);
      else await damage(transaction);
    }
    outcome = await look(scene.redis, transaction as unknown as postgres.Sql, options);
    throw ROLLBACK;
  });
  try {
    await assert.rejects(spoiling, ROLLBACK);
  } finally {
    await sql.end({ timeout: 1 });
  }
  return outcome!;
}

/** Damages Redis, does this, and puts everything back. */
export async function damaged<Result>(
  redis: Redis,
  damage: () => Promise<unknown>,
  then: () => Promise<Result>,
): Promise<Result> {
  const keys = await redis.keys("penstock:*");
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)));
  try {
    await damage();
    return await then();
  } finally {
    const present = await redis.keys("penstock:*");
    if (present.length > 0) await redis.del(...present);
    for (const [i, key] of keys.entries()) await redis.restore(key, 0, dumps[i]!);
  }
}

/** As if no worker had come to the events of this entry yet. */
export async function unwriteEvents(sql: postgres.TransactionSql, place: EntryId): Promise<void> {
  const query = async (text: string, parameters: readonly (string | number)[] = []) => {
    const rows = await sql.unsafe(text, [...parameters]);
    return { rows, count: rows.count };
  };
  await withdrawEvents({ query } as unknown as Transaction, 0, { epoch: 1, ...place });
}
