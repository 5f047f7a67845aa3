import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, existsSync, mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";

/** An ordinary user whom the servers run as when we are root: Postgres refuses root, and Redis has no need of it. */
export interface ServiceUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

// Where such a user may exist, best first. None is created: that would outlive us.
const NAMES = ["postgres", "_postgres", "nobody"];

/** Undefined for an ordinary user, who runs the servers himself. */
export function findServiceUser(): ServiceUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of NAMES) {
    try {
      const id = (flag: string): number =>
        Number(execFileSync("id", [flag, name], { encoding: "utf8", stdio: "pipe" }));
      return { name, uid: id("-u"), gid: id("-g") };
    } catch {
      continue;
    }
  }
  throw new Error(`Postgres cannot run as root, and there is none of the users ${NAMES.join(", ")} to run it as`);
}

/** Whether the user can run this program with these arguments. */
export function canRun(user: ServiceUser | undefined, program: string, args: readonly string[]): boolean {
  const identity = user && { uid: user.uid, gid: user.gid };
  return spawnSync(program, args, { cwd: "/", stdio: "ignore", timeout: 10_000, ...identity }).status === 0;
}

/**
 * The folder that holds the servers' files: the state folder itself, wherever the user of the servers can reach it. As
 * root below a folder that only root may enter, it is `/var/lib/penstock/<a hash of the state folder's path>`.
 */
export function dataHome(stateFolder: string, user: ServiceUser | undefined): string {
  if (user === undefined || canRun(user, "/bin/sh", ["-c", 'cd "$1"', "sh", stateFolder])) return stateFolder;
  if (existsSync(join(stateFolder, "postgres"))) {
    // Never begin anew in another place beside data that is there.
    throw new Error(`${user.name} can no longer reach the data in ${stateFolder}: chmod o+x the folders above it`);
  }
  const id = createHash("sha256").update(realpathSync(stateFolder)).digest("hex").slice(0, 16);
  const home = join("/var/lib/penstock", id);
  mkdirSync(home, { recursive: true, mode: 0o755 });
  chmodSync("/var/lib/penstock", 0o755);
  chmodSync(home, 0o755);
  return home;
}

/** Makes a folder (with its parents) that the user of the servers owns, and nobody else may enter. */
export function ownFolder(folder: string, user: ServiceUser | undefined): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
}
