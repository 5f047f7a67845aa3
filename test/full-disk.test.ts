/**
 * A disk that is full, to the last byte, under load.
 *
 * - I1 what Redis could not write was not acknowledged: where it flushes always it ends itself
 * - I4, I5 what Postgres could not write stays pending, and is written once when there is room
 * - I11 callers are told to come again, and nothing of what they were told is lost
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { connect } from "../src/store/connection.ts";
import { AppendError } from "../src/stream/append-error.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import type { Durability } from "../src/stream/durability.ts";
import { readEntry, type StreamReply } from "../src/stream/entry.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, formatOrderId } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { failingOf } from "./support/engine-stack.ts";
import { order, TestAppender } from "./support/log.ts";
import { PatientClient } from "./support/patient-client.ts";
import {
  defineInstrument,
  eventually,
  type RoleProcess,
  startConsumers,
  startIngest,
  tokenOf,
} from "./support/pipeline.ts";
import {
  createTestDatabase,
  startTestPostgres,
  startTestRedis,
  type TestPostgres,
  type TestRedis,
} from "./support/servers.ts";
import { SmallDisk } from "./support/small-disk.ts";

const KEYS = new PartitionKeys(0);
const skip = SmallDisk.hindrance() ?? false;
const QUICK = {
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_CONSUMER_NAME: "worker",
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "3000",
};
/** A segment of WAL has 16 MiB; with these there are two or three of them. */
const LITTLE_WAL = { min_wal_size: "32MB", max_wal_size: "48MB", fsync: "off" };

async function open(t: TestContext, redisServer: TestRedis, databaseUrl: string) {
  const servers = { redisUrl: redisServer.url, databaseUrl, env: QUICK };
  const ingest = await startIngest(t, servers);
  await defineInstrument(ingest);
  const worker = await startConsumers(t, servers);
  const clients = new PatientClient([ingest.address], await tokenOf("demo"));
  const [redis, sql] = [
    connectRedis(redisServer.url, { name: "test", socketTimeoutMs: 10_000 }),
    connect(databaseUrl, { max: 1 }),
  ];
  t.after(async () => {
    clients.close();
    redis.disconnect();
    await sql.end({ timeout: 1 });
  });
  /** The client's own record is what is in the log, along its chain, and in the rows, once each. */
  const assertWhole = async (): Promise<void> => {
    const logged = new Map<string, string>();
    let last = "0-0";
    for (const [id, fields] of (await redis.callBuffer("XRANGE", KEYS.orders, "-", "+")) as StreamReply[]) {
      const entry = readEntry(id.toString(), fields ?? []);
      assert.equal(formatEntryId(entry.previous), last);
      last = entry.id;
      for (const [index, command] of decodeBatch(entry.payload).entries()) {
        if (command.kind !== "submit") continue;
        assert.ok(!logged.has(command.submit.clientOrderId), "twice in the log");
        logged.set(command.submit.clientOrderId, formatOrderId({ ...entry, partition: 0, index }));
      }
    }
    assert.deepEqual(logged, clients.acknowledged);
    await eventually(async () => (await rowsOf(sql)).size === logged.size, "all rows", 60_000);
    assert.deepEqual(await rowsOf(sql), logged);
  };
  return { ingest, worker, clients, sql, assertWhole };
}

async function rowsOf(sql: postgres.Sql): Promise<Map<string, string>> {
  const rows = await sql<{ id: string; order: string }[]>`SELECT client_order_id AS id, order_id AS order FROM orders`;
  return new Map(rows.map(({ id, order }) => [id, order]));
}

async function readyOf(role: RoleProcess): Promise<string> {
  return await failingOf(String((await role.logged("health and metrics"))["url"]));
}

test(
  "the disk of Redis is full: it ends, again and again; with room the log goes on where it was (I1, I11)",
  { skip },
  async (t) => {
    const disk = SmallDisk.mount(48);
    const redisServer = await startTestRedis(t, [], { folder: join(disk.folder, "redis") });
    t.after(() => disk.unmount());
    const { url } = await createTestDatabase(t);
    const { ingest, clients, assertWhole } = await open(t, redisServer, url);
    clients.start(8);
    await eventually(async () => clients.acknowledged.size > 200, "some orders");
    disk.fill(16_384);
    const { code, reason } = await redisServer.exited;
    assert.deepEqual([code, reason], [1, "its disk is full"]);
    await eventually(async () => (await readyOf(ingest)) !== "", "ingest not to be ready");

    // As a supervisor does it: while there is no room it reads its file, and ends at the first write.
    const before = clients.acknowledged.size;
    for (let i = 0; i < 2; i++) {
      await redisServer.start();
      assert.equal((await redisServer.exited).reason, "its disk is full");
    }
    assert.ok(clients.acknowledged.size - before < 20, "what little room there was");
    disk.relieve();
    await redisServer.start();
    await eventually(async () => clients.acknowledged.size > before + 200, "orders to be taken again");
    await clients.stop();
    for (const refusal of clients.refusals.keys()) assert.match(refusal, /^(UNAVAILABLE|DEADLINE_EXCEEDED)/);
    await assertWhole();
    const lossy = /put entries back from the journal|GAP IN THE LOG|ACKNOWLEDGED ENTRIES LOST/;
    assert.deepEqual(
      ingest.lines.filter((line) => lossy.test(line)),
      [],
    );
  },
);

test(
  "with everysec Redis says itself that its disk is full: refused, until there is room (I11)",
  { skip },
  async (t) => {
    const closing: (() => unknown)[] = [];
    t.after(async () => {
      for (const close of closing) await close();
    });
    const disk = SmallDisk.mount(48);
    const redisServer = await startTestRedis(t, ["--appendfsync", "everysec"], { folder: join(disk.folder, "redis") });
    t.after(() => disk.unmount());
    const { url } = await createTestDatabase(t);
    const sql = connect(url, { max: 2 });
    const durability: Durability = { level: "everysec", replicas: 0, replicaTimeoutMs: 1_000 };
    const log = new TestAppender(redisServer.url, sql, { durability });
    closing.push(
      () => log.stop(),
      () => sql.end({ timeout: 1 }),
    );
    await log.one(order("before"));
    disk.fill();
    for (let i = 0, error: unknown; error === undefined; i++) {
      error = await log.one(order(`while-it-fills-${i}`)).then(
        () => undefined,
        (error: unknown) => error,
      );
      assert.ok(i < 200 && (error === undefined || error instanceof AppendError));
    }
    assert.ok(redisServer.pid !== undefined, "it lives");
    disk.relieve();
    const after = await eventually(() => log.one(order("after")).catch(() => undefined), "orders to be taken again");
    assert.equal(after.outcome, "new");
  },
);

test(
  "the disk of Postgres is full: orders are taken; the rows come when there is room (I4, I5, I11)",
  { skip },
  async (t) => {
    const disk = SmallDisk.mount(200);
    const postgresServer = await startTestPostgres(t, { folder: join(disk.folder, "postgres"), settings: LITTLE_WAL });
    const redisServer = await startTestRedis(t);
    t.after(() => disk.unmount());
    const { url } = await createTestDatabase(t, postgresServer);
    const { ingest, worker, clients, sql, assertWhole } = await open(t, redisServer, url);
    clients.start(8);
    await eventually(async () => (await rowsOf(sql)).size > 100, "some rows");
    disk.fill();
    await worker.logged("writing failed");
    await eventually(async () => (await readyOf(worker)) !== "", "the worker not to be ready");
    const before = clients.acknowledged.size;
    await eventually(async () => clients.acknowledged.size > before + 200, "orders all the same");
    assert.equal(await readyOf(ingest), "");

    // What it writes ahead finds no room either: then it ends all it does, and cannot even start.
    await exhaustWal(postgresServer, sql);
    await eventually(async () => clients.acknowledged.size > before + 400, "orders all the same");
    disk.relieve();
    await eventually(
      async () => {
        if (postgresServer.pid === undefined) await postgresServer.start();
        return sql`SELECT 1`.then(
          () => true,
          () => false,
        );
      },
      "Postgres to be back",
      60_000,
    );
    await clients.stop();
    await assertWhole();
    await eventually(async () => (await readyOf(worker)) === "", "the worker to be ready");
    assert.equal(worker.running && ingest.running, true);
  },
);

/** Turns to the next segments of WAL until there is none: Postgres then ends every session, or itself. */
async function exhaustWal(server: TestPostgres, sql: postgres.Sql): Promise<void> {
  await eventually(async () => {
    if (server.pid === undefined) return true;
    return await sql`SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000)), pg_switch_wal()`.then(
      () => false,
      (error: { code?: string }) => !["53100"].includes(error.code ?? ""),
    );
  }, "Postgres to give up");
}
