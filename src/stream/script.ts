import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

/** A Lua script of `scripts/`; its contract stands on top of the file. */
export class Script {
  readonly #source: string;
  readonly #sha: string;

  constructor(name: string) {
    this.#source = readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), "utf8");
    this.#sha = createHash("sha1").update(this.#source).digest("hex");
  }

  /** Runs it, strings of the answer as Buffers. A server that does not know it yet learns it on the way. */
  async run(redis: Redis, keys: readonly string[], args: readonly (string | number | Buffer)[]): Promise<unknown> {
    try {
      return await redis.callBuffer("EVALSHA", this.#sha, keys.length, ...keys, ...args);
    } catch (error) {
      // NOSCRIPT comes before the script's first line, so nothing has happened yet.
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return await redis.callBuffer("EVAL", this.#source, keys.length, ...keys, ...args);
    }
  }
}
