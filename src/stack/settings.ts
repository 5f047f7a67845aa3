import { resolve } from "node:path";

import { ConfigError, loadConfig } from "../config/config.ts";
import type { PortChoice } from "./ports.ts";

/** What `up` takes from the environment. */
export interface StackSettings {
  /** Absolute. */
  readonly stateFolder: string;
  readonly bind: string;
  readonly drainMs: number;
  readonly grpcPort: PortChoice;
  readonly httpPort: PortChoice;
  readonly enginePort: PortChoice;
  /** Of the servers of our own, on loopback. */
  readonly redisPort: PortChoice;
  readonly postgresPort: PortChoice;
  /** Servers that stand already, in place of our own; with their passwords. */
  readonly redisUrl: string | undefined;
  readonly databaseUrl: string | undefined;
  /** Whether the environment gives one; else the stack makes its own. */
  readonly hasSigningKey: boolean;
  readonly adminSecret: string | undefined;
  readonly tokenTtlMs: number;
}

// Beside the ports that Redis and Postgres have by default, where a machine often has one of its own.
const REDIS_PORT = 6_390;
const POSTGRES_PORT = 5_490;

/** Checks the whole environment of the roles too, so that a wrong setting is told before anything starts. @throws ConfigError */
export function loadStackSettings(env: NodeJS.ProcessEnv): StackSettings {
  const redisUrl = env["REDIS_URL"] || undefined;
  const databaseUrl = env["DATABASE_URL"] || undefined;
  const config = loadConfig({
    ...env,
    REDIS_URL: redisUrl ?? "redis://127.0.0.1",
    DATABASE_URL: databaseUrl ?? "postgres://127.0.0.1",
  });
  const { bind, grpcPort, httpPort, tls } = config.listen;
  // A certificate names a host, and everything here goes to loopback, the stack's own probes too.
  if (tls !== undefined) {
    throw new ConfigError(["PENSTOCK_TLS_CERT_FILE: up speaks in clear, on this machine; TLS is for the role ingest"]);
  }
  return {
    stateFolder: resolve(config.stateDir),
    bind,
    drainMs: config.drainTimeoutMs,
    grpcPort: choice(env, "PENSTOCK_GRPC_PORT", grpcPort),
    httpPort: choice(env, "PENSTOCK_HTTP_PORT", httpPort),
    enginePort: choice(env, "PENSTOCK_ENGINE_PORT", config.engine.port),
    redisPort: serverPort(env, "PENSTOCK_REDIS_PORT", REDIS_PORT),
    postgresPort: serverPort(env, "PENSTOCK_POSTGRES_PORT", POSTGRES_PORT),
    redisUrl: redisUrl && config.redisUrl,
    databaseUrl: databaseUrl && config.databaseUrl,
    hasSigningKey: config.auth.signingKey !== undefined,
    adminSecret: config.auth.adminSecret,
    tokenTtlMs: config.auth.tokenTtlS * 1_000,
  };
}

/** The port of a server of our own, a setting that no role knows: a whole number, 0 takes a free one. */
function serverPort(env: NodeJS.ProcessEnv, name: string, preset: number): PortChoice {
  const text = env[name] || String(preset);
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return choice(env, name, Number(text));
  throw new ConfigError([`${name}: must be a whole number from 0 to 65535`]);
}

function choice(env: NodeJS.ProcessEnv, name: string, port: number): PortChoice {
  return { port, exact: port !== 0 && Boolean(env[name]) };
}
