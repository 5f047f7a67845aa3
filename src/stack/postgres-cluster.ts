import { spawnSync } from "node:child_process";
import { chownSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { ownFolder } from "./service-user.ts";
import type { ServiceUser } from "./service-user.ts";

/** The owner of everything in a cluster of ours, and the database that is made with it. */
export const POSTGRES_USER = "penstock";
export const POSTGRES_DATABASE = "penstock";

// initdb writes 40 MB and syncs them: a second here, and much more on a slow disk.
const LIMIT_MS = 120_000;

/**
 * Makes a data folder with one database where there is none yet. A half-made one never stands under that name.
 * @throws where the folder holds the data of another major version.
 */
export function ensureCluster(
  folder: string,
  password: string,
  binaries: PostgresBinaries,
  user: ServiceUser | undefined,
): void {
  const versionFile = join(folder, "PG_VERSION");
  if (existsSync(versionFile)) {
    const present = readFileSync(versionFile, "utf8").trim();
    if (binaries.version.startsWith(`${present}.`)) return;
    throw new Error(`${folder} holds the data of PostgreSQL ${present}, this is ${binaries.version}: move it away`);
  }
  const draft = `${folder}.draft`;
  rmSync(draft, { recursive: true, force: true });
  ownFolder(draft, user);
  const data = join(draft, "data");
  const passwordFile = join(draft, "password");
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user !== undefined) chownSync(passwordFile, user.uid, user.gid);
  const identity = { cwd: draft, user };
  const owner = [`--username=${POSTGRES_USER}`, `--pwfile=${passwordFile}`, "--auth=scram-sha-256"];
  run(binaries.initdb, ["-D", data, "--encoding=UTF8", "--locale=C", "--no-instructions", ...owner], identity);
  run(binaries.postgres, ["--single", "-D", data, "postgres"], identity, `CREATE DATABASE ${POSTGRES_DATABASE}\n`);
  renameSync(data, folder);
  rmSync(draft, { recursive: true, force: true });
}

function run(
  program: string,
  args: readonly string[],
  identity: { cwd: string; user: ServiceUser | undefined },
  input = "",
): void {
  const { status, error, stderr, stdout } = spawnSync(program, args, {
    cwd: identity.cwd,
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
    input,
    encoding: "utf8",
    timeout: LIMIT_MS,
    ...(identity.user && { uid: identity.user.uid, gid: identity.user.gid }),
  });
  if (status === 0) return;
  throw new Error(`${program} failed: ${error?.message ?? ""}\n${stdout}\n${stderr}`.trim());
}
