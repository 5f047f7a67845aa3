import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { totalmem } from "node:os";
import { delimiter, join } from "node:path";
import { Redis } from "ioredis";
import { DataServer } from "./data-server.ts";
import { DetachedProcess } from "./detached-process.ts";
import type { PortChoice } from "./ports.ts";
import { ownFolder } from "./service-user.ts";
import type { ServiceUser } from "./service-user.ts";

export interface RedisOptions {
  /** Holds its data. */
  readonly folder: string;
  /** The program, from `findRedis`. */
  readonly program: string;
  readonly user?: ServiceUser | undefined;
  readonly port?: PortChoice;
  readonly password?: string;
  /** Added to the command line, as `["--appendfsync", "everysec"]`. */
  readonly arguments?: readonly string[];
  readonly onOutput?: (chunk: Buffer) => void;
  /** Whether the folder goes when we die without stopping the server. */
  readonly removeWhenOrphaned?: boolean;
}

const LEAST_VERSION = 7;
const MIB = 1024 * 1024;

// How often it is asked while it reads its file back (stream/redis.ts).
const LOADING_POLL_MS = 200;
// Redis needs no grace to keep what it acknowledged; ten seconds let it finish its file.
const ORPHAN_GRACE_SECONDS = 10;

/**
 * A `redis-server` of our own that keeps every acknowledged write (`appendfsync always`).
 *
 * Always true: see DataServer; it listens on loopback only.
 */
export class RedisServer extends DataServer {
  override readonly name = "redis";
  protected override readonly command = "redis-server";
  protected override readonly stopSignal = "SIGTERM";
  override readonly folder: string;
  protected override readonly pidFile: string;
  readonly #options: RedisOptions;

  constructor(options: RedisOptions) {
    super("127.0.0.1", options.port);
    this.#options = options;
    this.folder = options.folder;
    this.pidFile = join(options.folder, "redis.pid");
  }

  override get url(): string {
    const { password } = this.#options;
    return `redis://${password === undefined ? "" : `:${password}@`}${this.host}:${this.port}`;
  }

  protected override async prepare(): Promise<void> {
    ownFolder(this.folder, this.#options.user);
  }

  protected override async spawn(port: number): Promise<DetachedProcess> {
    const { program, user, password, onOutput, removeWhenOrphaned } = this.#options;
    const settings = redisSettings(memoryLimit(), this.pidFile);
    settings.push(`dir ${quote(this.folder)}`, `bind ${this.host}`, `port ${port}`);
    if (password !== undefined) settings.push(`requirepass ${password}`);
    return DetachedProcess.spawn({
      command: program,
      // The settings come by standard input: a command line can be read by everybody on the machine.
      args: [...(this.#options.arguments ?? []), "-"],
      input: settings.join("\n") + "\n",
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
      cwd: this.folder,
      user,
      onOutput,
      orphan: removeWhenOrphaned
        ? { signal: "SIGKILL", graceSeconds: 0, remove: this.folder }
        : { signal: "SIGTERM", graceSeconds: ORPHAN_GRACE_SECONDS },
    });
  }

  protected override async answers(process: DetachedProcess, port: number): Promise<boolean> {
    const { password } = this.#options;
    const client = new Redis({
      host: this.host,
      port,
      ...(password !== undefined && { password }),
      lazyConnect: true,
      connectTimeout: 1_000,
      socketTimeout: 1_000, // whoever has taken the port may say nothing
      maxLoadingRetryTime: LOADING_POLL_MS,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    client.on("error", () => {}); // not up yet: asked again
    try {
      await client.connect();
      // Another server may have won the race for the port.
      const info = await client.info("server");
      return info.includes(`process_id:${process.pid}\r`);
    } catch {
      return false;
    } finally {
      client.disconnect();
    }
  }

  protected override mayPass(output: string): boolean {
    return output.includes("Address already in use");
  }
}

/**
 * The program of Redis 7 or later: of the PATH, or below the clone's `.penstock`, where the set-up puts it for want of one.
 * @throws with what to do where there is none.
 */
export function findRedis(setUpFolder: string): string {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  folders.push(join(setUpFolder, "redis", "bin"));
  for (const folder of folders) {
    const program = join(folder, "redis-server");
    if (existsSync(program) && majorVersion(program) >= LEAST_VERSION) return program;
  }
  throw new Error(`there is no redis-server ${LEAST_VERSION}.0 or later: run "sh setup.sh", or set REDIS_URL`);
}

function majorVersion(program: string): number {
  try {
    const line = execFileSync(program, ["--version"], { encoding: "utf8", stdio: "pipe", timeout: 10_000 });
    return Number(/\bv=(\d+)\./.exec(line)?.[1] ?? 0);
  } catch {
    return 0; // not runnable here, for example for want of a library
  }
}

/** A quarter of the memory that we may use: the rest is Postgres', the roles' and the page cache's. */
function memoryLimit(): number {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return Math.round(Math.min(Math.max(memory / 4, 256 * MIB), 4_096 * MIB));
}

function redisSettings(maxMemory: number, pidFile: string): string[] {
  return [
    "protected-mode yes",
    `pidfile ${quote(pidFile)}`,
    "appendonly yes",
    "appendfsync always",
    "no-appendfsync-on-rewrite no",
    "aof-use-rdb-preamble yes",
    // A rewrite of the file takes a core for as long as it lasts: 20 s at 650 MB with LZF, in which 50,000 orders/s were not
    // held on 2 cores. Hashes do not compress, so LZF is work for nothing; what it alone cost was not measured.
    "rdbcompression no",
    // At 50,000 orders/s the file grows by about 10 MiB a second: rewritten every half minute then, not every six seconds
    // as by default, and 256 MiB are still read back in a few seconds.
    "auto-aof-rewrite-min-size 256mb",
    "auto-aof-rewrite-percentage 100",
    'save ""',
    `maxmemory ${maxMemory}`,
    // An eviction would drop a whole stream: at the limit a write is refused instead.
    "maxmemory-policy noeviction",
  ];
}

/** A string as Redis' configuration reads it. */
function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
