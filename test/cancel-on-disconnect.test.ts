/**
 * Streams that cancel what is open where they end in any way but their client's half-close.
 *
 * - I11 also where Redis is away at that moment
 * - I12 another account's orders stay
 */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { checked, FIRST_RULES, RULES } from "../src/engine/matching/rules.ts";
import { AckLevel, OrderStatus } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import type { Caller } from "./support/caller.ts";
import { MiniEngine } from "./support/mini-engine.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { type StreamOptions, TestStream } from "./support/stream.ts";
import { order, Venue } from "./support/venue.ts";

const { submitOrder, submitOrders, getOrder } = OrderService.method;
const { MATCHED } = AckLevel;

/** A stream of an account of its own, with one order that rests; `armed`: to be canceled on disconnect. */
async function resting(
  t: TestContext,
  venue: Venue,
  account: string,
  options: StreamOptions & { readonly armed?: boolean; readonly address?: string } = {},
): Promise<{ readonly stream: TestStream; readonly caller: Caller; readonly orderId: string }> {
  const { armed = true, address, ...streamOptions } = options;
  const caller = await venue.caller(account);
  const stream = new TestStream(address === undefined ? caller : await venue.caller(account, address), streamOptions);
  t.after(() => stream.call.cancel());
  stream.send({ case: "submit", value: order("rests", { price: "1", ackLevel: MATCHED }) }, 1n, armed);
  await eventually(async () => stream.answers.length === 1 || stream.over, "an answer");
  const result = stream.answers[0]?.result;
  assert.ok(result?.case === "submit" && result.value.status === OrderStatus.NEW);
  return { stream, caller, orderId: result.value.orderId };
}

async function stateOf(caller: Caller, orderId: string): Promise<OrderStatus | undefined> {
  return (await caller.call(getOrder, { orderId })).order?.status;
}

async function canceled(caller: Caller, orderId: string): Promise<void> {
  await eventually(async () => {
    const { order } = await caller.call(getOrder, { orderId });
    return order?.status === OrderStatus.CANCELED && order.reason === "MASS_CANCEL";
  }, "the cancel");
}

suite("cancel on disconnect", { concurrency: 2 }, () => {
  test("only where it was asked for, only its account's, and not after a half-close (I12)", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const other = await resting(t, venue, "other");
    const closed = await resting(t, venue, "closed");
    const unarmed = await resting(t, venue, "unarmed", { armed: false });
    const cancelled = await resting(t, venue, "cancelled");

    assert.equal(await closed.stream.close(), undefined);
    unarmed.stream.call.cancel();
    cancelled.stream.call.cancel();
    await canceled(cancelled.caller, cancelled.orderId);
    for (const { caller, orderId } of [other, closed, unarmed]) {
      assert.equal(await stateOf(caller, orderId), OrderStatus.NEW);
    }
    const massCancels = (await venue.logged()).filter((id) => id.startsWith("disconnect-"));
    assert.equal(massCancels.length, 1, "one command, for one stream");
    assert.equal(await venue.metric("disconnect_cancels_total", 'outcome="logged"'), 1);
  });

  test("a connection that is cut, a deadline, a token that ends, a command out of order", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const line = await Proxy.start(t, `http://${venue.ingest.address}`);
    const cut = await resting(t, venue, "cut", { address: line.address });
    const late = await resting(t, venue, "late", { deadlineMs: 3_000 });
    const token = await tokenOf("tokenless", "trader", { ttlS: 6 });
    const tokenless = await resting(t, venue, "tokenless", { token });
    const confused = await resting(t, venue, "confused");

    // What is on its way is in the log before the cancel, and is canceled too.
    for (let i = 0; i < 100; i++) {
      cut.stream.send({ case: "submit", value: order(`more-${i}`, { price: "1" }) });
    }
    await eventually(async () => cut.stream.answers.length > 50, "some answers");
    line.cut();
    assert.equal((await cut.stream.ended)?.code, "UNAVAILABLE");
    confused.stream.send({ case: undefined }, 1n);
    assert.equal((await confused.stream.ended)?.code, "INVALID_ARGUMENT");
    assert.equal((await late.stream.ended)?.code, "DEADLINE_EXCEEDED");
    assert.equal((await tokenless.stream.ended)?.code, "UNAUTHENTICATED");
    for (const { caller, orderId } of [cut, late, tokenless, confused]) await canceled(caller, orderId);
    for (const { result } of cut.stream.answers) {
      assert.ok(result.case === "submit");
      await canceled(cut.caller, result.value.orderId);
    }
    const logged = await venue.logged();
    assert.equal(logged.filter((id) => id.startsWith("disconnect-")).length, 4);
    assert.ok(
      logged.findLastIndex((id) => id.startsWith("more-")) < logged.findIndex((id) => id.startsWith("disconnect-")),
    );
  });

  test("a server that shuts down cancels before it ends; orders that wait for a dead engine do not hold it up", async (t) => {
    const venue = await Venue.trading(t, { PENSTOCK_PARTITIONS: "2" });
    const engine = MiniEngine.start(t, venue.server.url, 2);
    const { stream } = await resting(t, venue, "demo");
    engine.pause();
    for (let i = 0; i < 10; i++) {
      stream.send({ case: "submit", value: order(`waits-${i}`, { price: "1", ackLevel: MATCHED }) });
    }
    await eventually(async () => (await venue.metric("waiting_matches")) === 10, "who waits");
    assert.equal(await venue.ingest.stop(), 0);
    assert.equal((await stream.ended)?.code, "UNAVAILABLE");
    assert.equal(stream.answers.length, 11, "what was taken is answered");
    for (const partition of [0, 1]) {
      const logged = await venue.logged(partition);
      assert.match(logged.at(-1)!, /^disconnect-/, "behind all that the stream sent");
    }
    engine.resume();
    await eventually(async () => engine.engine(0).openOrders + engine.engine(1).openOrders === 0, "nothing is open");
  });

  test("a Redis that is away when the client goes: it is tried again, and is in the log once (I11)", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const { stream, caller, orderId } = await resting(t, venue, "demo");
    venue.toRedis.closed = true;
    stream.call.cancel();
    await stream.ended;
    await assert.rejects(caller.call(submitOrder, order("meanwhile")), /UNAVAILABLE/);
    venue.toRedis.closed = false;
    await eventually(
      async () => (await stateOf(caller, orderId).catch(() => undefined)) === OrderStatus.CANCELED,
      "it",
    );
    assert.equal((await venue.logged()).filter((id) => id.startsWith("disconnect-")).length, 1);
  });

  test("more orders than an entry has room for: another cancel takes the rest", async (t) => {
    const venue = await Venue.trading(t);
    const bounds = { maxFills: 1, maxTriggered: 1, maxExpiries: 10, maxEntryEvents: 600 };
    const rules = checked({ ...RULES.get(FIRST_RULES)!, ...bounds });
    const engine = MiniEngine.start(t, venue.server.url, 1, new Map([[FIRST_RULES, rules]]));
    const { stream, caller } = await resting(t, venue, "demo");
    for (let batch = 0; batch < 7; batch++) {
      const orders = Array.from({ length: 200 }, (_, i) => order(`${batch}-${i}`, { price: "1" }));
      await caller.call(submitOrders, { orders });
    }
    await eventually(async () => engine.engine().openOrders === 1_401, "all of them");
    stream.call.cancel();
    await eventually(async () => engine.engine().openOrders === 0, "nothing is open");
    assert.equal((await venue.logged()).filter((id) => id.startsWith("disconnect-")).length, 3);
  });

  test("a client that goes while an order is looked up: what was not in the log stays out, and the cancel does not wait", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const caller = await venue.caller();
    // An order of which Redis has no event is looked up in Postgres.
    const { stream, orderId } = await resting(t, venue, "demo");
    venue.toPostgres.stall();
    stream.send({ case: "cancel", value: { clientRequestId: "looking", orderId: orderId.replace(/....$/, "0fff") } });
    stream.send({ case: "submit", value: order("behind") });
    await eventually(async () => (await venue.metric("requests_total", 'method="StreamOrders"')) === 1, "the first");
    stream.call.cancel();
    await stream.ended;
    await canceled(caller, orderId);
    venue.toPostgres.cut();
    assert.deepEqual(
      (await venue.logged()).filter((id) => id === "looking" || id === "behind"),
      [],
    );
    assert.equal(await venue.metric("grpc_streams"), 0);
    assert.doesNotMatch(venue.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
  });
});
