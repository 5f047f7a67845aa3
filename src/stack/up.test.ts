import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Redis } from "ioredis";
import postgres from "postgres";

import { processEnv } from "../../test/support/process-env.ts";
import { createTestDatabase, startTestRedis } from "../../test/support/servers.ts";
import { writeStandIn } from "../../test/support/stand-in.ts";
import { until } from "../../test/support/until.ts";
import { readPid } from "./data-server.ts";
import { identify, isAlive } from "./process-identity.ts";
import type { ProcessIdentity } from "./process-identity.ts";

interface Addresses {
  readonly grpc: string;
  readonly http: string;
  readonly redis: string;
  readonly postgres: string;
  readonly engine: string;
  readonly token: string;
  readonly adminToken: string;
}

/** A state folder, with real servers in it and stand-ins for the roles. */
class Place {
  readonly folder: string;
  readonly #t: TestContext;
  readonly #program: string;

  constructor(t: TestContext) {
    this.#t = t;
    const temporary = mkdtempSync(join(tmpdir(), "penstock-up-"));
    chmodSync(temporary, 0o755); // else, as root, the data would lie elsewhere on this machine
    this.#program = writeStandIn(temporary);
    this.folder = join(temporary, "state");
    t.after(() => rmSync(temporary, { recursive: true, force: true, maxRetries: 5 }));
  }

  get file(): string {
    return join(this.folder, "stack.json");
  }

  addresses(): Addresses {
    return JSON.parse(readFileSync(this.file, "utf8")) as Addresses;
  }

  up(environment: NodeJS.ProcessEnv = {}): { process: ChildProcess; output: () => string } {
    const program = `
      import { up } from ${JSON.stringify(new URL("up.ts", import.meta.url).href)};
      const prepareDemo = async () => async () => ({ token: "of a trader", adminToken: "of an admin" });
      up({ workers: 2, engine: true }, process.env, { program: ${JSON.stringify(this.#program)}, prepareDemo }).then(
        () => process.exit(0),
        (error) => { console.log(error.message); process.exit(1); },
      );
    `;
    const free = {
      PENSTOCK_GRPC_PORT: "0",
      PENSTOCK_HTTP_PORT: "0",
      PENSTOCK_ENGINE_PORT: "0",
      PENSTOCK_REDIS_PORT: "0",
      PENSTOCK_POSTGRES_PORT: "0",
    };
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      env: { ...processEnv(), PENSTOCK_STATE_DIR: this.folder, ...free, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#t.after(() => child.kill("SIGTERM"));
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    return { process: child, output: () => output };
  }

  /** Waits until the stack of this process is ready. */
  async ready({ process: child, output }: ReturnType<Place["up"]>): Promise<Addresses> {
    await until("stack.json is there", () => {
      assert.equal(child.exitCode, null, output());
      return existsSync(this.file);
    });
    return this.addresses();
  }

  /** All processes of the stack besides `up`. */
  processes(): Record<string, ProcessIdentity> {
    const [lock] = readdirSync(this.folder).filter((name) => /^up\.\d+\.json$/.test(name));
    assert.ok(lock);
    const { children } = JSON.parse(readFileSync(join(this.folder, lock), "utf8")) as {
      children: Record<string, ProcessIdentity>;
    };
    const found = { ...children };
    for (const [name, file] of Object.entries({ redis: "redis/redis.pid", postgres: "postgres/postmaster.pid" })) {
      const identity = identify(readPid(join(this.folder, file)) ?? 0);
      if (identity !== undefined) found[name] = identity;
    }
    return found;
  }
}

function redisOf(t: TestContext, url: string): Redis {
  const client = new Redis(url);
  client.on("error", () => {});
  t.after(() => client.disconnect());
  return client;
}

async function query(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return await sql.unsafe(statement);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return child.exitCode;
}

test("it starts all, says where, drains in order at SIGINT, leaves nothing running, and finds its data again", async (t) => {
  const place = new Place(t);
  const first = place.up();
  const addresses = await place.ready(first);
  assert.equal(addresses.token, "of a trader");
  assert.equal(addresses.adminToken, "of an admin");
  for (const url of [addresses.grpc, addresses.engine]) assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(statSync(place.file).mode & 0o777, 0o600);
  assert.equal((await fetch(`${addresses.http}/readyz`)).status, 200);
  const processes = place.processes();
  assert.deepEqual(Object.keys(processes).toSorted(), [
    "engine",
    "ingest",
    "postgres",
    "redis",
    "worker-1",
    "worker-2",
  ]);
  await redisOf(t, addresses.redis).set("key", "value");
  await query(addresses.postgres, "CREATE TABLE kept AS SELECT 7 AS n");

  first.process.kill("SIGINT");
  assert.equal(await exitOf(first.process), 0, first.output());
  assert.equal(existsSync(place.file), false);
  for (const [name, identity] of Object.entries(processes)) assert.equal(isAlive(identity), false, name);
  const drained = (name: string): number => {
    const log = readFileSync(join(place.folder, "logs", `${name}.log`), "utf8");
    return Number(/drained at (\d+)/.exec(log)?.[1]);
  };
  assert.ok(drained("ingest") <= drained("engine"), "ingest drains before the engine");
  assert.ok(drained("engine") <= drained("worker-1"), "the engine drains before the workers");
  assert.match(readFileSync(join(place.folder, "logs", "redis.log"), "utf8"), /ready to exit/, "a clean stop");
  assert.match(readFileSync(join(place.folder, "logs", "postgres.log"), "utf8"), /database system is shut down/);

  const second = place.up();
  const again = await place.ready(second);
  assert.equal(await redisOf(t, again.redis).get("key"), "value");
  assert.deepEqual([...(await query(again.postgres, "SELECT n FROM kept"))], [{ n: 7 }]);
  second.process.kill("SIGTERM");
  assert.equal(await exitOf(second.process), 0, second.output());
});

test("a crash of a role or of a server has it back at its address; a second up is refused meanwhile", async (t) => {
  const place = new Place(t);
  const stack = place.up();
  const addresses = await place.ready(stack);
  const redis = redisOf(t, addresses.redis);
  await redis.set("key", "value");

  const before = place.processes();
  for (const name of ["ingest", "engine", "worker-2", "redis", "postgres"]) {
    const victim = before[name];
    assert.ok(victim, name);
    process.kill(victim.pid, "SIGKILL");
    await until(`${name} is back`, () => stack.output().includes(`${name} is back`));
  }
  assert.equal((await fetch(`${addresses.http}/readyz`)).status, 200);
  assert.equal(await redis.get("key"), "value");
  assert.equal((await query(addresses.postgres, "SELECT 1 AS one")).length, 1);

  const rival = place.up();
  assert.equal(await exitOf(rival.process), 1);
  assert.match(rival.output(), /runs already on .*process \d+/);
  assert.ok(existsSync(place.file), "the rival took nothing away");

  stack.process.kill("SIGTERM");
  assert.equal(await exitOf(stack.process), 0, stack.output());
  for (const [name, identity] of Object.entries(place.processes())) assert.equal(isAlive(identity), false, name);
});

test("after a kill of up itself nothing keeps running, and the next start finds the data", async (t) => {
  const place = new Place(t);
  const first = place.up();
  const addresses = await place.ready(first);
  await redisOf(t, addresses.redis).set("key", "value");
  const processes = place.processes();
  first.process.kill("SIGKILL");
  await exitOf(first.process);

  // At once: the next one has to deal with what the first one's watchdogs have not ended yet.
  rmSync(place.file);
  const second = place.up();
  const again = await place.ready(second);
  for (const [name, identity] of Object.entries(processes)) assert.equal(isAlive(identity), false, name);
  assert.equal(await redisOf(t, again.redis).get("key"), "value");
  second.process.kill("SIGTERM");
  assert.equal(await exitOf(second.process), 0, second.output());
});

test("a second signal ends all at once", async (t) => {
  const place = new Place(t);
  const stack = place.up({ STAND_IN: "deaf" });
  await place.ready(stack);
  const processes = place.processes();
  stack.process.kill("SIGINT");
  await until("it drains", () => stack.output().includes("draining"));
  stack.process.kill("SIGTERM");
  assert.equal(await exitOf(stack.process), 143);
  for (const [name, identity] of Object.entries(processes)) await until(`${name} is gone`, () => !isAlive(identity));
  assert.equal(existsSync(place.file), false);
});

test("servers that stand already are used, and left running", async (t) => {
  const place = new Place(t);
  const redis = await startTestRedis(t);
  const database = await createTestDatabase(t);
  const stack = place.up({ REDIS_URL: redis.url, DATABASE_URL: database.url });
  const addresses = await place.ready(stack);
  assert.equal(addresses.redis, redis.url);
  assert.equal(addresses.postgres, database.url);
  assert.deepEqual(Object.keys(place.processes()).toSorted(), ["engine", "ingest", "worker-1", "worker-2"]);
  stack.process.kill("SIGTERM");
  assert.equal(await exitOf(stack.process), 0, stack.output());
  assert.equal(await redisOf(t, redis.url).ping(), "PONG");
});

test("a role that cannot start is told with its own words, and nothing is left", async (t) => {
  const place = new Place(t);
  const stack = place.up({ STAND_IN: "broken" });
  assert.equal(await exitOf(stack.process), 1);
  assert.match(stack.output(), /worker-\d did not get ready:\nconsumers is broken/);
  for (const [name, identity] of Object.entries(place.processes())) assert.equal(isAlive(identity), false, name);
});

test("a port that was asked for and is in use is an error", async (t) => {
  const place = new Place(t);
  const { port } = await startTestRedis(t);
  const stack = place.up({ PENSTOCK_GRPC_PORT: String(port) });
  assert.equal(await exitOf(stack.process), 1);
  assert.match(stack.output(), new RegExp(`port ${port} of 127.0.0.1 is in use`));
});
