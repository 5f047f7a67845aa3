import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startTestRedis } from "../../test/support/servers.ts";
import { parseInfo } from "./durability.ts";
import { EventLog, type NewEvents } from "./event-log.ts";
import { PartitionKeys } from "./keys.ts";
import { findStatus, touchedOrders } from "./order-status.ts";
import { formatEntryId, formatOrderId, START } from "./position.ts";
import { connectRedis } from "./redis.ts";
import { appendTick } from "./tick.ts";

const EXECUTION = 1;

async function setScene(t: TestContext, generationOrders = 1_000_000) {
  const server = await startTestRedis(t);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 5_000 });
  t.after(() => redis.disconnect());
  const keys = new PartitionKeys(0);
  const run = parseInfo(await redis.info("server")).get("run_id")!;
  await redis.hset(keys.head, { run, epoch: 1, last: "9-9", base: "0-0", generation: 1, turned: 0 });
  const log = new EventLog({ redis, keys, generationMs: 3_600_000, generationOrders });
  return { redis, keys, head: { run, epoch: 1 }, log };
}

/** The events of an entry that touched orders of entry 1-0, by their index there. */
function events(ms: number, orders: readonly number[] = [], payload = `events ${ms}`): NewEvents {
  const position = { epoch: 1, ms, seq: 0 };
  const list = orders.map((index) => ({ kind: EXECUTION, epoch: 1, ms: 1, seq: 0, index }));
  const touched = touchedOrders(0, position, { count: list.length, at: (i) => list[i]! });
  const previous = ms === 1 ? START : { ms: ms - 1, seq: 0 };
  return { ...position, id: formatEntryId(position), previous, payload: Buffer.from(payload), touched };
}

test("I8: entries are appended behind the one that is named, together and with their own IDs, or not at all", async (t) => {
  const { redis, keys, head, log } = await setScene(t);
  assert.equal(await log.bounds(), undefined);
  assert.deepEqual(await log.append(head, START, [events(1), events(2)]), { status: "OK" });
  assert.deepEqual(await log.append(head, START, [events(1)]), { status: "LAST", last: { ms: 2, seq: 0 } });
  assert.deepEqual(await log.append(head, { ms: 1, seq: 0 }, [events(2)]), {
    status: "LAST",
    last: { ms: 2, seq: 0 },
  });
  assert.deepEqual(await log.append(head, { ms: 3, seq: 0 }, [events(4)]), {
    status: "LAST",
    last: { ms: 2, seq: 0 },
  });
  assert.deepEqual(await log.append(head, { ms: 2, seq: 0 }, [events(3)]), { status: "OK" });
  const entries = await log.read(START, 10);
  assert.deepEqual(
    entries.map(({ id, previous, epoch, version, payload }) => [id, previous.ms, epoch, version, String(payload)]),
    [
      ["1-0", 0, 1, 1, "events 1"],
      ["2-0", 1, 1, 1, "events 2"],
      ["3-0", 2, 1, 1, "events 3"],
    ],
  );
  const bounds = await log.bounds();
  assert.deepEqual([bounds?.first.id, bounds?.newest.id], ["1-0", "3-0"]);

  // Another server, or another epoch: what the caller worked may be in the log no more.
  await redis.hset(keys.head, "epoch", 2);
  assert.deepEqual(await log.append(head, { ms: 3, seq: 0 }, [events(4)]), { status: "REOPENED" });
  await redis.hset(keys.head, { epoch: 1, run: "another" });
  assert.deepEqual(await log.append(head, { ms: 3, seq: 0 }, [events(4)]), { status: "REOPENED" });
  assert.deepEqual(await log.append({ ...head, run: "another" }, { ms: 3, seq: 0 }, [events(4)]), {
    status: "REOPENED",
  });
  assert.equal(await redis.xlen(keys.events), 3);
});

test("event entries of a newer version are not guessed at", async (t) => {
  const { redis, keys, log } = await setScene(t);
  await redis.xadd(keys.events, "1-0", "d", "", "p", "0-0", "e", 1, "v", 2);
  await assert.rejects(log.read(START, 1), { name: "NewerEventsError" });
});

test("where an order's newest event stands is written with it; generations turn by their count, and the last two count", async (t) => {
  const { redis, keys, head, log } = await setScene(t, 3_000);
  const many = Array.from({ length: 10_000 }, (_, index) => index);
  await log.append(head, START, [events(1, many), events(2, [4, 5])]);
  const statuses = async () => (await redis.keys("*status*")).sort();
  assert.equal(await redis.hlen(keys.status(1)), 10_000);
  const value = await redis.hgetBuffer(keys.status(1), Buffer.from(idOf(5).replaceAll("-", ""), "hex"));
  assert.equal(value?.toString("hex"), "000000000002000000000001", "entry 2-0, its second event");

  // A writer that knows only an older generation is told.
  const other = new EventLog({ redis, keys, generationMs: 3_600_000, generationOrders: 3_000 });
  assert.deepEqual(await log.append(head, { ms: 2, seq: 0 }, [events(3, [6])]), { status: "OK" });
  assert.deepEqual(await statuses(), [keys.status(1), keys.status(2)]);
  assert.deepEqual(await other.append(head, { ms: 3, seq: 0 }, [events(4, many)]), { status: "OK" });
  assert.deepEqual(await other.append(head, { ms: 4, seq: 0 }, [events(5, [7])]), { status: "OK" });
  assert.deepEqual(await statuses(), [keys.status(2), keys.status(3)]);
  // The entry itself is no event batch, or is gone.
  await redis.del(keys.events);
  assert.equal(await findStatus(redis, keys, idOf(7)), undefined);
});

function idOf(index: number): string {
  return formatOrderId({ partition: 0, epoch: 1, ms: 1, seq: 0, index });
}

test("an order that an entry brings and touches again and again has one record, of its last event", () => {
  const at = { epoch: 1, ms: 7, seq: 3 };
  const own = { kind: EXECUTION, ...at };
  const list = [
    { ...own, index: 1 },
    { ...own, index: 2 },
    { kind: EXECUTION, epoch: 1, ms: 1, seq: 0, index: 1 },
    { ...own, index: 1 },
    { ...own, kind: 2, index: 2 },
  ];
  const records = touchedOrders(9, at, { count: list.length, at: (i) => list[i]! });
  const found = Array.from({ length: records.length / 28 }, (_, i) => {
    const record = records.subarray(i * 28, (i + 1) * 28);
    return [record.readUIntBE(0, 6), record.readUInt16BE(14), record.readUIntBE(16, 6), record.readUInt16BE(26)];
  });
  assert.deepEqual(found, [
    [7, 1, 7, 3],
    [7, 2, 7, 1],
    [1, 1, 7, 2],
  ]);
});

test("a tick is appended where an order is due and the log is still where the caller knows it, once", async (t) => {
  const { redis, keys, head } = await setScene(t);
  const now = Date.now();
  const last = { ms: now - 10, seq: 0 };
  await redis.xadd(keys.orders, formatEntryId(last), "d", "", "p", "0-0", "e", 1, "v", 1);
  await redis.hset(keys.head, "last", formatEntryId(last));
  const early = await appendTick(redis, keys, head, last, now + 60_000);
  assert.ok(early.status === "EARLY" && Math.abs(early.aheadMs) < 1_000);
  const both = await Promise.all([appendTick(redis, keys, head, last, now), appendTick(redis, keys, head, last, now)]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["MOVED", "OK"]);
  assert.equal(await redis.xlen(keys.orders), 2);
  const [[id, fields]] = (await redis.xrevrange(keys.orders, "+", "-", "COUNT", 1)) as [[string, string[]]];
  assert.equal(await redis.hget(keys.head, "last"), id);
  assert.deepEqual(fields.slice(2), ["p", formatEntryId(last), "e", "1", "v", "1"]);

  for (const changed of [{ epoch: 2 }, { epoch: 1, run: "another" }]) {
    await redis.hset(keys.head, changed);
    assert.deepEqual(await appendTick(redis, keys, head, last, now), { status: "REOPENED" });
  }
});
