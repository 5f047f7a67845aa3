import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { Slots } from "./slots.ts";

test("so many jobs run at once, the others begin in their order; one that fails gives its place on", async () => {
  const slots = new Slots(2);
  const begun: number[] = [];
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const jobs = ends.map(({ promise }, i) =>
    slots.run(async () => {
      begun.push(i);
      await promise;
      return i;
    }),
  );
  await turn();
  assert.deepEqual(begun, [0, 1]);
  ends[1]!.reject(new Error("failed"));
  await assert.rejects(jobs[1]!, /failed/);
  await turn();
  assert.deepEqual(begun, [0, 1, 2]);
  for (const end of ends) end.resolve();
  const done = await Promise.allSettled(jobs);
  assert.deepEqual(begun, [0, 1, 2, 3, 4]);
  assert.deepEqual(
    done.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined)),
    [0, undefined, 2, 3, 4],
  );
  const again: number[] = [];
  await Promise.all([slots.run(async () => again.push(1)), slots.run(async () => again.push(2))]);
  assert.equal(again.length, 2);
});
