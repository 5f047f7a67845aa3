/**
 * A transaction's backend dies, or the way to it is cut, at each of its steps. Whatever the step: the batch is refused as
 * transient within the time limit, no error goes uncaught, nothing is half-written, no connection is left behind, and the same
 * batch given again is written once.
 */
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import type postgres from "postgres";

import { createTestDatabase, startTestPostgres } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import { TransientStoreError } from "./errors.ts";
import { countRows, makeEntry, openSql, openWriter } from "./test-entries.ts";

const LOCK = 42;

/** 3,000 rows: several pieces of COPY. */
const BATCH = Array.from({ length: 6 }, (_, i) => makeEntry({ seq: 1 + i, orders: 500 }));

/** Where a trigger makes the backend wait, so that it can be terminated right there. */
const STEPS = {
  "before the COPY": "TRIGGER hold AFTER INSERT ON journal FOR EACH STATEMENT",
  "at the COPY's begin": "TRIGGER hold BEFORE INSERT ON orders FOR EACH STATEMENT",
  "in the middle of the COPY":
    "TRIGGER hold BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.client_order_id = 'order-3250')",
  "after the COPY's end": "TRIGGER hold AFTER INSERT ON orders FOR EACH STATEMENT",
  "after the barrier": "TRIGGER hold BEFORE INSERT ON dead_letters FOR EACH STATEMENT",
  "in the COMMIT": "CONSTRAINT TRIGGER hold AFTER INSERT ON dead_letters DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
};

for (const [step, trigger] of Object.entries(STEPS)) {
  test(`a backend that is terminated ${step}`, async (t) => {
    const { url } = await createTestDatabase(t);
    const [writer, holder, sql] = [openWriter(t, url), openWriter(t, url), openSql(t, url)];
    await persist(writer, [makeEntry({ seq: 0 })]);
    await sql.unsafe(
      `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_advisory_xact_lock(${LOCK}); RETURN NEW; END $$;
       CREATE ${trigger} EXECUTE FUNCTION hold()`,
    );
    const letter = { index: 0, raw: Buffer.from("raw"), sqlstate: null, reason: "for the trigger" };
    const batch = [...BATCH, makeEntry({ seq: 99, orders: 0, more: { deadLetters: [letter] } })];
    await holder.transaction(async (transaction) => {
      await transaction.query(`SELECT pg_advisory_xact_lock(${LOCK})`);
      const refused = assert.rejects(persist(writer, batch), TransientStoreError);
      const pid = await untilWaiting(sql);
      await sql`SELECT pg_terminate_backend(${pid}, 5000)`;
      await refused;
    });
    assert.deepEqual(await countRows(sql), { journal: 1, orders: 1, deadLetters: 0 });
    await sql.unsafe("DROP FUNCTION hold CASCADE");
    assert.equal((await persist(writer, batch)).written, 7);
    assert.equal((await persist(writer, batch)).duplicates, 7);
    assert.deepEqual(await countRows(sql), { journal: 8, orders: 3001, deadLetters: 1 });
    await untilBackends(sql, 2);
  });
}

for (const gone of [false, true]) {
  for (const step of [0, 1, 2, 3]) {
    test(`a backend that is ${gone ? "gone" : "about to go"} at the statement ${step} of a transaction`, async (t) => {
      const { url } = await createTestDatabase(t);
      const [writer, sql] = [openWriter(t, url), openSql(t, url)];
      await sql`CREATE TABLE facts (fact int PRIMARY KEY)`;
      const attempt = (kill: boolean) =>
        writer.transaction(async (transaction) => {
          const [backend] = (await transaction.query<{ pid: number }>("SELECT pg_backend_pid() AS pid")).rows;
          const killAt = async (place: number) => {
            if (kill && place === step) await sql`SELECT pg_terminate_backend(${backend!.pid}, ${gone ? 5000 : 0})`;
          };
          await killAt(0);
          await transaction.query("INSERT INTO facts VALUES ($1)", [1]);
          await killAt(1);
          await transaction.copy("COPY facts FROM STDIN", [Buffer.from("2\n"), Buffer.from("3\n")]);
          await killAt(2);
          await transaction.query("INSERT INTO facts VALUES (4)");
          await killAt(3);
        });
      await assert.rejects(attempt(true));
      assert.equal((await sql`SELECT FROM facts`).count, 0);
      await attempt(false);
      assert.equal((await sql`SELECT FROM facts`).count, 4);
      await untilBackends(sql, 1);
    });
  }
}

test("a backend that is terminated between two transactions", async (t) => {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await persist(writer, [makeEntry({ seq: 0 })]);
  await sql`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'penstock'`;
  await persist(writer, BATCH).catch((error: unknown) => assert.ok(error instanceof TransientStoreError));
  await persist(writer, BATCH);
  assert.deepEqual(await countRows(sql), { journal: 7, orders: 3001, deadLetters: 0 });
});

test("a Postgres that is killed and starts again", async (t) => {
  const server = await startTestPostgres(t, { durable: true });
  const { url } = await createTestDatabase(t, server);
  const writer = openWriter(t, url);
  assert.equal((await persist(writer, BATCH)).rows, 3000);
  await server.kill();
  const more = [...BATCH, makeEntry({ seq: 50 })];
  for (let i = 0; i < 3; i++) await assert.rejects(persist(writer, more), TransientStoreError);
  await server.start();
  const outcome = await persist(writer, more);
  assert.deepEqual(outcome, { written: 1, duplicates: 6, rows: 1, deadLetters: 0, forks: 0, orphans: 0 });
});

test("a COMMIT whose answer is lost: the batch comes again and finds itself written", async (t) => {
  const { url } = await createTestDatabase(t);
  const proxy = await startProxy(t, url, "cut the answer");
  const [writer, sql] = [openWriter(t, proxy.url), openSql(t, url)];
  await persist(writer, [makeEntry({ seq: 0 })]);
  proxy.arm();
  await assert.rejects(persist(writer, BATCH), TransientStoreError);
  const outcome = await persist(writer, BATCH);
  assert.deepEqual(outcome, { written: 0, duplicates: 6, rows: 0, deadLetters: 0, forks: 0, orphans: 0 });
  assert.deepEqual(await countRows(sql), { journal: 7, orders: 3001, deadLetters: 0 });
});

test("a way that goes silent: the time limit ends it on both sides", async (t) => {
  const { url } = await createTestDatabase(t);
  const proxy = await startProxy(t, url, "silence");
  const [writer, sql] = [openWriter(t, proxy.url, 1000), openSql(t, url)];
  await persist(openWriter(t, url), [makeEntry({ seq: 0 })]);
  const batch = [makeEntry({ seq: 0 }), makeEntry({ seq: 1 })];
  proxy.arm();
  await assert.rejects(persist(writer, batch), TransientStoreError);
  // The old backend still holds the receipt, until the server's own limit ends it.
  for (let tries = 0; (await persist(writer, batch).catch(transient)) === undefined; tries++) assert.ok(tries < 20);
  assert.deepEqual(await countRows(sql), { journal: 2, orders: 2, deadLetters: 0 });
});

function transient(error: unknown): undefined {
  assert.ok(error instanceof TransientStoreError);
}

/** The backend that waits for the lock. */
async function untilWaiting(sql: postgres.Sql): Promise<number> {
  for (let tries = 0; tries < 1000; tries++) {
    const [row] = await sql<{ pid: number }[]>`
      SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = ${LOCK} AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
    if (row !== undefined) return row.pid;
    await delay(10);
  }
  throw new Error("no backend came to the step");
}

/** Resolves once this database has so many connections of writers: those that were thrown away take a moment to go. */
async function untilBackends(sql: postgres.Sql, expected: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    const [row] = await sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM pg_stat_activity
      WHERE application_name = 'penstock' AND datname = current_database()`;
    if (row?.count === expected) return;
    assert.ok(tries < 1000, `${row?.count} connections instead of ${expected}`);
    await delay(10);
  }
}

/** A proxy before Postgres that spoils the next COMMIT once it is armed. */
async function startProxy(t: TestContext, url: string, fault: "cut the answer" | "silence") {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let armed = false;
  const server = createServer({ noDelay: true }, (client) => {
    const backend = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    const pair = [client, backend];
    let state: "open" | "cut" | "silent" = "open";
    client.on("data", (data) => {
      if (armed && data.includes("COMMIT\0")) {
        armed = false;
        state = fault === "silence" ? "silent" : "cut";
      }
      if (state !== "silent") backend.write(data);
    });
    backend.on("data", (data) => {
      if (state === "open") client.write(data);
      else for (const socket of pair) socket.destroy();
    });
    for (const [index, socket] of pair.entries()) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => state !== "silent" && pair[1 - index]?.destroy());
    }
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const own = new URL(url);
  own.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: own.href, arm: () => (armed = true) };
}
