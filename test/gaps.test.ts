import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { readHead } from "../src/stream/head.ts";
import { order } from "./support/log.ts";
import { entryIdOf } from "./support/placements.ts";
import { orphans, orphansOf, untilWritten, FencedVenue } from "./support/fenced-venue.ts";

/**
 * What fills a gap in the log after it was opened: a worker that held the entry all the time. Its row is written, and its
 * ids are known again, but where one of them was sent once more meanwhile.
 */

/** A worker has the first of two orders in hand, and the log was opened without it, behind the gap. */
async function openBehindGap(t: TestContext) {
  const venue = await FencedVenue.open(t);
  const held = await venue.hold("held", "journaled");
  await venue.scene.persist(({ id }) => id === held.entries[1]!.id);
  await venue.scene.redis.flushall();
  await venue.log.appender.open();
  return { venue, ...held };
}

// Each of these waits for a gap to be filled.
suite("gaps that are filled late", { concurrency: true }, () => {
  test("I2, I4, I8: a worker may fill a gap in what was put back, however late; what is behind it is lost", async (t) => {
    const venue = await FencedVenue.open(t);
    const { scene, log } = venue;
    const { orders, events, entries } = await venue.hold("held-1", "held-2", "journaled", "held-3");
    await scene.persist(({ id }) => id === entries[2]!.id); // as another worker did
    await scene.redis.flushall();
    await log.appender.open();
    assert.equal(log.logged("GAP IN THE LOG"), 1);
    assert.equal((await log.one(order("next"))).outcome, "new");

    // The events of what is missing wait for its commands: nobody knows whether these ever come.
    events.release();
    await events.untilOrphaned(3);
    const gap = [entries[0]!, entries[1]!, entries[3]!];
    const ids = (letters: readonly { id: string }[]) => letters.map(({ id }) => id);
    assert.deepEqual(ids(await orphans(scene)), ids(gap));
    // They come, the engine goes on, and makes their events again.
    orders.release();
    await orders.untilOrphaned(1);
    await venue.untilWritten();
    assert.deepEqual(await venue.rows(), ["written", "held-1", "held-2", "journaled", "next"]);
    const letters = await orphans(scene);
    assert.deepEqual(
      letters.map(({ stream, id }) => [stream, id]),
      [[0, entries[3]!.id], ...gap.map(({ id }) => [1, id])],
    );
    for (const [i, name] of ["held-1", "held-2", "journaled"].entries()) {
      const again = await log.one(order(name));
      assert.deepEqual([again.outcome, entryIdOf(again.id)], ["duplicate", entries[i]!.id]);
    }
    await venue.assertFound("a gap in the log"); // in Redis: the journal has them
  });

  test("I2: the ids of what has filled a gap are put back by a later opening, where Redis has lost them again", async (t) => {
    const { venue, orders, entries } = await openBehindGap(t);
    const { scene, log } = venue;
    const { generation } = await readHead(scene.redis, scene.keys);
    const known = await scene.redis.hkeysBuffer(scene.keys.seen(generation));
    orders.release();
    await untilWritten(scene, "orders");
    assert.deepEqual(await orphans(scene), []);
    const recalled = (await scene.redis.hkeysBuffer(scene.keys.seen(generation))).filter(
      (key) => !known.some((other) => other.equals(key)),
    );
    assert.equal(recalled.length, 1);
    // As a replica is that was promoted before it had them.
    await scene.redis.hdel(scene.keys.seen(generation), ...recalled);
    await scene.redis.hdel(scene.keys.head, "run");
    const again = await log.one(order("held"));
    assert.deepEqual([again.outcome, entryIdOf(again.id)], ["duplicate", entries[0]!.id]);
  });

  test("I2, I4: an id that was sent again while its gap was open counts; the entry in hand is an orphan", async (t) => {
    const { venue, orders, entries } = await openBehindGap(t);
    const { scene, log } = venue;
    const again = await log.one(order("held"));
    assert.equal(again.outcome, "new");
    orders.release();
    await orders.untilOrphaned(1);
    await untilWritten(scene, "orders");
    assert.deepEqual(await venue.rows(), ["written", "journaled", "held"]);
    assert.deepEqual(await orphans(scene), orphansOf(0, [entries[0]!]));
    assert.deepEqual(await log.one(order("held")), { ...again, outcome: "duplicate" });
  });
});
