import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { TestContext } from "node:test";

import postgres from "postgres";

import { findPostgres } from "../../src/stack/postgres-binaries.ts";
import { ensureCluster } from "../../src/stack/postgres-cluster.ts";
import { PostgresServer } from "../../src/stack/postgres-server.ts";
import { identify } from "../../src/stack/process-identity.ts";
import { findRedis, RedisServer } from "../../src/stack/redis-server.ts";
import { keptSecret } from "../../src/stack/secret.ts";
import { canRun, findServiceUser, ownFolder } from "../../src/stack/service-user.ts";

/**
 * Real servers for tests: on free ports, in folders of their own below the temporary folder. They go with the test, and
 * with its process too, however that ends.
 */

/** For a crash of the server, which tests do cause, no fsync is needed; a crash of the operating system they do not cause. */
const QUICK = {
  fsync: "off",
  full_page_writes: "off",
  shared_buffers: "64MB",
  min_wal_size: "80MB",
  io_method: "sync",
};

/** Of every test Postgres. In files of the data folder, so that a killed server leaves no shared memory behind. */
const TIDY = { dynamic_shared_memory_type: "mmap" };

const SET_UP_FOLDER = join(import.meta.dirname, "..", "..", ".penstock");
const user = findServiceUser();

let shared: Promise<TestPostgres> | undefined;
const templates = new WeakMap<PostgresServer, Promise<string>>();
let databases = 0;
let home: string | undefined;

after(async () => {
  if (shared !== undefined) await discard(await shared);
});

export class TestRedis extends RedisServer {
  /** Starts it again on the same port, after a clean stop where it still runs; `empty`: without its data. */
  async restart({ empty = false }: { empty?: boolean } = {}): Promise<void> {
    await this.stop();
    if (empty) await rm(this.folder, { recursive: true });
    await this.start();
  }
}

export class TestPostgres extends PostgresServer {
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}

/** Where a server is to run, and as what, in place of what is usual. */
export interface Place {
  /** Its own, below a folder that its user can reach. */
  readonly folder?: string;
  /** What is run in place of this program. */
  readonly wrap?: (program: string) => string;
}

/** A Redis with `appendfsync always`; the arguments go to its command line, as `["--appendfsync", "everysec"]`. */
export async function startTestRedis(
  t: TestContext,
  extraArgs: readonly string[] = [],
  { folder = makeFolder("redis"), wrap = asItIs }: Place = {},
): Promise<TestRedis> {
  const program = wrap(findRedis(SET_UP_FOLDER));
  const server = new TestRedis({ folder, program, arguments: extraArgs, removeWhenOrphaned: true });
  t.after(() => discard(server));
  await server.start();
  return server;
}

/** A Postgres for this test alone; `durable`: with fsync and the settings that `penstock up` gives it. */
export async function startTestPostgres(
  t: TestContext,
  options: Place & { durable?: boolean; settings?: Record<string, string> } = {},
): Promise<TestPostgres> {
  const server = newPostgres({ ...(options.durable ? {} : QUICK), ...options.settings }, options);
  t.after(() => discard(server));
  await server.start();
  return server;
}

/**
 * A new database with all migrations applied, on the server given, else on one that the tests of this process share. It
 * goes with its server.
 */
export async function createTestDatabase(t: TestContext, server?: PostgresServer): Promise<{ url: string }> {
  t.signal.throwIfAborted();
  const host = server ?? (await (shared ??= startShared()));
  let template = templates.get(host);
  if (template === undefined) templates.set(host, (template = createTemplate(host)));
  const name = `test_${++databases}`;
  await execute(host, `CREATE DATABASE ${name} TEMPLATE ${await template}`);
  return { url: host.urlOf(name) };
}

async function startShared(): Promise<TestPostgres> {
  const server = newPostgres(QUICK);
  await server.start();
  return server;
}

async function createTemplate(server: PostgresServer): Promise<string> {
  await execute(server, "CREATE DATABASE migrated");
  const { migrate } = await import("../../src/store/migrate.ts"); // not loaded by tests that need no database
  await migrate(server.urlOf("migrated"));
  return "migrated";
}

async function execute(server: PostgresServer, statement: string): Promise<void> {
  const sql = postgres(server.urlOf("postgres"), { max: 1 });
  try {
    await sql.unsafe(statement);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** A server on a copy of a data folder that is made once for each user of the machine: a start takes 0.3 s, not 1 s. */
function newPostgres(settings: Record<string, string>, place: Place = {}): TestPostgres {
  const home = testHome();
  const binaries = findPostgres(user, home);
  const cache = join(home, `cluster-${binaries.version}`);
  const password = keptSecret(`${cache}.password`);
  makeCluster(cache, (draft) => ensureCluster(draft, password, binaries, user));
  const folder = place.folder ?? makeFolder("postgres");
  ownFolder(folder, user);
  execFileSync("cp", ["-R", `${cache}/.`, folder], asUser());
  return new TestPostgres({
    folder,
    binaries: { ...binaries, postgres: (place.wrap ?? asItIs)(binaries.postgres) },
    password,
    user,
    settings: { ...TIDY, ...settings },
    removeWhenOrphaned: true,
  });
}

function asItIs(program: string): string {
  return program;
}

/** Several test processes may come here at once: each makes its own, and the first to finish gives its to all. */
function makeCluster(cache: string, make: (draft: string) => void): void {
  if (existsSync(cache)) return;
  const folder = makeFolder("cluster");
  const draft = join(folder, "data");
  make(draft);
  try {
    renameSync(draft, cache);
  } catch (error) {
    if (!existsSync(cache)) throw error;
  }
  rmSync(folder, { recursive: true });
}

/** A new folder, whose name carries our pid: a later run sweeps it away where this one dies before it can. */
function makeFolder(kind: string): string {
  const folder = mkdtempSync(join(testHome(), `${kind}-${process.pid}-`));
  ownFolder(folder, user);
  return folder;
}

/** Where all of it lies: below the temporary folder, where the servers' user can reach that. */
function testHome(): string {
  if (home !== undefined) return home;
  const base = [tmpdir(), "/tmp"].find((folder) => canRun(user, "/bin/sh", ["-c", 'cd "$1"', "sh", folder]));
  if (base === undefined) throw new Error(`${user?.name} can reach no temporary folder`);
  const uid = process.getuid?.() ?? 0;
  const folder = join(base, `penstock-test-${uid}`);
  ownFolder(folder, user);
  // The name can be guessed: somebody else may have been there first.
  if (lstatSync(folder).uid !== (user?.uid ?? uid)) throw new Error(`${folder} belongs to another user`);
  for (const name of readdirSync(folder)) {
    const pid = /^\w+-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && identify(Number(pid)) === undefined) {
      rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 3 });
    }
  }
  return (home = folder);
}

async function discard(server: TestRedis | TestPostgres): Promise<void> {
  const killed = server.pid === undefined;
  await server.stop();
  if (killed && server instanceof TestPostgres) removeSharedMemory(server.folder);
  await rm(server.folder, { recursive: true, force: true, maxRetries: 3 });
}

/** A killed Postgres leaves a small segment of System V memory until its next start, and the kernel has 4,096 in all. */
function removeSharedMemory(folder: string): void {
  const pidFile = join(folder, "postmaster.pid");
  if (!existsSync(pidFile)) return;
  const id = readFileSync(pidFile, "utf8").split("\n")[6]?.trim().split(/\s+/)[1];
  if (id !== undefined) spawnSync("ipcrm", ["-m", id], { stdio: "ignore" });
}

function asUser(): { uid?: number; gid?: number; cwd: string } {
  return { cwd: "/", ...(user && { uid: user.uid, gid: user.gid }) };
}
