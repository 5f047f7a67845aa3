import { existsSync } from "node:fs";
import { resolve } from "node:path";

import { UsageError } from "../runtime/errors.ts";
import type { DataServer } from "./data-server.ts";
import { InstanceLock } from "./instance-lock.ts";
import { endProcess } from "./process-identity.ts";
import { postgresBackend, redisBackend } from "./servers.ts";
import { loadStackSettings } from "./settings.ts";

/** The servers of a stack whose roles do not run. */
export interface OpenServers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  close(): Promise<void>;
}

/**
 * Starts Redis and Postgres of a stack that was stopped, for a command that looks into them; no `up` can begin until they are
 * closed. Undefined where there is none: `up` runs, or never ran in the state folder, or the environment names both servers.
 *
 * @throws UsageError where the data lie elsewhere.
 */
export async function openStopped(
  say: (line: string) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<OpenServers | undefined> {
  if (env["REDIS_URL"] && env["DATABASE_URL"]) return undefined;
  if (!InstanceLock.wasLeft(resolve(env["PENSTOCK_STATE_DIR"] || ".penstock"))) return undefined;
  const settings = loadStackSettings(env);
  const lock = InstanceLock.take(settings.stateFolder);
  await Promise.all(lock.orphans.map((orphan) => endProcess(orphan, "SIGTERM", settings.drainMs)));
  const redis = redisBackend(settings);
  const postgres = postgresBackend(settings);
  const servers = [redis.own, postgres.own].filter((server) => server !== undefined);
  for (const server of servers) requireData(server, settings.stateFolder);
  say(
    `the stack in ${settings.stateFolder} is stopped: ${servers.map(({ name }) => name).join(" and ")} run for this command`,
  );
  const close = async (): Promise<void> => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    await Promise.all(servers.map((server) => server.start()));
  } catch (error) {
    await close();
    throw error;
  }
  return { redisUrl: redis.url(), databaseUrl: postgres.url(), close };
}

/** An empty server in its place would look like a loss. */
function requireData({ name, folder }: DataServer, stateFolder: string): void {
  if (existsSync(folder)) return;
  const variable = name === "redis" ? "REDIS_URL" : "DATABASE_URL";
  throw new UsageError(`the stack in ${stateFolder} has no data of ${name} (${folder}): give ${variable}`);
}
