import type { MarkedFindings } from "../store/replay-marks.ts";

/** Of each kind so many are printed; all are counted. */
const SHOWN = 20;
/** So many of a partition a mark keeps word for word, which is some 100 KB with each transaction; of the others their number. */
const KEPT = 1_000;
/** What is met twice is one finding; of more than these that is not known. A few megabytes of text. */
const REMEMBERED = 50_000;

/** What a replay met that is not as it must be, in all partitions. */
export class FindingTotals {
  readonly #print: (line: string) => void;
  readonly #counts = new Map<string, number>();

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** All of them. */
  get count(): number {
    return sumOf(this.#counts.values());
  }

  /** `kind` in a few words, the same for all that are alike. */
  add(kind: string, where: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= SHOWN) this.#print(`FOUND ${kind}: ${where}`);
    if (count === SHOWN + 1) this.#print(`FOUND ${kind}: more of these are only counted`);
  }

  /** More of a kind, of which it is not known where they are. */
  addCounted(kind: string, count: number): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + count);
    this.#print(`FOUND ${kind}: ${count} more, of which only the number was kept`);
  }

  summary(): string[] {
    return Array.from(this.#counts, ([kind, count]) => `  ${kind}: ${count}`);
  }
}

/** What a replay met in one partition. Always true: `marked` is all of it, with what an interrupted one had met before. */
export class Findings {
  readonly #totals: FindingTotals;
  readonly #known = new Set<string>();
  readonly #kinds = new Map<string, { count: number; first: string[] }>();
  #kept = 0;

  constructor(totals: FindingTotals) {
    this.#totals = totals;
  }

  /** What the mark has of an interrupted replay is told again, before anything else is found. */
  resume(marked: MarkedFindings): void {
    for (const [kind, { count, first }] of Object.entries(marked)) {
      for (const where of first) this.add(kind, where);
      const more = count - first.length;
      if (more <= 0) continue;
      this.#of(kind).count += more;
      this.#totals.addCounted(kind, more);
    }
  }

  /** `kind` in a few words, the same for all that are alike. What is known already is no other finding. */
  add(kind: string, where: string): void {
    const text = `${kind}: ${where}`;
    if (this.#known.has(text)) return;
    if (this.#known.size < REMEMBERED) this.#known.add(text);
    const found = this.#of(kind);
    found.count++;
    if (this.#kept < KEPT) {
      found.first.push(where);
      this.#kept++;
    }
    this.#totals.add(kind, where);
  }

  /** For the mark of what is gone through. */
  get marked(): MarkedFindings {
    return Object.fromEntries(this.#kinds);
  }

  #of(kind: string) {
    let found = this.#kinds.get(kind);
    if (found === undefined) this.#kinds.set(kind, (found = { count: 0, first: [] }));
    return found;
  }
}

/** How many a mark has. */
export function countMarked(marked: MarkedFindings): number {
  return sumOf(Object.values(marked).map(({ count }) => count));
}

function sumOf(counts: Iterable<number>): number {
  let sum = 0;
  for (const count of counts) sum += count;
  return sum;
}
