import assert from "node:assert/strict";
import { test } from "node:test";

import { readHead } from "../src/stream/head.ts";
import { formatEntryId } from "../src/stream/position.ts";
import { LogScene, order, orders } from "./support/log.ts";
import { entryIdOf, epochOf, ids, outcomes, refusedAs, unique } from "./support/placements.ts";
import { Proxy } from "./support/proxy.ts";

/**
 * The log is opened on a server that came back without what it acknowledged last. What is lost here is lost for good: the
 * server is killed, and its files are replaced by older ones.
 */

test("I1, I3, I11: a Redis that comes back without its tail", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.define("BTC-USD");
  const kept = await log.append(...orders("kept", 3));
  const putBack = await scene.snapshot();
  const journaled = [
    await log.append(...orders("journaled-a", 2)),
    await log.append(...orders("journaled-b", 2)),
  ].flat();
  await scene.persist();
  const gone = await log.one(order("gone"));
  await putBack();

  const after = await log.one(order("after"));
  assert.equal(after.outcome, "new");
  assert.equal(epochOf(after), 2);
  const logged = await scene.orders();
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids([...kept, ...journaled, after]),
    "entries that the journal had are back, IDs kept",
  );
  const lastBack = entryIdOf(journaled.at(-1)!.id);
  assert.deepEqual(log.losses, [{ acknowledged: entryIdOf(gone.id), base: lastBack }], "what nobody has is reported");
  assert.equal(formatEntryId((await readHead(scene.redis, scene.keys)).base), lastBack);

  // The idempotency keys are back with the entries.
  const again = await log.append(
    ...orders("journaled-a", 2),
    order("journaled-b-1", { price: 5 }),
    order("kept-0"),
    order("gone"),
  );
  assert.deepEqual(outcomes(again), ["duplicate", "duplicate", "conflict", "duplicate", "new"]);
  assert.deepEqual(ids(again.slice(0, 2)), ids(journaled.slice(0, 2)));
  assert.ok(unique(ids([...kept, ...journaled, gone, after, again[4]!])), "no id is made twice");
});

test("a lost tail is noticed by who had its answer, even where others went on behind it (I4)", async (t) => {
  const scene = await LogScene.set(t);
  const [knows, other] = [scene.appender(), scene.appender()];
  await other.one(order("kept"));
  const putBack = await scene.snapshot();
  const gone = await knows.one(order("gone"));
  await putBack();
  await other.one(order("behind it"));
  await other.one(order("further behind it"));
  assert.deepEqual(other.losses, []);
  const next = await knows.one(order("next"));
  assert.deepEqual(
    knows.losses.map(({ acknowledged }) => acknowledged),
    [entryIdOf(gone.id)],
  );
  await knows.one(order("and on"));
  assert.equal(knows.losses.length, 1, "it is said once");
  const logged = await scene.orders();
  assert.ok(unique([gone.id, ...logged.map(({ id }) => id)]));
  assert.ok(logged.some(({ id }) => id === next.id));
});

test("a lost tail raises the epoch also where one process put all of it back and another one opened the log (I3)", async (t) => {
  const scene = await LogScene.set(t);
  await scene.appender().one(order("kept"));
  const putBack = await scene.snapshot();
  await scene.appender().one(order("journaled"));
  await scene.persist();
  await putBack();
  const proxy = await Proxy.start(t, scene.server.url);
  const first = scene.appender({ url: proxy.url });
  let ones = 0; // there is a stream; the log is shut; there is one key; the entry is put back
  const lost = proxy.swallow((answer) => answer.toString() === ":1\r\n" && ++ones === 4);
  const failed = assert.rejects(first.appender.open());
  await lost;
  await failed;
  assert.equal((await scene.orders()).length, 2);
  const { head } = await scene.appender().appender.open();
  assert.deepEqual([head.epoch, head.restored], [2, undefined]);
});

test("I11: an instrument whose answer was lost with the tail is not called changed by somebody else", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const defined = assert.rejects(log.define("BTC-USD"), refusedAs("unknown"));
  await lost;
  proxy.closed = true;
  await scene.persist();
  await scene.server.restart({ empty: true });
  proxy.closed = false;
  await defined;
});

test("a flush that was lost with the tail, but journaled, keeps its first place when it is sent again (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const putBack = await scene.snapshot();
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const answer = log.one(order("lost answer"));
  await lost;
  proxy.closed = true;
  const [, inTheLog] = await scene.orders();
  await scene.persist();
  await putBack();
  proxy.closed = false;
  assert.equal((await answer).id, inTheLog!.id);
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["before", "lost answer"],
  );
});
