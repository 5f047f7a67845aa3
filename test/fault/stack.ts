import { createSecretKey, randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Redis } from "ioredis";
import type postgres from "postgres";

import { TokenService } from "../../src/ingest/auth/tokens.ts";
import { settlePort } from "../../src/stack/ports.ts";
import { dataHome, findServiceUser } from "../../src/stack/service-user.ts";
import { connect } from "../../src/store/connection.ts";
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
import { type ServerName, type ServerOptions, Servers } from "./servers.ts";

const BIND = "127.0.0.1";
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

const HARNESS = "fault";

/** What reads along the ways to a server, for the points at which something is to happen (points.ts). */
const WIRES: Readonly<Record<string, () => Wire>> = {
  redis: () => new RedisWire(),
  postgres: () => new PostgresWire(),
};

export interface StackOptions extends ExtraOptions, ServerOptions {
  /** Of all roles, beside those above. */
  readonly env?: Readonly<Record<string, string>>;
  readonly partitions?: number;
  readonly ingests?: number;
  readonly workers?: number;
  readonly engines?: number;
}

/**
 * Redis, Postgres and every role as a process of its own, a link between each pair of them.
 *
 * Always true: what was killed is being started again by itself, at its old address; the harness itself goes past the links
 * (`redis`, `sql`).
 */
export class FaultStack {
  readonly folder: string;
  readonly partitions: readonly PartitionKeys[];
  readonly servers: Servers;
  readonly ingests: readonly Role[];
  readonly workers: readonly Role[];
  readonly engines: readonly Role[];
  /** Past the links. Fails while its server is away. */
  readonly sql: postgres.Sql;
  #redis: Redis;
  readonly #extras: Extras;
  readonly #links: ReadonlyMap<string, Proxy>;
  readonly #tokens: TokenService;
  readonly #home: string;

  private constructor(parts: {
    folder: string;
    home: string;
    partitions: readonly PartitionKeys[];
    servers: Servers;
    roles: readonly Role[];
    clients: { redis: Redis; sql: postgres.Sql };
    links: ReadonlyMap<string, Proxy>;
    tokens: TokenService;
    extras: Extras;
  }) {
    this.folder = parts.folder;
    this.#home = parts.home;
    this.partitions = parts.partitions;
    this.servers = parts.servers;
    const of = (role: Role["role"]) => parts.roles.filter((candidate) => candidate.role === role);
    this.ingests = of("ingest");
    this.workers = of("consumers");
    this.engines = of("engine");
    this.#redis = parts.clients.redis;
    this.#extras = parts.extras;
    this.sql = parts.clients.sql;
    this.#links = parts.links;
    this.#tokens = parts.tokens;
  }

  /** Starts all of it in this folder, which it makes: data, and logs below `logs`. Resolves when every role is ready. */
  static async open(folder: string, options: StackOptions = {}): Promise<FaultStack> {
    const { partitions = 2, ingests = 2, workers = 2, engines = 2 } = options;
    mkdirSync(join(folder, "logs"), { recursive: true, mode: 0o755 });
    const compileCache = await withCompileCache(dirname(folder));
    const home = dataHome(folder, findServiceUser());
    const output = (name: string) => {
      const file = createWriteStream(join(folder, "logs", `${name}.log`), { flags: "a" });
      return (chunk: Buffer) => void file.write(chunk);
    };
    const extras = new Extras(options);
    const servers = await Servers.open({ folder, home, output }, options, extras);
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
            REDIS_URL: await linked(name, "redis", servers.redis.url),
            DATABASE_URL: await linked(name, "postgres", servers.postgres.url),
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
      servers,
      roles,
      clients: {
        redis: harnessRedis(servers),
        // Known in pg_stat_activity by its name: the roles all have theirs.
        sql: connect(`${servers.postgres.url}?application_name=${HARNESS}`, { max: 2 }),
      },
      links,
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
    await this.servers.cutReplicaOff();
    for (const worker of this.workers) worker.signal("SIGSTOP");
    try {
      await sleep(aloneMs);
      await this.servers.promoteReplica();
      this.#redis.disconnect();
      this.#redis = harnessRedis(this.servers);
      for (const [name, link] of this.#links) {
        if (!name.endsWith(">redis")) continue;
        link.target = this.servers.redis.url;
        link.cut();
      }
    } finally {
      for (const worker of this.workers) worker.signal("SIGCONT");
      await this.servers.joinReplica();
    }
  }

  async tokenOf(account: string, role: "trader" | "admin" = "trader"): Promise<string> {
    return (await this.#tokens.issue(account, role)).token;
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
    await this.servers.close();
    this.#extras.remove();
  }

  /** After `close`: removes its folder and its data. */
  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
    await rm(this.#home, { recursive: true, force: true, maxRetries: 3 });
  }
}

function harnessRedis({ redis }: Servers): Redis {
  return connectRedis(redis.url, { name: HARNESS, socketTimeoutMs: 10_000 });
}
