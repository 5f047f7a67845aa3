/**
 * Answers that wait for the engine, and reads of what it made of orders: an ingest process, a real Redis and Postgres, and a
 * small engine on the log.
 *
 * - I2 a duplicate has the first answer
 * - I11 an engine that is dead, and a Redis that goes away, leave LOGGED answers as they are
 * - I12 an account's answers tell of its own orders only
 */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";

import { AckLevel, type Order, OrderStatus, Side, TimeInForce } from "../src/gen/penstock/v1/order_pb.ts";
import {
  OrderService,
  type SubmitOrderRequestSchema,
  type SubmitOrderResponse,
} from "../src/gen/penstock/v1/order_service_pb.ts";
import { STATUS_NAMES } from "../src/stream/event-names.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { Partitioning } from "../src/stream/partition.ts";
import type { Caller } from "./support/caller.ts";
import { HttpCaller } from "./support/http-caller.ts";
import { MiniEngine } from "./support/mini-engine.ts";
import { eventually, startConsumers, startEngine, tokenOf } from "./support/pipeline.ts";
import { TestStream } from "./support/stream.ts";
import { order, Venue } from "./support/venue.ts";

const { submitOrder, submitOrders, cancelOrder, replaceOrder, cancelAllOrders, getOrder, listOrders } =
  OrderService.method;
const { MATCHED } = AckLevel;
const PARTITIONS = 3;
/** At least one of each partition. */
const SYMBOLS = ["BTC-USD", ...symbolsOf(PARTITIONS)];

type Fields = MessageInitShape<typeof SubmitOrderRequestSchema>;

/** An order that wants to be matched. */
const wanted = (id: string, fields: Fields = {}) => order(id, { ackLevel: MATCHED, ...fields });
const sell: Fields = { side: Side.SELL };

/** What an order has come to: status, cum, leaves, average price and reason. */
function stateOf(order: Order | undefined): (string | undefined)[] {
  if (order === undefined) return [];
  const { status, cumQuantity, leavesQuantity, averagePrice, reason } = order;
  return [STATUS_NAMES[status], cumQuantity, leavesQuantity, averagePrice, reason];
}

/** Names of which each belongs to another partition. */
function symbolsOf(partitions: number): string[] {
  const partitioning = new Partitioning(partitions);
  return partitioning.all().map((partition) => {
    for (let n = 0; ; n++) if (partitioning.of(`S${n}-USD`) === partition) return `S${n}-USD`;
  });
}

const NEW = ["NEW", "0", "0.1", "", ""];

function assertLogged({ status, order }: SubmitOrderResponse): void {
  assert.deepEqual([status, order], [OrderStatus.PENDING_NEW, undefined]);
}

suite("answers that wait for the engine", { concurrency: 2 }, () => {
  test("each command tells what the engine made of it (I2, I12)", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const [alice, bob] = await Promise.all([venue.caller("alice"), venue.caller("bob")]);

    await t.test("a submit: the order, with its fills and its reason", async () => {
      const resting = await alice.call(submitOrder, wanted("rests", { price: "100", quantity: "0.3" }));
      assert.equal(resting.status, OrderStatus.NEW);
      const { orderId, createdAt } = resting;
      assert.deepEqual(
        [resting.order?.orderId, resting.order?.account, resting.order?.createdAt, resting.order?.updatedAt],
        [orderId, "alice", createdAt, createdAt],
      );
      assert.deepEqual(stateOf(resting.order), ["NEW", "0", "0.3", "", ""]);
      await alice.call(submitOrder, wanted("better", { price: "101", quantity: "0.1" }));
      const filled = await bob.call(submitOrder, wanted("takes", { ...sell, price: "100", quantity: "0.2" }));
      assert.deepEqual(stateOf(filled.order), ["FILLED", "0.2", "0", "100.5", ""]);
      assert.equal(filled.order?.account, "bob");
      const refused = await bob.call(submitOrder, wanted("post", { ...sell, price: "100", postOnly: true }));
      assert.deepEqual([refused.status, refused.order?.reason], [OrderStatus.REJECTED, "POST_ONLY"]);
      const expired = await bob.call(submitOrder, wanted("ioc", { price: "1", timeInForce: TimeInForce.IOC }));
      assert.deepEqual(stateOf(expired.order), ["EXPIRED", "0", "0", "", "UNFILLED"]);
      // What the answer said is read at once, by all ways.
      for (const { order } of [filled, refused, expired]) {
        assert.deepEqual((await bob.call(getOrder, { orderId: order!.orderId })).order, order);
        const { symbol, clientOrderId } = order!;
        assert.deepEqual((await bob.call(getOrder, { symbol, clientOrderId })).order, order);
      }
      const maker = await alice.call(getOrder, { orderId });
      assert.deepEqual(stateOf(maker.order), ["PARTIALLY_FILLED", "0.1", "0.2", "100", ""]);
      assert.deepEqual(maker.order?.createdAt, createdAt);

      const again = await alice.call(submitOrder, wanted("rests", { price: "100", quantity: "0.3" }));
      assert.deepEqual(again, { ...resting, duplicate: true }, "the first answer, whatever came after it");
      assertLogged(await alice.call(submitOrder, order("rests", { price: "100", quantity: "0.3" })));
      await alice.call(cancelAllOrders, { clientRequestId: "clean-1", ackLevel: MATCHED });
    });

    await t.test("cancels and replaces: the order after them, or why they were refused", async () => {
      const { orderId } = await alice.call(submitOrder, wanted("changes"));
      const replaced = await alice.call(replaceOrder, {
        ...{ clientRequestId: "r-1", orderId, quantity: "0.5", price: "99" },
        ackLevel: MATCHED,
      });
      assert.deepEqual([...stateOf(replaced.order), replaced.reason], ["NEW", "0", "0.5", "", "", ""]);
      assert.equal(replaced.order?.price, "99");
      const byName = { symbol: "BTC-USD", clientOrderId: "changes" };
      const cancel = { clientRequestId: "c-1", ...byName, ackLevel: MATCHED };
      const canceled = await alice.call(cancelOrder, cancel);
      assert.deepEqual(stateOf(canceled.order), ["CANCELED", "0", "0", "", "REQUESTED"]);
      assert.equal(canceled.reason, "");
      assert.deepEqual(await alice.call(cancelOrder, cancel), { ...canceled, duplicate: true });
      const late = await alice.call(cancelOrder, { clientRequestId: "c-2", orderId, ackLevel: MATCHED });
      assert.deepEqual([late.order, late.reason], [undefined, "UNKNOWN_ORDER"]);
      const ask = { clientRequestId: "r-2", orderId, quantity: "1", ackLevel: MATCHED };
      assert.equal((await alice.call(replaceOrder, ask)).reason, "UNKNOWN_ORDER");

      // A replace that is refused shows the order, which stays.
      await alice.call(submitOrder, wanted("part", { price: "90" }));
      await bob.call(submitOrder, wanted("hit", { ...sell, price: "90", quantity: "0.04" }));
      const filled = await alice.call(replaceOrder, {
        ...{ clientRequestId: "r-3", symbol: "BTC-USD", clientOrderId: "part", quantity: "0.04" },
        ackLevel: MATCHED,
      });
      assert.equal(filled.reason, "ALREADY_FILLED");
      assert.deepEqual(stateOf(filled.order), ["PARTIALLY_FILLED", "0.04", "0.06", "90", ""]);
      const logged = await alice.call(cancelOrder, { clientRequestId: "c-3", ...byName, clientOrderId: "part" });
      assert.deepEqual([logged.order, logged.reason], [undefined, ""]);
    });

    await t.test("a batch, a stream and the HTTP door say the same", async () => {
      const { results } = await bob.call(submitOrders, {
        orders: [
          wanted("b-1", { price: "50" }),
          wanted("b-2", { price: "0.001" }),
          order("b-3", { price: "50" }),
          wanted("b-4", { ...sell, price: "50", quantity: "0.2" }),
          wanted("b-1", { price: "50" }),
        ],
      });
      const states = results.map(({ result }) =>
        result.case === "accepted" ? stateOf(result.value.order).slice(0, 3) : result.value?.code,
      );
      // All of it is one entry, and what is told is what stands after it.
      const filled = ["FILLED", "0.1", "0"];
      assert.deepEqual(states, [filled, 3, [], ["FILLED", "0.2", "0"], filled]);

      const stream = new TestStream(bob);
      stream.send({ case: "submit", value: wanted("s-1", { price: "40" }) });
      stream.send({ case: "replace", value: { ...asked("s-r", "s-1"), price: "41" } });
      stream.send({ case: "cancel", value: asked("s-c", "s-1") });
      stream.send({ case: "submit", value: wanted("s-2", { price: "40" }) });
      stream.send({ case: "cancelAll", value: { clientRequestId: "s-a", ackLevel: MATCHED } });
      stream.send({ case: "submit", value: order("s-3", { price: "40" }) });
      assert.equal(await stream.close(), undefined);
      const answers = new Map(stream.answers.map(({ sequence, result }) => [Number(sequence), result]));
      assert.equal(answers.size, 6);
      const [s1, s2, s3] = [1, 4, 6].map((sequence) => answers.get(sequence)!);
      assert.ok(s1?.case === "submit" && s2?.case === "submit" && s3?.case === "submit");
      assertLogged(s3.value);
      for (const { value } of [s1, s2]) assert.ok(value.order !== undefined);
      const all = answers.get(5)!;
      assert.ok(all.case === "cancelAll");
      assert.deepEqual([all.value.affected, all.value.remaining], [1, 0]);
      const canceled = answers.get(3)!;
      assert.ok(canceled.case === "cancel");
      assert.equal(canceled.value.order?.status, OrderStatus.CANCELED);

      for (const way of ["Connect JSON", "gRPC-Web"] as const) {
        const http = new HttpCaller(t, venue.ingest.http, { way, token: await tokenOf("carol") });
        const answer = await http.call(submitOrder, wanted(`http-${way.slice(0, 4)}`, { price: "30" }));
        assert.deepEqual(stateOf(answer.order), NEW);
        const request = { clientRequestId: `http-${way.slice(0, 4)}`, ackLevel: MATCHED };
        assert.equal((await http.call(cancelAllOrders, request)).affected, 1);
      }
    });

    assert.equal(await venue.metric("waiting_matches"), 0);
    assert.doesNotMatch(venue.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
  });

  test("over several partitions and processes: each waits for its own", async (t) => {
    const env = { PENSTOCK_PARTITIONS: String(PARTITIONS), PENSTOCK_INGEST_PROCESSES: "2" };
    const venue = await Venue.trading(t, env);
    for (const symbol of SYMBOLS.slice(1)) await venue.define(symbol);
    MiniEngine.start(t, venue.server.url, PARTITIONS);
    // A process takes the connections that the kernel gives it.
    const callers = await Promise.all(Array.from({ length: 8 }, () => venue.caller()));
    const answers = await Promise.all(
      callers.flatMap((caller, c) =>
        Array.from({ length: 20 }, (_, i) =>
          caller.call(submitOrder, wanted(`${c}-${i}`, { symbol: SYMBOLS[i % SYMBOLS.length]! })),
        ),
      ),
    );
    for (const { order } of answers) assert.deepEqual(stateOf(order), NEW);
    const everything = await callers[0]!.call(cancelAllOrders, { clientRequestId: "all", ackLevel: MATCHED });
    assert.deepEqual([everything.affected, everything.remaining, everything.commandIds.length], [160, 0, 3]);
    const again = await callers[1]!.call(cancelAllOrders, { clientRequestId: "all", ackLevel: MATCHED });
    assert.deepEqual(again, { ...everything, duplicate: true });
  });

  test("an engine that is quicker than the commit's answer is not waited for in vain", async (t) => {
    const venue = await Venue.trading(t);
    const engine = MiniEngine.start(t, venue.server.url);
    const caller = await venue.caller();
    for (let round = 0; round < 3; round++) {
      const held = venue.toRedis.hold((answer) => answer.includes("$2\r\nOK\r\n"));
      const call = caller.call(submitOrder, wanted(`slow-${round}`, { price: "1" }));
      const release = await Promise.race([held, call.then(() => assert.fail("it was not held back"))]);
      await eventually(async () => engine.engine().openOrders === round + 1, "the engine");
      // The follower's connection is another one: it has the events by now, or soon.
      const sequence = (await venue.redis.xinfo("STREAM", new PartitionKeys(0).events)) as unknown[];
      assert.ok(sequence.length > 0);
      release();
      assert.deepEqual(stateOf((await call).order), NEW);
    }
  });

  test("without an engine it is the LOGGED answer, in time; LOGGED ones do not notice (I11)", async (t) => {
    const venue = await Venue.trading(t);
    const caller = await venue.caller();
    const logged = async (id: string) => assertLogged(await caller.call(submitOrder, order(id)));
    await logged("before");
    const waiting = caller.call(submitOrder, wanted("alone"));
    await eventually(async () => (await venue.metric("waiting_matches")) === 1, "who waits");
    await logged("meanwhile");
    assertLogged(await waiting);
    // Within a deadline that is nearer.
    assertLogged(await caller.call(submitOrder, wanted("soon"), { deadlineMs: 1_500 }));
    const cancel = await caller.call(cancelOrder, { ...asked("c", "alone") });
    assert.deepEqual([cancel.order, cancel.reason], [undefined, ""]);
    const all = await caller.call(cancelAllOrders, { clientRequestId: "a", symbol: "BTC-USD", ackLevel: MATCHED });
    assert.deepEqual([all.affected, all.remaining], [undefined, undefined]);
    // A client that is gone is not waited for.
    const gone = caller.call(submitOrder, wanted("gone"), { onCall: (call) => setTimeout(() => call.cancel(), 200) });
    await assert.rejects(gone, /CANCELLED/);
    await eventually(async () => (await venue.metric("waiting_matches")) === 0, "nobody waits");
    assert.equal(await venue.metric("matched_answers_total", 'outcome="matched"'), 0);

    // Later the engine comes, and the same call tells what became of it: here a cancel.
    MiniEngine.start(t, venue.server.url);
    const again = await caller.call(submitOrder, wanted("alone"));
    assert.deepEqual([again.duplicate, ...stateOf(again.order)], [true, ...NEW]);
    await eventually(async () => {
      const { order } = await caller.call(getOrder, { orderId: again.orderId });
      return order?.status === OrderStatus.CANCELED;
    }, "the cancel behind it");
  });

  test("thousands wait at once, and each is answered once (I11)", async (t) => {
    const venue = await Venue.trading(t);
    const engine = MiniEngine.start(t, venue.server.url);
    const callers = await Promise.all(["a", "b", "c", "d"].map((account) => venue.caller(account)));
    await callers[0]!.call(submitOrder, wanted("first"));
    engine.pause();
    const streams = callers.map((caller) => new TestStream(caller));
    for (const stream of streams) {
      for (let i = 0; i < 1_000; i++) stream.send({ case: "submit", value: wanted(`s-${i}`, { price: "1" }) });
    }
    const calls = callers.flatMap((caller) =>
      Array.from({ length: 250 }, (_, i) => caller.call(submitOrder, wanted(`u-${i}`, { price: "1" }))),
    );
    await eventually(async () => (await venue.metric("waiting_matches")) > 2_000, "many who wait");
    const logged = await callers[0]!.call(submitOrder, order("logged", { price: "1" }));
    assertLogged(logged);
    engine.resume();
    for (const answer of await Promise.all(calls)) assertMatchedOrLate(answer);
    for (const stream of streams) {
      assert.equal(await stream.close(), undefined);
      assert.equal(new Set(stream.answers.map(({ sequence }) => sequence)).size, 1_000);
      assert.equal(stream.answers.length, 1_000);
      for (const { result } of stream.answers) {
        assert.ok(result.case === "submit");
        assertMatchedOrLate(result.value);
      }
    }
    const outcomes = await Promise.all(
      ["matched", "late"].map((outcome) => venue.metric("matched_answers_total", `outcome="${outcome}"`)),
    );
    assert.equal(outcomes[0]! + outcomes[1]!, 5_001);
    assert.ok(outcomes[0]! > 1_000, `${outcomes[0]} were matched in time`);
    assert.equal(await venue.metric("waiting_matches"), 0);
  });

  test("the real engine: killed, the answers are the LOGGED ones; started again, it tells the rest (I2, I11)", async (t) => {
    const venue = await Venue.trading(t);
    const servers = { redisUrl: venue.server.url, databaseUrl: venue.databaseUrl };
    const engine = await startEngine(t, servers);
    const caller = await venue.caller();
    const first = await caller.call(submitOrder, wanted("first"));
    assert.deepEqual(stateOf(first.order), NEW);
    await engine.kill();
    const second = await caller.call(submitOrder, wanted("second", { ...sell, quantity: "0.04" }));
    assertLogged(second);
    await startEngine(t, servers);
    const again = await eventually(async () => {
      const answer = await caller.call(submitOrder, wanted("second", { ...sell, quantity: "0.04" }));
      return answer.order && answer;
    }, "the engine");
    assert.deepEqual([again.duplicate, ...stateOf(again.order)], [true, "FILLED", "0.04", "0", "100.25", ""]);
    assert.deepEqual(await caller.call(submitOrder, wanted("first")), { ...first, duplicate: true });
    const { order } = await caller.call(getOrder, { orderId: first.orderId });
    assert.deepEqual(stateOf(order), ["PARTIALLY_FILLED", "0.04", "0.06", "100.25", ""]);
  });

  test("a Redis that restarts under it: every answer is right or an error to retry, and MATCHED works again (I11)", async (t) => {
    const venue = await Venue.trading(t);
    MiniEngine.start(t, venue.server.url);
    const caller = await venue.caller();
    let isOver = false;
    const answers: SubmitOrderResponse[] = [];
    const flow = async (f: number): Promise<void> => {
      for (let i = 0; !isOver; i++) {
        const request = wanted(`${f}-${i}`, { price: "1" });
        answers.push(await eventually(() => caller.call(submitOrder, request).catch(() => undefined), "an answer"));
      }
    };
    const flows = Array.from({ length: 5 }, (_, f) => flow(f));
    await eventually(async () => answers.length > 50, "some answers");
    await venue.server.restart();
    const since = answers.length;
    await eventually(
      async () => answers.slice(since).filter(({ order }) => order !== undefined).length > 50,
      "MATCHED",
    );
    isOver = true;
    await Promise.all(flows);
    for (const answer of answers) {
      assertMatchedOrLate(answer);
      const { order } = await caller.call(getOrder, { orderId: answer.orderId });
      assert.deepEqual(stateOf(order), NEW);
    }
  });
});

/** A cancel or replace of an order of BTC-USD by its client order id. */
function asked(clientRequestId: string, clientOrderId: string) {
  return { clientRequestId, symbol: "BTC-USD", clientOrderId, ackLevel: MATCHED };
}

/** An order that rests, or its LOGGED answer where the engine was late. */
function assertMatchedOrLate(answer: SubmitOrderResponse): void {
  if (answer.order === undefined) assertLogged(answer);
  else assert.deepEqual(stateOf(answer.order), NEW);
}

suite("reads of states", { concurrency: 2 }, () => {
  test("the newest of what Redis and Postgres have, and it does not go back (I12)", async (t) => {
    const venue = await Venue.trading(t);
    const { caller, get, list, sql } = await reader(t, venue);
    MiniEngine.start(t, venue.server.url);
    await startConsumers(t, { redisUrl: venue.server.url, databaseUrl: venue.databaseUrl });
    const ids: string[] = [];
    for (const [i, price] of ["10", "20", "30"].entries()) {
      const { orderId } = await caller.call(submitOrder, wanted(`o-${i}`, { price }));
      ids.push(orderId);
    }
    await eventually(async () => (await list()).length === 3, "the rows");
    // Rows of orders, and states from Redis: Postgres has none, or older ones.
    assert.deepEqual((await list()).map(stateOf), [NEW, NEW, NEW]);
    await caller.call(cancelOrder, asked("c-1", "o-1"));
    const canceled = ["CANCELED", "0", "0", "", "REQUESTED"];
    assert.deepEqual((await list()).map(stateOf), [NEW, canceled, NEW]);
    assert.deepEqual(stateOf(await get(ids[1]!)), canceled);
    const other = await venue.caller("other");
    await assert.rejects(other.call(getOrder, { orderId: ids[1]! }), /NOT_FOUND/);

    // Beyond what Redis has: as a worker would have written them, later ones.
    await sql`
      INSERT INTO order_states (order_id, ms, seq, index, epoch, open, triggered, account, symbol, status, reason, quantity,
        price, cum_quantity, leaves_quantity, traded_value)
      SELECT order_id, ${Date.now() + 60_000}, 0, 0, 1, false, false, account, symbol, 'FILLED', NULL, quantity, price,
        quantity, 0, 3 FROM orders WHERE order_id = ${ids[0]!}
      ON CONFLICT (order_id) DO UPDATE SET ms = excluded.ms, seq = 0, index = 0, status = 'FILLED', open = false,
        cum_quantity = excluded.cum_quantity, leaves_quantity = 0, traded_value = 3`;
    const filled = ["FILLED", "0.1", "0", "30", ""];
    assert.deepEqual(stateOf(await get(ids[0]!)), filled);
    assert.deepEqual((await list()).map(stateOf), [NEW, canceled, filled]);

    // An end that Redis knows is told without Postgres, and an open order too where that is away.
    venue.toPostgres.closed = true;
    assert.deepEqual(stateOf(await get(ids[1]!)), canceled);
    assert.deepEqual(stateOf(await get(ids[2]!)), NEW);
    venue.toPostgres.closed = false;
  });

  test("only what is open, by pages; what ended a moment ago is not shown as open", async (t) => {
    const venue = await Venue.trading(t);
    const { caller, sql } = await reader(t, venue);
    MiniEngine.start(t, venue.server.url);
    await startConsumers(t, { redisUrl: venue.server.url, databaseUrl: venue.databaseUrl });
    for (let i = 0; i < 5; i++) await caller.call(submitOrder, wanted(`o-${i}`, { price: "10" }));
    const open = () => sql`SELECT FROM order_states JOIN orders USING (order_id) WHERE open`;
    await eventually(async () => (await open()).length === 5, "the rows");
    await caller.call(cancelOrder, asked("c-1", "o-3"));
    const first = await caller.call(listOrders, { openOnly: true, pageSize: 3 });
    const rest = await caller.call(listOrders, { openOnly: true, pageSize: 3, pageToken: first.nextPageToken });
    assert.deepEqual(
      [...first.orders, ...rest.orders].map(({ clientOrderId }) => clientOrderId),
      ["o-4", "o-2", "o-1", "o-0"],
    );
    assert.equal(rest.nextPageToken, "");
    const orders = new PartitionKeys(0).orders;
    await eventually(async () => {
      const [place] = (await caller.call(listOrders, { openOnly: true })).asOf;
      const [newest] = await venue.redis.xrevrange(orders, "+", "-", "COUNT", 1);
      return place?.entryId === newest?.[0];
    }, "a list that is complete up to the end of the log");
  });

  test("where the event is trimmed Postgres has it; a state that only the stream has is read there", async (t) => {
    const venue = await Venue.trading(t);
    const { caller, get } = await reader(t, venue);
    const engine = MiniEngine.start(t, venue.server.url);
    const { orderId } = await caller.call(submitOrder, wanted("old", { price: "10" }));
    await engine.stop();
    // A second ingest has an empty ring, and what the stream has no more.
    const { events } = new PartitionKeys(0);
    assert.deepEqual(stateOf(await get(orderId)), NEW);
    await venue.redis.xtrim(events, "MAXLEN", 0);
    assert.equal((await get(orderId))?.status, OrderStatus.NEW, "the ring has it");
    const duplicate = await caller.call(submitOrder, wanted("old", { price: "10" }));
    assert.deepEqual([duplicate.duplicate, duplicate.status], [true, OrderStatus.NEW]);
  });
});

async function reader(t: TestContext, venue: Venue) {
  const { connect } = await import("../src/store/connection.ts");
  const sql = connect(venue.databaseUrl, { max: 1 });
  t.after(() => sql.end({ timeout: 1 }));
  const caller: Caller = await venue.caller();
  return {
    caller,
    sql,
    get: async (orderId: string) => (await caller.call(getOrder, { orderId })).order,
    list: async () => (await caller.call(listOrders, {})).orders,
  };
}
