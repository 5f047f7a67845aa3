/** Of each kind so many are printed; all are counted. */
const SHOWN = 20;

/** What a replay met that is not as it must be. */
export class Findings {
  readonly #print: (line: string) => void;
  readonly #counts = new Map<string, number>();

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** All of them. */
  get count(): number {
    let sum = 0;
    for (const count of this.#counts.values()) sum += count;
    return sum;
  }

  /** `kind` in a few words, the same for all that are alike. */
  add(kind: string, where: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= SHOWN) this.#print(`FOUND ${kind}: ${where}`);
    if (count === SHOWN + 1) this.#print(`FOUND ${kind}: more of these are only counted`);
  }

  summary(): string[] {
    return Array.from(this.#counts, ([kind, count]) => `  ${kind}: ${count}`);
  }
}
