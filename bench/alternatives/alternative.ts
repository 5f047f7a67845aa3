import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import type postgres from "postgres";
import type { RedisServer } from "../../src/stack/redis-server.ts";
import { connect } from "../../src/store/connection.ts";
import { startChild, startServer } from "../child-server.ts";
import type { Child, ChildServer } from "../child-server.ts";
import type { Contender } from "../measure/loss.ts";
import type { Target } from "../measure/measure.ts";
import { prepareDatabase } from "./rows.ts";

/** How orders are taken elsewhere: a server behind the bench's door, and a worker that writes the rows. */
export interface AlternativeKind {
  readonly name: string;
  /** Below this one; holds server.ts, and worker.ts where there is a queue. */
  readonly folder: string;
  readonly queue: Queue | undefined;
}

/** `waiting` counts the orders that wait, and those in a worker's hands as far as the queue knows of them. */
export type Queue =
  | {
      readonly in: "redis";
      readonly waiting: (redis: Redis) => Promise<number>;
      /** For how long a worker may hold orders that the queue does not know of any more, in ms. */
      readonly unknownForMs: number;
    }
  | { readonly in: "postgres"; readonly waiting: (sql: postgres.Sql) => Promise<number> };

/** What an alternative is given. */
export interface Place {
  /** Empty, and its own. */
  readonly databaseUrl: string;
  readonly postgresPid: number;
  /** Starts a Redis for it alone, under the settings of Penstock's. */
  readonly startRedis: () => Promise<RedisServer>;
  /** What its door compares. */
  readonly token: string;
}

// More than the 5 s that rows may take: how late they are is a result too.
const SETTLE_LIMIT_MS = 30_000;
const POLL_MS = 100;

/**
 * An alternative that runs: its server, its worker, and a Redis of its own under the settings of Penstock's.
 *
 * Always true: until `stop` its server runs, and its worker but for the moment of `killWorker`.
 */
export class Alternative implements Contender {
  readonly target: Target;
  readonly #kind: AlternativeKind;
  readonly #env: NodeJS.ProcessEnv;
  readonly #server: ChildServer;
  readonly #redis: OwnRedis | undefined;
  readonly #sql: postgres.Sql;
  #worker: Child | undefined;

  private constructor(
    kind: AlternativeKind,
    place: Place,
    { env, server, redis }: { env: NodeJS.ProcessEnv; server: ChildServer; redis: OwnRedis | undefined },
  ) {
    this.#kind = kind;
    this.#env = env;
    this.#server = server;
    this.#redis = redis;
    this.#sql = connect(place.databaseUrl, { max: 1 });
    this.target = {
      name: kind.name,
      port: server.port,
      token: place.token,
      databaseUrl: place.databaseUrl,
      processes: () => ({
        server: [server.pid],
        ...(this.#worker && { worker: [this.#worker.pid] }),
        ...(redis && { redis: [redis.pid] }),
        postgres: [place.postgresPid],
      }),
      settled: () => this.#settled(),
    };
  }

  static async start(kind: AlternativeKind, place: Place): Promise<Alternative> {
    await prepareDatabase(place.databaseUrl);
    const redis = kind.queue?.in === "redis" ? new OwnRedis(await place.startRedis()) : undefined;
    const env = {
      DATABASE_URL: place.databaseUrl,
      PENSTOCK_TOKEN: place.token,
      ...(redis && { REDIS_URL: redis.url }),
    };
    let server: ChildServer | undefined;
    try {
      server = await startServer(`alternatives/${kind.folder}/server.ts`, env);
      const alternative = new Alternative(kind, place, { env, server, redis });
      await alternative.#startWorker();
      return alternative;
    } catch (error) {
      await server?.stop();
      await redis?.stop();
      throw error;
    }
  }

  async waiting(): Promise<number> {
    const { name, queue } = this.#kind;
    if (this.#server.ended() || this.#worker?.ended()) throw new Error(`${name}: its server or worker has ended`);
    if (queue === undefined) return 0;
    if (queue.in === "postgres") return queue.waiting(this.#sql);
    return this.#redis === undefined ? 0 : queue.waiting(this.#redis.client);
  }

  async killWorker(): Promise<boolean> {
    if (this.#worker === undefined) return false;
    await this.#worker.kill();
    await this.#startWorker();
    return true;
  }

  async stop(): Promise<void> {
    await this.#server.stop();
    await this.#worker?.stop();
    await this.#redis?.stop();
    await this.#sql.end({ timeout: 1 });
  }

  async #startWorker(): Promise<void> {
    const { folder, queue } = this.#kind;
    if (queue !== undefined) this.#worker = await startChild(`alternatives/${folder}/worker.ts`, this.#env);
  }

  async #settled(): Promise<void> {
    const last = Date.now() + SETTLE_LIMIT_MS;
    while (Date.now() < last && (await this.waiting()) > 0) await delay(POLL_MS);
    const { queue } = this.#kind;
    if (queue?.in === "redis") await delay(queue.unknownForMs);
  }
}

// A server and a client to ask it.
class OwnRedis {
  readonly client: Redis;
  readonly url: string;
  readonly pid: number;
  readonly #server: RedisServer;

  constructor(server: RedisServer) {
    if (server.pid === undefined) throw new Error("the alternative's Redis has ended");
    this.#server = server;
    this.pid = server.pid;
    this.url = server.url;
    this.client = new Redis(server.url, { maxRetriesPerRequest: 0 });
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    await this.#server.stop();
  }
}
