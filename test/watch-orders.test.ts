/**
 * WatchOrders over real sockets: the whole way of an order as processes, and clients of every protocol in this one.
 *
 * - I12 an account's reports are its own
 * - I4 nothing is missing and nothing comes twice, wherever a watch begins
 */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import { create, equals, toJson } from "@bufbuild/protobuf";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { ExecType, type ExecutionReport, ExecutionReportSchema, Side } from "../src/gen/penstock/v1/order_pb.ts";
import {
  OrderService,
  type WatchOrdersRequestSchema,
  type WatchOrdersResponse,
  WatchOrdersResponseSchema,
} from "../src/gen/penstock/v1/order_service_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Caller } from "./support/caller.ts";
import { HttpCaller, WAYS } from "./support/http-caller.ts";
import { Market, randomOf, trade } from "./support/market.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { order } from "./support/venue.ts";
import { GrpcWatch, HttpWatch, type Watched, type WatchOptions } from "./support/watch.ts";

const { watchOrders, submitOrder, submitOrders, cancelOrder } = OrderService.method;
type Request = MessageInitShape<typeof WatchOrdersRequestSchema>;
type Orders = Watched<typeof WatchOrdersResponseSchema>;

/** The beginning of each of so many partitions. */
const START = (partitions: number) =>
  Array.from({ length: partitions }, (_, partition) => ({ partition, entryId: "0-0" }));
const ORIGIN = "https://trade.example";
const PARTITIONS = { PENSTOCK_PARTITIONS: "2" };
// One in each of two partitions.
const SYMBOLS = ["BTC-USD", "ETH-USD", "SOL-USD"];

function watch(t: TestContext, caller: Caller, request: Request = {}, options: WatchOptions = {}): Orders {
  const watch = new GrpcWatch(caller, watchOrders, request, options);
  t.after(() => watch.cancel());
  return watch;
}

function reportsOf({ answers }: Orders): ExecutionReport[] {
  return answers.flatMap(({ update }) => (update.case === "execution" ? [update.value] : []));
}

const isBeat = ({ update }: WatchOrdersResponse) => update.case === "heartbeat";

/** Everything up to the moment when it has caught up. */
async function caughtUp(watch: Orders): Promise<ExecutionReport[]> {
  await watch.until(isBeat, "the first heartbeat");
  const beat = watch.answers.findIndex(isBeat);
  return watch.answers.slice(0, beat).flatMap(({ update }) => (update.case === "execution" ? [update.value] : []));
}

function assertSame(actual: readonly ExecutionReport[], expected: readonly ExecutionReport[], what: string): void {
  for (const [i, report] of expected.entries()) {
    if (actual[i] !== undefined && equals(ExecutionReportSchema, actual[i], report)) continue;
    assert.deepEqual(
      actual[i] && toJson(ExecutionReportSchema, actual[i]),
      toJson(ExecutionReportSchema, report),
      `${what}: report ${i} of ${expected.length}`,
    );
  }
  assert.equal(actual.length, expected.length, what);
}

function ofPartition(reports: readonly ExecutionReport[], partition: number): ExecutionReport[] {
  return reports.filter(({ position }) => position!.partition === partition);
}

/** Each account's reports of a partition are counted from 1 without a gap. */
function assertDense(reports: readonly ExecutionReport[]): void {
  const last = new Map<string, bigint>();
  for (const { position, sequence, order } of reports) {
    const key = `${position!.partition} ${order!.account}`;
    assert.equal(sequence, (last.get(key) ?? 0n) + 1n, key);
    last.set(key, sequence);
  }
}

/** All that alice, bob or everyone was told from the beginning on. */
async function whole(t: TestContext, market: Market, account?: string): Promise<ExecutionReport[]> {
  const isAll = account === undefined;
  const caller = await market.caller(account ?? "root", isAll ? "admin" : "trader");
  const all = watch(t, caller, { after: START(2), allAccounts: isAll });
  const reports = await caughtUp(all);
  all.cancel();
  return reports;
}

suite("WatchOrders", { concurrency: 2 }, () => {
  test("one market", async (t) => {
    const env = { ...PARTITIONS, PENSTOCK_REQUEST_TIMEOUT_MS: "3000", PENSTOCK_CORS_ORIGINS: ORIGIN };
    const market = await Market.open(t, { symbols: SYMBOLS, env });

    await t.test("orders of two accounts that trade: what each is told of it (I12)", async (t) => {
      const [alice, bob] = await Promise.all([market.caller("erin"), market.caller("frank")]);
      const [own, other] = [watch(t, alice), watch(t, bob)];
      await Promise.all([caughtUp(own), caughtUp(other)]);
      await alice.call(submitOrders, { orders: [order("bid", { quantity: "1", price: "100" })] });
      await bob.call(submitOrder, order("offer", { side: Side.SELL, quantity: "0.4", price: "99" }));
      const fill = ({ update }: WatchOrdersResponse) =>
        update.case === "execution" && update.value.execType === ExecType.TRADE;
      const [bought, sold] = [await own.until(fill), await other.until(fill)];
      assert.ok(bought.update.case === "execution" && sold.update.case === "execution");
      const [a, b] = [bought.update.value, sold.update.value];
      assert.deepEqual(
        [a.order?.clientOrderId, a.lastQuantity, a.lastPrice, a.aggressor, a.order?.cumQuantity, a.order?.averagePrice],
        ["bid", "0.4", "100", false, "0.4", "100"],
      );
      assert.deepEqual([b.order?.clientOrderId, b.lastPrice, b.aggressor, b.trade], ["offer", "100", true, a.trade]);
      assert.ok(
        !JSON.stringify(toJson(WatchOrdersResponseSchema, create(WatchOrdersResponseSchema, bought))).includes("frank"),
      );
    });

    await t.test("reports come as they happen, whichever way; an account's are its own (I12)", async (t) => {
      const [alice, bob, root] = await Promise.all([
        market.caller("alice"),
        market.caller("bob"),
        market.caller("root", "admin"),
      ]);
      const token = await tokenOf("alice");
      const own = [watch(t, alice), watch(t, alice, { symbol: "" })];
      for (const way of WAYS) {
        const http = new HttpCaller(t, market.ingest.http, { way, token });
        const watched = new HttpWatch(http, watchOrders, {});
        t.after(() => watched.cancel());
        own.push(watched);
      }
      const others = watch(t, bob);
      const all = watch(t, root, { allAccounts: true });
      const ofSymbol = watch(t, alice, { symbol: "ETH-USD" });
      for (const watched of [...own, others, all, ofSymbol]) assert.deepEqual(await caughtUp(watched), []);

      const first = await alice.call(submitOrder, order("a-1", { quantity: "2" }));
      const rest = await own[0]!.until(({ update }) => update.case === "execution");
      assert.ok(rest.update.case === "execution");
      assert.equal(rest.update.value.execType, ExecType.NEW);
      assert.deepEqual(
        [rest.update.value.order?.orderId, rest.update.value.order?.leavesQuantity],
        [first.orderId, "2"],
      );
      await Promise.all([
        trade(alice, SYMBOLS, { run: "a", batches: 12, seed: 1 }),
        trade(bob, SYMBOLS, { run: "b", batches: 12, seed: 2 }),
      ]);
      await market.settled();
      const told = await whole(t, market, "alice");
      assert.ok(told.length > 120, `${told.length} reports`);
      assertDense(told);
      for (const [i, watched] of own.entries()) {
        await eventually(async () => reportsOf(watched).length >= told.length, `the reports of watch ${i}`);
        for (const partition of [0, 1]) {
          assertSame(ofPartition(reportsOf(watched), partition), ofPartition(told, partition), `watch ${i}`);
        }
      }
      const everyones = await whole(t, market);
      assertDense(everyones);
      const everything = everyones.filter(({ order }) => ["alice", "bob"].includes(order!.account));
      await eventually(async () => reportsOf(all).length >= everything.length, "the drop copy");
      for (const partition of [0, 1]) {
        const expected = ofPartition(everything, partition);
        assertSame(ofPartition(reportsOf(all), partition), expected, "the drop copy");
        const bobs = expected.filter((report) => report.order!.account === "bob");
        assertSame(ofPartition(reportsOf(others), partition), bobs, "bob's");
      }
      const ofEth = told.filter((report) => report.order!.symbol === "ETH-USD");
      await eventually(async () => reportsOf(ofSymbol).length >= ofEth.length, "the reports of a symbol");
      assertSame(reportsOf(ofSymbol), ofEth, "of a symbol");

      // A heartbeat names a place behind which nothing is missing.
      const beat = await watch(t, alice).until(isBeat);
      assert.ok(beat.update.case === "heartbeat");
      assert.deepEqual(await caughtUp(watch(t, alice, { after: beat.update.value.highWater })), []);
      const last = told.at(-1)!;
      await alice.call(cancelOrder, { clientRequestId: "late", symbol: "BTC-USD", clientOrderId: "a-1" });
      await market.settled();
      const late = watch(t, alice, { after: beat.update.value.highWater });
      const [report] = await caughtUp(late);
      assert.equal(report?.clientRequestId, "late");
      assert.ok(Number(report.position!.entryId.split("-")[0]) >= Number(last.position!.entryId.split("-")[0]));
    });

    await t.test("while new reports come, those who catch up miss none and get none twice (I4)", async (t) => {
      const carol = await market.caller("carol");
      const below = randomOf(7);
      let isOver = false;
      const flow = trade(carol, SYMBOLS, { run: "flow", batches: 60, seed: 3 }).finally(() => (isOver = true));
      const watches: { from: number; watched: Orders }[] = [];
      const first = watch(t, carol, { after: START(2) });
      await first.until(({ update }) => update.case === "execution");
      while (!isOver && watches.length < 30) {
        const reports = ofPartition(reportsOf(first), 0);
        const from = below(reports.length + 1) - 1;
        const after = [from < 0 ? { partition: 0, entryId: "0-0" } : reports[from]!.position!];
        watches.push({ from, watched: watch(t, carol, { after }) });
        await eventually(async () => ofPartition(reportsOf(first), 0).length > reports.length || isOver, "more");
      }
      await flow;
      await market.settled();
      const told = ofPartition(await whole(t, market, "carol"), 0);
      assert.ok(watches.length >= 10, `${watches.length} watches`);
      for (const { from, watched } of watches) {
        const expected = told.slice(from + 1);
        await eventually(async () => ofPartition(reportsOf(watched), 0).length >= expected.length, "all reports");
        assertSame(ofPartition(reportsOf(watched), 0), expected, `behind ${from}`);
      }
    });

    await t.test("what it refuses", async (t) => {
      const dave = await market.caller("dave");
      await dave.call(submitOrder, order("one"));
      await market.settled();
      const [report] = await caughtUp(watch(t, dave, { after: START(2) }));
      const place = report!.position!;
      const [ms] = place.entryId.split("-");

      const refused = async (request: Request, options: WatchOptions = {}) => {
        const refusal = await watch(t, dave, request, options).ended;
        return [refusal?.code, ...(refusal?.fields ?? [])];
      };
      const invalid = (...fields: string[]) => ["INVALID_ARGUMENT", ...fields];
      assert.deepEqual(await refused({ symbol: "NONE" }), invalid("symbol"));
      assert.deepEqual(await refused({ after: [{ ...place, partition: 2 }] }), invalid("after[0].partition"));
      assert.deepEqual(await refused({ after: [place, place] }), invalid("after[1].partition"));
      assert.deepEqual(await refused({ after: [place, place, place] }), invalid("after"));
      for (const entryId of ["", "x", "1", "1-", "-1-1", "1-1-1", "99999999999999999-0", "1-99999999999"]) {
        assert.deepEqual(await refused({ after: [{ ...place, entryId }] }), invalid("after[0].entry_id"), entryId);
      }
      assert.deepEqual(await refused({ after: [{ ...place, epoch: 0 }] }), invalid("after[0].epoch"));
      assert.deepEqual(await refused({ after: [{ ...place, epoch: 99_999 }] }), invalid("after[0].epoch"));
      assert.deepEqual(await refused({ after: [{ ...place, index: 70_000 }] }), invalid("after[0].index"));
      assert.deepEqual(await refused({ after: [{ entryId: "0-0", epoch: 1 }] }), invalid("after[0].epoch"));
      // No such place: before the log, in it, behind it, of another epoch.
      for (const other of [
        { ...place, entryId: "1-0" },
        { ...place, entryId: `${ms}-77` },
        { ...place, entryId: `${Number(ms) + 1_000_000}-0` },
        { ...place, epoch: place.epoch + 1 },
      ]) {
        assert.deepEqual(await refused({ after: [other] }), ["OUT_OF_RANGE"], other.entryId);
      }
      assert.deepEqual(await refused({ allAccounts: true }), ["PERMISSION_DENIED"]);
      assert.deepEqual(await refused({}, { token: "nonsense" }), ["UNAUTHENTICATED"]);
      assert.deepEqual(await refused({}, { bytes: Buffer.from("no message") }), ["INVALID_ARGUMENT"]);

      const token = await tokenOf("dave");
      for (const way of WAYS) {
        const refusal = (request: Request, given: string | undefined = token) =>
          new HttpWatch(new HttpCaller(t, market.ingest.http, { way, token: given }), watchOrders, request).ended;
        assert.deepEqual((await refusal({ symbol: "NONE" }))?.fields, ["symbol"], way);
        assert.equal((await refusal({ allAccounts: true }))?.code, "PERMISSION_DENIED", way);
        assert.equal((await refusal({}, "nonsense"))?.code, "UNAUTHENTICATED", way);
        assert.equal((await refusal({ after: [{ ...place, entryId: "1-0" }] }))?.code, "OUT_OF_RANGE", way);
      }

      const url = `${market.ingest.http}/penstock.v1.OrderService/WatchOrders`;
      const asked = { origin: ORIGIN, "access-control-request-method": "POST" };
      const preflight = await fetch(url, { method: "OPTIONS", headers: asked });
      assert.deepEqual([preflight.status, preflight.headers.get("access-control-allow-origin")], [204, ORIGIN]);
      const headers = { origin: ORIGIN, authorization: `Bearer ${token}`, "content-type": "application/json" };
      const unary = await fetch(url, { method: "POST", headers, body: "{}" });
      assert.deepEqual([unary.status, unary.headers.get("access-control-allow-origin")], [415, ORIGIN]);
      assert.match(await unary.text(), /application\/connect\+json/);
    });

    await t.test("it ends with its token, its account's right, its client's deadline, and the server", async (t) => {
      const admin = await market.caller("root", "admin");
      const { createAccount, updateAccount, revokeTokens } = AdminService.method;
      for (const account of ["suspended", "revoked"]) {
        await admin.call(createAccount, { account, role: Role.TRADER });
      }
      const alice = await market.caller("alice");
      const open = async (account: string, ttlS = 3_600) => {
        const token = await tokenOf(account, "trader", { ttlS });
        const http = new HttpCaller(t, market.ingest.http, { way: "Connect", token });
        const both = [watch(t, alice, {}, { token }), new HttpWatch(http, watchOrders, {})];
        for (const watched of both) await caughtUp(watched);
        return async (code: string) => {
          for (const watched of both) assert.equal((await watched.ended)?.code, code, account);
        };
      };
      const ending = await open("alice", 4);
      const suspended = await open("suspended");
      const revoked = await open("revoked");
      const stays = await open("alice");
      await admin.call(updateAccount, { account: "suspended", suspended: true });
      await admin.call(revokeTokens, { account: "revoked" });
      await suspended("PERMISSION_DENIED");
      await revoked("UNAUTHENTICATED");
      await ending("UNAUTHENTICATED");

      const late = watch(t, alice, {}, { deadlineMs: 1_500 });
      assert.equal((await late.ended)?.code, "DEADLINE_EXCEEDED");
      const http = new HttpCaller(t, market.ingest.http, { way: "Connect", token: await tokenOf("alice") });
      assert.equal(
        (await new HttpWatch(http, watchOrders, {}, { deadlineMs: 1_500 }).ended)?.code,
        "DEADLINE_EXCEEDED",
      );

      // By now the time of a call is long over, and both that stay are still told.
      assert.equal(await market.ingest.stop(), 0);
      await stays("UNAVAILABLE");
      assert.doesNotMatch(market.ingest.lines.join("\n"), /"level":"(error|fatal)"/);
    });
  });

  test("resumed at every place it gives exactly the rest: from memory, the stream, Postgres (I4, I10)", async (t) => {
    const market = await Market.open(t, { symbols: SYMBOLS, env: PARTITIONS });
    const seed = Math.floor(Math.random() * 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const [alice, bob] = await Promise.all([market.caller("alice"), market.caller("bob")]);
    await Promise.all([
      trade(alice, SYMBOLS, { run: "a", batches: 10, seed }),
      trade(bob, SYMBOLS, { run: "b", batches: 10, seed: seed + 1 }),
    ]);
    await market.settled();
    const [alices, everything] = await Promise.all([whole(t, market, "alice"), whole(t, market)]);
    assertDense(alices);
    assertDense(everything);

    const below = randomOf(seed);
    /** Behind nothing, and behind so many of the reports of each partition: most entries have several. */
    const resume = async (what: string, places = 20) => {
      const callers = [await market.caller("alice"), await market.caller("root", "admin")] as const;
      for (const [caller, allAccounts, all] of [
        [callers[0], false, alices],
        [callers[1], true, everything],
      ] as const) {
        for (const partition of [0, 1]) {
          const reports = ofPartition(all, partition);
          for (const i of [-1, ...Array.from({ length: places }, () => below(reports.length))]) {
            const after = [i < 0 ? { partition, entryId: "0-0" } : reports[i]!.position!];
            const watched = watch(t, caller, { after, allAccounts });
            const rest = await caughtUp(watched);
            assertSame(ofPartition(rest, partition), reports.slice(i + 1), `${what}, behind ${i} of ${partition}`);
            watched.cancel();
          }
        }
      }
    };
    await resume("from the ring");
    await market.trim(7);
    await market.restartIngest();
    await resume("from Postgres and the stream");
    await market.trim(1);
    await resume("from Postgres, and the last entry");

    // And what comes next comes behind it.
    const next = watch(t, await market.caller("alice"), { after: START(2) });
    assert.equal((await caughtUp(next)).length, alices.length);
    await (await market.caller("alice")).call(submitOrder, order("next"));
    const isNext = ({ order }: ExecutionReport) => order?.clientOrderId === "next";
    await eventually(async () => reportsOf(next).slice(alices.length).some(isNext), "the next report");
    assertDense(reportsOf(next));
  });

  test("Redis and ingest are restarted under it: who resumes behind the last report misses none (I4, I11)", async (t) => {
    const market = await Market.open(t, { symbols: ["BTC-USD"] });
    const told: ExecutionReport[] = [];
    const stopped = new AbortController();
    const client = (async () => {
      while (!stopped.signal.aborted) {
        const last = told.at(-1)?.position;
        const watched = watch(t, await market.caller("alice"), { after: last ? [last] : START(1) });
        let taken = 0;
        const take = () => {
          const reports = reportsOf(watched);
          told.push(...reports.slice(taken));
          taken = reports.length;
        };
        while (!watched.over && !stopped.signal.aborted) {
          take();
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        watched.cancel();
        const refusal = await watched.ended;
        take();
        const codes = ["UNAVAILABLE", "CANCELLED"];
        assert.ok(refusal !== undefined && codes.includes(refusal.code), String(refusal));
      }
    })();
    const submit = async (id: string) =>
      eventually(async () => {
        const caller = await market.caller("alice");
        return caller.call(submitOrder, order(id), { deadlineMs: 3_000 }).catch(() => false as const);
      }, `the answer to ${id}`);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) await submit(`${round}-${i}`);
      if (round === 0) await market.server.restart();
      else if (round === 1) await market.restartIngest();
    }
    await market.settled();
    const expected = await eventually(async () => {
      const caller = await market.caller("alice");
      const all = watch(t, caller, { after: START(1) });
      const reports = await caughtUp(all).catch(() => []);
      all.cancel();
      return reports.length === 30 && reports;
    }, "all reports");
    await eventually(async () => told.length >= 30, "the client's reports");
    stopped.abort();
    await client;
    assertSame(told, expected, "the client's reports");
  });
});
