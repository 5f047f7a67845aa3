import { setTimeout as sleep } from "node:timers/promises";

import { readClock } from "../../../src/stream/redis.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";
import { until } from "../../support/until.ts";
import type { Kind } from "../fault.ts";
import type { Random } from "../random.ts";
import type { FaultStack, StackOptions } from "../stack.ts";

/** Clocks that jump by ten seconds or an hour, and are set right again after a while. */

const HOUR_MS = 3_600_000;
const SIZES_MS = [10_000, HOUR_MS];
const CLOCK_IS_WRONG = /A CLOCK IS WRONG/;

/** The same for all of them, so that rounds that follow each other share a stack. */
const stack: StackOptions = { clocks: true };
const missing = async (): Promise<string | undefined> => ShiftedClock.hindrance();

/** An HTTP server writes the time into its answers, in whole seconds, and anew each second; a busy machine takes another one. */
const READ_MS = 3_000;
const READ_LIMIT_MS = 10_000;
const ANSWER_LIMIT_MS = 900;

/** What a process takes the time to be, ms since 1970; NaN where it does not say. */
async function clockOf({ redis, roles }: FaultStack, name: string): Promise<number> {
  if (name === "redis") return await readClock(redis);
  const role = roles.find((each) => each.name === name);
  const answer = await fetch(`${role?.http}/readyz`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  await answer.body?.cancel();
  return Date.parse(answer.headers.get("date") ?? "");
}

async function hasJumped(stack: FaultStack, name: string, shiftMs: number): Promise<boolean> {
  const time = await clockOf(stack, name).catch(() => NaN);
  return Math.abs(time - Date.now() - shiftMs) < READ_MS;
}

const jump = (
  name: string,
  what: string,
  attacks: readonly string[],
  of: (stack: FaultStack, random: Random) => readonly string[],
  signs: readonly (1 | -1)[],
): Kind => ({
  name,
  what: `${what}, by 10 s or an hour, for 1 to 3 s`,
  attacks,
  alone: true,
  turns: 2,
  alarms: [CLOCK_IS_WRONG],
  stack,
  missing,
  inject: async (faulty, random) => {
    const names = of(faulty, random);
    const shiftMs = random.pick(signs) * random.pick(SIZES_MS);
    for (const name of names) faulty.clock(name).shift(shiftMs);
    try {
      const jumped = names.map((name) =>
        until(`the clock of ${name} jumps`, () => hasJumped(faulty, name, shiftMs), READ_LIMIT_MS),
      );
      await Promise.all([...jumped, sleep(random.between(1_000, 3_000))]);
    } finally {
      for (const name of names) faulty.clock(name).shift(0);
    }
    return { where: `${names.join(", ")}: ${shiftMs / 1_000} s` };
  },
});

export const CLOCKS: readonly Kind[] = [
  jump("clock-redis-ahead", "Redis' clock jumps ahead", ["I3", "I10", "I11"], () => ["redis"], [1]),
  jump("clock-redis-behind", "Redis' clock jumps back", ["I3", "I4", "I8"], () => ["redis"], [-1]),
  jump(
    "clock-ingest",
    "an ingest's clock jumps, ahead or back",
    ["I2", "I3", "I11"],
    ({ ingests }, random) => [random.pick(ingests).name],
    [1, -1],
  ),
  jump(
    "clock-worker",
    "a worker's clock jumps, ahead or back",
    ["I4", "I5", "I10"],
    ({ workers }, random) => [random.pick(workers).name],
    [1, -1],
  ),
  jump(
    "clock-engines",
    "the engines' clocks jump, ahead or back",
    ["I7", "I8"],
    ({ engines }) => engines.map(({ name }) => name),
    [1, -1],
  ),
  jump(
    "clock-all",
    "all clocks jump ahead together, and are set back: the log's time stays ahead",
    ["I2", "I3", "I8", "I10"],
    ({ roles }) => ["redis", ...roles.map(({ name }) => name)],
    [1],
  ),
];
