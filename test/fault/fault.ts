import type { Loss } from "./loss.ts";
import type { Random } from "./random.ts";
import type { FaultStack, StackOptions } from "./stack.ts";

/** A kind of fault: a line of the table. */
export interface Kind {
  /** As `kill-worker`. */
  readonly name: string;
  /** What it does, in a line. */
  readonly what: string;
  /** The invariants that it attacks (docs/invariants.md), as `I4`. */
  readonly attacks: readonly string[];
  /** What may be lost by the contract: that must have been told. Absent: nothing may be lost. */
  readonly mayLose?: Loss;
  /** What roles may say at level error because of it; what else they say there is a finding. */
  readonly alarms?: readonly RegExp[];
  /** It has the round for itself: it takes long, or changes what others rely on. */
  readonly alone?: boolean;
  /** It comes in one of so many turns of the kinds: those that take many seconds. 1 by default. */
  readonly turns?: number;
  /**
   * It changes links, and heals them whole afterwards, or waits for what passes on one (`traps`): a change has no other kind beside it
   * that does either.
   */
  readonly onLinks?: "changes" | "traps";
  /** It needs a stack of its own, which is made for the round. */
  readonly stack?: StackOptions;
  /** Why it cannot be done on this machine; undefined where it can. */
  readonly missing?: () => Promise<string | undefined>;
  /**
   * Does it, under load. Resolves when the cause is gone: what was killed is being started again, what was cut may connect, what
   * was stopped goes on. From then on the recovery is timed. `turn` goes up by one from each time to the next.
   */
  readonly inject: (stack: FaultStack, random: Random, turn: number) => Promise<Fault>;
}

/** A fault that was injected. */
export interface Fault {
  /** What was hit, as `worker-2` or `engine-1>redis`. */
  readonly where: string;
  /** Throws what is wrong after it besides what every round looks at. Called when all is healthy again, before the load stops. */
  readonly healed?: () => Promise<void>;
}
