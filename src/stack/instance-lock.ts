import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { UsageError } from "../runtime/errors.ts";
import { identify, isAlive } from "./process-identity.ts";
import type { ProcessIdentity } from "./process-identity.ts";

interface Holder {
  readonly self: ProcessIdentity;
  /** The processes that it started, by name. */
  readonly children: Readonly<Record<string, ProcessIdentity>>;
}

/**
 * At most one `up` runs on a state folder, after kill -9 of another too.
 *
 * The files `up.1.json`, `up.2.json`, … are the turns: the one with the highest number names the holder, and holds as
 * long as that process lives. The next turn is taken by a link to a name that must not exist, which one of several wins.
 *
 * Always true: the highest turn is never removed, not at the end either: a slow rival that saw it would else take the
 * same number again.
 */
export class InstanceLock {
  /** Children of a holder that died without stopping them, and that still run. */
  readonly orphans: readonly ProcessIdentity[];
  readonly #file: string;
  #holder: Holder;

  private constructor(file: string, holder: Holder) {
    this.#file = file;
    this.#holder = holder;
    this.orphans = Object.values(holder.children);
  }

  /** Whether an `up` ran on the folder, and none does now. */
  static wasLeft(folder: string): boolean {
    const last = existsSync(folder) ? turns(folder).at(-1) : undefined;
    const holder = last === undefined ? undefined : read(fileOf(folder, last));
    return holder !== undefined && !isAlive(holder.self);
  }

  /** @throws UsageError where another process holds it. */
  static take(folder: string): InstanceLock {
    const self = identify(process.pid);
    if (self === undefined) throw new Error("this process cannot be identified: there is neither /proc nor ps");
    const before = turns(folder);
    const last = before.at(-1);
    const previous = last === undefined ? undefined : read(fileOf(folder, last));
    if (previous !== undefined && isAlive(previous.self)) throw taken(folder, previous);

    const turn = (last ?? 0) + 1;
    // Its orphans stay on record until ours take their names: we may die before they are ended.
    const children = Object.fromEntries(Object.entries(previous?.children ?? {}).filter(([, child]) => isAlive(child)));
    const holder = { self, children };
    const draft = join(folder, `up.draft.${process.pid}`);
    writeFileSync(draft, JSON.stringify(holder), { mode: 0o600 });
    try {
      linkSync(draft, fileOf(folder, turn));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") throw taken(folder, read(fileOf(folder, turn)));
      throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    if (turns(folder).at(-1) !== turn) {
      // We were so slow that others had this turn and the next one meanwhile.
      rmSync(fileOf(folder, turn));
      throw taken(folder, undefined);
    }
    for (const old of before) rmSync(fileOf(folder, old), { force: true });
    return new InstanceLock(fileOf(folder, turn), holder);
  }

  /** Remembers a child for the next holder, in the place of an earlier one of that name. */
  record(name: string, pid: number): void {
    const identity = identify(pid);
    if (identity === undefined) return; // ended already
    this.#holder = { ...this.#holder, children: { ...this.#holder.children, [name]: identity } };
    const draft = `${this.#file}.draft`;
    try {
      writeFileSync(draft, JSON.stringify(this.#holder), { mode: 0o600 });
      renameSync(draft, this.#file);
    } catch (error) {
      // The child runs, and must not be left to itself for want of room. It is put on record with the next one.
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }
}

function turns(folder: string): number[] {
  const found = readdirSync(folder).map((name) => Number(/^up\.(\d+)\.json$/.exec(name)?.[1]));
  return found.filter((turn) => turn > 0).sort((a, b) => a - b);
}

function fileOf(folder: string, turn: number): string {
  return join(folder, `up.${turn}.json`);
}

function read(file: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Holder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // replaced by a later turn
    throw error;
  }
}

function taken(folder: string, holder: Holder | undefined): UsageError {
  const by = holder === undefined ? "" : ` (process ${holder.self.pid})`;
  return new UsageError(`Penstock runs already on ${folder}${by}: stop it first, or set PENSTOCK_STATE_DIR to another`);
}
