import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { ServiceUser } from "./service-user.ts";
import { sendSignal } from "./process-identity.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it said of it, where that is known. */
  readonly reason?: string;
}

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly user?: ServiceUser | undefined;
  /** All of its standard input. */
  readonly input?: string | undefined;
  /** Gets what it writes to its two outputs. */
  readonly onOutput?: ((chunk: Buffer) => void) | undefined;
  /** What becomes of it when this process dies without stopping it. */
  readonly orphan: OrphanRule;
}

export interface OrphanRule {
  readonly signal: NodeJS.Signals;
  /** Seconds from that signal to SIGKILL. */
  readonly graceSeconds: number;
  /** A folder to remove afterwards. */
  readonly remove?: string | undefined;
}

// Enough for the lines in which a server says why it will not start.
const TAIL_BYTES = 4_096;

// How long children of the process may hold its outputs open after its end. Postgres' backends notice within milliseconds.
const LINGER_MS = 5_000;

// Waits on its standard input. The end of it without the word "ended" means that the process at the other end died.
const WATCHDOG = `
IFS= read -r word
[ "$word" = ended ] && exit 0
tenths=$(($3 * 10))
kill -s "$2" "$1" 2>/dev/null
while [ "$tenths" -gt 0 ] && kill -s 0 "$1" 2>/dev/null; do sleep 0.1; tenths=$((tenths - 1)); done
kill -s KILL "-$1" 2>/dev/null
[ -z "$4" ] || rm -rf "$4" || { sleep 1; rm -rf "$4"; }
`;

/**
 * A child in a process group of its own, so that the terminal's Ctrl-C does not reach it.
 *
 * Always true: it ends when this process ends, even by SIGKILL, because a watchdog beside it holds the other end of a
 * pipe; `exited` is resolved once, when the child has ended and its own children have let go of its outputs; no signal
 * is sent after that.
 */
export class DetachedProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  #tail = Buffer.alloc(0);
  #ended = false;

  private constructor(child: ChildProcess, launch: Launch) {
    if (child.pid === undefined) throw new Error("not spawned");
    this.pid = child.pid;
    const watchdog = startWatchdog(child.pid, launch.orphan);
    const collect = (chunk: Buffer): void => {
      this.#tail = Buffer.concat([this.#tail, chunk]).subarray(-TAIL_BYTES);
      launch.onOutput?.(chunk);
    };
    child.stdout?.on("data", collect);
    child.stderr?.on("data", collect);
    child.stdin?.on("error", () => {}); // EPIPE: it ended before it read its input; the exit tells why
    child.stdin?.end(launch.input ?? "");
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.exited = promise;
    child.once("exit", (code, signal) => {
      this.#ended = true;
      watchdog.stdin?.end("ended\n");
      const exit = { code, signal };
      const timer = setTimeout(resolve, LINGER_MS, exit);
      child.once("close", () => {
        clearTimeout(timer);
        resolve(exit);
      });
    });
  }

  /** @throws the system's error where the command cannot be run. */
  static async spawn(launch: Launch): Promise<DetachedProcess> {
    const child = spawn(launch.command, launch.args, {
      cwd: launch.cwd,
      env: launch.env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      ...(launch.user && { uid: launch.user.uid, gid: launch.user.gid }),
    });
    // The watchdog must stand in the same turn of the loop as the child: nothing can end us in between but SIGKILL.
    const detached = child.pid === undefined ? undefined : new DetachedProcess(child, launch);
    await new Promise<void>((resolve, reject) => child.once("spawn", resolve).once("error", reject));
    if (detached === undefined) throw new Error(`${launch.command} did not start`);
    return detached;
  }

  /** The last lines that it wrote. */
  get tail(): string {
    return this.#tail.toString("utf8").trim();
  }

  /** Asks it to end by `signal`; after `graceMs` it is killed. */
  async end(signal: NodeJS.Signals, graceMs: number): Promise<Exit> {
    this.#signal(this.pid, signal);
    const timer = setTimeout(() => this.#signal(-this.pid, "SIGKILL"), graceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** SIGKILL to it and its group. */
  async kill(): Promise<Exit> {
    this.#signal(-this.pid, "SIGKILL");
    return this.exited;
  }

  #signal(pid: number, signal: NodeJS.Signals): void {
    if (!this.#ended) sendSignal(pid, signal);
  }
}

function startWatchdog(pid: number, rule: OrphanRule): ChildProcess {
  const args = ["-c", WATCHDOG, "watchdog", String(pid), rule.signal.slice(3), String(rule.graceSeconds)];
  const watchdog = spawn("sh", [...args, rule.remove ?? ""], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watchdog.on("error", () => {}); // no shell: the child is then stopped by stop() alone
  watchdog.stdin.on("error", () => {});
  watchdog.unref();
  return watchdog;
}
