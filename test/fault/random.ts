import { createHash } from "node:crypto";

import { random } from "../support/random.ts";

/** Chance that a seed decides: the same seed and the same questions give the same answers. */
export class Random {
  readonly #next: () => number;

  /** One seed of all parts together: `new Random(7, "round", 12)` depends on no question that was asked elsewhere. */
  constructor(...parts: readonly (string | number)[]) {
    this.#next = random(createHash("sha256").update(parts.join("/")).digest().readUInt32BE());
  }

  /** 0 to 1, without 1. */
  next(): number {
    return this.#next();
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1));
  }

  chance(share: number): boolean {
    return this.#next() < share;
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError("nothing to pick from");
    return list[Math.floor(this.#next() * list.length)]!;
  }

  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list];
    return list.map(() => rest.splice(Math.floor(this.#next() * rest.length), 1)[0]!);
  }
}
