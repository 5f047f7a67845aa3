import { createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

import * as v from "valibot";

import { messageOf, UsageError } from "../runtime/errors.ts";
import { variables } from "./variables.ts";
import type { Variables } from "./variables.ts";

/** What an acknowledged order has survived. */
export interface Durability {
  readonly level: "memory" | "everysec" | "always" | "replicas";
  /** For level `replicas`: how many; 0 otherwise. */
  readonly replicas: number;
  readonly replicaTimeoutMs: number;
}

export type LogLevel = Variables["PENSTOCK_LOG_LEVEL"];

/** The settings of a role. `Ms` is milliseconds, `S` seconds; shares are above 0 and at most 1. */
export interface Config {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly drainTimeoutMs: number;
  /** Of all that is partitioned by day (store/partitions.ts); 0 keeps it for ever. */
  readonly retentionDays: number;
  readonly log: {
    readonly partitions: number;
    readonly durability: Durability;
    readonly idempotencyHorizonMs: number;
    readonly idempotencyMemoryShare: number;
    readonly replayHorizonMs: number;
    readonly trimIntervalMs: number;
  };
  readonly listen: {
    readonly bind: string;
    readonly grpcPort: number;
    readonly httpPort: number;
    /** Of ingest, on the same ports. */
    readonly processes: number;
    readonly maxConnections: number;
    /** Absent where they speak in clear. */
    readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
    readonly corsOrigins: readonly string[];
  };
  readonly auth: {
    /** Absent where a role does without: ingest asks for it by `requireSigningKey`. */
    readonly signingKey: KeyObject | undefined;
    readonly tokenTtlS: number;
    readonly adminSecret: string | undefined;
  };
  /** Calls and orders a second of an account without a limit of its own; 0: none. */
  readonly accountRate: number;
  readonly admission: {
    readonly maxInFlight: number;
    readonly maxBacklog: number;
    readonly maxBacklogAgeMs: number;
    readonly maxMemoryShare: number;
    readonly maxMessageBytes: number;
    readonly requestTimeoutMs: number;
  };
  readonly engine: {
    readonly port: number;
    /** Where ingest finds the engines: one at least. */
    readonly urls: readonly string[];
    readonly snapshotCommands: number;
    readonly snapshotIntervalMs: number;
  };
  readonly consumers: {
    readonly name: string;
    readonly readCount: number;
    readonly readBlockMs: number;
    readonly minIdleMs: number;
    readonly claimIntervalMs: number;
    readonly goneMs: number;
    readonly transactionRows: number;
    readonly transactionTimeoutMs: number;
  };
}

/** The environment does not make a configuration. The message names every bad variable, a line each. */
export class ConfigError extends UsageError {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(["the configuration is not valid:", ...problems.map((problem) => `  ${problem}`)].join("\n"));
    this.problems = problems;
  }
}

/**
 * Reads the settings of a role from environment variables and from the files of secrets that they name.
 * @throws ConfigError with all faults at once.
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([name, value]) => name in variables.entries && value));
  const parsed = v.safeParse(variables, given, { abortPipeEarly: true });
  const problems = parsed.success ? conflicts(parsed.output) : parsed.issues.map(problemOf);

  const signingKey = secret(given, "PENSTOCK_SIGNING_KEY", 32, problems);
  const adminSecret = secret(given, "PENSTOCK_ADMIN_SECRET", 16, problems);
  const redisUrl = address(given, "REDIS", problems);
  const databaseUrl = address(given, "DATABASE", problems);
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return assemble({ ...parsed.output, REDIS_URL: redisUrl, DATABASE_URL: databaseUrl }, signingKey, adminSecret);
}

/** @throws ConfigError where no signing key is given. */
export function requireSigningKey(config: Config): KeyObject {
  if (config.auth.signingKey) return config.auth.signingKey;
  throw new ConfigError(["PENSTOCK_SIGNING_KEY: is required by ingest (or PENSTOCK_SIGNING_KEY_FILE)"]);
}

/** One of the two addresses, for what needs no other setting. @throws ConfigError */
export function loadAddress(server: Server, env: NodeJS.ProcessEnv = process.env): string {
  const name = `${server}_URL` as const;
  const parsed = v.safeParse(v.pick(variables, [name]), env[name] ? env : {});
  const problems = parsed.success ? [] : parsed.issues.map(problemOf);
  const url = address(env, server, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return url;
}

function problemOf(issue: v.BaseIssue<unknown>): string {
  return `${v.getDotPath(issue)}: ${issue.message}`;
}

/** Limits that are right by themselves and wrong together. */
function conflicts(o: Variables): string[] {
  const problems: string[] = [];
  const below = (lesser: keyof Variables, greater: keyof Variables, why: string): void => {
    if (Number(o[lesser]) >= Number(o[greater])) {
      problems.push(
        `${lesser}: must be less than ${greater} (${String(o[greater])}), not ${String(o[lesser])}: ${why}`,
      );
    }
  };

  if (o.PENSTOCK_GRPC_PORT === o.PENSTOCK_HTTP_PORT && o.PENSTOCK_GRPC_PORT !== 0) {
    problems.push(`PENSTOCK_HTTP_PORT: must not be PENSTOCK_GRPC_PORT (${o.PENSTOCK_GRPC_PORT})`);
  }
  if (o.PENSTOCK_ENGINE_PORT === o.PENSTOCK_HTTP_PORT && o.PENSTOCK_ENGINE_PORT !== 0) {
    problems.push(`PENSTOCK_HTTP_PORT: must not be PENSTOCK_ENGINE_PORT (${o.PENSTOCK_ENGINE_PORT})`);
  }
  const [certFile, keyFile] = ["PENSTOCK_TLS_CERT_FILE", "PENSTOCK_TLS_KEY_FILE"] as const;
  if ((o[certFile] === undefined) !== (o[keyFile] === undefined)) {
    const [missing, given] = o[certFile] === undefined ? [certFile, keyFile] : [keyFile, certFile];
    problems.push(`${missing}: is required with ${given}`);
  }
  if (o.PENSTOCK_DURABILITY.startsWith("replicas")) {
    below("PENSTOCK_REPLICA_TIMEOUT_MS", "PENSTOCK_REQUEST_TIMEOUT_MS", "the call must outlast the wait it contains");
  }
  below("PENSTOCK_IDEMPOTENCY_MEMORY_SHARE", "PENSTOCK_MAX_MEMORY_SHARE", "the keys must leave room for the log");
  below("PENSTOCK_REQUEST_TIMEOUT_MS", "PENSTOCK_IDEMPOTENCY_HORIZON_MS", "a retry must find its first try");
  below("PENSTOCK_REQUEST_TIMEOUT_MS", "PENSTOCK_DRAIN_TIMEOUT_MS", "a drain ends the calls that have begun");
  below("PENSTOCK_TRANSACTION_TIMEOUT_MS", "PENSTOCK_DRAIN_TIMEOUT_MS", "a drain ends the transaction that has begun");
  below("PENSTOCK_TRANSACTION_TIMEOUT_MS", "PENSTOCK_MIN_IDLE_MS", "an entry at work must not be taken over");
  below("PENSTOCK_CLAIM_INTERVAL_MS", "PENSTOCK_MIN_IDLE_MS", "a stalled entry must not wait for twice its time");
  below("PENSTOCK_MIN_IDLE_MS", "PENSTOCK_MAX_BACKLOG_AGE_MS", "one stalled worker must not shut the door");
  if (o.PENSTOCK_RETENTION_DAYS > 0) {
    const retentionMs = o.PENSTOCK_RETENTION_DAYS * 86_400_000;
    for (const name of ["PENSTOCK_REPLAY_HORIZON_MS", "PENSTOCK_IDEMPOTENCY_HORIZON_MS"] as const) {
      if (o[name] >= retentionMs)
        problems.push(`${name}: must be shorter than PENSTOCK_RETENTION_DAYS, not ${o[name]}`);
    }
  }
  return problems;
}

type Server = "REDIS" | "DATABASE";

/** The address of a server, with the password of its file: one file then serves the server and all who connect to it. */
function address(given: NodeJS.ProcessEnv, server: Server, problems: string[]): string {
  const address = given[`${server}_URL`] ?? "";
  const password = contentOf(given, `${server}_PASSWORD_FILE`, problems);
  if (password === undefined || !URL.canParse(address)) return address;
  const url = new URL(address);
  if (url.password !== "") problems.push(`${server}_PASSWORD_FILE: ${server}_URL has a password already`);
  url.password = encodeURIComponent(password);
  if (url.password === "") problems.push(`${server}_PASSWORD_FILE: is empty, or ${server}_URL names no host`);
  return url.href;
}

/** A secret from its variable or from its file. */
function secret(
  given: NodeJS.ProcessEnv,
  name: "PENSTOCK_SIGNING_KEY" | "PENSTOCK_ADMIN_SECRET",
  leastBytes: number,
  problems: string[],
): string | undefined {
  const value = given[name];
  const path = given[`${name}_FILE`];
  if (value !== undefined && path !== undefined) {
    problems.push(`${name}: is given twice, by ${name}_FILE too`);
    return undefined;
  }
  const source = path === undefined ? name : `${name}_FILE`;
  const text = value ?? contentOf(given, `${name}_FILE`, problems);
  if (text !== undefined && Buffer.byteLength(text) < leastBytes) {
    problems.push(`${source}: must be at least ${leastBytes} bytes long`);
  }
  return text;
}

/** What stands in the file that a variable names, if any, where one final line break does not count. */
function contentOf(given: NodeJS.ProcessEnv, name: keyof Variables, problems: string[]): string | undefined {
  const path = given[name];
  if (!path) return undefined;
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : messageOf(error);
    problems.push(`${name}: cannot be read (${reason})`);
    return undefined;
  }
}

function assemble(o: Variables, signingKey: string | undefined, adminSecret: string | undefined): Config {
  return Object.freeze({
    redisUrl: o.REDIS_URL,
    databaseUrl: o.DATABASE_URL,
    stateDir: o.PENSTOCK_STATE_DIR,
    logLevel: o.PENSTOCK_LOG_LEVEL,
    drainTimeoutMs: o.PENSTOCK_DRAIN_TIMEOUT_MS,
    retentionDays: o.PENSTOCK_RETENTION_DAYS,
    log: Object.freeze({
      partitions: o.PENSTOCK_PARTITIONS,
      durability: Object.freeze(parseDurability(o.PENSTOCK_DURABILITY, o.PENSTOCK_REPLICA_TIMEOUT_MS)),
      idempotencyHorizonMs: o.PENSTOCK_IDEMPOTENCY_HORIZON_MS,
      idempotencyMemoryShare: o.PENSTOCK_IDEMPOTENCY_MEMORY_SHARE,
      replayHorizonMs: o.PENSTOCK_REPLAY_HORIZON_MS,
      trimIntervalMs: o.PENSTOCK_TRIM_INTERVAL_MS,
    }),
    listen: Object.freeze({
      bind: o.PENSTOCK_BIND,
      grpcPort: o.PENSTOCK_GRPC_PORT,
      httpPort: o.PENSTOCK_HTTP_PORT,
      processes: o.PENSTOCK_INGEST_PROCESSES,
      maxConnections: o.PENSTOCK_MAX_CONNECTIONS,
      corsOrigins: Object.freeze(o.PENSTOCK_CORS_ORIGINS),
      tls:
        o.PENSTOCK_TLS_CERT_FILE === undefined || o.PENSTOCK_TLS_KEY_FILE === undefined
          ? undefined
          : Object.freeze({ certFile: o.PENSTOCK_TLS_CERT_FILE, keyFile: o.PENSTOCK_TLS_KEY_FILE }),
    }),
    auth: Object.freeze({
      signingKey: signingKey === undefined ? undefined : createSecretKey(signingKey, "utf8"),
      tokenTtlS: o.PENSTOCK_TOKEN_TTL_S,
      adminSecret,
    }),
    accountRate: o.PENSTOCK_ACCOUNT_RATE,
    admission: Object.freeze({
      maxInFlight: o.PENSTOCK_MAX_IN_FLIGHT,
      maxBacklog: o.PENSTOCK_MAX_BACKLOG,
      maxBacklogAgeMs: o.PENSTOCK_MAX_BACKLOG_AGE_MS,
      maxMemoryShare: o.PENSTOCK_MAX_MEMORY_SHARE,
      maxMessageBytes: o.PENSTOCK_MAX_MESSAGE_BYTES,
      requestTimeoutMs: o.PENSTOCK_REQUEST_TIMEOUT_MS,
    }),
    engine: Object.freeze({
      port: o.PENSTOCK_ENGINE_PORT,
      urls: Object.freeze(o.PENSTOCK_ENGINE_URL),
      snapshotCommands: o.PENSTOCK_SNAPSHOT_COMMANDS,
      snapshotIntervalMs: o.PENSTOCK_SNAPSHOT_INTERVAL_MS,
    }),
    consumers: Object.freeze({
      name: o.PENSTOCK_CONSUMER_NAME ?? `${hostname().slice(0, 58)}-${o.PENSTOCK_HTTP_PORT}`,
      readCount: o.PENSTOCK_READ_COUNT,
      readBlockMs: o.PENSTOCK_READ_BLOCK_MS,
      minIdleMs: o.PENSTOCK_MIN_IDLE_MS,
      claimIntervalMs: o.PENSTOCK_CLAIM_INTERVAL_MS,
      goneMs: o.PENSTOCK_CONSUMER_GONE_MS,
      transactionRows: o.PENSTOCK_TRANSACTION_ROWS,
      transactionTimeoutMs: o.PENSTOCK_TRANSACTION_TIMEOUT_MS,
    }),
  });
}

function parseDurability(text: string, replicaTimeoutMs: number): Durability {
  if (text === "memory" || text === "everysec" || text === "always") {
    return { level: text, replicas: 0, replicaTimeoutMs };
  }
  return { level: "replicas", replicas: Number(text.slice("replicas:".length)), replicaTimeoutMs };
}
