import { chmodSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { runServices } from "../runtime/run.ts";
import type { RunLog } from "../runtime/run.ts";
import type { Service } from "../runtime/service.ts";
import { migrate } from "../store/migrate.ts";
import { prepareDemo } from "./demo.ts";
import type { DemoTokens } from "./demo.ts";
import { InstanceLock } from "./instance-lock.ts";
import { settlePort } from "./ports.ts";
import { endProcess } from "./process-identity.ts";
import { roleProcess, urlOn } from "./roles.ts";
import type { RoleFrame } from "./roles.ts";
import { keptSecret } from "./secret.ts";
import { postgresBackend, redisBackend } from "./servers.ts";
import { loadStackSettings } from "./settings.ts";
import { Supervisor } from "./supervisor.ts";
import type { Supervised } from "./supervisor.ts";

export interface UpOptions {
  /** Worker processes of the consumers. */
  readonly workers: number;
}

/** What the stack is made of besides its servers. */
export interface StackParts {
  /** Node runs it with a role's name as its argument. */
  readonly program: string;
  readonly prepareDemo: typeof prepareDemo;
}

const PARTS: StackParts = { program: join(import.meta.dirname, "..", "main.ts"), prepareDemo };

// Two roles drain one after the other, each with some seconds for its end; then a server may write for a minute.
const ROLE_MARGIN_MS = 5_000;
const SERVERS_STOP_MS = 65_000;

/**
 * Runs the whole stack on this machine until SIGINT or SIGTERM: Redis and Postgres (unless REDIS_URL, DATABASE_URL name
 * others), the schema, the roles. Writes `stack.json` into the state folder once all is ready, and removes it at the stop.
 * Drains ingest, then the consumers, then stops the servers. A second signal kills all of them.
 *
 * @throws UsageError for bad settings, and where another `up` runs on the same state folder.
 */
export async function up(options: UpOptions, env: NodeJS.ProcessEnv = process.env, parts = PARTS): Promise<void> {
  const settings = loadStackSettings(env);
  const { stateFolder, bind, drainMs } = settings;
  makeStateFolder(stateFolder);
  const stackFile = join(stateFolder, "stack.json");
  const lock = InstanceLock.take(stateFolder);
  rmSync(stackFile, { force: true });
  await Promise.all(lock.orphans.map((orphan) => endProcess(orphan, "SIGTERM", drainMs)));

  const supervisors: Supervisor[] = [];
  const supervise = (child: Supervised): Supervisor => {
    const supervisor = new Supervisor(child, say);
    supervisors.push(supervisor);
    return supervisor;
  };
  // After a second signal, or an error that nobody caught, nothing stays behind. After a clean stop all are gone already.
  process.once("exit", () => {
    for (const supervisor of supervisors) supervisor.kill();
    rmSync(stackFile, { force: true });
  });

  const redis = redisBackend(settings);
  const postgres = postgresBackend(settings);
  const secrets = ownSecrets(stateFolder, env);
  const frame: RoleFrame = {
    program: parts.program,
    env: () => ({ ...env, ...secrets.env, PENSTOCK_BIND: bind, REDIS_URL: redis.url(), DATABASE_URL: postgres.url() }),
    stateFolder,
    bind,
    drainMs,
    onSpawn: (name, pid) => lock.record(name, pid),
  };
  const grpcPort = await settlePort(bind, settings.grpcPort);
  const httpPort = await settlePort(bind, settings.httpPort);
  const ingest = roleProcess(frame, "ingest", "ingest", httpPort, { PENSTOCK_GRPC_PORT: String(grpcPort) });
  const workers: Supervisor[] = [];
  for (let n = 1; n <= options.workers; n++) {
    const name = `worker-${n}`; // stable, so that a worker finds again what it had taken before a restart
    const port = await settlePort(bind, { port: httpPort + n, exact: false });
    workers.push(supervise(roleProcess(frame, "consumers", name, port, { PENSTOCK_CONSUMER_NAME: name })));
  }

  const addresses = () => ({
    grpc: urlOn(bind, grpcPort),
    http: urlOn(bind, httpPort),
    engine: null,
    redis: redis.url(),
    postgres: postgres.url(),
  });
  const announce = async (): Promise<void> => {
    const { grpc, http, ...servers } = addresses();
    const tokens = await parts.prepareDemo({
      grpcUrl: grpc,
      httpUrl: http,
      redisUrl: servers.redis,
      databaseUrl: servers.postgres,
      adminSecret: secrets.admin,
      traderSecret: secrets.trader,
    });
    writeWhole(stackFile, JSON.stringify({ ...addresses(), ...tokens }, undefined, 2) + "\n");
  };
}
