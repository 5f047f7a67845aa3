import assert from "node:assert/strict";
import { test } from "node:test";

import { Periodic } from "./periodic.ts";

test("runs do not overlap, an error does not end them, and a stop waits for the last one", async () => {
  const errors: unknown[] = [];
  const { promise: third, resolve: reached } = Promise.withResolvers<undefined>();
  let running = 0;
  let runs = 0;
  let ended = 0;
  const job = async () => {
    assert.equal(++running, 1);
    if (++runs === 3) reached(undefined);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
    ended++;
    if (runs === 1) throw new Error("the first one");
  };
  const periodic = new Periodic(1, job, (error) => errors.push(error));
  periodic.start();
  await third;
  await periodic.stop();
  assert.equal(ended, runs);
  assert.deepEqual(errors.map(String), ["Error: the first one"]);
});
