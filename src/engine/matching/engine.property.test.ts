/**
 * The engine beside a slow, obvious one: the same commands of every kind to both; events, levels, book and hash compared
 * after every entry, and I9 looked at in each. A failure shrinks, and prints seed and path:
 *
 *     MATCHING_SEED=<seed> MATCHING_PATH=<path> node --test src/engine/matching/engine.property.test.ts
 *
 * MATCHING_COMMANDS sets how many commands there are, instead of 200,000.
 */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type Arbitrary, array, assert as check, nat, property, tuple } from "fast-check";
import { run } from "./reference/run.ts";
import { narrow, type Scale, type Step, wide } from "./reference/workload.ts";

const COMMANDS = Number(process.env["MATCHING_COMMANDS"] ?? 200_000);
const SEED = process.env["MATCHING_SEED"];
const PATH = process.env["MATCHING_PATH"];
/** Long enough for a book to fill and empty again, short enough to shrink. */
const MOST_STEPS = 500;

/** Odd, and so great that a level's quantity and an order's value pass 2^53. */
const HUGE_LOT = 2 ** 49 + 12_345;

const SCALES: readonly (readonly [name: string, scale: Scale, share: number])[] = [
  ["bounds that are met all the time", narrow(1), 0.6],
  ["bounds that are met all the time, and sums beyond 2^53", narrow(HUGE_LOT), 0.25],
  ["a book that grows", wide(1), 0.1],
  ["a book that grows, and sums beyond 2^53", wide(HUGE_LOT), 0.05],
];

const step: Arbitrary<Step> = tuple(nat(), nat(), nat(), nat());
const steps = array(step, { maxLength: MOST_STEPS, size: "max" });

test("I7, I9: engine and reference agree after every command, of every kind", async (context) => {
  for (const [name, scale, share] of SCALES) {
    await context.test(name, (context) => agree(context, scale, share));
  }
});

function agree(context: TestContext, scale: Scale, share: number): void {
  const seen = new Set<string>();
  let commands = 0;
  const agrees = property(steps, (steps) => {
    const { reasons } = run(steps, scale);
    for (const reason of reasons) seen.add(reason);
    commands += steps.length;
  });
  const numRuns = Math.ceil((COMMANDS * share * 2) / MOST_STEPS);
  const again = SEED === undefined ? {} : { seed: Number(SEED), ...(PATH === undefined ? {} : { path: PATH }) };
  check(agrees, { numRuns, ...again });
  context.diagnostic(`${commands} commands, ${seen.size} kinds of outcome`);
  if (SEED === undefined && COMMANDS >= 100_000) assert.ok(seen.size >= 35, [...seen].sort().join());
}
