import { type ChildProcess, spawn } from "node:child_process";
import { createSecretKey, randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

import { ApiClient } from "../../src/cli/client.ts";
import { AdminService } from "../../src/gen/penstock/v1/admin_service_pb.ts";
import { TokenService } from "../../src/ingest/auth/tokens.ts";
import { processEnv } from "./process-env.ts";

/** Roles as real processes, over servers that the test owns. */

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
const START_TIMEOUT_MS = 30_000;
const SIGNING_KEY = randomBytes(32).toString("hex");
const SYMBOL = "BTC-USD";

export interface Servers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** More settings, as environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** The command line of another version. */
  readonly main?: string;
}

/** A token that every ingest started here accepts: issued `now`, good for `ttlS` seconds, an hour by default. */
export async function tokenOf(
  account: string,
  role: "trader" | "admin" = "trader",
  options: { now?: () => number; ttlS?: number } = {},
): Promise<string> {
  const tokens = new TokenService({ key: createSecretKey(SIGNING_KEY, "utf8"), ttlS: 3600, ...options });
  return (await tokens.issue(account, role)).token;
}

/** A role as a process. Its log lines are kept, so that a test can wait for one and show them where it fails. */
export class RoleProcess {
  readonly #child: ChildProcess;
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly #listeners = new Set<() => void>();

  constructor(role: "ingest" | "engine" | "consumers", servers: Servers) {
    this.#child = spawn(process.execPath, [servers.main ?? MAIN, role], {
      env: {
        ...processEnv(),
        REDIS_URL: servers.redisUrl,
        DATABASE_URL: servers.databaseUrl,
        PENSTOCK_SIGNING_KEY: SIGNING_KEY,
        PENSTOCK_GRPC_PORT: "0",
        PENSTOCK_HTTP_PORT: "0",
        PENSTOCK_ENGINE_PORT: "0",
        ...servers.env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.exited = once(this.#child, "exit").then(([code]) => {
      this.#notify();
      return code as number | null;
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        this.#notify();
      });
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The first log line whose message is this, as an object. Rejects where the process ends before, or takes too long. */
  async logged(message: string): Promise<Record<string, unknown>> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const found = this.lines.find((line) => line.includes(`"msg":"${message}`));
      if (found !== undefined) return JSON.parse(found) as Record<string, unknown>;
      const left = deadline - Date.now();
      if (left <= 0 || !this.running) throw new Error(`no "${message}" from the process:\n${this.lines.join("\n")}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, left);
        const listeners = this.#listeners;
        function done(): void {
          clearTimeout(timer);
          listeners.delete(done);
          resolve();
        }
        listeners.add(done);
      });
    }
  }

  async stop(): Promise<number | null> {
    if (this.running) this.signal("SIGTERM");
    return await this.exited;
  }

  async kill(): Promise<void> {
    if (this.running) this.signal("SIGKILL");
    await this.exited;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

export class Ingest extends RoleProcess {
  #clients: ApiClient[] = [];
  /** `127.0.0.1:port` of the gRPC door, and the URL of the HTTP port. */
  address = "";
  http = "";

  async ready(): Promise<void> {
    this.address = String((await this.logged("gRPC"))["address"]);
    this.http = String((await this.logged("health and metrics"))["url"]);
    await this.logged("started");
  }

  async client(account = "demo", role: "trader" | "admin" = "trader"): Promise<ApiClient> {
    const client = new ApiClient({ url: this.address, token: await tokenOf(account, role) });
    this.#clients.push(client);
    return client;
  }

  closeClients(): void {
    for (const client of this.#clients) client.close();
  }
}

/** Starts an ingest and waits until it takes orders; it ends with the test. */
export async function startIngest(t: TestContext, servers: Servers): Promise<Ingest> {
  const ingest = new Ingest("ingest", servers);
  t.after(async () => {
    ingest.closeClients();
    await ingest.kill();
  });
  await ingest.ready();
  return ingest;
}

/** An engine, with the URLs of both its ports. */
export class EngineProcess extends RoleProcess {
  url = "";
  http = "";

  constructor(servers: Servers) {
    super("engine", servers);
  }

  async ready(): Promise<void> {
    this.http = String((await this.logged("health and metrics"))["url"]);
    this.url = `http://${String((await this.logged("engine's gRPC"))["address"])}`;
    await this.logged("started");
  }
}

/** Starts an engine, which comes to the present in its own time; it ends with the test. */
export async function startEngine(t: TestContext, servers: Servers): Promise<EngineProcess> {
  const engine = new EngineProcess(servers);
  t.after(() => engine.kill());
  await engine.ready();
  return engine;
}

/** Starts a worker process; it ends with the test. */
export async function startConsumers(t: TestContext, servers: Servers): Promise<RoleProcess> {
  const consumers = new RoleProcess("consumers", servers);
  t.after(() => consumers.kill());
  await consumers.logged("started");
  return consumers;
}

/** Defines BTC-USD: tick 0.01, lot 0.00000001, no bounds. */
export async function defineInstrument(ingest: Ingest, symbol = SYMBOL): Promise<void> {
  const admin = await ingest.client("root", "admin");
  await admin.call(AdminService.method.upsertInstrument, {
    instrument: { symbol, tickSize: "0.01", lotSize: "0.00000001" },
  });
}

/** Waits until the condition holds, asking again and again; bounded. */
export async function eventually<T>(
  ask: () => Promise<T | undefined | false>,
  what: string,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`not in ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
