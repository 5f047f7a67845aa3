import type { Redis } from "ioredis";

import { PERSIST_GROUP } from "../../src/stream/groups.ts";

/** The fields of an entry that are not as the log would have them; an empty one is left out. */
export type Oddities = Partial<Record<"d" | "p" | "e" | "v", string | Buffer>>;

/**
 * One of a partition's streams, written by hand: able to hold what no ingest and no engine lets in.
 *
 * Invariant: `last` is the newest entry that was appended along the chain.
 */
export class HandStream {
  readonly key: string;
  readonly #redis: Redis;
  #last = "0-0";

  private constructor(redis: Redis, key: string) {
    this.#redis = redis;
    this.key = key;
  }

  /** With its group. */
  static async begin(redis: Redis, key: string): Promise<HandStream> {
    await redis.xgroup("CREATE", key, PERSIST_GROUP, "0", "MKSTREAM");
    return new HandStream(redis, key);
  }

  /** ID of the newest entry in the chain. */
  get last(): string {
    return this.#last;
  }

  /** An entry in its place of the chain, with the next ID or with this one. Returns its ID. */
  async append(oddities: Oddities, id = "*"): Promise<string> {
    const fields = { p: this.#last, e: "1", v: "1", ...oddities };
    const flat = Object.entries(fields).flatMap(([name, value]) => (value === "" ? [] : [name, value]));
    this.#last = (await this.#redis.xadd(this.key, id, ...flat)) ?? "";
    return this.#last;
  }
}
