import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { eventually } from "../../test/support/pipeline.ts";
import { Proxy } from "../../test/support/proxy.ts";
import { createTestDatabase } from "../../test/support/servers.ts";
import { backoff } from "./client.ts";
import { connect } from "./connection.ts";
import { openSql } from "./test-entries.ts";

/** A pool behind a proxy. */
async function setScene(t: TestContext, max: number, statementTimeoutMs?: number) {
  const { url } = await createTestDatabase(t);
  const proxy = await Proxy.start(t, url);
  const sql = connect(proxy.url, statementTimeoutMs === undefined ? { max } : { max, statementTimeoutMs });
  t.after(() => sql.end({ timeout: 1 }));
  const looking = openSql(t, url);
  /** The backends that sleep. */
  const sleepers = async (): Promise<number[]> => {
    const rows = await looking<{ pid: number }[]>`
      SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;
    return rows.map(({ pid }) => pid);
  };
  /** Those whose clients have gone do not notice it. */
  const wake = async (): Promise<void> => {
    await looking`SELECT pg_terminate_backend(pid, 5000) FROM unnest(${`{${(await sleepers()).join(",")}}`}::int[]) AS pid`;
  };
  return { proxy, sql, looking, sleepers, wake };
}

test("a way to Postgres that goes silent fails the statements that wait, and the next one finds another", async (t) => {
  const { url } = await createTestDatabase(t);
  const proxy = await Proxy.start(t, url);
  const sql = connect(proxy.url, { max: 2, statementTimeoutMs: 300 });
  t.after(() => sql.end({ timeout: 1 }));
  await Promise.all([sql`SELECT pg_sleep(0.1)`, sql`SELECT pg_sleep(0.1)`]);
  await assert.rejects(sql`SELECT pg_sleep(1)`, { code: "57014" }, "the server's limit comes first where it is heard");
  // The server's side of what is there ends, and nobody is told; what is opened from now on passes.
  proxy.abandon("server");
  const waiting = [sql`SELECT 1`, sql`SELECT 2`];
  // Who asks again and again does not keep them alive.
  const asking = setInterval(() => void sql`SELECT 4`.catch(() => {}), 500);
  t.after(() => clearInterval(asking));
  for (const outcome of await Promise.allSettled(waiting)) {
    assert.ok(outcome.status === "rejected");
    assert.equal((outcome.reason as { code?: string }).code, "CONNECTION_CLOSED");
  }
  assert.deepEqual([...(await sql`SELECT 3 AS three`)], [{ three: 3 }]);
});

for (const ending of ["close", "reset"] as const) {
  test(`an answer that was cut in its middle (${ending}) leaves nothing to the next one`, async (t) => {
    const { proxy, sql } = await setScene(t, 1);
    const cut = proxy.cutAfter("down", 100_000, ending);
    await assert.rejects(sql`SELECT generate_series(1, 200000)`);
    await cut;
    assert.deepEqual([...(await sql`SELECT 3 AS three`)], [{ three: 3 }]);
  });

  test(`a statement that follows at once on one that was lost (${ending}) is answered, as are those after it`, async (t) => {
    const { proxy, sql, sleepers, wake } = await setScene(t, 2);
    for (let round = 1; round <= 5; round++) {
      const both = [1, 2].map((n) => sql`SELECT pg_sleep(60)`.catch(() => sql`SELECT ${n}::int AS n`));
      await eventually(async () => (await sleepers()).length === 2, "both statements under way");
      proxy.cut(ending);
      assert.deepEqual(
        (await Promise.all(both)).map(([row]) => row),
        [{ n: 1 }, { n: 2 }],
        `round ${round}`,
      );
      const next = await Promise.all([3, 4, 5].map((n) => sql`SELECT ${n}::int AS n`));
      assert.deepEqual(
        next.map(([row]) => row),
        [{ n: 3 }, { n: 4 }, { n: 5 }],
        `round ${round}`,
      );
      await wake();
    }
  });
}

test("an answer that failed behind its first rows leaves nothing to the next one", async (t) => {
  const { sql } = await setScene(t, 1);
  for (const ask of [() => sql`SELECT 3 AS three`, () => sql.unsafe("SELECT 3 AS three")]) {
    await assert.rejects(sql`SELECT 1 / (500 - n) FROM generate_series(1, 1000) AS n`, { code: "22012" });
    assert.deepEqual([...(await ask())], [{ three: 3 }]);
    assert.deepEqual([...(await ask())], [{ three: 3 }]);
  }
});

test("a statement whose plan is out of date gets its own answer, as does the one behind it", async (t) => {
  const { sql, looking } = await setScene(t, 1);
  await looking`CREATE TABLE one AS SELECT 1 AS n`;
  const ask = () => sql`SELECT * FROM one WHERE n = ${1}::int`;
  for (let round = 0; round < 60; round++) {
    await ask();
    await (round % 2 === 0 ? looking`ALTER TABLE one ADD COLUMN more int` : looking`ALTER TABLE one DROP COLUMN more`);
    const asked = ask();
    // In some of the rounds while the first is sent again.
    for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
    const [[first], [second]] = await Promise.all([asked, sql`SELECT ${round}::int AS other`]);
    assert.deepEqual([first?.["n"], second], [1, { other: round }], `round ${round}`);
  }
});

test("all that wait for a server that is away fail soon, however many they are", async (t) => {
  const { proxy, sql } = await setScene(t, 2);
  await sql`SELECT 1`;
  proxy.closed = true;
  const waiting = Array.from({ length: 5_000 }, () => sql`SELECT 1`);
  let settled = 0;
  for (const each of waiting) each.catch(() => {}).finally(() => settled++);
  await eventually(() => Promise.resolve(settled === waiting.length), "the failure of all");
});

test("what a database sets for others does not change what its answers look like", async (t) => {
  const { sql, looking } = await setScene(t, 1);
  for (const setting of ["bytea_output = escape", "DateStyle = German"])
    await looking.unsafe(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET ${setting}', current_database()); END $$`);
  const [row] = await sql`SELECT '\\x0102ff'::bytea AS bytes, '2026-03-04T05:06:07Z'::timestamptz AS time`;
  assert.deepEqual(row, { bytes: Buffer.from([1, 2, 255]), time: new Date("2026-03-04T05:06:07Z") });
});

test("a server that ends connections before it has answered fails the statement that waits for one", async (t) => {
  const { proxy, sql } = await setScene(t, 2);
  proxy.closed = true;
  await assert.rejects(sql`SELECT 1`, { code: "CONNECTION_CLOSED" });
  proxy.closed = false;
  assert.deepEqual([...(await sql`SELECT 3 AS three`)], [{ three: 3 }]);
});

test("connections that are not used are closed, and no statement meets one that is being closed", async (t) => {
  const { proxy, sql } = await setScene(t, 3, 300);
  const ask = () => sql`SELECT pg_sleep(0.05)`;
  await Promise.all([ask(), ask(), ask()]);
  assert.equal(proxy.connections, 3);
  // They are closed after 2.3 to 4.3 s: at this pace now one, now all of them.
  const until = performance.now() + 8_000;
  while (performance.now() < until) {
    await ask();
    await sleep(2_000 * Math.random());
  }
  await eventually(() => Promise.resolve(proxy.connections === 0), "the end of all connections");
  await ask();
});

test("however often connecting has failed, it is tried again within two seconds", () => {
  for (const failures of [0, 1, 5, 50]) assert.ok(backoff(failures) <= 2, `${failures} failures`);
});
