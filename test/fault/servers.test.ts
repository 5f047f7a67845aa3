import assert from "node:assert/strict";
import { chmodSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

import { dataHome, findServiceUser } from "../../src/stack/service-user.ts";
import { connect } from "../../src/store/connection.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { Extras } from "./extras.ts";
import { Servers } from "./servers.ts";

async function openServers(t: TestContext): Promise<Servers> {
  const folder = mkdtempSync(join(tmpdir(), "penstock-servers-"));
  chmodSync(folder, 0o755);
  const home = dataHome(folder, findServiceUser());
  const servers = await Servers.open({ folder, home, output: () => () => {} }, {}, new Extras({}));
  t.after(async () => {
    await servers.close();
    await rm(folder, { recursive: true, force: true });
    await rm(home, { recursive: true, force: true });
  });
  return servers;
}

test("a server that is killed while it is paused is up again once it was let go on", async (t) => {
  const servers = await openServers(t);
  // One of its processes more than it has by itself: those end when they are let go on, and it starts beside none of them.
  const sql = connect(servers.postgres.url, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  await sql`SELECT 1`;
  servers.pause("postgres");
  await servers.kill("postgres");
  servers.resume("postgres");
  await servers.up();
  assert.deepEqual(servers.troubles, []);
  assert.deepEqual([...(await sql`SELECT 1 AS one`)], [{ one: 1 }]);
});

test("faults that end the same server at once do so one after another, and it is up again", async (t) => {
  const servers = await openServers(t);
  const ended: string[] = [];
  const first = servers.redis.pid;

  await Promise.all([
    servers.stop("redis", 0).then(() => ended.push("stopped")),
    servers.kill("redis", async ({ pid }) => void ended.push(`killed, pid ${pid}`)),
  ]);
  await servers.up();

  assert.deepEqual(ended, ["stopped", "killed, pid undefined"]);
  assert.deepEqual(servers.troubles, []);
  assert.notEqual(servers.redis.pid, first);
  const redis = connectRedis(servers.redis.url, { name: "test", socketTimeoutMs: 10_000 });
  t.after(() => redis.disconnect());
  assert.equal(await redis.ping(), "PONG");
});
