import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startTestRedis } from "../../test/support/servers.ts";
import { until } from "../../test/support/until.ts";
import { parseInfo } from "../stream/durability.ts";
import { EventLog } from "../stream/event-log.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { type EntryId, formatEntryId, START } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { createLog } from "../telemetry/log.ts";
import type { EntryOutcome } from "./entry-outcome.ts";
import { EventWriter } from "./event-writer.ts";
import { Outbox } from "./outbox.ts";

async function setScene(t: TestContext) {
  const server = await startTestRedis(t);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 5_000 });
  t.after(() => redis.disconnect());
  const keys = new PartitionKeys(0);
  const run = parseInfo(await redis.info("server")).get("run_id")!;
  await redis.hset(keys.head, { run, epoch: 1, last: "9-0", base: "0-0", generation: 1, turned: 0 });
  const head = { run, epoch: 1 };
  const events = new EventLog({ redis, keys, generationMs: 3_600_000, generationOrders: 1_000 });
  const write = (from: number, to: number) =>
    events.append(head, place(from - 1), [outcome(from), ...outcomes(from + 1, to)]);
  /** One that begins behind entry `from`, and has these in its outbox. */
  const writer = (from: number, end: number, ...all: readonly EntryOutcome[]) => {
    const outbox = new Outbox();
    for (const each of all) outbox.push({ outcome: each, since: performance.now(), snapshot: undefined, readers: [] });
    const standing: string[] = [];
    const log = createLog("engine", "silent");
    const made = new EventWriter({
      ...{ redis, keys, events, outbox, head, log, end: place(end), from: place(from) },
      onStanding: ({ outcome }) => standing.push(outcome.id),
      onAppended: () => {},
    });
    outbox.close();
    return { writer: made, standing, run: () => made.run(new AbortController().signal) };
  };
  const ids = async () => (await redis.xrange(keys.events, "-", "+")).map(([id]) => id);
  return { redis, keys, events, write, writer, ids };
}

function place(n: number): EntryId {
  return n === 0 ? START : { ms: n, seq: 0 };
}

function outcome(n: number, payload = `events ${n}`): EntryOutcome {
  const id = place(n);
  return {
    ...{ ...id, id: formatEntryId(id), epoch: 1, previous: place(n - 1) },
    ...{ payload: Buffer.from(payload), touched: Buffer.alloc(0) },
    ...{ commands: 1, events: 0, stateHash: 0n, rules: 1, openOrders: 0 },
  };
}

function outcomes(from: number, to: number): EntryOutcome[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => outcome(from + i));
}

const ids = (from: number, to: number) => outcomes(from, to).map(({ id }) => id);

test("what stands is compared, what does not is appended behind it (I8)", async (t) => {
  const { write, writer, ids: stream } = await setScene(t);
  await write(1, 5);
  const { writer: made, standing, run } = writer(2, 5, ...outcomes(3, 9));
  assert.equal(made.mode, "comparing");
  await run();
  assert.equal(made.mode, "active");
  assert.deepEqual(standing, ids(3, 9));
  assert.deepEqual(await stream(), ids(1, 9));
});

test("an append that is refused makes a standby of it; it takes over from one that is silent (I8)", async (t) => {
  const { write, writer, ids: stream } = await setScene(t);
  await write(1, 2);
  const { writer: made, standing, run } = writer(2, 2, ...outcomes(3, 6));
  await write(3, 4); // another engine was quicker
  const running = run();
  await until("it has compared them", () => standing.length === 2);
  assert.equal(made.mode, "standby");
  await running;
  assert.equal(made.mode, "active");
  assert.deepEqual(await stream(), ids(1, 6));
});

test("events that were trimmed before they could be compared are taken to stand", async (t) => {
  const { redis, keys, write, writer, ids: stream } = await setScene(t);
  await write(1, 6);
  await redis.xtrim(keys.events, "MINID", "5-0");
  const { standing, run } = writer(1, 6, ...outcomes(2, 8));
  await run();
  assert.deepEqual(standing, ids(2, 8));
  assert.deepEqual(await stream(), ids(5, 8));
});

test("what is trimmed while it is compared is no divergence; a stream that is lost meanwhile is a setback", async (t) => {
  const { redis, keys, events, write, writer, ids: stream } = await setScene(t);
  await write(1, 6);
  await redis.xtrim(keys.events, "MINID", "3-0");
  // Between the reading of what stands behind entry 1 and the look at where the stream begins, the trimmer goes on to 5.
  const read = events.read.bind(events);
  const reading = t.mock.method(events, "read", async (after: EntryId, count: number) => {
    const found = await read(after, count);
    await redis.xtrim(keys.events, "MINID", "5-0");
    return found;
  });
  const { standing, run } = writer(1, 6, ...outcomes(2, 8));
  await run();
  assert.deepEqual(standing, ids(2, 8));
  assert.deepEqual(await stream(), ids(5, 8));

  reading.mock.mockImplementation(async (after: EntryId, count: number) => {
    const found = await read(after, count);
    await redis.del(keys.events);
    return found;
  });
  await assert.rejects(writer(1, 8, ...outcomes(2, 9)).run(), { name: "Setback", message: /was lost/ });
});

test("behind an events stream that was lost, it goes on where others began further back", async (t) => {
  const { write, writer, ids: stream } = await setScene(t);
  const { standing, run } = writer(4, 0, ...outcomes(5, 8));
  await write(1, 6);
  await run();
  assert.deepEqual(standing, ids(5, 8));
  assert.deepEqual(await stream(), ids(1, 8));
});

test("a difference is a divergence; where the log was opened anew meanwhile, it is a setback", async (t) => {
  const { redis, keys, write, writer } = await setScene(t);
  await write(1, 4);
  await assert.rejects(writer(1, 4, outcome(2), outcome(3, "other events")).run(), {
    name: "Halt",
    message: /^DIVERGENCE/,
  });
  // A hole in what stands is one too.
  await redis.xdel(keys.events, "3-0");
  await assert.rejects(writer(1, 4, ...outcomes(2, 4)).run(), { name: "Halt" });
  await redis.hset(keys.head, "epoch", 2);
  await assert.rejects(writer(1, 4, ...outcomes(2, 4)).run(), { name: "Setback" });
  await assert.rejects(writer(4, 4, ...outcomes(5, 6)).run(), { name: "Setback" }, "so does an append");
});

test("an events stream that ends before what is known of it is a setback", async (t) => {
  const { redis, keys, write, writer } = await setScene(t);
  await write(1, 4);
  const { run } = writer(4, 4, ...outcomes(5, 6));
  await redis.del(keys.events);
  await assert.rejects(run(), { name: "Setback", message: /lost its end/ });
});
