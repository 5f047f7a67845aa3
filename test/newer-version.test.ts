/**
 * Entries that a newer program wrote, before roles that do not know them: none is guessed at, and each role says so (I4, I8).
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { AckLevel, OrderStatus, OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { formatOrderId, parseEntryId } from "../src/stream/position.ts";
import { EngineStack, failingOf } from "./support/engine-stack.ts";
import { LogScene, order } from "./support/log.ts";
import { eventually, type RoleProcess, startConsumers } from "./support/pipeline.ts";

const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100" };
const QUICK = { PENSTOCK_READ_BLOCK_MS: "100", PENSTOCK_CONSUMER_NAME: "worker" };

/** An entry at the end of the log, as its newest. */
async function appendToLog({ redis, keys }: EngineStack, version: number, batch: Buffer): Promise<string> {
  const last = (await redis.hget(keys.head, "last")) ?? "0-0";
  const id = await redis.xadd(keys.orders, "*", "d", batch, "p", last, "e", "1", "v", String(version));
  await redis.hset(keys.head, "last", id!);
  return id!;
}

/** A batch with one command, whose kind is the field of this number. */
function batchOf(field: number, body: Buffer): Buffer {
  const tag = (field << 3) | 2;
  const command = Buffer.concat([Buffer.from([(tag & 0x7f) | 0x80, tag >> 7, body.length]), body]);
  return Buffer.concat([Buffer.from([0x0a, command.length]), command]);
}

const says = ({ lines }: RoleProcess, text: string): boolean => lines.some((line) => line.includes(text));

async function readyzOf(role: RoleProcess): Promise<string> {
  const { url } = await role.logged("health and metrics");
  return await (await fetch(`${String(url)}/readyz`)).text();
}

test("an entry of a newer version in the log: engine and worker stop before it, ingest goes on and reads nothing into it", async (t) => {
  const stack = await EngineStack.open(t, { env: QUICK });
  const engine = await stack.engine();
  const worker = await startConsumers(t, stack.servers);
  await stack.submit(3, Side.BUY, "99");
  await stack.untilMatched();
  const id = await appendToLog(stack, 2, batchOf(2_000, Buffer.from("what nobody knows")));

  await worker.logged("STOPPED: the log has entries of a newer version; upgrade this worker");
  assert.match(await readyzOf(worker), new RegExp(`entry ${id} has schema version 2; this worker knows 1`));
  await eventually(async () => (await failingOf(engine.http)).includes("schema version 2"), "the engine to stop");
  assert.ok(says(engine, "STOPPED: the engine of this partition needs an operator"));

  const { client } = stack;
  const taken = await client.call(OrderService.method.submitOrder, {
    ...{ ...ORDER, clientOrderId: "behind-it", ackLevel: AckLevel.MATCHED },
  });
  assert.equal(taken.status, OrderStatus.PENDING_NEW, "taken, and not matched");
  const place = { partition: 0, epoch: 1, ...parseEntryId(id), index: 0 };
  await assert.rejects(client.call(OrderService.method.getOrder, { orderId: formatOrderId(place) }), /newer server/);
  const [row] =
    await stack.sql`SELECT count(*)::int AS orders, (SELECT count(*)::int FROM dead_letters) AS letters FROM orders`;
  assert.deepEqual(row, { orders: 3, letters: 0 });
  const [newest] = await stack.idsOf(stack.keys.events).then((ids) => ids.slice(-1));
  assert.notEqual(newest, id);
});

test("a command of an unknown kind, in an entry that says it is known: a dead letter, and the others go on", async (t) => {
  const stack = await EngineStack.open(t, { env: QUICK });
  const engine = await stack.engine();
  const worker = await startConsumers(t, stack.servers);
  const id = await appendToLog(stack, 1, batchOf(2_000, Buffer.from("what nobody knows")));
  await stack.submit(2, Side.BUY, "99");
  await stack.untilMatched();
  await eventually(async () => {
    const [row] = await stack.sql`SELECT count(*)::int AS count FROM orders`;
    return row!["count"] === 2;
  }, "the rows");
  const letters = await stack.sql<{ reason: string; ms: string }[]>`SELECT ms, reason FROM dead_letters`;
  assert.deepEqual(
    letters.map(({ ms }) => Number(ms)),
    [parseEntryId(id).ms],
  );
  assert.match(letters[0]!.reason, /unknown kind/);
  assert.ok(says(worker, "DEAD LETTER"));
  assert.equal(await failingOf(engine.http), "");
  assert.ok((await stack.idsOf(stack.keys.events)).includes(id), "it has its event entry (I8)");
});

test("an event entry of a newer version: the engine, the workers and who follows it stop there", async (t) => {
  const stack = await EngineStack.open(t, { env: QUICK });
  const engine = await stack.engine();
  const worker = await startConsumers(t, stack.servers);
  await stack.submit(3, Side.BUY, "99");
  await stack.untilMatched();
  await engine.kill();
  const { redis, keys, ingest, client } = stack;
  // A newer engine was here: the entry that it worked, and what came of it.
  const events = (await stack.idsOf(keys.events)).at(-1)!;
  await client.call(OrderService.method.submitOrder, { ...ORDER, clientOrderId: "by-a-newer-one" });
  const [[id]] = (await redis.xrevrange(keys.orders, "+", "-", "COUNT", 1)) as [[string, string[]]];
  await redis.xadd(keys.events, id, "d", "what nobody knows", "p", events, "e", "1", "v", "2");

  await worker.logged("STOPPED: the log has entries of a newer version; upgrade this worker");
  await ingest.logged("events cannot be followed at present");
  const old = await stack.engine({ beside: true });
  await eventually(async () => (await failingOf(old.http)).includes("schema version 2"), "the engine to stop");
  const taken = await client.call(OrderService.method.submitOrder, {
    ...{ ...ORDER, clientOrderId: "behind-it", ackLevel: AckLevel.MATCHED },
  });
  assert.equal(taken.status, OrderStatus.PENDING_NEW);
  assert.equal((await stack.idsOf(keys.events)).at(-1), id, "nothing was appended behind it");
});

test("an ingest that would have to put entries of a newer version back leaves the log shut, and says why", async (t) => {
  const scene = await LogScene.set(t);
  const log = scene.appender();
  await log.one(order("known"));
  await scene.persist();
  const { ms, seq } = (await scene.entries())[0]!;
  const payload = batchOf(2_000, Buffer.from("what nobody knows"));
  await scene.sql`
    INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
    VALUES (0, 0, 1, ${ms + 1}, 0, ${ms}, ${seq}, 2, 1, sha256(${payload}), ${payload})`;
  await scene.server.restart({ empty: true });
  await assert.rejects(scene.appender().appender.open(), /has schema version 2; this ingest knows 1/);
  // The test's own connection comes back in its own time.
  const head = await eventually(() => scene.redis.hgetall(scene.keys.head).catch(() => undefined), "the head");
  assert.match(head["run"] ?? "", /^shut 2 /, "it was not opened");
});
