import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { EnginePartitionStatus_State as State } from "../src/gen/penstock/v1/engine_service_pb.ts";
import { Side, TradingStatus } from "../src/gen/penstock/v1/order_pb.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import { prepareRules } from "../src/stream/prepared-command.ts";
import type { EngineEvent } from "../src/stream/event-batch.ts";
import { decodeEventBatch } from "../src/stream/event-decoder.ts";
import { readEntry, type StreamReply } from "../src/stream/entry.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { Partitioning } from "../src/stream/partition.ts";
import { parseOrderId } from "../src/stream/position.ts";
import { Caller, refusalOf, refusalsOf } from "./support/caller.ts";
import { EngineStack, failingOf, metricOf } from "./support/engine-stack.ts";
import { order, TestAppender } from "./support/log.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";

const { createAccount, listAdminActions, setAccountLimits, setTradingStatus, voidEntry } = AdminService.method;

async function callerOf(t: TestContext, stack: EngineStack, role: "trader" | "admin" = "admin"): Promise<Caller> {
  const caller = new Caller(stack.ingest.address, `Bearer ${await tokenOf("root", role)}`);
  t.after(() => caller.close());
  return caller;
}

/** The last command of a partition's log. */
async function lastLogged({ redis }: EngineStack, partition = 0) {
  const { orders } = new PartitionKeys(partition);
  const [[id, fields]] = (await redis.callBuffer("XREVRANGE", orders, "+", "-", "COUNT", 1)) as [StreamReply];
  const command = decodeBatch(readEntry(id.toString(), fields!).payload).at(-1);
  assert.ok(command?.kind === "other");
  const { account, kind } = command.command;
  return { account, case: kind.case, value: { ...kind.value, $typeName: undefined } as Record<string, unknown> };
}

/** The newest line of the audit trail. */
async function lastAction(admin: Caller) {
  const [action] = (await admin.call(listAdminActions, { pageSize: 1 })).actions;
  const { actor, subject, outcome, details } = action!;
  return [actor, action!.action, subject, outcome, details];
}

/** What the engine made of an entry. */
async function eventsOf({ redis, keys }: EngineStack, entryId: string): Promise<readonly EngineEvent[]> {
  const [reply] = (await redis.callBuffer("XRANGE", keys.events, entryId, entryId)) as StreamReply[];
  return decodeEventBatch(readEntry(entryId, reply![1]!).payload).events;
}

function entryIdOf(commandId: string): string {
  const { ms, seq } = parseOrderId(commandId)!;
  return `${ms}-${seq}`;
}

test("a trading status goes through the log, once an id, and the engine holds orders to it", async (t) => {
  const stack = await EngineStack.open(t);
  await stack.engine();
  const admin = await callerOf(t, stack);
  const halt = { requestId: "halt-1", symbol: "BTC-USD", status: TradingStatus.HALTED };
  const { commandId, createdAt, duplicate } = await admin.call(setTradingStatus, halt);
  assert.equal(Number(createdAt?.seconds), Math.floor(parseOrderId(commandId)!.ms / 1_000));
  assert.equal(duplicate, false);
  assert.deepEqual(await lastLogged(stack), {
    ...{ account: "root", case: "tradingStatus" },
    value: { ...halt, $typeName: undefined },
  });
  const details = { request_id: "halt-1", status: "HALTED", command_id: commandId };
  assert.deepEqual(await lastAction(admin), ["root", "SetTradingStatus", "BTC-USD", 1, details]);

  const again = await admin.call(setTradingStatus, halt);
  assert.deepEqual([again.commandId, again.duplicate], [commandId, true]);
  const other = await refusalOf(admin.call(setTradingStatus, { ...halt, status: TradingStatus.OPEN }));
  assert.deepEqual(other.code, "ALREADY_EXISTS");
  assert.equal((await lastAction(admin))[3], 3, "refused");

  await stack.submit(1, Side.BUY, "100");
  await stack.untilMatched();
  const [refused] = await eventsOf(stack, (await stack.idsOf(stack.keys.events)).at(-1)!);
  assert.equal(refused?.reason, 10, "TRADING_STATUS");
  await admin.call(setTradingStatus, { requestId: "open-1", symbol: "BTC-USD", status: TradingStatus.OPEN });
  await stack.submit(1, Side.BUY, "100");
  await stack.untilMatched();
  const [taken] = await eventsOf(stack, (await stack.idsOf(stack.keys.events)).at(-1)!);
  assert.equal(taken?.reason, 0);

  const wrong = await refusalsOf(
    admin.call(setTradingStatus, {}),
    admin.call(setTradingStatus, { ...halt, symbol: "NO-SUCH", status: 9 as TradingStatus }),
    admin.call(setTradingStatus, { ...halt, requestId: "a b" }),
  );
  assert.deepEqual(
    wrong.map(({ code, fields }) => [code, ...fields]),
    [
      ["INVALID_ARGUMENT", "request_id", "status", "symbol"],
      ["INVALID_ARGUMENT", "status", "symbol"],
      ["INVALID_ARGUMENT", "request_id"],
    ],
  );
  const trader = await callerOf(t, stack, "trader");
  for (const call of [trader.call(setTradingStatus, halt), trader.call(voidEntry, {})]) {
    assert.equal((await refusalOf(call)).code, "PERMISSION_DENIED");
  }
});

test("the limits of an account go to every partition, and the engine holds orders to them", async (t) => {
  const stack = await EngineStack.open(t, { env: { PENSTOCK_PARTITIONS: "2" } });
  await stack.engine();
  const admin = await callerOf(t, stack);
  const limits = { requestId: "limits-1", account: "demo", maxOpenOrders: 2, maxQuantityLots: 10_000_000n };
  assert.equal((await refusalOf(admin.call(setAccountLimits, limits))).code, "NOT_FOUND", "there is no such account");
  await admin.call(createAccount, { account: "demo", role: 1 });
  const { commandIds, duplicate } = await admin.call(setAccountLimits, limits);
  assert.deepEqual([commandIds.map((id) => parseOrderId(id)?.partition), duplicate], [[0, 1], false]);
  for (const partition of [0, 1]) {
    const { case: kind, value } = await lastLogged(stack, partition);
    const { account, maxOpenOrders, maxQuantity } = value;
    assert.deepEqual([kind, account, maxOpenOrders, maxQuantity], ["accountLimits", "demo", 2, 10_000_000n]);
  }
  const details = { max_open_orders: "2", max_quantity_lots: "10000000", command_id: commandIds.join(" ") };
  const action = ["root", "SetAccountLimits", "demo", 1, { request_id: "limits-1", ...details }];
  assert.deepEqual(await lastAction(admin), action);
  assert.equal((await admin.call(setAccountLimits, limits)).duplicate, true);
  assert.equal((await refusalOf(admin.call(setAccountLimits, { ...limits, maxOpenOrders: 3 }))).code, "ALREADY_EXISTS");

  await stack.submit(3, Side.BUY, "100");
  const { events } = new PartitionKeys(new Partitioning(2).of("BTC-USD"));
  const reasons = await eventually(async () => {
    const told = (await stack.redis.callBuffer("XREVRANGE", events, "+", "-", "COUNT", 1)) as StreamReply[];
    const [id, fields] = told[0] ?? [];
    const made = id && decodeEventBatch(readEntry(id.toString(), fields!).payload).events;
    return made?.length === 3 && made.map(({ reason }) => reason);
  }, "the events of the orders");
  assert.deepEqual(reasons, [0, 0, 12], "ACCOUNT_ORDERS");

  const wrong = await refusalsOf(
    admin.call(setAccountLimits, {}),
    admin.call(setAccountLimits, { ...limits, maxOpenOrders: 4_000_001, maxQuantityLots: 2n ** 53n }),
  );
  assert.deepEqual(
    wrong.map(({ code, fields }) => [code, ...fields]),
    [
      ["INVALID_ARGUMENT", "account", "request_id"],
      ["INVALID_ARGUMENT", "max_open_orders", "max_quantity_lots"],
    ],
  );
});

test("an entry that makes the engine throw stops it with an alarm, until it is voided; what was in it is refused (I8)", async (t) => {
  const stack = await EngineStack.open(t);
  const engine = await stack.engine();
  const admin = await callerOf(t, stack);
  await stack.submit(2, Side.BUY, "100");
  await stack.untilMatched();
  const healthy = { requestId: "void-1", partition: 0, entryId: "1-0", reason: "an unknown rule" };
  const early = await refusalOf(admin.call(voidEntry, healthy));
  assert.deepEqual(
    [early.code, early.message],
    ["FAILED_PRECONDITION", "FAILED_PRECONDITION: the engine of partition 0 stands still at no entry"],
  );

  // Rules that nobody knows: only a newer program would write them.
  const log = new TestAppender(stack.servers.redisUrl, stack.sql);
  t.after(() => log.stop());
  const [beside] = await log.append(order("beside"), prepareRules("root", "rules-1", 99));
  const entryId = entryIdOf(beside!.id);
  await stack.submit(2, Side.SELL, "100");
  const failing = await eventually(async () => (await failingOf(engine.http)) || undefined, "the alarm");
  assert.match(failing, new RegExp(entryId));
  assert.equal(await metricOf(engine.http, "engine_state", 'state="stopped"'), 1);
  const engineStatus = async () => (await admin.call(AdminService.method.getPipelineStatus, {})).partitions[0]?.engine;
  const status = await engineStatus();
  assert.deepEqual([status?.state, status?.unworkable, status?.detail], [State.STOPPED, entryId, failing]);
  assert.equal((await stack.idsOf(stack.keys.events)).at(-1), status?.position?.entryId, "nothing goes on behind it");

  // It stands there after a restart as well.
  await engine.stop();
  assert.equal((await refusalOf(admin.call(voidEntry, { ...healthy, entryId }))).code, "UNAVAILABLE");
  const second = await stack.engine();
  await eventually(async () => (await failingOf(second.http)).includes(entryId), "the alarm again");
  await eventually(async () => (await engineStatus())?.unworkable === entryId, "ingest to find the engine");
  const elsewhere = await refusalOf(admin.call(voidEntry, healthy));
  assert.match(elsewhere.message, new RegExp(`stands still at ${entryId}$`));
  const { commandId, duplicate } = await admin.call(voidEntry, { ...healthy, entryId });
  assert.equal(duplicate, false);
  assert.equal((await lastLogged(stack)).case, "void");
  const details = { request_id: "void-1", entry_id: entryId, reason: "an unknown rule", command_id: commandId };
  assert.deepEqual(await lastAction(admin), ["root", "VoidEntry", "partition 0", 1, details]);

  await stack.untilMatched();
  await eventually(async () => (await failingOf(second.http)) === "", "the engine to be well");
  assert.deepEqual(await stack.idsOf(stack.keys.events), await stack.idsOf(stack.keys.orders));
  const [refused] = await eventsOf(stack, entryId);
  assert.deepEqual([refused?.clientOrderId, refused?.status], ["beside", 7], "REJECTED");
  assert.equal(await metricOf(second.http, "engine_open_orders"), 0, "the orders behind it met those before it");

  const retried = await admin.call(voidEntry, { ...healthy, entryId });
  assert.deepEqual([retried.commandId, retried.duplicate], [commandId, true], "though the engine has gone on");
  const wrong = await refusalsOf(
    admin.call(voidEntry, { partition: 1 }),
    admin.call(voidEntry, { ...healthy, entryId: "0-0", reason: "a\nb" }),
    admin.call(voidEntry, { ...healthy, entryId: "one", reason: "x".repeat(501) }),
  );
  assert.deepEqual(
    wrong.map(({ code, fields }) => [code, ...fields]),
    [
      ["INVALID_ARGUMENT", "entry_id", "partition", "reason", "request_id"],
      ["INVALID_ARGUMENT", "entry_id", "reason"],
      ["INVALID_ARGUMENT", "entry_id", "reason"],
    ],
  );
});
