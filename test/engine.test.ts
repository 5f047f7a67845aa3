import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";

import { workEntry } from "../src/engine/entry-outcome.ts";
import { Engine } from "../src/engine/matching/engine.ts";
import type { MatchingEngine } from "../src/engine/matching/interface.ts";
import { EventKind, Reason } from "../src/engine/matching/sets.ts";
import { RULES } from "../src/engine/matching/rules.ts";
import type { EngineFactory } from "../src/engine/start.ts";
import { OrderStatus, Side, TimeInForce } from "../src/gen/penstock/v1/order_pb.ts";
import { prepareCancel, prepareRules, prepareVoid } from "../src/stream/prepared-command.ts";
import { decodeEventBatch } from "../src/stream/event-decoder.ts";
import { findStatus } from "../src/stream/order-status.ts";
import { formatEntryId } from "../src/stream/position.ts";
import { assertMatched, eventsOf, FileSnapshots, startEngine, untilMatched } from "./support/engine.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order, orders, type TestAppender } from "./support/log.ts";
import { until } from "./support/until.ts";

/** Servers, an appender, snapshots and a flow whose symbols are defined. */
async function setScene(t: TestContext, seed = 1) {
  const scene = await LogScene.set(t);
  const appender = scene.appender();
  await Flow.define(appender);
  return { scene, appender, snapshots: FileSnapshots.make(t), flow: new Flow(seed) };
}

test("I7, I8: each entry has one event entry of its ID, the same as a new engine makes of the log", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t);
  const { engine } = await startEngine(t, scene, { snapshots });
  await flow.append(appender, 150);
  await untilMatched(scene);
  await assertMatched(scene);

  await until("it is active", () => engine.status.state === "active");
  const { position, stateHash, openOrders, rules } = engine.status;
  const newest = (await eventsOf(scene)).at(-1)!;
  assert.equal(formatEntryId(position!), newest.id);
  assert.equal(stateHash, decodeEventBatch(newest.payload).stateHash);
  assert.equal(rules, 1);
  const { result, position: readAt } = await engine.read((matching) => matching.openOrders);
  assert.deepEqual([result, readAt.ms], [openOrders, position!.ms]);
  assert.equal(engine.trouble, undefined);
});

test("I7: from every snapshot the same events follow, byte for byte", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 2);
  const first = await startEngine(t, scene, { snapshots, snapshotCommands: 100 });
  await flow.append(appender, 120);
  await untilMatched(scene);
  await first.stop();
  const taken = snapshots.all();
  assert.ok(taken.length >= 4, `${taken.length} snapshots`);
  assert.equal(await scene.redis.hget(scene.keys.engine, "snapshot"), formatEntryId(taken[0]!));

  const entries = await scene.entries();
  const events = await eventsOf(scene);
  for (const snapshot of taken) {
    const engine = Engine.restore(snapshot.data);
    const from = entries.findIndex(({ id }) => id === formatEntryId(snapshot)) + 1;
    for (let i = from; i < entries.length; i++) {
      assert.ok(workEntry(engine, 0, entries[i]!, false).payload.equals(events[i]!.payload), entries[i]!.id);
    }
  }

  // And so does the process, from the newest, and from the oldest where the others are damaged.
  for (const damaged of [0, taken.length - 1]) {
    const store = {
      async *newest() {
        for (const [i, snapshot] of taken.entries()) {
          const data = Uint8Array.from(snapshot.data);
          if (i < damaged) data[data.length >> 1]! ^= 1;
          yield { ...snapshot, data };
        }
      },
      save: async () => {},
    };
    const again = await startEngine(t, scene, { snapshots: store });
    await flow.append(appender, 5);
    await untilMatched(scene);
    assert.equal(again.logged("passed over a snapshot that is damaged"), damaged);
    assert.deepEqual(again.engine.status.snapshot, (({ epoch, ms, seq }) => ({ epoch, ms, seq }))(taken[damaged]!));
    await again.stop();
  }
  await assertMatched(scene);
});

test("a snapshot that does not lie on the chain is passed over", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 3);
  const first = await startEngine(t, scene, { snapshots, snapshotCommands: 50 });
  await flow.append(appender, 30);
  await untilMatched(scene);
  await until("there are some", () => snapshots.all().length >= 2);
  await first.stop();
  const [newest, next] = snapshots.all();
  await snapshots.save(0, { ...newest!, entryHash: Buffer.alloc(32) });
  const again = await startEngine(t, scene, { snapshots });
  await flow.append(appender, 5);
  await untilMatched(scene);
  assert.equal(again.logged("passed over a snapshot that does not lie on the chain"), 1);
  assert.equal(again.engine.status.snapshot?.ms, next!.ms);
  await assertMatched(scene);
});

test("at a switch of rules a snapshot is kept", async (t) => {
  const { scene, appender, snapshots } = await setScene(t);
  const rules = new Map([...RULES, [2, RULES.get(1)!]]);
  const engines: EngineFactory = {
    create: () => new Engine(rules),
    restore: (data) => Engine.restore(data, rules),
  };
  const { engine } = await startEngine(t, scene, { snapshots, engines });
  await appender.append(...orders("before", 3));
  await appender.append(prepareRules("root", "switch", 2));
  const [entry] = (await scene.entries()).slice(-1);
  await appender.append(...orders("after", 3));
  await untilMatched(scene);
  await until("it is stored", () => snapshots.all().length > 0);
  const [kept] = snapshots.all();
  assert.deepEqual([kept!.kept, kept!.rules, formatEntryId(kept!)], [true, 2, entry!.id]);
  assert.equal(engine.status.rules, 2);
  await assertMatched(scene, undefined, new Engine(rules));
});

test("where no snapshot can be taken, every entry has its events all the same (I8)", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 5);
  class Poor extends Engine {
    override snapshot(): Uint8Array {
      throw new RangeError("Array buffer allocation failed");
    }
  }
  const engines: EngineFactory = { create: () => new Poor(), restore: (data) => Engine.restore(data) };
  const engine = await startEngine(t, scene, { snapshots, snapshotCommands: 20, engines });
  await flow.append(appender, 30);
  await untilMatched(scene);
  await assertMatched(scene);
  assert.ok(engine.logged("no snapshot could be taken") > 1, "it is tried again when the next one is due");
  assert.deepEqual(snapshots.all(), []);
});

test("where the newest event of an order stands is found in Redis, for two generations of orders", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 4);
  const { engine } = await startEngine(t, scene, { snapshots });
  await flow.append(appender, 60);
  await untilMatched(scene);
  await until("nothing is due any more", async () => (await engine.read(({ nextDue }) => nextDue)).result === Infinity);
  const newest = new Map<string, string>();
  for (const { id, payload } of await eventsOf(scene)) {
    for (const [index, event] of decodeEventBatch(payload).events.entries()) {
      if (event.kind === EventKind.EXECUTION) newest.set(event.orderId, `${id} ${index}`);
    }
  }
  assert.ok(newest.size > 100);
  for (const [orderId, place] of newest) {
    const found = await findStatus(scene.redis, scene.keys, orderId);
    assert.equal(`${formatEntryId(found!)} ${found!.index}`, place, orderId);
    assert.equal(found!.event.orderId, orderId);
  }
  assert.equal(await findStatus(scene.redis, scene.keys, "no order id"), undefined);
});

test("what is known of orders in Redis is bounded: two generations of so many", async (t) => {
  const { scene, appender, snapshots } = await setScene(t);
  await startEngine(t, scene, { snapshots, statusGenerationOrders: 10 });
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) {
    ids.push(...(await appender.append(...orders(`generation-${i}`, 10))).map(({ id }) => id));
    await untilMatched(scene);
  }
  const known = await Promise.all(ids.map((id) => findStatus(scene.redis, scene.keys, id)));
  assert.deepEqual(
    known.map((found) => found?.event.status),
    [...Array.from({ length: 30 }, () => undefined), ...Array.from({ length: 20 }, () => OrderStatus.NEW)],
  );
});

test("a GTD order expires by a tick where nothing else comes, and two engines append one of them (I8)", async (t) => {
  const { scene, appender, snapshots } = await setScene(t);
  const pair = [await startEngine(t, scene, { snapshots }), await startEngine(t, scene, { snapshots })];
  const expireTime = Date.now() + 400;
  const { id } = (
    await appender.append(order("due", { timeInForce: TimeInForce.GTD, expireTime, side: Side.BUY }))
  )[0]!;
  await untilMatched(scene);
  await until("it has expired", async () => {
    const found = await findStatus(scene.redis, scene.keys, id);
    return found?.event.status === OrderStatus.EXPIRED && found.event.reason === Reason.DUE;
  });
  // Both have come to the same; whoever did not tick, saw the tick.
  await until("both have seen it", () => pair.every(({ engine }) => engine.status.openOrders === 0));
  assert.equal(pair[0]!.ticks + pair[1]!.ticks, 1);
  const entries = await scene.entries();
  assert.equal(entries.length, 4, "two definitions, the order, one tick");
  assert.ok(entries[3]!.ms >= expireTime);

  // The chain goes on: an ingest that knows nothing of the tick appends behind it.
  await appender.append(order("behind"));
  await untilMatched(scene);
  await assertMatched(scene);
});

test("an engine that comes to another state than the events say stops, and writes nothing more", async (t) => {
  const { scene, appender, snapshots, flow } = await setScene(t, 5);
  const first = await startEngine(t, scene, { snapshots });
  await flow.append(appender, 10);
  await untilMatched(scene);
  await first.stop();

  await appender.append(...orders("wrong", 3));
  const { id, epoch, previous } = (await scene.entries()).at(-1)!;
  const { payload } = (await eventsOf(scene)).at(-1)!;
  await scene.redis.xadd(scene.keys.events, id, "d", payload, "p", formatEntryId(previous), "e", epoch, "v", 1);
  const again = await startEngine(t, scene, { snapshots });
  await until("it has stopped", () => again.engine.status.state === "stopped");
  assert.match(again.engine.status.detail, /^DIVERGENCE/);
  assert.match(again.engine.trouble?.message ?? "", new RegExp(id));
  assert.equal(again.divergences, 1);
  assert.equal(again.logged("STOPPED"), 1);
  await appender.append(...orders("more", 3));
  await assert.rejects(
    again.engine.read((engine) => engine.openOrders),
    { name: "EngineUnavailableError" },
  );
  assert.equal((await eventsOf(scene)).at(-1)!.id, id);
  assert.equal(again.appended, 0);
});

/** Throws in the middle of an entry that has an order of this client order id. */
class Brittle extends Engine {
  override apply(entry: Parameters<MatchingEngine["apply"]>[0]): ReturnType<MatchingEngine["apply"]> {
    const outcome = super.apply(entry);
    const isPoison = entry.commands.some((each) => each.kind === "submit" && each.submit.clientOrderId === "poison");
    if (isPoison) throw new Error("a mistake in the code");
    return outcome;
  }
}

const BRITTLE: EngineFactory = { create: () => new Brittle(), restore: (data) => Engine.restore(data) };

async function appendPoison(appender: TestAppender): Promise<string> {
  await appender.append(order("before"));
  const [poison] = await appender.append(
    order("poison"),
    prepareCancel("demo", "with it", "BTC-USD", { case: "clientOrderId", value: "before" }),
  );
  return poison!.id;
}

test("an entry that cannot be worked stops the partition until it is voided; then all goes on, in every replay (I7)", async (t) => {
  const { scene, appender, snapshots } = await setScene(t);
  const first = await startEngine(t, scene, { snapshots, engines: BRITTLE });
  const poisonId = await appendPoison(appender);
  const poison = (await scene.entries()).at(-1)!;
  await appender.append(order("behind"));
  await until("it has stopped", () => first.engine.status.state === "stopped");
  assert.equal(first.engine.status.unworkable, poison.id);
  const events = await eventsOf(scene);
  assert.equal(events.at(-1)!.id, formatEntryId(poison.previous), "what came before has its events");

  // A void of another entry changes nothing.
  await appender.append(prepareVoid("root", "other", formatEntryId(poison.previous), "not this one"));
  await appender.append(prepareVoid("root", "this", poison.id, "the engine cannot work it"));
  await untilMatched(scene);
  await until("it goes on", () => first.engine.status.state === "active");
  const voided = decodeEventBatch((await eventsOf(scene)).find(({ id }) => id === poison.id)!.payload);
  assert.deepEqual(
    voided.events.map(({ kind, reason, orderId }) => [kind, reason, orderId]),
    [
      [EventKind.EXECUTION, Reason.VOIDED, poisonId],
      [EventKind.CANCEL_REJECT, Reason.VOIDED, ""],
    ],
  );
  await first.stop();

  // An engine that could work it comes to the same. What was voided too late was not voided: its events say so.
  const second = await startEngine(t, scene, { snapshots });
  await appender.append(order("last"));
  await untilMatched(scene);
  assert.equal(second.divergences, 0);
  await second.stop();
  const engine = new Engine();
  for (const [i, entry] of (await scene.entries()).entries()) {
    const { payload } = workEntry(engine, 0, entry, entry.id === poison.id);
    assert.ok(payload.equals((await eventsOf(scene))[i]!.payload));
  }
});

test("an engine that can work what another one cannot takes over; a void that comes after that changes nothing", async (t) => {
  const { scene, appender, snapshots } = await setScene(t);
  const brittle = await startEngine(t, scene, { snapshots, engines: BRITTLE });
  await appender.append(order("one"));
  await untilMatched(scene);
  const other = await startEngine(t, scene, { snapshots });
  await appendPoison(appender);
  const poison = (await scene.entries()).at(-1)!;
  await appender.append(order("behind"));
  await untilMatched(scene);
  await until("it has stopped", () => brittle.engine.status.state === "stopped");
  assert.equal(brittle.engine.status.unworkable, poison.id);
  await assert.rejects(
    brittle.engine.read((engine) => engine.openOrders),
    { name: "EngineUnavailableError" },
  );

  await appender.append(prepareVoid("root", "late", poison.id, "too late"));
  await untilMatched(scene);
  const tooLate = /which another engine has worked before it was voided/;
  await until("it stops for good", () => tooLate.test(brittle.engine.status.detail));
  assert.equal(brittle.engine.status.unworkable, undefined);
  await other.stop();
  // The log alone would now say that it was voided; the events say that it was not.
  const again = await startEngine(t, scene, { snapshots });
  await appender.append(order("last"));
  await untilMatched(scene);
  assert.equal(again.divergences, 0);
});
