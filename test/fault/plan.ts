import type { Kind } from "./fault.ts";
import { Random } from "./random.ts";

/** Of the rounds with a kind that can share one, so many have a second one. */
const PAIRS = 0.2;

/** What happens in a round. */
export interface Planned {
  readonly kinds: readonly Kind[];
  /** Goes up by one from each turn of the kinds to the next; where it begins the seed decides. */
  readonly turn: number;
  /** Decides the rest. */
  readonly random: Random;
}

/** What happens in which round, as the seed decides: each kind in turn, shuffled anew in each turn. */
export class Plan {
  readonly #seed: number;
  readonly #kinds: readonly Kind[];
  readonly #rounds: { readonly kind: Kind; readonly turn: number }[] = [];
  #turns = 0;

  constructor(seed: number, kinds: readonly Kind[]) {
    if (kinds.length === 0) throw new RangeError("there is no kind to plan with");
    this.#seed = seed;
    this.#kinds = kinds;
  }

  /** Rounds are counted from 0 on. */
  at(round: number): Planned {
    while (this.#rounds.length <= round) this.#addTurn();
    const random = new Random(this.#seed, "round", round);
    const { kind, turn } = this.#rounds[round]!;
    const others = this.#kinds.filter((other) => other !== kind && canShare(other) && !disturb(kind, other));
    if (!canShare(kind) || others.length === 0 || !random.chance(PAIRS)) return { kinds: [kind], turn, random };
    return { kinds: [kind, random.pick(others)], turn, random };
  }

  #addTurn(): void {
    const turn = this.#turns++;
    const due = this.#kinds.filter(({ turns = 1 }, i) => (turn + i) % turns === 0);
    const shuffled = new Random(this.#seed, "turn", turn).shuffled(due);
    // Those that need a stack of their own follow each other, so that it is made once.
    const inOrder = [...Map.groupBy(shuffled, ({ stack }) => stack).values()].flat();
    this.#rounds.push(...inOrder.map((kind) => ({ kind, turn: this.#seed + turn })));
  }
}

function canShare({ alone, stack }: Kind): boolean {
  return alone !== true && stack === undefined;
}

/** Whether one of them would end what the other has set on a link. */
function disturb(one: Kind, other: Kind): boolean {
  const ways = [one.onLinks, other.onLinks];
  return ways.includes("changes") && !ways.includes(undefined);
}
