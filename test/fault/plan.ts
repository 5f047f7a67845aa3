import type { Kind } from "./fault.ts";
import { Random } from "./random.ts";

/** Of the rounds with a kind that can share one, so many have a second one. */
const PAIRS = 0.2;

/** What happens in which round, as the seed decides: each kind in turn, shuffled anew in each turn. */
export class Plan {
  readonly #seed: number;
  readonly #kinds: readonly Kind[];
  readonly #rounds: Kind[] = [];
  #turns = 0;

  constructor(seed: number, kinds: readonly Kind[]) {
    if (kinds.length === 0) throw new RangeError("there is no kind to plan with");
    this.#seed = seed;
    this.#kinds = kinds;
  }

  /** The kinds of a round, from 0 on, and the chance that decides the rest of it. */
  at(round: number): { readonly kinds: readonly Kind[]; readonly random: Random } {
    while (this.#rounds.length <= round) this.#addTurn();
    const random = new Random(this.#seed, "round", round);
    const kind = this.#rounds[round]!;
    const others = this.#kinds.filter((other) => other !== kind && canShare(other));
    if (!canShare(kind) || others.length === 0 || !random.chance(PAIRS)) return { kinds: [kind], random };
    return { kinds: [kind, random.pick(others)], random };
  }

  #addTurn(): void {
    const turn = this.#turns++;
    const due = this.#kinds.filter(({ turns = 1 }, i) => (turn + i) % turns === 0);
    const shuffled = new Random(this.#seed, "turn", turn).shuffled(due);
    // Those that need a stack of their own follow each other, so that it is made once.
    this.#rounds.push(...[...Map.groupBy(shuffled, ({ stack }) => stack).values()].flat());
  }
}

function canShare({ alone, stack }: Kind): boolean {
  return alone !== true && stack === undefined;
}
