import assert from "node:assert/strict";
import { cp, rm } from "node:fs/promises";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";

import { InstrumentSchema } from "../src/gen/penstock/v1/instrument_pb.ts";
import { AppendError } from "../src/stream/append-error.ts";
import { prepareInstrument } from "../src/stream/prepared-command.ts";
import type { PreparedCommand } from "../src/stream/prepared-command.ts";
import { DurabilityError, verifyDurability } from "../src/stream/durability.ts";
import type { Durability } from "../src/stream/durability.ts";
import type { Placement } from "../src/stream/flush.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { readHead } from "../src/stream/head.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { findSeen } from "../src/stream/lookup.ts";
import { checkPartitionCount, claimPartitionCount } from "../src/stream/partition-count.ts";
import { Partitioning } from "../src/stream/partition.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { readGroups } from "../src/stream/status.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { connect } from "../src/store/connection.ts";
import { LogScene, order, orders, patient, TestAppender } from "./support/log.ts";
import { eventually, Ingest } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { RedisWire } from "./support/redis-wire.ts";
import { startTestRedis } from "./support/servers.ts";
import { TestWorker } from "./support/worker.ts";

/**
 * The log is opened on a server that restarted, lost its tail, or lost everything. What is lost here is lost for good:
 * servers are killed, and their files replaced by older ones.
 */

const ids = (placements: readonly Placement[]) => placements.map(({ id }) => id);
const unique = (values: readonly string[]) => new Set(values).size === values.length;
const entryIdOf = (orderId: string) => formatEntryId(parseOrderId(orderId)!);
const epochOf = ({ id }: Placement) => parseOrderId(id)!.epoch;

function refusedAs(code: AppendError["code"]): (error: unknown) => boolean {
  return (error) => error instanceof AppendError && error.code === code;
}

/** The server as it is now, to be put back later. */
async function snapshot(t: TestContext, { server }: LogScene): Promise<() => Promise<void>> {
  const copy = `${server.folder}-copy`;
  await cp(server.folder, copy, { recursive: true });
  t.after(() => rm(copy, { recursive: true, force: true }));
  return async () => {
    await server.kill();
    await rm(server.folder, { recursive: true });
    await cp(copy, server.folder, { recursive: true });
    await server.start();
  };
}

async function restartAfterKill({ server }: LogScene): Promise<void> {
  await server.kill();
  await server.start();
}

function instrument(symbol: string, version = 1) {
  const definition = create(InstrumentSchema, { symbol, tickSize: "0.01", lotSize: "1", version });
  return {
    command: prepareInstrument("root", definition),
    encoded: Buffer.from(toBinary(InstrumentSchema, definition)),
  };
}

async function define({ appender }: TestAppender, symbol: string): Promise<void> {
  const { command, encoded } = instrument(symbol);
  await appender.append([command], patient, { symbol, present: Buffer.alloc(0), next: encoded });
}

test("the first start: epoch 1, the groups at the beginning; two that open at once agree", async (t) => {
  const scene = await LogScene.set(t);
  const [a, b] = [scene.appender(), scene.appender()];
  const [first, second] = await Promise.all([a.appender.open(), b.appender.open()]);
  assert.deepEqual(first, second);
  const { epoch, generation, last, base } = first.head;
  assert.deepEqual(
    { epoch, generation, last, base },
    { epoch: 1, generation: 1, last: { ms: 0, seq: 0 }, base: { ms: 0, seq: 0 } },
  );
  for (const stream of [scene.keys.orders, scene.keys.events]) {
    const [group] = (await scene.redis.xinfo("GROUPS", stream)) as string[][];
    assert.deepEqual([group![1], group![group!.indexOf("last-delivered-id") + 1]], [PERSIST_GROUP, "0-0"], stream);
  }
  assert.equal(a.logged("opened the log") + b.logged("opened the log"), 1);
});

test("I1, I11: a Redis that is killed under load and restarts: what was acknowledged is there, once, in the same epoch", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const acknowledged: Placement[] = [];
  const unknown: number[] = [];
  let stop = false;
  let sent = 0;
  const client = async (): Promise<void> => {
    while (!stop) {
      const n = sent++;
      await log.one(order(`o-${n}`)).then(
        (placement) => acknowledged.push(placement),
        (error: unknown) =>
          unknown.push(refusedAs("unknown")(error) || refusedAs("unavailable")(error) ? n : Number.NaN),
      );
    }
  };
  const clients = Array.from({ length: 20 }, client);
  for (let round = 1; round <= 2; round++) {
    const before = acknowledged.length;
    await eventually(async () => acknowledged.length > before + 200, "some orders");
    await restartAfterKill(scene);
  }
  const before = acknowledged.length;
  await eventually(async () => acknowledged.length > before + 200, "orders after the restart");
  stop = true;
  await Promise.all(clients);

  const logged = await scene.orders();
  assert.ok(unique(logged.map(({ clientOrderId }) => clientOrderId)));
  const there = new Set(logged.map(({ id }) => id));
  assert.deepEqual(
    acknowledged.filter(({ id }) => !there.has(id)),
    [],
  );
  assert.ok(unique(ids(acknowledged)));
  assert.equal(
    (await readHead(scene.redis, scene.keys)).epoch,
    1,
    "with appendfsync always nothing can have been lost",
  );
  assert.deepEqual(log.losses, []);
  assert.ok(unknown.every(Number.isFinite));
  // What is left open is told by the same id.
  for (const n of unknown) await log.one(order(`o-${n}`));
  assert.ok(unique((await scene.orders()).map(({ clientOrderId }) => clientOrderId)));
});

test("a server that restarted does not overstate how far a group is behind", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  for (let n = 0; n < 30; n++) await log.one(order(`o-${n}`));
  const read = (entries: number) =>
    redis.xreadgroup("GROUP", PERSIST_GROUP, "reader", "COUNT", entries, "STREAMS", keys.orders, ">");
  const lag = async () => (await readGroups(redis, keys.orders))[0]!.lag;
  await read(5);
  assert.equal(await lag(), 25);
  await redis.bgrewriteaof();
  const isRewriting = async () => (await redis.info("persistence")).includes("aof_rewrite_in_progress:1");
  await eventually(async () => !(await isRewriting()), "the file to be rewritten");
  await read(20);
  await restartAfterKill(scene);
  await log.one(order("o-30"));
  assert.ok([-1, 6].includes(await lag()), "six are left, or it is not known");
  await read(3);
  assert.ok([-1, 3].includes(await lag()));
  await read(3);
  await log.one(order("o-31"));
  assert.equal(await lag(), 1);
});

test("where a restart may lose something the epoch is raised, so that no id can be made twice (I3)", async (t) => {
  const scene = await LogScene.set(t, ["--appendfsync", "everysec"]);
  const durability: Durability = { level: "everysec", replicas: 0, replicaTimeoutMs: 1_000 };
  const log = scene.appender({ durability });
  const first = await log.one(order("first"));
  await scene.server.restart(); // cleanly: all of it is there
  const second = await log.one(order("second"));
  assert.deepEqual([epochOf(first), epochOf(second)], [1, 2]);
  assert.deepEqual(
    (await scene.orders()).map(({ id }) => id),
    ids([first, second]),
  );
  const { base } = await readHead(scene.redis, scene.keys);
  assert.equal(formatEntryId(base), entryIdOf(first.id));
  assert.deepEqual(log.losses, []);
});

test("a flush whose answer was lost together with the server's run is answered from the log (I1, I2)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const lost = proxy.swallow((answer) => answer.includes("OK"));
  const answer = log.one(order("lost answer"));
  await lost;
  await restartAfterKill(scene);
  const placement = await answer;
  assert.equal(placement.outcome, "new");
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["before", "lost answer"],
  );
  assert.equal((await scene.orders())[1]!.id, placement.id);
});

test("I1, I3, I11: a Redis that comes back without its tail", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await define(log, "BTC-USD");
  const kept = await log.append(...orders("kept", 3));
  const putBack = await snapshot(t, scene);
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
  assert.deepEqual(
    again.map(({ outcome }) => outcome),
    ["duplicate", "duplicate", "conflict", "duplicate", "new"],
  );
  assert.deepEqual(ids(again.slice(0, 2)), ids(journaled.slice(0, 2)));
  assert.ok(unique(ids([...kept, ...journaled, gone, after, again[4]!])), "no id is made twice");
});

test("a lost tail is noticed by who had its answer, even where others went on behind it (I4)", async (t) => {
  const scene = await LogScene.set(t);
  const [knows, other] = [scene.appender(), scene.appender()];
  await other.one(order("kept"));
  const putBack = await snapshot(t, scene);
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
  const putBack = await snapshot(t, scene);
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

test("a flush that was lost with the tail, but journaled, keeps its first place when it is sent again (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const proxy = await Proxy.start(t, scene.server.url);
  const log = scene.appender({ url: proxy.url });
  await log.one(order("before"));
  const putBack = await snapshot(t, scene);
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

test("I2, I3, I5: a Redis that comes back empty: the log, its keys and the instruments come from the journal", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const worker = new TestWorker({ redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  t.after(() => worker.stop());
  await worker.worker.start();
  await define(log, "BTC-USD");
  // A clock that was an hour ahead when these were logged, as seen from a server that starts anew.
  await redis.xsetid(keys.orders, `${Date.now() + 3_600_000}-0`);
  const first = await log.append(...orders("first", 3));
  const second = await log.append(...orders("second", 2));
  const rows = async () => Number((await scene.sql`SELECT count(*)::int AS count FROM orders`)[0]!["count"]);
  await eventually(async () => (await rows()) === 5, "the rows");
  const before = (await scene.entries()).map(({ id, payload }) => ({ id, payload }));
  const definitions = await redis.hgetallBuffer(keys.instruments);
  await worker.stop();

  await scene.server.kill();
  await scene.server.restart({ empty: true });
  const third = await log.one(order("third"));
  assert.equal(third.outcome, "new");
  assert.equal(epochOf(third), 2);
  assert.ok(third.ms >= second[0]!.ms, "IDs never go back, though the clock is behind");
  const logged = await scene.orders();
  assert.deepEqual(
    logged.map(({ id }) => id),
    ids([...first, ...second, third]),
  );
  assert.deepEqual(
    (await scene.entries()).slice(0, -1).map(({ id, payload }) => ({ id, payload })),
    before,
  );
  assert.deepEqual(await redis.hgetallBuffer(keys.instruments), definitions);
  assert.deepEqual(log.losses, []);
  const again = await log.append(...orders("first", 3), order("second-0", { price: 1 }));
  assert.deepEqual(
    again.map(({ outcome }) => outcome),
    ["duplicate", "duplicate", "duplicate", "conflict"],
  );

  // The group is there again and begins at the beginning; the receipts absorb what comes again.
  const successor = new TestWorker({ redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
  t.after(() => successor.stop());
  await successor.worker.start();
  await eventually(async () => (await rows()) === 6, "the new row");
  await eventually(async () => (await redis.xpending(keys.orders, PERSIST_GROUP))[0] === 0, "all to be acknowledged");
  assert.equal(await rows(), 6);
  assert.equal(await successor.count("dead_letters_total"), 0);
  assert.equal(successor.logged("GROUP LOST"), 0);
});

/** Longer than an opening takes on a busy machine. */
const SLOW_MS = 1_000;

test("what a worker has in hand when the log is lost is waited for, and put back (I1, I4)", async (t) => {
  const scene = await LogScene.set(t);
  const { sql, redis } = scene;
  const log = scene.appender({ settleMs: SLOW_MS });
  await log.one(order("written"));
  await scene.persist();
  await log.one(order("in hand"));
  const [, inHand] = await scene.entries();
  const { epoch, ms, seq, previous, payload } = inHand!;
  await redis.flushall();
  const next = log.one(order("next"));
  await sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
    VALUES (0, 0, ${epoch}, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 1, sha256(${payload}), ${payload})`;
  assert.equal(epochOf(await next), 2);
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["written", "in hand", "next"],
  );
  assert.deepEqual(log.losses, []);
});

test("what is older than the replay horizon comes back as keys only, what is older than both not at all; IDs go on behind", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const writing = scene.appender();
  const old = await writing.append(...orders("old", 3));
  await eventually(async () => Date.now() > old[0]!.ms + 2 * SLOW_MS, "some time to pass");
  const recent = await writing.one(order("recent"));
  await scene.persist();
  const horizon = () => Date.now() - recent.ms;

  await scene.server.restart({ empty: true });
  const keysOnly = scene.appender({ replayHorizonMs: 0 });
  const next = await keysOnly.one(order("next"));
  assert.equal(epochOf(next), 2);
  const [entry] = await scene.entries();
  assert.equal((await scene.entries()).length, 1);
  assert.equal(formatEntryId(entry!.previous), entryIdOf(recent.id), "the chain goes on from what was not put back");
  assert.equal((await keysOnly.one(order("old-1"))).id, old[1]!.id);
  assert.equal((await keysOnly.one(order("recent"))).id, recent.id);

  await scene.server.restart({ empty: true });
  const nothing = scene.appender({ replayHorizonMs: 0, idempotencyHorizonMs: 0 });
  const { head } = await nothing.appender.open();
  assert.equal(formatEntryId(head.last), entryIdOf(recent.id));
  assert.equal(head.epoch, 3, "epoch 2 was never journaled, but its fence stands");
  assert.equal(await redis.xlen(keys.orders), 0);
  const last = await nothing.one(order("last"));
  assert.ok(last.ms > recent.ms);

  await scene.server.restart({ empty: true });
  const partly = scene.appender({
    replayHorizonMs: horizon() + SLOW_MS,
    idempotencyHorizonMs: horizon() + SLOW_MS,
  });
  await partly.appender.open();
  assert.deepEqual(
    (await scene.entries()).map(({ id }) => id),
    [entryIdOf(recent.id)],
    "no gap: what is missing is too old",
  );
  assert.equal(partly.logged("GAP"), 0);
});

test("however much there is to put back, the keys stay within their bound, and the newest are kept (I2)", async (t) => {
  const scene = await LogScene.set(t);
  const writing = scene.appender();
  const placements: Placement[] = [];
  for (let i = 0; i < 250; i++) placements.push(await writing.one(order(`o-${i}`)));
  await scene.persist();
  await scene.server.restart({ empty: true });
  const bounded = scene.appender({ generationKeys: () => 40 });
  const { head } = await bounded.appender.open();
  assert.equal(head.generation, 7);
  const { keys, redis } = scene;
  assert.deepEqual((await redis.keys("*seen*")).sort(), [keys.seen(6), keys.seen(7)]);
  assert.deepEqual([await redis.hlen(keys.seen(6)), await redis.hlen(keys.seen(7))], [40, 10]);
  assert.equal((await scene.entries()).length, 250);
  for (const i of [200, 239, 240, 249]) assert.equal((await bounded.one(order(`o-${i}`))).id, placements[i]!.id);
  assert.equal((await bounded.one(order("o-199"))).outcome, "new");
});

test("two that open an emptied log at once put everything back once; one that is cut off in the middle is taken over", async (t) => {
  const scene = await LogScene.set(t);
  const writing = scene.appender();
  for (let i = 0; i < 230; i++) await writing.one(order(`o-${i}`));
  await scene.persist();
  const wanted = await scene.orders();
  await scene.server.restart({ empty: true });
  const proxy = await Proxy.start(t, scene.server.url);
  const cutOff = scene.appender({ url: proxy.url });
  let ones = 0; // the log is shut; the first entries are put back
  const lost = proxy.swallow((answer) => answer.toString().startsWith(":1\r\n") && ++ones === 2);
  const failed = assert.rejects(cutOff.appender.open());
  await lost;
  await failed;
  const [a, b] = [scene.appender(), scene.appender()];
  const opened = await Promise.all([a.appender.open(), b.appender.open(), cutOff.appender.open()]);
  assert.deepEqual(await scene.orders(), wanted);
  for (const { head } of opened) assert.deepEqual(head, opened[0].head);
  assert.equal(opened[0].head.epoch, 2);
});

test("several partitions: each gets back its own entries and its own instruments", async (t) => {
  const scene = await LogScene.set(t);
  const partitioning = new Partitioning(2);
  const symbolOf = (partition: number) => ["A", "B", "C", "D"].find((symbol) => partitioning.of(symbol) === partition)!;
  const logs = [0, 1].map((partition) => scene.appender({ keys: new PartitionKeys(partition), partitions: 2 }));
  for (const [partition, log] of logs.entries()) {
    await define(log, symbolOf(partition));
    await log.one(order("o", { symbol: symbolOf(partition) }));
    await scene.persist(undefined, new PartitionKeys(partition));
  }
  await scene.server.restart({ empty: true });
  for (const [partition, log] of logs.entries()) {
    const keys = new PartitionKeys(partition);
    await log.appender.open();
    assert.deepEqual(await scene.redis.hkeys(keys.instruments), [symbolOf(partition)]);
    assert.equal((await scene.orders(keys)).length, 1);
  }
});

test("an instrument that Redis has in an older version, or lacks, is put back; a newer one stays", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  await define(log, "OLDER");
  await define(log, "NEWER");
  await scene.persist();
  const encoded = await redis.hgetBuffer(keys.instruments, "OLDER");
  await redis.hset(keys.instruments, "OLDER", instrument("OLDER", 0).encoded, "NEWER", instrument("NEWER", 7).encoded);
  const counted = Number(await redis.hget(keys.head, "defined"));
  await redis.hset(keys.head, "run", "0".repeat(40));
  await log.one(order("opens it again"));
  assert.deepEqual(await redis.hgetBuffer(keys.instruments, "OLDER"), encoded);
  assert.deepEqual(await redis.hgetBuffer(keys.instruments, "NEWER"), instrument("NEWER", 7).encoded);
  assert.ok(Number(await redis.hget(keys.head, "defined")) > counted, "so that it is read again");
});

test("entries that cannot be decoded come back as they are, and what was none of ours does not", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const log = scene.appender();
  const { id } = await log.one(order("good"));
  const head = await readHead(redis, keys);
  const bad = await redis.xadd(keys.orders, "*", "d", "\x08", "p", formatEntryId(head.last), "e", 1, "v", 1);
  await redis.hset(keys.head, "last", bad!);
  await scene.persist();
  await scene.sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
    VALUES (0, 0, 0, ${Date.now()}, 0, 0, 0, 0, 0, sha256(''), '')`; // as consumers/record.ts keeps what is no entry
  await scene.server.restart({ empty: true });
  const next = await log.one(order("next"));
  assert.deepEqual(
    (await scene.entries()).map((entry) => entry.id),
    [entryIdOf(id), bad, entryIdOf(next.id)],
  );
  assert.equal((await log.one(order("good"))).outcome, "duplicate");
});

test("a stream that was deleted under a running server: opened again, with a higher epoch (I3)", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  const first = await log.one(order("first"));
  await scene.persist();
  await scene.redis.del(scene.keys.orders);
  const second = await log.one(order("second"));
  assert.deepEqual([epochOf(first), epochOf(second)], [1, 2]);
  const [entry] = await scene.entries();
  assert.equal(formatEntryId(entry!.previous), entryIdOf(first.id), "the chain names what is missing");

  await scene.redis.flushall();
  const third = await log.one(order("third"));
  assert.equal(third.outcome, "new");
  assert.equal(log.losses.length, 1, "the second one was not journaled");
  assert.ok(unique(ids([first, second, third])));
});

test("where an older epoch left entries behind the point at which a newer one began, the newer one's are the log", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.one(order("kept"));
  await scene.persist();
  const putBack = await snapshot(t, scene);
  await log.append(order("orphan-1"));
  await log.append(order("orphan-2"));
  const orphans = await scene.entries();
  await putBack();
  const after = [await log.one(order("after-1")), await log.one(order("after-2"))];
  assert.equal(epochOf(after[0]!), 2);
  await scene.persist();
  // A worker that held the orphans commits only now.
  for (const { ms, seq, previous, payload } of orphans.slice(1)) {
    await scene.sql`
      INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
      VALUES (0, 0, 1, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 1, sha256(${payload}), ${payload})`;
  }
  await scene.server.restart({ empty: true });
  await log.appender.open();
  assert.deepEqual(
    (await scene.orders()).map(({ clientOrderId }) => clientOrderId),
    ["kept", "after-1", "after-2"],
  );
  assert.equal(log.logged("GAP"), 0);
});

/** A server with each setting that a level does not take, and what is said of it. */
const LEVEL: Durability = { level: "always", replicas: 0, replicaTimeoutMs: 1_000 };
const FAULTS: readonly [Durability["level"], readonly [string, string | number][], string[]][] = [
  ["always", [["appendonly", "no"]], ["appendonly is no, must be yes"]],
  ["always", [["appendfsync", "everysec"]], ["appendfsync is everysec, must be always"]],
  ["always", [["no-appendfsync-on-rewrite", "yes"]], ["no-appendfsync-on-rewrite is yes, must be no"]],
  ["always", [["maxmemory", 0]], ["maxmemory is 0, must be set"]],
  ["always", [["maxmemory-policy", "allkeys-lru"]], ["maxmemory-policy is allkeys-lru, must be noeviction"]],
  [
    "always",
    [
      ["appendfsync", "no"],
      ["maxmemory", 0],
    ],
    ["appendfsync is no, must be always", "maxmemory is 0, must be set"],
  ],
  ["replicas", [["min-replicas-to-write", 1]], ["min-replicas-to-write is 1, must be 2 or more"]],
  [
    "replicas",
    [
      ["appendfsync", "everysec"],
      ["min-replicas-to-write", 2],
    ],
    ["appendfsync is everysec, must be always"],
  ],
  ["everysec", [["appendfsync", "no"]], ["appendfsync is no, must be everysec or always"]],
  ["everysec", [["appendonly", "no"]], ["appendonly is no, must be yes"]],
  ["memory", [["maxmemory-policy", "volatile-ttl"]], ["maxmemory-policy is volatile-ttl, must be noeviction"]],
  ["memory", [["maxmemory", 0]], ["maxmemory is 0, must be set"]],
];

test("a server that does not hold the level is refused, with a line for each fault", async (t) => {
  const { redis, server } = await LogScene.set(t);
  const names = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-to-write",
  ];
  const good = (await redis.call("CONFIG", "GET", ...names)) as string[];
  const configure = (settings: readonly (string | number)[]) => redis.call("CONFIG", "SET", ...settings);
  for (const [level, settings, faults] of FAULTS) {
    await configure(settings.flat());
    const asked = verifyDurability(redis, { ...LEVEL, level, replicas: level === "replicas" ? 2 : 0 });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof DurabilityError);
      assert.deepEqual(error.faults, faults);
      return true;
    });
    await configure(good);
  }
  const { maxMemoryBytes, promoted, runId } = await verifyDurability(redis, LEVEL);
  assert.ok(maxMemoryBytes > 0 && !promoted && /^[0-9a-f]{40}$/.test(runId));
  await server.kill(); // it would not stop while it writes its file anew
});

test("a replica is no place for a log", async (t) => {
  const master = await startTestRedis(t);
  const scene = await LogScene.set(t, ["--replicaof", `127.0.0.1 ${master.port}`]);
  await assert.rejects(verifyDurability(scene.redis, LEVEL), /the server is a slave, must be a master/);
});

test("another number of partitions is refused, and not recorded where there is none yet", async (t) => {
  const { redis } = await LogScene.set(t);
  await checkPartitionCount(redis, 3);
  assert.equal(await redis.exists("penstock:partitions"), 0);
  await Promise.all([claimPartitionCount(redis, 2), claimPartitionCount(redis, 2)]);
  await claimPartitionCount(redis, 2);
  for (const refuse of [claimPartitionCount, checkPartitionCount]) {
    await assert.rejects(refuse(redis, 3), /the log in Redis has 2 partitions, not 3/);
  }
});

test(
  "ingest does not start on a server below the level, nor with another number of partitions",
  { concurrency: true },
  async (t) => {
    const scene = await LogScene.set(t);
    const { databaseUrl, redis, server } = scene;
    const fails = async (env: Record<string, string>, message: RegExp) => {
      const ingest = new Ingest("ingest", { redisUrl: server.url, databaseUrl, env });
      t.after(() => ingest.kill());
      assert.notEqual(await ingest.exited, 0);
      assert.match(ingest.lines.join("\n"), message);
    };
    await claimPartitionCount(redis, 1);
    await Promise.all([
      fails({ PENSTOCK_DURABILITY: "replicas:1" }, /min-replicas-to-write is 0, must be 1 or more/),
      fails({ PENSTOCK_PARTITIONS: "2" }, /the log in Redis has 1 partitions, not 2/),
    ]);
    const [recorded] = await scene.sql`SELECT value FROM settings WHERE key = 'partitions'`;
    assert.equal(recorded, undefined, "a wrong number is not recorded");
    await redis.flushall();
    await scene.sql`INSERT INTO settings (key, value) VALUES ('partitions', '1')`;
    await fails({ PENSTOCK_PARTITIONS: "2" }, /the number of partitions is 1 in this database, not 2/);
    assert.equal(await redis.exists("penstock:partitions"), 0);
  },
);

// Each of these waits for as long as a flush is sent again, or for a gap to be filled.
suite("while the log stays shut", { concurrency: true }, () => {
  test("without Postgres it stays shut; orders are refused as not logged; then it opens by itself (I11)", async (t) => {
    const scene = await LogScene.set(t);
    const proxy = await Proxy.start(t, scene.databaseUrl);
    const sql = connect(proxy.url, { max: 2 });
    const log = new TestAppender(scene.server.url, sql);
    t.after(async () => {
      await log.stop();
      await sql.end({ timeout: 1 });
    });
    const first = await log.one(order("first"));
    proxy.closed = true;
    await restartAfterKill(scene);
    await assert.rejects(log.one(order("refused")), refusedAs("unavailable"));
    assert.equal((await scene.entries()).length, 1);

    // Neither does a Postgres that says nothing at all hold up the callers.
    proxy.closed = false;
    proxy.stall();
    await assert.rejects(log.one(order("refused too")), refusedAs("unavailable"));
    proxy.cut();
    const second = await log.one(order("second"));
    assert.deepEqual(
      (await scene.orders()).map(({ id }) => id),
      ids([first, second]),
    );
  });

  test("an answer that was lost with the server stays unknown while the log is shut (I11)", async (t) => {
    const scene = await LogScene.set(t);
    const [toRedis, toPostgres] = [await Proxy.start(t, scene.server.url), await Proxy.start(t, scene.databaseUrl)];
    const sql = connect(toPostgres.url, { max: 2 });
    const log = new TestAppender(toRedis.url, sql);
    t.after(async () => {
      await log.stop();
      await sql.end({ timeout: 1 });
    });
    await log.one(order("before"));
    const lost = toRedis.swallow((answer) => answer.includes("OK"));
    const answer = assert.rejects(log.one(order("in doubt")), refusedAs("unknown"));
    await lost;
    toPostgres.closed = true;
    await restartAfterKill(scene);
    await answer;
    toPostgres.closed = false;
    assert.equal((await log.one(order("in doubt"))).outcome, "duplicate");
    await scene.orders();
  });

  test("a server that restarts below its level is refused until it holds it again", async (t) => {
    const scene = await LogScene.set(t);
    const log = scene.appender();
    await log.one(order("before"));
    await restartAfterKill(scene);
    await scene.redis.config("SET", "maxmemory-policy", "allkeys-lru");
    const head = await readHead(scene.redis, scene.keys);
    await assert.rejects(log.one(order("refused")), (error: unknown) => {
      assert.ok(refusedAs("unavailable")(error));
      assert.match(String((error as Error).cause), /maxmemory-policy is allkeys-lru, must be noeviction/);
      return true;
    });
    assert.deepEqual(await readHead(scene.redis, scene.keys), head);
    await scene.redis.config("SET", "maxmemory-policy", "noeviction");
    assert.equal((await log.one(order("after"))).outcome, "new");
  });

  /** A log of five entries of which Redis has none and the journal all but the third. */
  async function sceneWithGap(t: TestContext) {
    const scene = await LogScene.set(t);
    const writing = scene.appender();
    const placements: Placement[] = [];
    for (let i = 0; i < 5; i++) placements.push(await writing.one(order(`o-${i}`)));
    const missing = entryIdOf(placements[2]!.id);
    await scene.persist(({ id }) => id !== missing);
    const [row] = (await scene.entries()).filter(({ id }) => id === missing);
    const put = () => scene.sql`
      INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
      VALUES (0, 0, 1, ${row!.ms}, ${row!.seq}, ${row!.previous.ms}, ${row!.previous.seq}, 1, 1, sha256(${row!.payload}), ${row!.payload})`;
    await scene.server.restart({ empty: true });
    return { scene, placements, missing, put };
  }

  test("I4: a gap in the journal is waited for, and filled where a worker still held the entry", async (t) => {
    const { scene, placements, put } = await sceneWithGap(t);
    const log = scene.appender();
    const opened = log.appender.open();
    await eventually(async () => (await scene.redis.xlen(scene.keys.orders)) === 2, "what stands before the gap");
    await put();
    await opened;
    assert.deepEqual(
      (await scene.orders()).map(({ id }) => id),
      ids(placements),
    );
    assert.equal(log.logged("GAP IN THE LOG"), 0);
  });

  test("I2, I4: what fills a gap that was passed over, before the fence stands, has its ids known as well", async (t) => {
    const { scene, placements, missing, put } = await sceneWithGap(t);
    const proxy = await Proxy.start(t, scene.server.url, { wire: () => new RedisWire() });
    const log = scene.appender({ url: proxy.url });
    const opened = log.appender.open();
    await eventually(async () => (await scene.redis.xlen(scene.keys.orders)) === 2, "what stands before the gap");
    const { release } = await proxy.holdAt(({ direction, name }) => direction === "up" && name === "script restore");
    assert.equal(log.logged("GAP IN THE LOG"), 1);
    await put();
    release();
    await opened;
    const again = await log.one(order("o-2"));
    assert.deepEqual([again.outcome, entryIdOf(again.id)], ["duplicate", missing]);
    assert.equal(again.id, placements[2]!.id);
  });

  test("I4: a gap that nobody fills is alarmed, and the log goes on behind it", async (t) => {
    const { scene, placements, missing } = await sceneWithGap(t);
    const log = scene.appender();
    await log.appender.open();
    const [alarm] = log.lines.filter(({ msg }) => msg.startsWith("GAP IN THE LOG"));
    assert.equal(alarm?.level, "error");
    assert.equal(alarm?.["missing"], missing);
    const there = placements.filter((_, i) => i !== 2).map(({ id }) => entryIdOf(id));
    assert.deepEqual(
      (await scene.entries()).map(({ id }) => id),
      there,
    );
    assert.equal((await log.one(order("after"))).outcome, "new");
    assert.equal(await findSeen(scene.redis, scene.keys, order("o-2").identity.slice(0, 16)), undefined);
  });

  test("I1: replicas: an order is acknowledged when they have it; too few of them: unknown, and the retry tells", async (t) => {
    const scene = await LogScene.set(t, ["--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0"]);
    const replica = await startTestRedis(t, ["--replicaof", `127.0.0.1 ${scene.server.port}`]);
    t.after(() => replica.pid !== undefined && process.kill(replica.pid, "SIGCONT"));
    await eventually(
      async () => /connected_slaves:1\r[^]*state=online/.test(await scene.redis.info("replication")),
      "the replica",
    );
    const proxy = await Proxy.start(t, scene.server.url);
    const durability: Durability = { level: "replicas", replicas: 1, replicaTimeoutMs: 300 };
    const log = scene.appender({ durability, url: proxy.url });
    // As a client does: the replica may be slower than the time that it is given here.
    const retried = (...commands: readonly PreparedCommand[]) =>
      eventually(async () => log.append(...commands).catch(() => undefined), "the replica's confirmation");
    const [first] = await retried(order("first"));
    const onReplica = connectRedis(replica.url, { name: "test", socketTimeoutMs: 10_000 });
    t.after(() => onReplica.disconnect());
    const replicated = async () => (await onReplica.xrange(scene.keys.orders, "-", "+")).map(([id]) => id);
    assert.deepEqual(await replicated(), [entryIdOf(first!.id)]);

    process.kill(replica.pid!, "SIGSTOP");
    await assert.rejects(log.one(order("second")), refusedAs("unknown"));
    await assert.rejects(log.one(order("second")), refusedAs("unknown"), "a duplicate waits as well");
    const lost = proxy.swallow((answer) => answer.includes("OK"));
    const resent = assert.rejects(
      log.one(order("third")),
      refusedAs("unknown"),
      "and so does a flush that is sent again",
    );
    await lost;
    await resent;
    process.kill(replica.pid!, "SIGCONT");
    const again = await retried(order("second"), order("third"));
    assert.deepEqual(
      again.map(({ outcome }) => outcome),
      ["duplicate", "duplicate"],
    );
    assert.deepEqual(await replicated(), ids([first!, ...again]).map(entryIdOf));

    // The replica is made the master: what its master had beyond it cannot be known, so the epoch is raised.
    await onReplica.replicaof("NO", "ONE");
    await scene.server.kill();
    const promoted = new TestAppender(replica.url, scene.sql);
    t.after(() => promoted.stop());
    const next = await promoted.one(order("next"));
    assert.equal(epochOf(next), 2);
    assert.deepEqual(await replicated(), ids([first!, ...again, next]).map(entryIdOf));
  });
});
