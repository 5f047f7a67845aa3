import type { Redis } from "ioredis";

/**
 * How durable an entry is when its order is acknowledged:
 *
 * - `memory`: in the server's memory only.
 * - `everysec`: written to the append-only file, flushed by the system within about a second.
 * - `always`: flushed to disk (`appendfsync always`).
 * - `replicas`: that, and received by so many replicas (`WAIT`).
 */
export type DurabilityLevel = "memory" | "everysec" | "always" | "replicas";

export interface Durability {
  readonly level: DurabilityLevel;
  /** For level `replicas`: how many; 0 otherwise. */
  readonly replicas: number;
  /** How long WAIT waits for them, ms. */
  readonly replicaTimeoutMs: number;
}

/** What a server says of itself, once it has been found to hold the level. */
export interface ServerIdentity {
  /** Another one after every restart. */
  readonly runId: string;
  readonly version: string;
  readonly maxMemoryBytes: number;
}

/** The server does not hold what the deployment promises. Each fault is one line for the operator. */
export class DurabilityError extends Error {
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(`Redis does not hold the durability level: ${faults.join("; ")}`);
    this.name = "DurabilityError";
    this.faults = faults;
  }
}

const MIN_VERSION = 7;

/** Asks the server. Throws a DurabilityError naming everything that is wrong. */
export async function verifyDurability(redis: Redis, durability: Durability): Promise<ServerIdentity> {
  const info = parseInfo(await redis.info());
  const config = await readConfig(redis);
  const faults: string[] = [];
  const want = (name: string, holds: (value: string) => boolean, wanted: string) => {
    const value = config.get(name);
    if (value === undefined || !holds(value)) faults.push(`${name} is ${value ?? "unknown"}, must be ${wanted}`);
  };

  const version = info.get("redis_version") ?? "0";
  if (Number(version.split(".")[0]) < MIN_VERSION)
    faults.push(`the server is ${version}, must be ${MIN_VERSION}.0 or later`);
  // A database that the server does not have is refused, and the driver goes on in the first one.
  const [, database] = /\bdb=(\d+)/.exec(await redis.client("INFO")) ?? [];
  if (database !== String(redis.options.db)) faults.push(`the database is ${database}, must be ${redis.options.db}`);
  if (info.get("role") !== "master") faults.push(`the server is a ${info.get("role")}, must be a master`);
  if (durability.level !== "memory") want("appendonly", (value) => value === "yes", "yes");
  if (durability.level === "everysec") want("appendfsync", (value) => value !== "no", "everysec or always");
  if (durability.level === "always" || durability.level === "replicas") {
    want("appendfsync", (value) => value === "always", "always");
    // "yes" would leave entries unflushed for as long as the file is rewritten.
    want("no-appendfsync-on-rewrite", (value) => value === "no", "no");
  }
  if (durability.level === "replicas") {
    want("min-replicas-to-write", (value) => Number(value) >= durability.replicas, `${durability.replicas} or more`);
  }
  // Any other policy drops whole streams when memory is short.
  want("maxmemory-policy", (value) => value === "noeviction", "noeviction");
  // Shares of an unbounded memory mean nothing.
  want("maxmemory", (value) => Number(value) > 0, "set");
  if (faults.length > 0) throw new DurabilityError(faults);

  return {
    runId: info.get("run_id") ?? "",
    version,
    maxMemoryBytes: Number(config.get("maxmemory")),
  };
}

async function readConfig(redis: Redis): Promise<Map<string, string>> {
  const names = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "min-replicas-to-write",
    "maxmemory",
    "maxmemory-policy",
  ];
  const reply = (await redis.call("CONFIG", "GET", ...names)) as string[];
  const config = new Map<string, string>();
  for (let i = 0; i + 1 < reply.length; i += 2) config.set(reply[i]!, reply[i + 1]!);
  return config;
}

/** The lines "name:value" of an INFO answer. */
export function parseInfo(text: string): Map<string, string> {
  const info = new Map<string, string>();
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) info.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return info;
}
