import assert from "node:assert/strict";
import { test } from "node:test";

import { Proxy } from "../../test/support/proxy.ts";
import { createTestDatabase } from "../../test/support/servers.ts";
import { connect } from "./connection.ts";

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

test("however often connecting has failed, it is tried again within two seconds", () => {
  const { backoff } = connect("postgres://nobody@127.0.0.1:1/nothing", { max: 1 }).options;
  assert.ok(typeof backoff === "function");
  for (const failures of [0, 1, 5, 50]) assert.ok(backoff(failures) <= 2, `${failures} failures`);
});
