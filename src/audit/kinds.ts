/** What the audit proves (DESIGN, invariants). */
export const INVARIANTS = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9"] as const;
export type Invariant = (typeof INVARIANTS)[number];

/** Everything that the audit can find, and which invariant it breaks. docs/audit.md says what to do about each. */
export const KINDS = {
  "acknowledged and lost": "I1",
  "answered with another order's id": "I1",
  "the log ends before its head": "I1",

  "one id, several orders": "I2",
  "an id was taken twice": "I2",
  "an idempotency key is missing": "I2",
  "a live order's id was taken again": "I2",

  "a row of no command": "I3",
  "an id that is no place in the log": "I3",
  "two entries in one place": "I3",
  "a symbol of another partition": "I3",
  "another number of partitions": "I3",

  "a gap in the journal": "I4",
  "a gap in the log": "I4",
  "not an entry of the log": "I4",
  "done by the workers, and not journaled": "I4",
  "the log went on without it": "I4",

  "neither row nor dead letter": "I5",
  "a row is not what it must be": "I5",
  "a row of no event": "I5",
  "a receipt is not its entry's": "I5",
  "an instrument is not its newest definition": "I5",

  "other events in a replay": "I7",
  "a snapshot of another state": "I7",
  "a snapshot that cannot be restored": "I7",
  "an entry that the engine cannot work": "I7",

  "no events": "I8",
  "events of no entry": "I8",
  "a gap in the events": "I8",
  "a gap in an account's reports": "I8",
  "a gap in a symbol's trades": "I8",

  "Cum and Leaves do not fit": "I9",
  "an order without a state": "I9",
  "reports, but no state": "I9",
  "a state, but no reports": "I9",
  "a state is not the newest report": "I9",
  "a trade and its reports do not agree": "I9",
  "an order's trades do not add up": "I9",
  "a crossed book": "I9",
} as const satisfies Readonly<Record<string, Invariant>>;

export type Kind = keyof typeof KINDS;
