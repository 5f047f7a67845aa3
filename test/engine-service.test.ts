import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Client, credentials } from "@grpc/grpc-js";

import { EngineUnavailableError } from "../src/engine/engine-run.ts";
import { EngineServer } from "../src/engine/engine-server.ts";
import { type AskedEngine, EngineAnswers } from "../src/engine/engine-service.ts";
import { OrderType, Side } from "../src/engine/matching/sets.ts";
import { Desk } from "../src/engine/matching/reference/desk.ts";
import type { EngineState, EngineStatus } from "../src/engine/partition-engine.ts";
import { EnginePartitionStatus_State as State, EngineService } from "../src/gen/penstock/v1/engine_service_pb.ts";
import { EngineClient } from "../src/ingest/engine-client.ts";
import { RequestError } from "../src/ingest/errors.ts";
import { Partitioning } from "../src/stream/partition.ts";
import { formatOrderId, orderIdBytes } from "../src/stream/position.ts";
import { createLog } from "../src/telemetry/log.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { Proxy } from "./support/proxy.ts";
import { message } from "./support/raw-http2.ts";

/** The engine of partition 0: the real rules, and no log around them. */
class TestEngine implements AskedEngine {
  readonly desk = new Desk();
  state: EngineState = "active";
  asked = 0;

  get status(): EngineStatus {
    const { openOrders, position, rules, stateHash } = this.desk.engine;
    const { state } = this;
    const unworkable = state === "stopped" ? "7-0" : undefined;
    return {
      partition: 0,
      state,
      detail: `it is ${state}`,
      position,
      stateHash,
      rules,
      openOrders,
      snapshot: undefined,
      unworkable,
      gap: undefined,
    };
  }

  read: AskedEngine["read"] = async (look) => {
    this.asked++;
    if (this.state === "starting") throw new EngineUnavailableError("it is starting");
    return { result: look(this.desk.engine), position: this.desk.engine.position };
  };
}

const NO_REPLAYS = { book: () => Promise.reject(new EngineUnavailableError("no replays here")) };

async function serve(t: TestContext, engine: AskedEngine, port = 0): Promise<EngineServer & { url: string }> {
  const log = createLog("engine", "silent");
  const server = new EngineServer({
    ...{ bind: "127.0.0.1", port, log },
    answers: new EngineAnswers([engine], new Partitioning(1), NO_REPLAYS),
  });
  await server.start();
  t.after(() => server.stop());
  return Object.assign(server, { url: `http://${server.address}` });
}

function clientOf(t: TestContext, ...urls: string[]): EngineClient {
  const client = new EngineClient(urls);
  t.after(() => client.close());
  return client;
}

async function refusal(call: Promise<unknown>): Promise<RequestError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof RequestError, String(error));
  return error;
}

test("the book, to a depth, with the position it is of", async (t) => {
  const engine = new TestEngine();
  const { desk } = engine;
  desk.orders("ann 1 buy 3 @ 99", "ann 2 buy 4 @ 99", "ann 3 buy 5 @ 98", "bob 1 sell 7 @ 101", "bob 2 sell 1 @ 99");
  const client = clientOf(t, (await serve(t, engine)).url);
  const { $typeName: _, bids, asks, position, ...book } = await client.getBook("A-B", 0);
  const levels = (of: typeof bids) => of.map(({ price, quantityLow, orders }) => [price, quantityLow, orders]);
  assert.deepEqual(levels(bids), [[99n, 6n, 2], [98n, 5n, 1]]); // prettier-ignore
  assert.deepEqual(levels(asks), [[101n, 7n, 1]]);
  assert.deepEqual(book, { symbol: "A-B", version: 1n, tradingStatus: 1, lastPrice: 99n });
  assert.equal(position?.entryId, `${desk.ms}-0`);
  assert.deepEqual((await client.getBook("A-B", 1)).bids.length, 1);
  const unknown = await refusal(client.getBook("X-Y", 0));
  assert.deepEqual([unknown.code, unknown.message], ["NOT_FOUND", "the engine knows no such symbol"]);
});

test("a book of more levels than are told at once", async (t) => {
  const engine = new TestEngine();
  const order = { symbol: "A-B", side: Side.BUY, type: OrderType.LIMIT, timeInForce: 1, quantity: 2 ** 53 - 1 };
  const none = { stopPrice: 0, displayQuantity: 0, expireTime: 0, postOnly: false, selfTradePrevention: 0 };
  for (let price = 1; price <= 10_500; price += 500) {
    const commands = Array.from({ length: 500 }, (_, i) => {
      const clientOrderId = String(price + i);
      const submit = { ...order, ...none, clientOrderId, quantity: 1, price: price + i };
      return { kind: "submit", account: `a${price}`, keyHigh: 0, keyLow: price + i, submit } as const;
    });
    engine.desk.apply(...commands);
  }
  const client = clientOf(t, (await serve(t, engine)).url);
  const { bids } = await client.getBook("A-B", 0);
  assert.deepEqual([bids.length, bids[0]?.price, bids.at(-1)?.price], [10_000, 10_500n, 501n]);
  assert.equal((await client.getBook("A-B", 20_000)).bids.length, 10_000);
});

test("an open order, by the bytes of its id", async (t) => {
  const engine = new TestEngine();
  engine.desk.orders("ann 1 buy 5 @ 99 show 2", "bob 1 sell 1 @ 99");
  const client = clientOf(t, (await serve(t, engine)).url);
  const [open] = engine.desk.engine.ordersOf("ann");
  const id = formatOrderId({ partition: 0, ...open! });
  const { $typeName: _, ...order } = await client.getOrder(orderIdBytes(id));
  const { priority } = open!;
  assert.deepEqual(order, {
    ...{ account: "ann", symbol: "A-B", visibleQuantity: 1n, priority: BigInt(priority) },
    ...{ cumQuantity: 1n, leavesQuantity: 4n },
  });
  const other = formatOrderId({ partition: 0, ...open!, index: 7 });
  const elsewhere = formatOrderId({ partition: 1, ...open! });
  for (const wrong of [orderIdBytes(other), orderIdBytes(elsewhere), Buffer.alloc(0), Buffer.alloc(16)]) {
    assert.equal((await refusal(client.getOrder(wrong))).code, "NOT_FOUND");
  }
});

test("of several engines the active one's state is told, and those that do not answer are left out", async (t) => {
  const [active, standby, stopped] = [new TestEngine(), new TestEngine(), new TestEngine()];
  standby.state = "standby";
  stopped.state = "stopped";
  const urls = [];
  for (const engine of [stopped, standby, active]) urls.push((await serve(t, engine)).url);
  const stateOf = async (...of: string[]) => (await clientOf(t, ...of).getStatus()).map(({ state }) => state);
  assert.deepEqual(await stateOf(...urls), [State.ACTIVE]);
  assert.deepEqual(await stateOf(urls[0]!, urls[1]!), [State.STANDBY]);
  assert.deepEqual(await stateOf("http://127.0.0.1:1", urls[0]!), [State.STOPPED]);
  assert.deepEqual(await stateOf("http://127.0.0.1:1"), []);
  const [status] = await clientOf(t, urls[2]!).getStatus();
  const { desk } = active;
  assert.equal(status?.stateHash, desk.engine.stateHash);
  assert.deepEqual([status.rules, status.openOrders, status.detail], [1, 0, "it is active"]);
  assert.deepEqual([status.position?.entryId, status.snapshot], [`${desk.ms}-0`, undefined]);
});

test("where an engine does not answer the next is asked, within a second, and first from then on", async (t) => {
  const [silent, starting, well] = [new TestEngine(), new TestEngine(), new TestEngine()];
  starting.state = "starting";
  const proxy = await Proxy.start(t, (await serve(t, silent)).url);
  proxy.stall();
  const [second, third] = [await serve(t, starting), await serve(t, well)];
  const client = clientOf(t, proxy.url, "http://127.0.0.1:1", second.url, third.url);
  const began = Date.now();
  assert.equal((await client.getBook("A-B", 0)).symbol, "A-B");
  assert.ok(Date.now() - began < 2_000, "a second, and what a busy machine adds");
  assert.deepEqual([silent.asked, starting.asked, well.asked], [0, 1, 1]);
  for (let i = 0; i < 10; i++) await client.getBook("A-B", 0);
  assert.deepEqual([silent.asked, starting.asked, well.asked], [0, 1, 11]);
});

test("where none answers it is said in time, with when to come again", async (t) => {
  const engine = new TestEngine();
  const proxy = await Proxy.start(t, (await serve(t, engine)).url);
  proxy.stall();
  const client = clientOf(t, proxy.url, "http://127.0.0.1:1");
  for (const within of [Infinity, 200]) {
    const began = Date.now();
    const { code, message, retryAfterMs } = await refusal(client.getBook("A-B", 0, began + within));
    assert.deepEqual([code, message, retryAfterMs], ["UNAVAILABLE", "no engine answers at present", 500]);
    assert.ok(Date.now() - began < 2_000, "a second, and what a busy machine adds");
  }
});

test("an engine that is started again at its address is found", async (t) => {
  const engine = new TestEngine();
  const first = await serve(t, engine);
  const client = clientOf(t, first.url);
  await client.getBook("A-B", 0);
  await first.stop();
  assert.equal((await refusal(client.getBook("A-B", 0))).code, "UNAVAILABLE");
  await serve(t, engine, Number(new URL(first.url).port));
  for (;;) {
    const answer = await client.getBook("A-B", 0).catch(() => undefined);
    if (answer !== undefined) break;
  }
});

test("a call that is not answered is cut at the end", { timeout: 20_000 }, async (t) => {
  const engine = new TestEngine();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  engine.read = () => {
    resolve();
    return new Promise(() => {});
  };
  const server = await serve(t, engine);
  const caller = new Caller(server.address);
  t.after(() => caller.close());
  const unanswered = refusalOf(caller.call(EngineService.method.getEngineBook, { symbol: "A-B" }));
  await asked;
  await server.stop();
  assert.equal((await unanswered).code, "CANCELLED");
});

test("health, and a bound on what is taken", async (t) => {
  const { address } = await serve(t, new TestEngine());
  const plain = new Client(address, credentials.createInsecure());
  t.after(() => plain.close());
  const check = (service: string) =>
    new Promise((resolve, reject) => {
      const request = Buffer.concat([Buffer.from([10, service.length]), Buffer.from(service)]);
      plain.makeUnaryRequest(
        "/grpc.health.v1.Health/Check",
        (bytes: Buffer) => bytes,
        (bytes) => bytes.toString("hex"),
        request,
        (error, answer) => (error === null ? resolve(answer) : reject(error)),
      );
    });
  assert.equal(await check(""), "0801", "SERVING");
  assert.equal(await check(EngineService.typeName), "0801");

  const caller = new Caller(address);
  t.after(() => caller.close());
  const { getEngineBook } = EngineService.method;
  const large = await refusalOf(caller.call(getEngineBook, { symbol: "A".repeat(2_000) }));
  assert.equal(large.code, "RESOURCE_EXHAUSTED");
  const broken = await refusalOf(caller.call(getEngineBook, {}, { bytes: Buffer.from([0xff]) }));
  assert.equal(broken.code, "INTERNAL");
});

test("headers that are not ASCII are written nowhere", async (t) => {
  const written = t.mock.method(console, "error", () => {});
  const { url } = await serve(t, new TestEngine());
  const session = connect(url);
  t.after(() => session.destroy());
  const call = session.request({
    ":method": "POST",
    ":path": "/grpc.health.v1.Health/Check",
    "content-type": "application/grpc",
    "x-name": "\xe9".repeat(1_000),
  });
  call.resume().end(message(Buffer.alloc(0)));
  const [trailers] = (await once(call, "trailers")) as [IncomingHttpHeaders];
  assert.equal(trailers["grpc-status"], "0");
  assert.equal(written.mock.callCount(), 0);
});
