import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

/** From it on the log, the schema and the roles are what can be deployed beside ours; before it there was no engine's role. */
const COMMIT = "bbe2cdd";

/**
 * This repository as it was, in a folder of its own, with our packages.
 */
export class OlderVersion {
  readonly commit = COMMIT;
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** Why there is none here; undefined where there is. */
  static hindrance(): string | undefined {
    if (!existsSync(join(ROOT, ".git"))) return "this is no clone";
    if (git("cat-file", "-e", `${COMMIT}^{commit}`).status !== 0) return `this clone has no commit ${COMMIT}`;
    const changes = git("diff", "--name-status", "--diff-filter=a", COMMIT, "HEAD", "--", "migrations").stdout.trim();
    if (changes !== "") return `the schema of ${COMMIT} is another one: ${changes}`;
    return undefined;
  }

  static unpack(): OlderVersion {
    const root = mkdtempSync(join(tmpdir(), `penstock-${COMMIT}-`));
    const archive = execFileSync("git", ["archive", COMMIT, "src", "migrations", "package.json"], {
      cwd: ROOT,
      maxBuffer: 256 * 1024 * 1024,
    });
    execFileSync("tar", ["-x", "-C", root], { input: archive });
    symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
    return new OlderVersion(root);
  }

  /** Its command line. */
  get main(): string {
    return join(this.root, "src", "main.ts");
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

function git(...args: readonly string[]) {
  return spawnSync("git", args, { cwd: ROOT, encoding: "utf8" });
}
