import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createTestDatabase, startTestRedis } from "../../test/support/servers.ts";
import { GetEngineOrderResponseSchema } from "../gen/penstock/v1/engine_service_pb.ts";
import { connect } from "../store/connection.ts";
import { PartitionKeys } from "../stream/keys.ts";
import { formatOrderId, orderIdText, type Place } from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import type { EngineClient } from "./engine-client.ts";
import { RequestError } from "./errors.ts";
import { EventFollower } from "./event-follower.ts";
import { OrderReads, type OrderReadsOptions } from "./order-reads.ts";
import { OrderStates } from "./order-states.ts";

const DAY_MS = 86_400_000;

test("an open order whose rows were dropped is found in the engine's book, by its own account", async (t) => {
  const [server, { url }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 5_000 });
  t.after(() => redis.disconnect());
  const sql = connect(url, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  const partitions = [new PartitionKeys(0)] as const;
  const log = { info: () => {}, warn: () => {}, error: () => {} } as never;
  const states = new OrderStates({
    follower: new EventFollower({ partitions, redis: [redis], log }),
    redis,
    partitions,
  });
  const asked: string[] = [];
  let answer: RequestError | undefined;
  const engines: Pick<EngineClient, "getOrder"> = {
    getOrder: async (id) => {
      asked.push(orderIdText(id));
      if (answer !== undefined) throw answer;
      return create(GetEngineOrderResponseSchema, { account: "alice", symbol: "BTC-USD" });
    },
  };
  const rest = {} as Omit<OrderReadsOptions, "redis" | "sql" | "states" | "partitions" | "engines" | "retentionDays">;
  const readsOf = (retentionDays: number) =>
    new OrderReads({ ...rest, redis, sql, states, partitions, engines, retentionDays });
  const reads = readsOf(30);
  const placeOf = (days: number): Place => ({
    ...{ partition: 0, epoch: 1, ms: Date.now() - days * DAY_MS, seq: 0, index: 0 },
  });
  const find = (place: Place, account = "alice", from = reads) =>
    from.find({ by: "order_id", orderId: formatOrderId(place), place }, account);
  const notFound = { code: "NOT_FOUND" };

  const old = placeOf(31);
  await assert.rejects(find(old), { code: "UNAVAILABLE" }, "the log is not open: nobody knows what it has");
  const run = /run_id:(\w+)/.exec(await redis.info("server"))?.[1] ?? "";
  await redis.hset(partitions[0].head, { run, epoch: 1 });
  await assert.rejects(find(old), notFound, "no engine is part of the deployment");
  assert.deepEqual(asked, []);
  await redis.hset(partitions[0].engine, "snapshot", "0-0");
  assert.equal((await find(old)).symbol, "BTC-USD");
  assert.deepEqual(asked, [formatOrderId(old)]);
  await assert.rejects(find(old, "bob"), notFound);
  answer = new RequestError("NOT_FOUND", "there is no such open order");
  await assert.rejects(find(old), notFound);
  answer = new RequestError("UNAVAILABLE", "no engine answers at present");
  await assert.rejects(find(old), { code: "UNAVAILABLE" });
  const before = asked.length;
  await assert.rejects(find(placeOf(29)), notFound);
  await assert.rejects(find(old, "alice", readsOf(0)), notFound);
  await assert.rejects(find({ ...old, partition: 1 }), notFound, "there is no such partition");
  assert.equal(asked.length, before, "of what is kept the engine need not be asked");
});
