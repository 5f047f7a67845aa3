import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Redis } from "ioredis";
import type { Registry } from "prom-client";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import { readVitals } from "../telemetry/vitals.ts";
import { writeRoll } from "./roll.ts";

/** As often as the view of the pipeline shows a new sample. */
const INTERVAL_MS = 1_000;

export interface RollCallOptions {
  readonly role: "ingest" | "engine" | "consumers";
  readonly redis: Redis;
  readonly registry: Registry;
}

/**
 * Tells of this process in Redis while it lives, so that any ingest can show the pipeline as a whole. Nothing rests on it: where it
 * cannot be written there is one process less to be seen, and that Redis is away is told elsewhere.
 */
export class RollCall implements Service {
  readonly name = "roll call";
  readonly #options: RollCallOptions;
  readonly #id = randomUUID();
  readonly #calls: Periodic;

  constructor(options: RollCallOptions) {
    this.#options = options;
    this.#calls = new Periodic(
      INTERVAL_MS,
      () => this.#call(),
      () => {},
    );
  }

  async start(): Promise<void> {
    await this.#call().catch(() => {});
    this.#calls.start();
  }

  async stop(): Promise<void> {
    await this.#calls.stop();
  }

  async #call(): Promise<void> {
    const { role, redis, registry } = this.#options;
    const vitals = await readVitals(registry);
    const name = `${hostname()}:${process.pid}`;
    await writeRoll(redis, { id: this.#id, role, name, clockMs: performance.now(), vitals });
  }
}
