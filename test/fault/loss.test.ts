import assert from "node:assert/strict";
import { test } from "node:test";

import { formatOrderId } from "../../src/stream/position.ts";
import { isCutOff, mayBeLost, type Reopening } from "./loss.ts";

const FAULT = 1_000_000;
/** Of partition 0 the log was opened again two seconds after the fault, behind what stood there half a second before it. */
const REOPENED: readonly Reopening[] = [
  { partition: 0, epoch: 2, base: { epoch: 1, ms: FAULT - 500, seq: 3 }, at: FAULT + 2_000 },
];
const loss = { what: "", withinMs: 1_000, since: FAULT };

const acknowledged = (ms: number, more: { epoch?: number; partition?: number; seq?: number; at?: number } = {}) => {
  const { epoch = 1, partition = 0, seq = 0, at = ms + 5 } = more;
  const orderId = formatOrderId({ partition, epoch, ms, seq, index: 0 });
  return { account: "ann", symbol: "A", clientOrderId: "1", orderId, at };
};

test("forgiven is what was acknowledged around the fault, and the log went on without", () => {
  assert.equal(mayBeLost(acknowledged(FAULT - 100), loss, REOPENED), true);
  assert.equal(mayBeLost(acknowledged(FAULT - 500, { seq: 4 }), loss, REOPENED), true, "the first behind the end");
  assert.equal(mayBeLost(acknowledged(FAULT - 100, { at: FAULT + 1_000 }), loss, REOPENED), true, "a late answer");
});

test("not forgiven: what the log has again, what came after it was opened, what is too old, what nobody reopened", () => {
  const lost = (...[ms, more]: Parameters<typeof acknowledged>) => !mayBeLost(acknowledged(ms, more), loss, REOPENED);
  assert.ok(lost(FAULT - 500, { seq: 3 }), "the end itself was put back");
  assert.ok(lost(FAULT + 2_100, { epoch: 2 }), "acknowledged in the new epoch");
  assert.ok(lost(FAULT - 100, { at: FAULT + 4_600 }), "promised again after the opening");
  assert.ok(lost(FAULT - 400, { at: FAULT - 1_001 }), "a worker has had the time");
  assert.ok(lost(FAULT - 100, { partition: 1 }), "a partition whose log has lost nothing");
  assert.equal(mayBeLost(acknowledged(FAULT - 100), { what: "", since: FAULT }, REOPENED), false, "none at all");
});

test("cut off is what stands behind the end of the log, in an epoch before the new one", () => {
  const place = { partition: 0, epoch: 1, ms: FAULT - 500, seq: 3, index: 9 };
  assert.equal(isCutOff(place, REOPENED), false);
  assert.equal(isCutOff({ ...place, seq: 4 }, REOPENED), true);
  assert.equal(isCutOff({ ...place, seq: 4, epoch: 2 }, REOPENED), false);
  assert.equal(isCutOff({ ...place, seq: 4 }, []), false);
});
