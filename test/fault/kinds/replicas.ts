import type { Kind } from "../fault.ts";
import type { StackOptions } from "../stack.ts";

/** Redis dies, and its replica takes its place at the same address. */

/** Replicas are gathered for no time, and asked each second. */
const ARGUMENTS = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

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
  inject: async (stack) => {
    await stack.failOver();
    return { where: "redis" };
  },
});

export const REPLICAS: readonly Kind[] = [
  promoted(
    "promote-replica-waited",
    "kill -9 of Redis, its replica is promoted; `PENSTOCK_DURABILITY=replicas:1` (WAIT)",
    {
      stack: {
        replica: true,
        redisArguments: [...ARGUMENTS, "--min-replicas-to-write", "1"],
        env: { PENSTOCK_DURABILITY: "replicas:1" },
      },
    },
  ),
  promoted("promote-replica", "kill -9 of Redis, its replica is promoted; without WAIT", {
    mayLose:
      "what was acknowledged in the last moments, neither copied nor written: `always` speaks of the dead server's disk alone",
    stack: { replica: true, redisArguments: ARGUMENTS },
  }),
];
