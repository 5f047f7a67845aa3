/** How fast a bucket fills, and how much it holds. */
export interface Fill {
  readonly perSecond: number;
  readonly burst: number;
}

/** Names of a generation: two of them take about 2 MB, and a venue has fewer accounts at work. */
const GENERATION = 10_000;

/**
 * Token buckets by name. Each is one number: the time at which it will be full again.
 *
 * Always true: a name that is not kept has a full bucket; at most two generations of names are kept, those that were
 * charged last.
 */
export class Buckets {
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  /**
   * Milliseconds until `n` fit into the bucket; 0 where they do. `now` is in milliseconds of any clock that only rises.
   */
  wait(name: string, n: number, { perSecond, burst }: Fill, now: number): number {
    const fullIn = this.#fullAt(name, now) - now;
    return Math.max(0, fullIn + ((n - burst) * 1_000) / perSecond);
  }

  /** Takes `n` out of the bucket, whether they are there or not. */
  charge(name: string, n: number, { perSecond }: Fill, now: number): void {
    const fullAt = this.#fullAt(name, now) + (n * 1_000) / perSecond;
    if (this.#young.size >= GENERATION && !this.#young.has(name)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(name, fullAt);
  }

  #fullAt(name: string, now: number): number {
    return Math.max(now, this.#young.get(name) ?? this.#old.get(name) ?? 0);
  }
}
