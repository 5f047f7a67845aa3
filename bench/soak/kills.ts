import { sendSignal } from "../../src/stack/process-identity.ts";
import type { Random } from "../../test/fault/random.ts";
import type { ExtraWorker } from "./extra-worker.ts";
import { processesOf } from "./processes.ts";

/** A SIGKILL, seconds after the start. */
export interface Kill {
  readonly at: number;
  readonly name: string;
}

const VICTIMS = ["worker-1", "ingest", "extra", "engine", "redis", "extra", "worker-2", "postgres"] as const;

/** Kills each role and each server in turn, in an order that a seed decides. What it kills the stack's supervisors start again. */
export class Kills {
  readonly done: Kill[] = [];
  readonly #up: number;
  readonly #extra: ExtraWorker;
  readonly #random: Random;
  #queue: string[] = [];

  constructor(up: number, extra: ExtraWorker, random: Random) {
    this.#up = up;
    this.#extra = extra;
    this.#random = random;
  }

  /** The next one. Nothing is killed where the victim is not there at this moment. */
  async next(at: number): Promise<void> {
    if (this.#queue.length === 0) this.#queue = this.#random.shuffled(VICTIMS);
    const name = this.#queue.pop() ?? "extra";
    if (name === "extra") {
      const isThere = this.#extra.processes.length > 0;
      await this.#extra.kill();
      if (isThere) this.done.push({ at, name });
      await this.#extra.start();
      return;
    }
    const victim = processesOf(this.#up).find((process) => process.name === name);
    if (victim === undefined) return;
    sendSignal(victim.pid, "SIGKILL");
    this.done.push({ at, name });
  }
}
