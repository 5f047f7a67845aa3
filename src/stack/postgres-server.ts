import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { DataServer } from "./data-server.ts";
import { DetachedProcess } from "./detached-process.ts";
import type { PortChoice } from "./ports.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { ensureCluster, POSTGRES_DATABASE, POSTGRES_USER } from "./postgres-cluster.ts";
import type { ServiceUser } from "./service-user.ts";

export interface PostgresOptions {
  /** Holds its data; made where it is missing. */
  readonly folder: string;
  readonly binaries: PostgresBinaries;
  /** Of the owner; fixed when the data folder is made. Letters, digits, `-` and `_`. */
  readonly password: string;
  readonly user?: ServiceUser | undefined;
  readonly port?: PortChoice;
  /** In place of, or beside, those below. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly onOutput?: (chunk: Buffer) => void;
  /** Whether the folder goes when we die without stopping the server. */
  readonly removeWhenOrphaned?: boolean;
}

const MIB = 1024 * 1024;

// A fast shutdown writes a checkpoint. After SIGKILL the next start reads the WAL instead: slower, nothing lost.
const ORPHAN_GRACE_SECONDS = 20;

// Line 8 of postmaster.pid is what pg_ctl waits for.
const STATUS_LINE = 7;

/**
 * A PostgreSQL of our own.
 *
 * Always true: see DataServer; it listens on loopback only, and asks for a password.
 */
export class PostgresServer extends DataServer {
  override readonly name = "postgres";
  protected override readonly command = "postgres";
  /** A "fast" shutdown: open transactions are rolled back, everything is written. */
  protected override readonly stopSignal = "SIGINT";
  override readonly folder: string;
  protected override readonly pidFile: string;
  readonly #options: PostgresOptions;

  constructor(options: PostgresOptions) {
    super("127.0.0.1", options.port);
    this.#options = options;
    this.folder = options.folder;
    this.pidFile = join(options.folder, "postmaster.pid");
  }

  override get url(): string {
    return this.urlOf(POSTGRES_DATABASE);
  }

  urlOf(database: string): string {
    return `postgres://${POSTGRES_USER}:${this.#options.password}@${this.host}:${this.port}/${database}`;
  }

  protected override async prepare(): Promise<void> {
    const { folder, password, binaries, user } = this.#options;
    ensureCluster(folder, password, binaries, user);
  }

  protected override async spawn(port: number): Promise<DetachedProcess> {
    const { binaries, user, onOutput, removeWhenOrphaned } = this.#options;
    const settings = { ...postgresSettings(), ...this.#options.settings, port, listen_addresses: this.host };
    return DetachedProcess.spawn({
      command: binaries.postgres,
      args: ["-D", this.folder, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
      cwd: this.folder,
      user,
      onOutput,
      orphan: removeWhenOrphaned
        ? { signal: "SIGQUIT", graceSeconds: 5, remove: this.folder } // at once, and yet without leaving shared memory
        : { signal: "SIGINT", graceSeconds: ORPHAN_GRACE_SECONDS },
    });
  }

  protected override async answers(process: DetachedProcess): Promise<boolean> {
    try {
      const lines = readFileSync(this.pidFile, "utf8").split("\n");
      return Number(lines[0]) === process.pid && lines[STATUS_LINE]?.trim() === "ready";
    } catch {
      return false; // not written yet
    }
  }

  protected override mayPass(output: string): boolean {
    // The second: backends of a killed server have not ended yet.
    return output.includes("Address already in use") || output.includes("shared memory block");
  }
}

/** For a small machine that writes much: rows come in by COPY, in order of time, and few are read again. */
function postgresSettings(): Record<string, string> {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  // An eighth: the newest leaves of some indexes are all that is touched again, and Redis has a quarter already.
  const sharedBuffers = Math.round(Math.min(Math.max(memory / 8 / MIB, 128), 1_024));
  return {
    unix_socket_directories: "", // their paths have a limit of 107 bytes, and a clone may lie anywhere
    shared_buffers: `${sharedBuffers}MB`,
    // 50,000 orders/s make some 30 MB of WAL a second. With the default of 1 GB there would be a checkpoint each half
    // minute, and after each the pages go into the WAL whole again. Files that stay are used again, not filled anew.
    max_wal_size: "4GB",
    min_wal_size: "1GB",
    checkpoint_timeout: "15min",
    fsync: "on",
    synchronous_commit: "on",
    track_commit_timestamp: "on", // tells when a row became durable; the bench measures by it
    timezone: "UTC",
    log_timezone: "UTC",
  };
}
