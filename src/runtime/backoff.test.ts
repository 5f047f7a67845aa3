import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff, delay } from "./backoff.ts";

test("each bound doubles up to the greatest, and a success begins anew", () => {
  const backoff = new Backoff(100, 1_000, () => 0.999_999);
  const waits = Array.from({ length: 6 }, () => backoff.next());
  assert.deepEqual(waits, [199, 399, 799, 999, 999, 999]);
  backoff.reset();
  assert.equal(backoff.next(), 199);
});

test("the jitter is full: a wait may be anything from 0", () => {
  assert.equal(new Backoff(100, 1_000, () => 0).next(), 0);
});

test("a bound stays a bound after any number of tries", () => {
  const backoff = new Backoff(1, 5_000, () => 0.999_999);
  for (let i = 0; i < 10_000; i++) assert.ok(backoff.next() < 5_000);
});

test("a delay ends without an error when it is aborted, before or during", { timeout: 5_000 }, async () => {
  await delay(60_000, AbortSignal.abort());
  const controller = new AbortController();
  const waiting = delay(60_000, controller.signal);
  controller.abort();
  await waiting;
});

test("a delay without an abort lasts its time", async () => {
  const begun = performance.now();
  await delay(20, new AbortController().signal);
  assert.ok(performance.now() - begun >= 19);
});
