import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceError } from "@grpc/grpc-js";

import {
  OrderService,
  StreamOrdersRequestSchema,
  type StreamOrdersResponse,
} from "../src/gen/penstock/v1/order_service_pb.ts";
import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { Partitioning } from "../src/stream/partition.ts";
import { Caller, type Refusal, refusalOf, toRefusal } from "./support/caller.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { type StreamOptions, TestStream } from "./support/stream.ts";
import { order, Venue } from "./support/venue.ts";

/** StreamOrders over real sockets: an ingest process, and clients in this one. */

const { submitOrder, submitOrders, cancelAllOrders } = OrderService.method;

const submit = (id: string, fields: Parameters<typeof order>[1] = {}) =>
  ({ case: "submit", value: order(id, fields) }) as const;
const cancel = (clientRequestId: string, orderId: string) =>
  ({ case: "cancel", value: { clientRequestId, orderId } }) as const;

async function streamOf(t: TestContext, venue: Venue, options?: StreamOptions): Promise<TestStream> {
  const stream = new TestStream(await venue.caller(), options);
  t.after(() => stream.call.cancel());
  return stream;
}

const HEALTH = "/grpc.health.v1.Health/Watch";
const REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const LIST = Buffer.from([0x3a, 0x01, 0x2a]); // list_services

/** Opens a stream that needs no token. Resolves at its first answer, with the refusal that it will end with. */
async function openStream(
  t: TestContext,
  venue: Venue,
  path: string,
  request: Buffer,
): Promise<{ readonly ended: Promise<Refusal> }> {
  const identity = (bytes: Buffer) => bytes;
  const call = (await venue.caller()).client.makeBidiStreamRequest(path, identity, identity);
  t.after(() => call.cancel());
  const { promise: ended, resolve } = Promise.withResolvers<Refusal>();
  call.on("error", (error: ServiceError) => resolve(toRefusal(error)));
  call.write(request);
  if (path === HEALTH) call.end();
  await once(call, "data");
  return { ended };
}

/** Waits for so many answers, and no more of them. */
async function answered(stream: TestStream, count: number): Promise<void> {
  await eventually(async () => stream.answers.length >= count || stream.over, `${count} answers`);
  assert.equal(stream.answers.length, count, String(stream.over && (await stream.ended)));
}

/** "submit", or the code of the refusal; with "again" for a duplicate. */
function outcome({ result }: StreamOrdersResponse): string | number | undefined {
  if (result.case === "refused") return result.value.code;
  return result.value?.duplicate ? `${result.case} again` : result.case;
}

suite("StreamOrders", { concurrency: true }, () => {
  test("one venue", { concurrency: true }, async (t) => {
    const venue = await Venue.trading(t);
    await Promise.all([
      t.test(
        "each command is answered under its sequence, as its own call would be; a bad one is refused alone",
        async (t) => {
          const stream = await streamOf(t, venue);
          stream.send(submit("s-1"));
          await answered(stream, 1);
          const { result } = stream.answers[0]!;
          assert.ok(result.case === "submit");
          const { orderId } = result.value;
          assert.equal(result.value.clientOrderId, "s-1");
          const byName = { symbol: "BTC-USD", clientOrderId: "s-1" };

          const wanted = new Map<bigint, string | number>();
          const send = (expected: string | number, ...command: Parameters<TestStream["send"]>) =>
            wanted.set(stream.send(...command), expected);
          send("submit again", submit("s-1"));
          send(6, submit("s-1", { quantity: "5" }));
          send(3, submit("s-2", { price: "0.001" }), 10n);
          send("submit", submit("s-3"), 2n ** 60n);
          send("cancel", cancel("c-1", orderId));
          send("cancel again", cancel("c-1", orderId));
          send("replace", { case: "replace", value: { clientRequestId: "r-1", ...byName, quantity: "2" } });
          send("replace", { case: "replace", value: { clientRequestId: "r-2", orderId, price: "99" } });
          send(3, { case: "replace", value: { clientRequestId: "r-3", orderId, price: "99.001" } });
          send(5, cancel("c-2", orderId.replace(/....$/, "0fff")));
          send(3, cancel("c-3", "nonsense"));
          send("cancelAll", { case: "cancelAll", value: { clientRequestId: "a-1" } });
          send(3, { case: undefined });
          assert.equal(await stream.close(), undefined, "OK");

          assert.deepEqual(
            new Map(stream.answers.slice(1).map((answer) => [answer.sequence, outcome(answer)])),
            wanted,
          );
          const own = new Set(["s-1", "s-2", "s-3", "c-1", "c-2", "c-3", "r-1", "r-2", "r-3", "a-1"]);
          const logged = (await venue.logged()).filter((id) => own.has(id));
          assert.deepEqual(logged, ["s-1", "s-3", "c-1", "r-1", "r-2", "a-1"]);
          const other = new TestStream(await venue.caller("other"));
          other.send(cancel("c-1", orderId));
          assert.equal(await other.close(), undefined);
          assert.equal(outcome(other.answers[0]!), 5, "I12: another account's order is not there");
        },
      ),
      t.test(
        "more than may be under way, and then no more: all of it is answered once, and the stream ends with OK",
        async (t) => {
          const stream = await streamOf(t, venue);
          const ids = Array.from({ length: 5_000 }, (_, i) => `o-${i}`);
          for (const id of ids) stream.send(submit(id));
          assert.equal(await stream.close(), undefined);
          assert.deepEqual(
            stream.answers.map(({ sequence }) => Number(sequence)),
            ids.map((_, i) => i + 1),
          );
          assert.ok(stream.answers.every((answer) => outcome(answer) === "submit"));
          assert.deepEqual(
            (await venue.logged()).filter((id) => id.startsWith("o-")),
            ids,
          );
        },
      ),
      t.test("who does not read is not read either; after ten seconds the stream ends, and tells why", async (t) => {
        // A window of the smallest size: some hundred answers.
        const session = connect(`http://${venue.ingest.address}`, { settings: { initialWindowSize: 16_384 } });
        t.after(() => session.destroy());
        const stream = session.request({
          ":method": "POST",
          ":path": "/penstock.v1.OrderService/StreamOrders",
          "content-type": "application/grpc",
          te: "trailers",
          authorization: `Bearer ${await tokenOf("demo")}`,
        });
        stream.pause();
        for (let i = 1; i <= 10_000; i++) {
          const request = { sequence: BigInt(i), command: submit(`unread-${i}`) };
          const bytes = toBinary(StreamOrdersRequestSchema, create(StreamOrdersRequestSchema, request));
          const prefix = Buffer.alloc(5);
          prefix.writeUInt32BE(bytes.length, 1);
          stream.write(Buffer.concat([prefix, bytes]));
        }
        const refused = () => venue.metric("requests_total", 'method="StreamOrders",code="RESOURCE_EXHAUSTED"');
        await eventually(async () => (await refused()) === 1, "the end of the stream");
        const taken = (await venue.logged()).filter((id) => id.startsWith("unread-")).length;
        assert.ok(taken >= 1_000 && taken < 1_500, `${taken} orders were taken`);
        const ended = Promise.withResolvers<unknown>();
        stream.on("trailers", (trailers) => ended.resolve(trailers["grpc-status"]));
        stream.on("error", ended.reject);
        stream.resume();
        assert.equal(await ended.promise, "8", "RESOURCE_EXHAUSTED");
      }),
      t.test(
        "malformed bytes, or a sequence that does not rise, end the stream when the rest is answered",
        async (t) => {
          for (const spoil of [
            (stream: TestStream) => stream.write(Buffer.from("no message")),
            (stream: TestStream) => stream.send(submit("spoilt"), 1n),
            (stream: TestStream) => stream.send(submit("spoilt"), 0n),
          ]) {
            const stream = await streamOf(t, venue);
            stream.send(submit("good"));
            spoil(stream);
            stream.send(submit("ignored"), 7n);
            const refusal = await stream.ended;
            assert.equal(refusal?.code, "INVALID_ARGUMENT");
            assert.deepEqual(stream.answers.length, 1);
          }
          assert.ok(!(await venue.logged()).some((id) => id === "spoilt" || id === "ignored"));
        },
      ),
      t.test("wants a good token, and ends with it", async (t) => {
        const unknown = await streamOf(t, venue, { token: "nonsense" });
        assert.equal((await unknown.ended)?.code, "UNAUTHENTICATED");
        const stream = await streamOf(t, venue, { token: await tokenOf("demo", "trader", { ttlS: 6 }) });
        stream.send(submit("in-time"));
        await answered(stream, 1);
        assert.equal((await stream.ended)?.code, "UNAUTHENTICATED");
      }),
    ]);
  });

  test("in a partition the log has a client's commands in its order, whatever has to be looked up", async (t) => {
    const symbols = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"];
    const partitioning = new Partitioning(3);
    const venue = await Venue.trading(t, { PENSTOCK_PARTITIONS: "3" });
    for (const symbol of symbols.slice(1)) await venue.define(symbol);
    const stream = await streamOf(t, venue);
    const orders = new Map<string, string>();
    for (const symbol of symbols) {
      const { orderId } = await (await venue.caller()).call(submitOrder, order(`first-${symbol}`, { symbol }));
      orders.set(symbol, orderId);
    }
    const sent: string[][] = [[], [], []];
    const seed = Math.floor(Math.random() * 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    let state = seed;
    const below = (n: number) => (state = (state * 48_271 + 11) % 2_147_483_647) % n;
    for (let i = 0; i < 600; i++) {
      const symbol = symbols[below(symbols.length)]!;
      const id = `${i}`;
      const kind = below(10);
      if (kind < 6) stream.send(submit(id, { symbol }));
      else if (kind < 8) stream.send(cancel(id, orders.get(symbol)!));
      else if (kind < 9) {
        const value = { clientRequestId: id, orderId: orders.get(symbol)!, price: "9" };
        stream.send({ case: "replace", value });
      } else stream.send({ case: "cancelAll", value: { clientRequestId: id } });
      if (kind < 9) sent[partitioning.of(symbol)]!.push(id);
      else for (const partition of sent) partition.push(id);
    }
    assert.equal(await stream.close(), undefined);
    assert.equal(stream.answers.length, 600);
    assert.ok(stream.answers.every(({ result }) => result.case !== "refused"));
    for (const [partition, ids] of sent.entries()) {
      assert.deepEqual(
        (await venue.logged(partition)).filter((id) => !id.startsWith("first")),
        ids,
      );
    }
  });

  test("while an order is looked up nothing overtakes; a look-up that fails lets the rest go on (I11)", async (t) => {
    const venue = await Venue.trading(t, { PENSTOCK_REQUEST_TIMEOUT_MS: "5000" });
    const caller = await venue.caller();
    const { orderId } = await caller.call(submitOrder, order("first"));
    // Once it fails because the connection is lost, and once because nobody answers in time.
    for (const [round, code] of [14, 4].entries()) {
      const before = await venue.logged();
      const stream = await streamOf(t, venue);
      venue.toPostgres.stall();
      stream.send(submit(`before-${round}`));
      const looking = stream.send(cancel(`looking-${round}`, orderId));
      const behind = stream.send(submit(`behind-${round}`));
      await answered(stream, 1);
      await caller.call(submitOrder, order(`meanwhile-${round}`));
      assert.deepEqual(await venue.logged(), [...before, `before-${round}`, `meanwhile-${round}`]);
      if (code === 14) venue.toPostgres.cut();
      assert.equal(await stream.close(), undefined);
      const outcomes = new Map(stream.answers.map((answer) => [answer.sequence, outcome(answer)]));
      assert.equal(outcomes.get(looking), code);
      assert.equal(outcomes.get(behind), "submit");
      assert.equal((await venue.logged()).at(-1), `behind-${round}`);
      venue.toPostgres.cut();
    }
  });

  test("new orders that are refused at present are refused alone, and cancels are taken (I11)", async (t) => {
    const venue = await Venue.trading(t, { PENSTOCK_MAX_BACKLOG: "3" });
    const stream = await streamOf(t, venue);
    let sent = 0n;
    await eventually(async () => {
      sent = stream.send(submit(`o-${sent}`));
      await answered(stream, Number(sent));
      return stream.answers.at(-1)?.result.case === "refused";
    }, "a refusal");
    assert.equal(outcome(stream.answers.at(-1)!), 8);
    const value = { clientRequestId: "c", symbol: "BTC-USD", clientOrderId: "o-0" };
    stream.send({ case: "cancel", value });
    assert.equal(await stream.close(), undefined);
    assert.equal(outcome(stream.answers.at(-1)!), "cancel");
  });

  test("a mass cancel that not all partitions take: its outcome is unknown, and the same id again completes it (I11)", async (t) => {
    const partitioning = new Partitioning(2);
    const venue = await Venue.trading(t, { PENSTOCK_PARTITIONS: "2", PENSTOCK_MAX_IN_FLIGHT: "1000" });
    const symbol = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"].find((name) => partitioning.of(name) === 1)!;
    await venue.define(symbol);
    const caller = await venue.caller();
    const stream = await streamOf(t, venue);
    // A head of another kind shuts the second partition, and so many orders as may wait wait for it.
    const { head } = new PartitionKeys(1);
    await venue.redis.rename(head, "aside");
    await venue.redis.set(head, "x");
    const orders = Array.from({ length: 1_000 }, (_, i) => order(`waiting-${i}`, { symbol }));
    const batch = caller.call(submitOrders, { orders });
    await venue.waiting(1_000);

    const { code, message, retryAfterMs } = await refusalOf(caller.call(cancelAllOrders, { clientRequestId: "one" }));
    assert.equal(code, "UNAVAILABLE");
    assert.match(message, /1 of 2 partitions did not take it: the outcome is unknown in part; send the same id again/);
    assert.ok(retryAfterMs! > 0);
    stream.send({ case: "cancelAll", value: { clientRequestId: "two" } });
    await answered(stream, 1);
    assert.equal(outcome(stream.answers[0]!), 14);
    // Where none of them takes it, nothing was done.
    stream.send({ case: "cancelAll", value: { clientRequestId: "three", symbol } });
    await answered(stream, 2);
    assert.equal(outcome(stream.answers[1]!), 8);
    assert.deepEqual(await venue.logged(0), ["one", "two"]);

    await venue.redis.rename("aside", head);
    assert.ok((await batch).results.every(({ result }) => result.case === "accepted"));
    const { commandIds, duplicate } = await caller.call(cancelAllOrders, { clientRequestId: "one" });
    assert.deepEqual([commandIds.length, duplicate], [2, false]);
    stream.send({ case: "cancelAll", value: { clientRequestId: "two" } });
    assert.equal(await stream.close(), undefined);
    assert.equal(outcome(stream.answers[2]!), "cancelAll");
    assert.deepEqual((await venue.logged(1)).slice(-2), ["one", "two"]);
  });

  test("what its account may do changes while it is open", async (t) => {
    const venue = await Venue.trading(t);
    const admin = new Caller(venue.ingest.address, `Bearer ${await tokenOf("root", "admin")}`);
    t.after(() => admin.close());
    await admin.call(AdminService.method.createAccount, { account: "slowed", role: Role.TRADER });
    const stream = await streamOf(t, venue, { token: await tokenOf("slowed") });
    const batch = async () => {
      const before = stream.answers.length;
      for (let i = 0; i < 500; i++) stream.send(submit(`slowed-${before + i}`));
      await answered(stream, before + 500);
      return new Set(stream.answers.slice(before).map(outcome));
    };
    for (let i = 0; i < 4; i++) assert.deepEqual(await batch(), new Set(["submit"]));
    await admin.call(AdminService.method.updateAccount, { account: "slowed", rateLimit: 1 });
    await eventually(async () => (await batch()).has(8), "a refusal");
    await admin.call(AdminService.method.updateAccount, { account: "slowed", rateLimit: 0 });
    await eventually(async () => !(await batch()).has(8), "none");
  });

  test("SIGTERM: what was taken is answered, then UNAVAILABLE, and it ends with 0 (I1)", async (t) => {
    const venue = await Venue.trading(t);
    const streams = [await streamOf(t, venue), await streamOf(t, venue)];
    const flows = streams.map(async (stream, s) => {
      for (let i = 0; !stream.over; i++) {
        stream.send(submit(`${s}-${i}`));
        await eventually(async () => i - stream.answers.length < 100 || stream.over, "room");
      }
    });
    await eventually(async () => streams.every(({ answers }) => answers.length > 500), "some orders");
    const idle = await streamOf(t, venue);
    const others = [await openStream(t, venue, HEALTH, Buffer.alloc(0)), await openStream(t, venue, REFLECTION, LIST)];
    assert.equal(await venue.ingest.stop(), 0);
    for (const { ended } of others) assert.match((await ended).message, /UNAVAILABLE: this server is shutting down/);
    for (const stream of [...streams, idle]) assert.equal((await stream.ended)?.code, "UNAVAILABLE");
    await Promise.all(flows);
    const logged = await venue.logged();
    for (const [s, { answers }] of streams.entries()) {
      const ids = logged.filter((id) => id.startsWith(`${s}-`));
      assert.deepEqual(
        answers.map(({ sequence }) => `${s}-${sequence - 1n}`),
        ids,
      );
    }
    assert.doesNotMatch(venue.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
  });
});

// By itself: a flush is given up after five seconds, so nothing here may take long.
test("a client that is gone: what was not sent to the log is dropped, and nothing is left (I11)", async (t) => {
  const venue = await Venue.trading(t);
  venue.toRedis.stall();
  const line = await Proxy.start(t, `http://${venue.ingest.address}`);
  const one = await streamOf(t, venue);
  const two = new TestStream(await venue.caller("demo", line.address));
  one.send(submit("on-its-way"));
  await venue.waiting(1);
  const three = await streamOf(t, venue, { deadlineMs: 1_500 });
  for (const [i, stream] of [one, two, three].entries()) {
    for (let k = 0; k < 10; k++) stream.send(submit(`dropped-${i}-${k}`));
  }
  await venue.waiting(31);
  one.call.cancel();
  line.cut();
  assert.equal((await one.ended)?.code, "CANCELLED");
  assert.equal((await two.ended)?.code, "UNAVAILABLE");
  assert.equal((await three.ended)?.code, "DEADLINE_EXCEEDED");
  venue.toRedis.cut();
  await venue.waiting(0);
  await (await venue.caller()).call(submitOrder, order("after"));
  assert.deepEqual(await venue.logged(), ["on-its-way", "after"]);
  assert.equal(await venue.metric("grpc_streams"), 0);
});
