import { execFileSync, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

const MIB = 1024 * 1024;
const PAGE = 4_096;

/** Waits on its standard input, and unmounts when its parent is gone, however that ended. */
const WATCHDOG = 'read -r word; umount -l "$1" 2>/dev/null; rmdir "$1" 2>/dev/null; exit 0';

/**
 * A small file system of its own, in memory, that can be filled to its last byte.
 *
 * Always true: it goes when it is unmounted, or with this process.
 */
export class SmallDisk {
  /** Everybody may pass through it; what is below belongs to who makes it. */
  readonly folder: string;
  readonly #ballast: string;
  readonly #watchdog;

  private constructor(folder: string) {
    this.folder = folder;
    this.#ballast = join(folder, "ballast");
    this.#watchdog = spawn("sh", ["-c", WATCHDOG, "sh", folder], {
      cwd: "/",
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#watchdog.unref();
    this.#watchdog.stdin.on("error", () => {});
  }

  /** Why none can be made here; undefined where it can. */
  static hindrance(): string | undefined {
    if (process.platform !== "linux") return "a small file system is mounted on Linux only";
    if (process.getuid?.() !== 0) return "only root may mount a small file system";
    try {
      new SmallDisk(mount(1)).unmount();
      return undefined;
    } catch (error) {
      return `a small file system cannot be mounted: ${error instanceof Error ? error.message.trim() : String(error)}`;
    }
  }

  static mount(mebibytes: number): SmallDisk {
    return new SmallDisk(mount(mebibytes));
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Nobody can write more than `leaveBytes` (in whole pages) from now on. */
  fill(leaveBytes = 0): void {
    const file = openSync(this.#ballast, "a");
    try {
      for (const piece of [Buffer.alloc(MIB), Buffer.alloc(PAGE)]) {
        while (this.freeBytes >= leaveBytes + piece.length) writeSync(file, piece);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error; // others write, too
    } finally {
      closeSync(file);
    }
  }

  /** Makes room again. */
  relieve(): void {
    rmSync(this.#ballast, { force: true });
  }

  /** Whoever still uses it keeps it to himself. */
  unmount(): void {
    this.#watchdog.stdin.destroy();
    spawnSync("umount", ["-l", this.folder], { stdio: "ignore" });
    try {
      rmdirSync(this.folder);
    } catch {
      // the watchdog was quicker
    }
  }
}

function mount(mebibytes: number): string {
  // Below /tmp, which the servers' user can reach; a temporary folder of root's own he may not.
  const folder = mkdtempSync(join("/tmp", `penstock-disk-${process.pid}-`));
  try {
    const options = `size=${mebibytes}m,mode=0755`;
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { encoding: "utf8", stdio: "pipe" });
    return folder;
  } catch (error) {
    rmdirSync(folder);
    throw error;
  }
}
