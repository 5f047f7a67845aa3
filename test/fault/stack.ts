import { createSecretKey, randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Redis } from "ioredis";
import type postgres from "postgres";

import { TokenService } from "../../src/ingest/auth/tokens.ts";
import type { DataServer } from "../../src/stack/data-server.ts";
import { findPostgres } from "../../src/stack/postgres-binaries.ts";
import { PostgresServer } from "../../src/stack/postgres-server.ts";
import { settlePort } from "../../src/stack/ports.ts";
import { sendSignal } from "../../src/stack/process-identity.ts";
import { findRedis, RedisServer } from "../../src/stack/redis-server.ts";
import { keptSecret } from "../../src/stack/secret.ts";
import { dataHome, findServiceUser } from "../../src/stack/service-user.ts";
import { connect } from "../../src/store/connection.ts";
import { migrate } from "../../src/store/migrate.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { PostgresWire } from "../support/postgres-wire.ts";
import { Proxy } from "../support/proxy.ts";
import { RedisWire } from "../support/redis-wire.ts";
import type { ShiftedClock } from "../support/shifted-clock.ts";
import type { SmallDisk } from "../support/small-disk.ts";
import type { Wire } from "../support/wire.ts";
import { withCompileCache } from "./compile-cache.ts";
import { type ExtraOptions, Extras } from "./extras.ts";
import { Role } from "./role.ts";

const BIND = "127.0.0.1";
const POLL_MS = 20;
/** To copy what Redis holds here takes some milliseconds, once the two have found each other: they try each second. */
const REPLICA_LIMIT_MS = 10_000;
/** Ten seconds: Postgres reads back what is in three segments of WAL. */
const BACK_TRIES = 100;
const BACK_MS = 100;
const SET_UP_FOLDER = join(import.meta.dirname, "..", "..", ".penstock");

/** The orders of magnitude of a deployment, a twentieth of them: what takes a minute there must happen within a round here. */
const QUICK = {
  // A transaction takes ten round trips, through a proxy here: some seconds on a machine that is ten times as busy as it should be.
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "4000",
  PENSTOCK_MIN_IDLE_MS: "5000",
  PENSTOCK_CLAIM_INTERVAL_MS: "300",
  PENSTOCK_READ_BLOCK_MS: "200",
  PENSTOCK_REQUEST_TIMEOUT_MS: "5000",
  PENSTOCK_DRAIN_TIMEOUT_MS: "8000",
  PENSTOCK_SNAPSHOT_COMMANDS: "1000",
  PENSTOCK_SNAPSHOT_INTERVAL_MS: "1000",
  PENSTOCK_REPLAY_HORIZON_MS: "3000",
  PENSTOCK_TRIM_INTERVAL_MS: "250",
} as const;

/** Processes are killed here, and the machine never: what the operating system has taken is kept without fsync. */
const POSTGRES = {
  fsync: "off",
  full_page_writes: "off",
  shared_buffers: "64MB",
  min_wal_size: "80MB",
  io_method: "sync",
  dynamic_shared_memory_type: "mmap",
};

const HARNESS = "fault";

export type ServerName = "redis" | "postgres";

/** What reads along the ways to a server, for the points at which something is to happen (points.ts). */
const WIRES: Readonly<Record<string, () => Wire>> = {
  redis: () => new RedisWire(),
  postgres: () => new PostgresWire(),
};

export interface StackOptions extends ExtraOptions {
  /** Of all roles, beside those above. */
  readonly env?: Readonly<Record<string, string>>;
  /** On its command line, as `["--appendfsync", "everysec"]`. */
  readonly redisArguments?: readonly string[];
  readonly postgresSettings?: Readonly<Record<string, string>>;
  readonly partitions?: number;
  readonly ingests?: number;
  readonly workers?: number;
  readonly engines?: number;
  /** Redis has a replica, which may take its place. */
  readonly replica?: boolean;
}

/**
 * Redis, Postgres and every role as a process of its own, a link between each pair of them.
 *
 * Always true: what was killed is being started again by itself, at its old address, unless it is `down`; the harness itself goes past
 * the links (`redis`, `sql`).
 */
export class FaultStack {
  readonly folder: string;
  readonly partitions: readonly PartitionKeys[];
  readonly postgresServer: PostgresServer;
  readonly ingests: readonly Role[];
  readonly workers: readonly Role[];
  readonly engines: readonly Role[];
  /** Past the links. Fails while its server is away. */
  readonly sql: postgres.Sql;
  #redisServer: RedisServer;
  #redis: Redis;
  #replica: RedisServer | undefined;
  readonly #extras: Extras;
  readonly #links: ReadonlyMap<string, Proxy>;
  /** Where there is a replica: its way to the master, whichever that is. */
  readonly #replication: Proxy | undefined;
  readonly #tokens: TokenService;
  readonly #home: string;
  readonly #reviving = new Map<DataServer, Promise<void>>();
  /** What went wrong with the stack itself, not with what it runs. */
  readonly troubles: Error[] = [];

  private constructor(parts: {
    folder: string;
    home: string;
    partitions: readonly PartitionKeys[];
    servers: { redis: RedisServer; postgres: PostgresServer; replica: RedisServer | undefined };
    roles: readonly Role[];
    clients: { redis: Redis; sql: postgres.Sql };
    links: ReadonlyMap<string, Proxy>;
    replication: Proxy | undefined;
    tokens: TokenService;
    extras: Extras;
  }) {
    this.folder = parts.folder;
    this.#home = parts.home;
    this.partitions = parts.partitions;
    this.#redisServer = parts.servers.redis;
    this.postgresServer = parts.servers.postgres;
    const of = (role: Role["role"]) => parts.roles.filter((candidate) => candidate.role === role);
    this.ingests = of("ingest");
    this.workers = of("consumers");
    this.engines = of("engine");
    this.#redis = parts.clients.redis;
    this.#replica = parts.servers.replica;
    this.#extras = parts.extras;
    this.sql = parts.clients.sql;
    this.#links = parts.links;
    this.#replication = parts.replication;
    this.#tokens = parts.tokens;
  }

  /** Starts all of it in this folder, which it makes: data, and logs below `logs`. Resolves when every role is ready. */
  static async open(folder: string, options: StackOptions = {}): Promise<FaultStack> {
    const { partitions = 2, ingests = 2, workers = 2, engines = 2 } = options;
    mkdirSync(join(folder, "logs"), { recursive: true, mode: 0o755 });
    const compileCache = await withCompileCache(dirname(folder));
    const user = findServiceUser();
    const home = dataHome(folder, user);
    const output = (name: string) => {
      const file = createWriteStream(join(folder, "logs", `${name}.log`), { flags: "a" });
      return (chunk: Buffer) => void file.write(chunk);
    };
    const extras = new Extras(options);
    const program = findRedis(SET_UP_FOLDER);
    const redisServer = new RedisServer({
      folder: extras.placeOf("redis", home),
      program: extras.clockFor("redis")?.wrap(program) ?? program,
      user,
      arguments: options.redisArguments ?? [],
      onOutput: output("redis"),
    });
    const postgresServer = new PostgresServer({
      folder: extras.placeOf("postgres", home),
      binaries: findPostgres(user, home),
      user,
      password: keptSecret(join(folder, "postgres.secret")),
      settings: { ...POSTGRES, ...options.postgresSettings },
      onOutput: output("postgres"),
    });
    await Promise.all([redisServer.start(), postgresServer.start()]);
    await migrate(postgresServer.url);
    const replication = options.replica === true ? await Proxy.open(redisServer.url) : undefined;
    const replica = replication
      ? new RedisServer({
          folder: join(home, "replica"),
          program,
          user,
          arguments: [...(options.redisArguments ?? []), "--replicaof", replication.address.replace(":", " ")],
          onOutput: output("replica"),
        })
      : undefined;
    await replica?.start();

    const links = new Map<string, Proxy>();
    const linked = async (client: string, server: string, target: string): Promise<string> => {
      const wire = WIRES[server];
      const link = await Proxy.open(target, wire && { wire });
      links.set(`${client}>${server}`, link);
      return link.url;
    };
    const key = randomBytes(32).toString("hex");
    const free = () => settlePort(BIND, { port: 0, exact: false });
    const roles: Role[] = [];
    const add = async (role: Role["role"], name: string, env: NodeJS.ProcessEnv): Promise<void> => {
      const httpPort = await free();
      if (role === "ingest") await linked("client", `${name}/http`, `http://${BIND}:${httpPort}`);
      roles.push(
        new Role({
          name,
          role,
          httpPort,
          logFile: join(folder, "logs", `${name}.log`),
          env: {
            ...QUICK,
            ...compileCache,
            PENSTOCK_PARTITIONS: String(partitions),
            PENSTOCK_SIGNING_KEY: key,
            REDIS_URL: await linked(name, "redis", redisServer.url),
            DATABASE_URL: await linked(name, "postgres", postgresServer.url),
            ...env,
            ...options.env,
            ...extras.clockFor(name)?.env,
          },
        }),
      );
    };
    const engineUrls: string[] = [];
    for (let n = 1; n <= engines; n++) {
      const port = await free();
      engineUrls.push(await linked("ingest", `engine-${n}`, `http://${BIND}:${port}`));
      await add("engine", `engine-${n}`, { PENSTOCK_ENGINE_PORT: String(port) });
    }
    for (let n = 1; n <= workers; n++) await add("consumers", `worker-${n}`, { PENSTOCK_CONSUMER_NAME: `worker-${n}` });
    for (let n = 1; n <= ingests; n++) {
      const port = await free();
      await linked("client", `ingest-${n}`, `http://${BIND}:${port}`);
      await add("ingest", `ingest-${n}`, {
        PENSTOCK_GRPC_PORT: String(port),
        ...(engines > 0 && { PENSTOCK_ENGINE_URL: engineUrls.join(",") }),
      });
    }
    const stack = new FaultStack({
      folder,
      home,
      partitions: Array.from({ length: partitions }, (_, partition) => new PartitionKeys(partition)),
      servers: { redis: redisServer, postgres: postgresServer, replica },
      roles,
      clients: {
        redis: connectRedis(redisServer.url, { name: HARNESS, socketTimeoutMs: 10_000 }),
        // Known in pg_stat_activity by its name: the roles all have theirs.
        sql: connect(`${postgresServer.url}?application_name=${HARNESS}`, { max: 2 }),
      },
      links,
      replication,
      tokens: new TokenService({ key: createSecretKey(key, "utf8"), ttlS: 86_400 }),
      extras,
    });
    try {
      await Promise.all(stack.roles.map((role) => role.start()));
    } catch (error) {
      await stack.close();
      throw error;
    }
    return stack;
  }

  get roles(): readonly Role[] {
    return [...this.ingests, ...this.workers, ...this.engines];
  }

  /** All ways between two, by their names, as `worker-1>redis`. */
  get links(): ReadonlyMap<string, Proxy> {
    return this.#links;
  }

  /** `client` is `client`, `ingest` (of its engines), or the name of a role; `server` a server's, or a role's. */
  link(client: string, server: string): Proxy {
    const link = this.#links.get(`${client}>${server}`);
    if (link === undefined) throw new Error(`there is no link ${client}>${server}`);
    return link;
  }

  /** The doors that clients know: `127.0.0.1:port` of each link to an ingest. */
  get doors(): readonly string[] {
    return this.ingests.map(({ name }) => this.link("client", name).address);
  }

  /** Of each ingest the URL of its HTTP port, by a link as well. */
  get httpDoors(): readonly string[] {
    return this.ingests.map(({ name }) => this.link("client", `${name}/http`).url);
  }

  get redisServer(): RedisServer {
    return this.#redisServer;
  }

  /** Past the links. Fails while its server is away. */
  get redis(): Redis {
    return this.#redis;
  }

  /** Of a stack with `disks`. */
  disk(name: ServerName): SmallDisk {
    return this.#extras.disk(name);
  }

  /** Of a stack with `clocks`: of a role, or of `redis`. */
  clock(name: string): ShiftedClock {
    return this.#extras.clock(name);
  }

  /**
   * Of a stack with a `replica`. For so long nothing is copied to it, and no worker writes; then SIGKILL to Redis, and its replica is
   * made the master at its address, as a sentinel does it. So what was acknowledged meanwhile stood in the dead server alone.
   * Resolves when the address leads to the new master; what was the master is being started as its replica by then.
   */
  async failOver(aloneMs: number): Promise<void> {
    const [master, replica, replication] = [this.#redisServer, this.#replica, this.#replication];
    if (replica === undefined || replication === undefined) throw new Error("Redis has no replica");
    const deadline = performance.now() + REPLICA_LIMIT_MS;
    while (!/\bstate=online/.test(await this.#redis.info("replication"))) {
      if (performance.now() > deadline) throw new Error(`no replica after ${REPLICA_LIMIT_MS} ms`);
      await sleep(POLL_MS);
    }
    // Not the replica itself is stopped: what had come into its socket meanwhile it would read when it goes on.
    replication.stall();
    for (const worker of this.workers) worker.signal("SIGSTOP");
    try {
      await sleep(aloneMs);
      await master.kill();
      this.#redis.disconnect();
      [this.#redisServer, this.#replica] = [replica, master];
      this.#redis = connectRedis(replica.url, { name: HARNESS, socketTimeoutMs: 10_000 });
      await this.#redis.replicaof("NO", "ONE");
      for (const [name, link] of this.#links) {
        if (!name.endsWith(">redis")) continue;
        link.target = replica.url;
        link.cut();
      }
    } finally {
      for (const worker of this.workers) worker.signal("SIGCONT");
      replication.target = this.#redisServer.url;
      await replication.heal();
    }
    this.#revive(master, () => this.#follow(master, replication));
  }

  async #follow(server: RedisServer, { address }: Proxy): Promise<void> {
    await server.start();
    const redis = connectRedis(server.url, { name: HARNESS, socketTimeoutMs: 10_000 });
    const [host = "", port = ""] = address.split(":");
    await redis.replicaof(host, port).finally(() => redis.disconnect());
  }

  server(name: ServerName): DataServer {
    return name === "redis" ? this.redisServer : this.postgresServer;
  }

  async tokenOf(account: string, role: "trader" | "admin" = "trader"): Promise<string> {
    return (await this.#tokens.issue(account, role)).token;
  }

  /** SIGKILL. Resolves when it is dead, and `meanwhile` is done; it is being started again by then. */
  async killServer(name: ServerName, meanwhile?: (server: DataServer) => Promise<void>): Promise<void> {
    const server = this.server(name);
    await this.#reviving.get(server);
    await server.kill();
    await meanwhile?.(server);
    this.#revive(server);
  }

  /** From now on it is started again wherever it has ended, until it answers. */
  startUntil(name: ServerName, answers: () => Promise<boolean>): void {
    const server = this.server(name);
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

  /** Stopped cleanly, away for so long, and started again. Resolves when the start begins. */
  async stopServer(name: ServerName, downMs: number): Promise<void> {
    const server = this.server(name);
    await this.#reviving.get(server);
    await server.stop();
    await sleep(downMs);
    this.#revive(server);
  }

  /** Every process of a server, to be paused or resumed. */
  signalServer(name: ServerName, signal: "SIGSTOP" | "SIGCONT"): void {
    const { pid } = this.server(name);
    if (pid === undefined) return;
    // The children of a stopped parent stay what they are: so the parent first, and it has no new ones meanwhile.
    sendSignal(pid, signal);
    for (const child of childrenOf(pid)) sendSignal(child, signal);
  }

  /** Resolves when neither Redis nor Postgres is being started. A replica may be. */
  async serversUp(): Promise<void> {
    await Promise.all([this.#reviving.get(this.redisServer), this.#reviving.get(this.postgresServer)]);
  }

  /** What roles have ended by themselves, and what they have told at level error, since the last time. */
  takeCrashes(): string[] {
    return this.roles.flatMap((role) => role.crashes.splice(0));
  }

  takeAlarms() {
    return this.roles.flatMap((role) => role.alarms.splice(0));
  }

  /** Ends all of it; the data stay. Roles are not drained: what they hold is in the log. */
  async close(): Promise<void> {
    await Promise.all(this.roles.map((role) => role.discard()));
    this.redis.disconnect();
    await this.sql.end({ timeout: 1 });
    await Promise.all(Array.from(this.#links.values(), (link) => link.close()));
    await Promise.all(this.#reviving.values());
    await this.#replication?.close();
    for (const name of ["redis", "postgres"] as const) this.signalServer(name, "SIGCONT");
    const servers = [this.redisServer, this.postgresServer, this.#replica];
    await Promise.all(servers.map(async (server) => await server?.stop()));
    this.#extras.remove();
  }

  /** After `close`: removes its folder and its data. */
  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
    await rm(this.#home, { recursive: true, force: true, maxRetries: 3 });
  }

  #revive(server: DataServer, start = () => server.start()): void {
    const reviving = start()
      .catch((error: unknown) => void this.troubles.push(error instanceof Error ? error : new Error(String(error))))
      .finally(() => this.#reviving.delete(server));
    this.#reviving.set(server, reviving);
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
}
