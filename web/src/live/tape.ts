import type { Trade } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";

/** More than a screen shows, and less than one must scroll for long. */
const KEPT = 200;
/** Of more than that the oldest is given up. */
const MOST_HOLES = 20;

interface Hole {
  from: bigint;
  to: bigint;
}

/**
 * The trades of a symbol, by their numbers, which have no gap: what comes twice is taken once, and what is missing is known.
 *
 * Always true: `trades` are sorted, newest first; each number up to the newest was taken, lies in a hole, or was given up.
 */
export class Tape {
  readonly trades: Trade[] = [];
  #newest = 0n;
  readonly #holes: Hole[] = [];

  /** The numbers that are missing, oldest first. */
  get holes(): readonly Readonly<Hole>[] {
    return this.#holes;
  }

  /** False where it was here already. */
  add(trade: Trade): boolean {
    const number = trade.trade;
    if (number > this.#newest) {
      if (number > this.#newest + 1n) this.#holes.push({ from: this.#newest + 1n, to: number - 1n });
      if (this.#holes.length > MOST_HOLES) this.#holes.shift();
      this.#newest = number;
    } else if (!this.#fill(number)) {
      return false;
    }
    let at = 0;
    while (at < this.trades.length && this.trades[at]!.trade > number) at++;
    this.trades.splice(at, 0, trade);
    if (this.trades.length > KEPT) this.trades.pop();
    return true;
  }

  /** What lies before this number will not come any more. */
  giveUpBefore(number: bigint): void {
    while (this.#holes.length > 0 && this.#holes[0]!.to < number) this.#holes.shift();
    const [first] = this.#holes;
    if (first !== undefined && first.from < number) first.from = number;
  }

  #fill(number: bigint): boolean {
    const at = this.#holes.findIndex(({ from, to }) => from <= number && number <= to);
    const hole = this.#holes[at];
    if (hole === undefined) return false;
    const rest = [
      { from: hole.from, to: number - 1n },
      { from: number + 1n, to: hole.to },
    ].filter(({ from, to }) => from <= to);
    this.#holes.splice(at, 1, ...rest);
    return true;
  }
}
