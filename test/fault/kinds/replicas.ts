import type { Kind } from "../fault.ts";
import type { StackOptions } from "../stack.ts";

/** Redis dies, and its replica takes its place at the same address. */

/** Replicas are gathered for no time, and asked each second. */
const ARGUMENTS = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

/** Nothing is copied for so long before the end, ms, and nothing written: at some hundred orders a second some dozen orders. */
const ALONE_MS = [200, 500] as const;
/** What was on its way to the replica, and on a busy machine in this process, which carries it. */
const ON_THE_WAY_MS = 1_000;

const promoted = (
  name: string,
  what: string,
  more: Pick<Kind, "mayLose"> & { readonly stack: StackOptions },
): Kind => ({
  name,
  what,
  attacks: ["I1", "I2", "I3", "I8"],
  alone: true,
  turns: 2,
  ...more,
  inject: async (stack, random) => {
    await stack.failOver(random.between(...ALONE_MS));
    return { where: "redis" };
  },
});

export const REPLICAS: readonly Kind[] = [
  promoted(
    "promote-replica-waited",
    "nothing is copied to Redis' replica nor written to Postgres for 0.2 to 0.5 s, then kill -9 of Redis, and the replica is " +
      "promoted; `PENSTOCK_DURABILITY=replicas:1` (WAIT)",
    {
      mayLose: { what: "what no replica had confirmed: nobody was answered for it" },
      stack: {
        replica: true,
        redisArguments: [...ARGUMENTS, "--min-replicas-to-write", "1"],
        env: { PENSTOCK_DURABILITY: "replicas:1" },
      },
    },
  ),
  promoted("promote-replica", "the same without WAIT", {
    mayLose: {
      what: "what was acknowledged in the last moments, neither copied nor written: `always` speaks of the dead server's disk alone",
      withinMs: ON_THE_WAY_MS,
    },
    stack: { replica: true, redisArguments: ARGUMENTS },
  }),
];
