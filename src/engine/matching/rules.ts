/**
 * The bounds by which an entry is worked. They shape the history, so a change of one is a new set under a new number,
 * and a `rules` command in the log switches to it.
 */
export interface Rules {
  readonly maxCommands: number;
  /** Resting orders that one order may meet: fills, and self-trades that are prevented. */
  readonly maxFills: number;
  /** Stops that one command sets off; the others wait for the next command or entry. */
  readonly maxTriggered: number;
  readonly maxExpiries: number;
  readonly maxEntryEvents: number;
  /** Of an account that has no limits of its own. */
  readonly maxOpenOrders: number;
  readonly maxQuantity: number;
  /** Of the whole engine. */
  readonly maxOrders: number;
  readonly maxAccounts: number;
  readonly maxSymbols: number;
}

const FIRST: Rules = checked({
  // What an entry of the log holds (DESIGN, the log).
  maxCommands: 500,
  // 2,000 events, some 0.4 MB of the event stream. An order that meets more than a thousand others is a mistake nearly always.
  maxFills: 1_000,
  // A cascade has to end in the time of an entry. Ten of them at their bound are 20,000 events.
  maxTriggered: 10,
  // So that orders which are all due at the close of a day leave in entries of some 4 MB.
  maxExpiries: 20_000,
  // Some 10 MB in Redis: hundred events for each of 500 commands.
  maxEntryEvents: 50_000,
  // A mass cancel of them fits an entry with room for the others.
  maxOpenOrders: 10_000,
  maxQuantity: Number.MAX_SAFE_INTEGER,
  // About 1 GiB at 250 bytes an order.
  maxOrders: 4_000_000,
  maxAccounts: 1_000_000,
  maxSymbols: 65_536,
});

/** All rules that were ever in force, by their number. */
export const RULES: ReadonlyMap<number, Rules> = new Map([[1, FIRST]]);

/** The rules with which an empty engine begins. */
export const FIRST_RULES = 1;

/** The events that one order can cause: accepted, triggered, two for each that it meets, its end. */
export function eventsOfOrder(rules: Rules): number {
  return 2 * rules.maxFills + 3;
}

/** Throws a RangeError where an entry could not hold what the other bounds allow. */
export function checked(rules: Rules): Rules {
  const least = rules.maxCommands + rules.maxExpiries + eventsOfOrder(rules);
  if (rules.maxEntryEvents < least) throw new RangeError(`an entry must have room for ${least} events`);
  return Object.freeze(rules);
}
