import { type Invariant, INVARIANTS, type Kind, KINDS } from "./kinds.ts";

/** Of each kind so many places are told; all are counted. */
const SHOWN = 20;

/** Of the reasons why something could not be looked at. */
const REASONS_TOLD = 3;

/** What was found of one kind. */
export interface Found {
  readonly kind: Kind;
  readonly count: number;
  /** The first of them: what is wrong, and where. */
  readonly where: readonly string[];
}

export interface Verdict {
  readonly invariant: Invariant;
  readonly verdict: "held" | "broken" | "not provable here";
  readonly found: readonly Found[];
  /** What was looked at, and held as far as nothing was found. */
  readonly proved: readonly string[];
  /** What could not be looked at, and why. */
  readonly unproved: readonly string[];
}

/**
 * What an audit found wrong, what it proved, and what it could not prove.
 *
 * Always true: its size depends on the number of partitions, and not on how much was looked at or found.
 */
export class Findings {
  readonly #found = new Map<Kind, { count: number; readonly where: string[] }>();
  readonly #proved = new Map<Invariant, string[]>();
  readonly #unproved = new Map<Invariant, Set<string>>();
  readonly #missed = new Set<string>();
  #count = 0;

  /** All of them. */
  get count(): number {
    return this.#count;
  }

  /** Why not all could be looked at that a whole system has; undefined where it could. */
  get incomplete(): string | undefined {
    if (this.#missed.size === 0) return undefined;
    const rest = this.#missed.size - REASONS_TOLD;
    const told = [...this.#missed].slice(0, REASONS_TOLD).join("; ");
    return rest > 0 ? `${told}; and ${rest} more` : told;
  }

  add(kind: Kind, where: string, count = 1): void {
    const found = this.#found.get(kind) ?? { count: 0, where: [] };
    this.#found.set(kind, found);
    found.count += count;
    this.#count += count;
    if (found.where.length < SHOWN) found.where.push(where);
  }

  proved(invariant: Invariant, what: string): void {
    const list = this.#proved.get(invariant) ?? [];
    this.#proved.set(invariant, list);
    list.push(what);
  }

  unproved(why: string, ...invariants: readonly Invariant[]): void {
    for (const invariant of invariants) {
      const reasons = this.#unproved.get(invariant) ?? new Set();
      this.#unproved.set(invariant, reasons.add(why));
    }
  }

  /** The same of what a whole system has, and should have been looked at. */
  missed(why: string, ...invariants: readonly Invariant[]): void {
    this.#missed.add(why);
    this.unproved(why, ...invariants);
  }

  /** One for each invariant, in their order. */
  verdicts(): Verdict[] {
    return INVARIANTS.map((invariant) => {
      const found = [...this.#found].flatMap(([kind, { count, where }]) =>
        KINDS[kind] === invariant ? [{ kind, count, where }] : [],
      );
      const proved = this.#proved.get(invariant) ?? [];
      const unproved = [...(this.#unproved.get(invariant) ?? [])];
      const verdict = found.length > 0 ? "broken" : proved.length > 0 ? "held" : "not provable here";
      return { invariant, verdict, found, proved, unproved };
    });
  }
}
