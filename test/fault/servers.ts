import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { DataServer } from "../../src/stack/data-server.ts";
import { findPostgres } from "../../src/stack/postgres-binaries.ts";
import { PostgresServer } from "../../src/stack/postgres-server.ts";
import { identify, isAlive, type ProcessIdentity, sendSignal } from "../../src/stack/process-identity.ts";
import { findRedis, RedisServer } from "../../src/stack/redis-server.ts";
import { keptSecret } from "../../src/stack/secret.ts";
import { findServiceUser } from "../../src/stack/service-user.ts";
import { migrate } from "../../src/store/migrate.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { Proxy } from "../support/proxy.ts";
import type { Extras } from "./extras.ts";

const POLL_MS = 20;
/** To copy what Redis holds here takes some milliseconds, once the two have found each other: they try each second. */
const REPLICA_LIMIT_MS = 10_000;
/** Ten seconds: Postgres reads back what is in three segments of WAL. */
const BACK_TRIES = 100;
const BACK_MS = 100;
const SET_UP_FOLDER = join(import.meta.dirname, "..", "..", ".penstock");
const REDIS_CLIENT = { name: "fault", socketTimeoutMs: 10_000 };

/** Processes are killed here, and the machine never: what the operating system has taken is kept without fsync. */
const POSTGRES = {
  fsync: "off",
  full_page_writes: "off",
  shared_buffers: "64MB",
  min_wal_size: "80MB",
  io_method: "sync",
  dynamic_shared_memory_type: "mmap",
};

export type ServerName = "redis" | "postgres";

export interface ServerOptions {
  /** On its command line, as `["--appendfsync", "everysec"]`. */
  readonly redisArguments?: readonly string[];
  readonly postgresSettings?: Readonly<Record<string, string>>;
  /** Redis has a replica, which may take its place. */
  readonly replica?: boolean;
}

/** Where they are to be: their secrets, and their data, which a user of their own can reach. */
interface Place {
  readonly folder: string;
  readonly home: string;
  readonly output: (name: string) => (chunk: Buffer) => void;
}

/** A replica of Redis, and its way to the master, whichever that is. */
interface Replica {
  server: RedisServer;
  readonly way: Proxy;
}

/**
 * Redis and Postgres, and perhaps a replica of Redis.
 *
 * Always true: what was ended is being started again by itself, at its old address, unless it is to stay away for a while; who ends a
 * server waits until everybody before has, and it is up again.
 */
export class Servers {
  readonly postgres: PostgresServer;
  /** What went wrong with themselves, not with what uses them. */
  readonly troubles: Error[] = [];
  #redis: RedisServer;
  readonly #replica: Replica | undefined;
  readonly #reviving = new Map<DataServer, Promise<void>>();
  readonly #turns = new Map<ServerName, Promise<void>>();
  readonly #paused = new Map<ServerName, readonly ProcessIdentity[]>();

  private constructor(redis: RedisServer, postgres: PostgresServer, replica: Replica | undefined) {
    this.#redis = redis;
    this.postgres = postgres;
    this.#replica = replica;
  }

  /** Resolves when all of them answer, and Postgres has its tables. */
  static async open({ folder, home, output }: Place, options: ServerOptions, extras: Extras): Promise<Servers> {
    const user = findServiceUser();
    const program = findRedis(SET_UP_FOLDER);
    const redis = new RedisServer({
      folder: extras.placeOf("redis", home),
      program: extras.clockFor("redis")?.wrap(program) ?? program,
      user,
      arguments: options.redisArguments ?? [],
      onOutput: output("redis"),
    });
    const postgres = new PostgresServer({
      folder: extras.placeOf("postgres", home),
      binaries: findPostgres(user, home),
      user,
      password: keptSecret(join(folder, "postgres.secret")),
      settings: { ...POSTGRES, ...options.postgresSettings },
      onOutput: output("postgres"),
    });
    await Promise.all([redis.start(), postgres.start()]);
    await migrate(postgres.url);
    if (options.replica !== true) return new Servers(redis, postgres, undefined);

    const way = await Proxy.open(redis.url);
    const server = new RedisServer({
      folder: join(home, "replica"),
      program,
      user,
      arguments: [...(options.redisArguments ?? []), "--replicaof", way.address.replace(":", " ")],
      onOutput: output("replica"),
    });
    await server.start();
    return new Servers(redis, postgres, { server, way });
  }

  /** The master, where there are two. */
  get redis(): RedisServer {
    return this.#redis;
  }

  /** SIGKILL. Resolves when it is dead, and `meanwhile` is done; it is being started again by then. */
  async kill(name: ServerName, meanwhile?: (server: DataServer) => Promise<void>): Promise<void> {
    await this.#inTurn(name, async (server) => {
      await server.kill();
      await meanwhile?.(server);
      this.#revive(server);
    });
  }

  /** Stopped cleanly, away for so long, and started again. Resolves when the start begins. */
  async stop(name: ServerName, downMs: number): Promise<void> {
    await this.#inTurn(name, async (server) => {
      await server.stop();
      await sleep(downMs);
      this.#revive(server);
    });
  }

  /** From now on it is started again wherever it has ended, until it answers. */
  startUntil(name: ServerName, answers: () => Promise<boolean>): void {
    const server = this.#server(name);
    this.#revive(server, async () => {
      for (let i = 0; i < BACK_TRIES; i++) {
        // It may end once more while it reads back its log.
        if (server.pid === undefined) await server.start().catch(() => {});
        if (await answers()) return;
        await sleep(BACK_MS);
      }
      throw new Error(`${name} does not answer after ${BACK_TRIES} tries`);
    });
  }

  /** SIGSTOP to every process of a server. */
  pause(name: ServerName): void {
    const { pid } = this.#server(name);
    if (pid === undefined) return;
    // The children of a stopped parent stay what they are: so the parent first, and it has no new ones meanwhile.
    sendSignal(pid, "SIGSTOP");
    const children = childrenOf(pid);
    for (const child of children) sendSignal(child, "SIGSTOP");
    const paused = [pid, ...children].map(identify).filter((identity) => identity !== undefined);
    this.#paused.set(name, [...(this.#paused.get(name) ?? []), ...paused]);
  }

  /** SIGCONT to those that were paused, also where their parent was killed meanwhile: until they end none starts in its place. */
  resume(name: ServerName): void {
    for (const paused of this.#paused.get(name) ?? []) if (isAlive(paused)) sendSignal(paused.pid, "SIGCONT");
    this.#paused.delete(name);
  }

  /** Resolves when neither of the two is being started. The replica may be. */
  async up(): Promise<void> {
    await Promise.all([this.#reviving.get(this.#redis), this.#reviving.get(this.postgres)]);
  }

  /** From now on nothing is copied to the replica, which has all so far. */
  async cutReplicaOff(): Promise<void> {
    const { way } = this.#someReplica();
    const redis = connectRedis(this.#redis.url, REDIS_CLIENT);
    try {
      const deadline = performance.now() + REPLICA_LIMIT_MS;
      while (!/\bstate=online/.test(await redis.info("replication"))) {
        if (performance.now() > deadline) throw new Error(`no replica after ${REPLICA_LIMIT_MS} ms`);
        await sleep(POLL_MS);
      }
    } finally {
      redis.disconnect();
    }
    // Not the replica itself is stopped: what had come into its socket meanwhile it would read when it goes on.
    way.stall();
  }

  /** SIGKILL to the master; its replica is one from now on, at another address. */
  async promoteReplica(): Promise<void> {
    const replica = this.#someReplica();
    await this.#inTurn("redis", async (master) => {
      await master.kill();
      [this.#redis, replica.server] = [replica.server, this.#redis];
      const redis = connectRedis(this.#redis.url, REDIS_CLIENT);
      await redis.replicaof("NO", "ONE").finally(() => redis.disconnect());
    });
  }

  /** Who is not the master is copied to again; where it is dead, once it was started. */
  async joinReplica(): Promise<void> {
    const { server, way } = this.#someReplica();
    way.target = this.#redis.url;
    await way.heal();
    if (server.pid === undefined) this.#revive(server, () => follow(server, way));
  }

  /** Ends them, paused ones too; their data stay. */
  async close(): Promise<void> {
    for (const name of ["redis", "postgres"] as const) this.resume(name);
    await Promise.all(this.#reviving.values());
    await this.#replica?.way.close();
    await Promise.all([this.#redis.stop(), this.postgres.stop(), this.#replica?.server.stop()]);
  }

  #server(name: ServerName): DataServer {
    return name === "redis" ? this.#redis : this.postgres;
  }

  #someReplica(): Replica {
    if (this.#replica === undefined) throw new Error("Redis has no replica");
    return this.#replica;
  }

  async #inTurn(name: ServerName, end: (server: DataServer) => Promise<void>): Promise<void> {
    const before = this.#turns.get(name);
    const turn = Promise.withResolvers<void>();
    this.#turns.set(name, turn.promise);
    try {
      await before;
      const server = this.#server(name);
      await this.#reviving.get(server);
      await end(server);
    } finally {
      turn.resolve();
    }
  }

  #revive(server: DataServer, start = () => server.start()): void {
    const reviving = start()
      .catch((error: unknown) => void this.troubles.push(error instanceof Error ? error : new Error(String(error))))
      .finally(() => this.#reviving.delete(server));
    this.#reviving.set(server, reviving);
  }
}

async function follow(server: RedisServer, { address }: Proxy): Promise<void> {
  await server.start();
  const redis = connectRedis(server.url, REDIS_CLIENT);
  const [host = "", port = ""] = address.split(":");
  await redis.replicaof(host, port).finally(() => redis.disconnect());
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
}
