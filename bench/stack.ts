import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import postgres from "postgres";
import { DetachedProcess } from "../src/stack/detached-process.ts";
import { findRedis, RedisServer } from "../src/stack/redis-server.ts";
import { dataHome, findServiceUser } from "../src/stack/service-user.ts";
import { clientOptions } from "../src/store/client.ts";
import { parseInfo } from "../src/stream/durability.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { descendants, parentOf } from "./measure/cpu.ts";
import type { Contender } from "./measure/loss.ts";

const ROOT = join(import.meta.dirname, "..");
const KEYS = new PartitionKeys(0);
const STREAM = KEYS.orders;

// A stack that runs on this machine keeps the usual ones.
const FREE_PORTS = {
  PENSTOCK_GRPC_PORT: "0",
  PENSTOCK_HTTP_PORT: "0",
  PENSTOCK_ENGINE_PORT: "0",
  PENSTOCK_REDIS_PORT: "0",
  PENSTOCK_POSTGRES_PORT: "0",
};

// The first start makes a database and takes a few seconds; a minute is a very slow machine.
const START_LIMIT_MS = 60_000;
// Roles that drain, then a server that writes its checkpoint.
const STOP_LIMIT_MS = 120_000;
// More than the 5 s that rows may take: how late they are is a result too.
const SETTLE_LIMIT_MS = 30_000;
const POLL_MS = 50;
const STATEMENT_TIMEOUT_MS = 10_000;

export interface StackOptions {
  /** Where its data is kept when it stops (newStateFolder); without it they go. */
  readonly folder?: string;
  readonly workers?: number;
  readonly ingestProcesses?: number;
  /** Without it orders are taken and written, and not matched. */
  readonly engine?: boolean;
  /** More settings of the roles. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Penstock as `penstock up` starts it. */
export interface Stack extends Contender {
  readonly redis: Redis;
  readonly redisUrl: string;
  /** The HTTP port of ingest. */
  readonly httpUrl: string;
  readonly adminToken: string;
  /** The log's stream. */
  readonly stream: string;
  readonly databaseUrl: string;
  /** A new, empty database on the same Postgres; `dropDatabase` cuts its connections off and removes it. */
  createDatabase(name: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
  /** Another Redis, an empty one, under the settings of the stack's and on the same disk. Its data go with the stack's. */
  startRedis(): Promise<RedisServer>;
  /** The pid of the Postgres server. */
  readonly postgresPid: number;
  /** The pid of `penstock up`, of which all else are children. */
  readonly pid: number;
  readonly versions: Readonly<Record<string, string>>;
  /** Stops the consumers in their tracks, or lets them go on. */
  pauseConsumers(pause: boolean): void;
  stop(): Promise<void>;
}

/** For a stack whose data outlast it, on the disk of `penstock up`'s. */
export async function newStateFolder(): Promise<string> {
  const home = join(ROOT, ".penstock");
  await mkdir(home, { recursive: true });
  return mkdtemp(join(home, "bench-"));
}

export async function removeStateFolder(folder: string): Promise<void> {
  const home = dataHome(folder, findServiceUser());
  await rm(folder, { recursive: true, force: true });
  await rm(home, { recursive: true, force: true });
}

export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const folder = options.folder ?? (await newStateFolder());
  // In a group of its own, so that Ctrl-C reaches the bench alone, which then stops it.
  const up = await DetachedProcess.spawn({
    command: process.execPath,
    args: [
      ...[join(ROOT, "src", "main.ts"), "up", "--workers", String(options.workers ?? 1)],
      ...(options.engine === true ? [] : ["--no-engine"]),
    ],
    cwd: ROOT,
    env: {
      ...withoutServers(process.env),
      ...FREE_PORTS,
      PENSTOCK_STATE_DIR: folder,
      PENSTOCK_LOG_LEVEL: "warn",
      PENSTOCK_INGEST_PROCESSES: String(options.ingestProcesses ?? 1),
      ...options.env,
    },
    orphan: { signal: "SIGTERM", graceSeconds: STOP_LIMIT_MS / 1000, remove: folder },
  });
  const stop = async (): Promise<void> => {
    await up.end("SIGTERM", STOP_LIMIT_MS);
    if (options.folder === undefined) await removeStateFolder(folder);
  };
  try {
    const file = await readStack(folder, up);
    const { grpc, http: httpUrl, redis: redisUrl, postgres: databaseUrl, token, adminToken } = file;
    const redis = new Redis(redisUrl, { maxRetriesPerRequest: 0 });
    const sql = postgres(databaseUrl, { ...clientOptions(STATEMENT_TIMEOUT_MS), max: 1 });
    const [server] = await sql<{ pid: number; version: string }[]>`
      SELECT pg_backend_pid() AS pid, current_setting('server_version') AS version`;
    const postgresPid = parentOf(server?.pid ?? 0);
    const redisInfo = parseInfo(await redis.info("server"));
    const redisPid = Number(redisInfo.get("process_id"));
    const role = (name: string): number[] => {
      const pids = descendants(up.pid, name);
      if (pids.length === 0) throw new Error(`there is no ${name} process`);
      return pids;
    };
    let otherRedis = 0;
    const hasEngine = options.engine === true;
    const waiting = async (): Promise<number> => {
      const ofOrders = await waitingEntries(redis, STREAM, await endOf(redis, STREAM));
      // The engine appends an event entry of the same ID for each entry of the log.
      return hasEngine ? ofOrders + (await waitingEntries(redis, KEYS.events, await endOf(redis, STREAM))) : ofOrders;
    };
    const settled = async (): Promise<void> => {
      const last = Date.now() + SETTLE_LIMIT_MS;
      while (Date.now() < last && (await waiting()) > 0) await delay(POLL_MS);
    };
    return {
      target: {
        name: "Penstock",
        port: Number(new URL(grpc).port),
        token,
        databaseUrl,
        ...(hasEngine && { engine: { answers: false } }),
        processes: () => ({
          ingest: role("ingest"),
          ...(hasEngine && { engine: role("engine") }),
          consumers: role("consumers"),
          redis: [redisPid],
          postgres: [postgresPid],
        }),
        settled,
      },
      waiting,
      killWorker: async () => {
        const killed = role("consumers");
        for (const pid of killed) process.kill(pid, "SIGKILL");
        // The supervisor starts another.
        const last = Date.now() + START_LIMIT_MS;
        while (Date.now() < last && descendants(up.pid, "consumers").every((pid) => killed.includes(pid))) {
          await delay(POLL_MS);
        }
        return true;
      },
      redis,
      redisUrl,
      httpUrl,
      adminToken,
      stream: STREAM,
      postgresPid,
      pid: up.pid,
      versions: { Redis: redisInfo.get("redis_version") ?? "", Postgres: server?.version ?? "" },
      databaseUrl,
      startRedis: async () => {
        const user = findServiceUser();
        const server = new RedisServer({
          folder: join(dataHome(folder, user), `other-redis-${++otherRedis}`),
          program: findRedis(join(ROOT, ".penstock")),
          user,
          removeWhenOrphaned: true,
        });
        await server.start();
        return server;
      },
      dropDatabase: async (name) => {
        await sql`DROP DATABASE ${sql(name)} WITH (FORCE)`;
      },
      createDatabase: async (name) => {
        await sql`CREATE DATABASE ${sql(name)}`;
        const url = new URL(databaseUrl);
        url.pathname = `/${name}`;
        return url.href;
      },
      pauseConsumers: (pause) => {
        for (const pid of role("consumers")) process.kill(pid, pause ? "SIGSTOP" : "SIGCONT");
      },
      stop: async () => {
        redis.disconnect();
        await sql.end({ timeout: 1 });
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

// The bench measures servers of its own, whatever the environment names.
function withoutServers({ REDIS_URL: _redis, DATABASE_URL: _database, ...env }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return env;
}

interface StackFile {
  readonly grpc: string;
  readonly http: string;
  readonly redis: string;
  readonly postgres: string;
  readonly token: string;
  readonly adminToken: string;
}

// The file appears when everything is ready.
async function readStack(folder: string, up: DetachedProcess): Promise<StackFile> {
  const ended = up.exited.then(() => true);
  const last = Date.now() + START_LIMIT_MS;
  while (Date.now() < last) {
    try {
      return JSON.parse(await readFile(join(folder, "stack.json"), "utf8")) as StackFile;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    if (await Promise.race([ended, delay(POLL_MS, false)])) {
      throw new Error(`penstock up ended before it was ready:\n${up.tail}`);
    }
  }
  throw new Error(`penstock up was not ready within ${START_LIMIT_MS / 1000} s`);
}

async function endOf(redis: Redis, stream: string): Promise<unknown> {
  return field((await redis.xinfo("STREAM", stream)) as unknown[], "last-generated-id");
}

// Entries up to `end` that were not delivered to the group yet, or not acknowledged by it; at least one where that end is not
// known to be reached.
async function waitingEntries(redis: Redis, stream: string, end: unknown): Promise<number> {
  const groups = (await redis.xinfo("GROUPS", stream)) as unknown[][];
  const group = groups.find((candidate) => field(candidate, "name") === PERSIST_GROUP);
  if (group === undefined) return 1;
  const undelivered = field(group, "last-delivered-id") === end ? 0 : Math.max(1, Number(field(group, "lag")));
  return Number(field(group, "pending")) + undelivered;
}

function field(pairs: readonly unknown[], name: string): unknown {
  return pairs[pairs.indexOf(name) + 1];
}
