import { join } from "node:path";

import type { Service } from "../runtime/service.ts";
import { migrate } from "../store/migrate.ts";
import { Announcement } from "./announcement.ts";
import type { DemoTarget, DemoTokens } from "./demo.ts";
import { DiskWatch } from "./disk-watch.ts";
import { settlePort } from "./ports.ts";
import { roleProcess, urlOn } from "./roles.ts";
import type { RoleFrame } from "./roles.ts";
import { keptSecret } from "./secret.ts";
import { postgresBackend, redisBackend } from "./servers.ts";
import type { StackSettings } from "./settings.ts";
import { Supervisor } from "./supervisor.ts";
import type { Supervised } from "./supervisor.ts";

/** What a stack is made of besides its servers. */
export interface StackParts {
  /** Node runs it with a role's name as its argument. */
  readonly program: string;
  readonly prepareDemo: (target: DemoTarget) => Promise<() => Promise<DemoTokens>>;
}

export interface StackOptions {
  readonly settings: StackSettings;
  /** Of the roles. */
  readonly env: NodeJS.ProcessEnv;
  readonly parts: StackParts;
  /** Worker processes of the consumers. */
  readonly workers: number;
  /** Whether there is an engine. */
  readonly engine: boolean;
  /** Told of each new process of a role. */
  readonly onSpawn: (name: string, pid: number) => void;
  /** A line for the person at the terminal. */
  readonly say: (line: string) => void;
}

/**
 * Redis, Postgres and the roles of one state folder, as services to be started in order and stopped in the reverse order.
 *
 * Always true: `stack.json` exists only after all have been started and before any is stopped.
 */
export class Stack {
  readonly services: readonly Service[];
  readonly #roles: readonly Supervisor[];
  readonly #announcement: Announcement;

  private constructor(services: readonly Service[], roles: readonly Supervisor[], announcement: Announcement) {
    this.services = services;
    this.#roles = roles;
    this.#announcement = announcement;
  }

  /** Settles the ports; nothing is started yet. @throws where a port that was asked for is in use. */
  static async assemble(options: StackOptions): Promise<Stack> {
    const { settings, env, parts, workers, onSpawn, say } = options;
    const { stateFolder, bind, drainMs } = settings;
    const supervise = (child: Supervised): Supervisor => new Supervisor(child, say);

    const redis = redisBackend(settings);
    const postgres = postgresBackend(settings);
    const own = [redis.own, postgres.own].filter((server) => server !== undefined);
    const servers = own.map(supervise);
    const disks = new DiskWatch({ folders: [stateFolder, ...own.map(({ folder }) => folder)], say });
    const schema: Service = {
      name: "schema",
      start: async () => void (await migrate(postgres.url())),
      stop: async () => {},
    };

    const secrets = keepSecrets(settings);
    const frame: RoleFrame = {
      program: parts.program,
      env: () => ({
        ...{ ...env, ...secrets.env, REDIS_URL: redis.url(), DATABASE_URL: postgres.url() },
        // Those addresses are complete.
        ...{ REDIS_PASSWORD_FILE: "", DATABASE_PASSWORD_FILE: "" },
      }),
      stateFolder,
      bind,
      drainMs,
      onSpawn,
    };
    const grpcPort = await settlePort(bind, settings.grpcPort);
    const httpPort = await settlePort(bind, settings.httpPort);
    const enginePort = await settlePort(bind, settings.enginePort);
    const ingest = supervise(
      roleProcess(frame, "ingest", "ingest", httpPort, {
        PENSTOCK_GRPC_PORT: String(grpcPort),
        PENSTOCK_ENGINE_URL: urlOn(bind, enginePort),
      }),
    );
    const consumers: Supervisor[] = [];
    for (let n = 1; n <= workers; n++) {
      const name = `worker-${n}`; // stable: a worker finds again what it had taken before a restart
      const port = await settlePort(bind, { port: httpPort + n, exact: false });
      consumers.push(supervise(roleProcess(frame, "consumers", name, port, { PENSTOCK_CONSUMER_NAME: name })));
    }
    const engines: Supervisor[] = [];
    if (options.engine) {
      const port = await settlePort(bind, { port: httpPort + workers + 1, exact: false });
      engines.push(
        supervise(roleProcess(frame, "engine", "engine", port, { PENSTOCK_ENGINE_PORT: String(enginePort) })),
      );
    }

    const announcement = new Announcement({
      stateFolder,
      urls: () => ({
        grpc: urlOn(bind, grpcPort),
        http: urlOn(bind, httpPort),
        engine: options.engine ? urlOn(bind, enginePort) : null,
        redis: redis.url(),
        postgres: postgres.url(),
      }),
      prepare: () =>
        parts.prepareDemo({
          grpc: urlOn(bind, grpcPort),
          adminSecret: secrets.admin,
          traderFile: join(stateFolder, "demo-trader.json"),
        }),
      tokenTtlMs: settings.tokenTtlMs,
      say,
    });
    const services = [
      together("servers", servers),
      disks,
      schema,
      together("consumers", consumers),
      ...engines,
      ingest,
    ];
    return new Stack([...services, announcement], [...consumers, ...engines, ingest], announcement);
  }

  /**
   * For the end of this process: SIGKILL to the roles that still run, sent before this returns. The servers' watchdogs
   * then stop the servers, in their own clean and quick way.
   */
  kill(): void {
    for (const role of this.#roles) role.kill();
    this.#announcement.remove();
  }
}

function together(name: string, members: readonly Service[]): Service {
  return {
    name,
    start: async () => void (await Promise.all(members.map((member) => member.start()))),
    stop: async () => void (await Promise.all(members.map((member) => member.stop()))),
  };
}

/** The secrets of a stack: as the environment gives them, else made once and kept in the state folder. */
function keepSecrets({ stateFolder, hasSigningKey, adminSecret }: StackSettings) {
  const env: NodeJS.ProcessEnv = {};
  if (!hasSigningKey) {
    env["PENSTOCK_SIGNING_KEY_FILE"] = join(stateFolder, "signing.key");
    keptSecret(env["PENSTOCK_SIGNING_KEY_FILE"]);
  }
  if (adminSecret === undefined) env["PENSTOCK_ADMIN_SECRET_FILE"] = join(stateFolder, "admin.secret");
  return {
    env,
    admin: adminSecret ?? keptSecret(join(stateFolder, "admin.secret")),
  };
}
