/**
 * The server's side of the web page, over real sockets: sessions, many watches over one stream, an order's whole way, the pipeline
 * over time, books as they were.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";

import { type DescMethodUnary, fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import { BookReplay, UnderWayError } from "../src/engine/replay/book-replay.ts";
import { AdminService, PipelineSampleSchema, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { AuthService } from "../src/gen/penstock/v1/auth_service_pb.ts";
import { LiveService, Subscription } from "../src/gen/penstock/v1/live_service_pb.ts";
import type { WatchResponse } from "../src/gen/penstock/v1/live_service_pb.ts";
import { type GetBookAtRequestSchema, type GetBookAtResponse } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { MarketDataService } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { ExecType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { formatEntryId, parseEntryId, parseOrderId } from "../src/stream/position.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { TestCertificate } from "./support/certificates.ts";
import { HttpCaller } from "./support/http-caller.ts";
import { bookOf, Market, trade } from "./support/market.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { processEnv } from "./support/process-env.ts";
import { order, Venue } from "./support/venue.ts";
import { GrpcWatch, HttpWatch, type Watched } from "./support/watch.ts";

const { submitOrder, submitOrders, getOrderTrace } = OrderService.method;
const { getBookAt } = MarketDataService.method;
const { startSession, endSession, getSession } = AuthService.method;
const { watch } = LiveService.method;

const MAIN = join(import.meta.dirname, "..", "src", "main.ts");
const SYMBOL = "BTC-USD";
const keys = new PartitionKeys(0);

/** A call as a browser makes it, with the headers that it adds by itself. */
async function post(url: string, method: DescMethodUnary, body: object, headers: object = {}, ca?: Buffer) {
  const path = `${url}/${method.parent.typeName}/${method.name}`;
  const options = { method: "POST", headers: { "content-type": "application/json", ...headers }, agent: false };
  const asked = ca === undefined ? httpRequest(path, options) : httpsRequest(path, { ...options, ca });
  asked.end(JSON.stringify(body));
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  const json = JSON.parse(await text(response)) as Record<string, unknown>;
  return { status: response.statusCode, headers: response.headers, json };
}

async function opened(t: TestContext): Promise<Market> {
  // A snapshot after the least number of commands that may be.
  return Market.open(t, { env: { PENSTOCK_SNAPSHOT_COMMANDS: "1000" } });
}

test("what the page asks of the server", { timeout: 120_000 }, async (t) => {
  const market = await opened(t);
  const { ingest, redis } = market;
  const admin = await market.caller("root", "admin");

  await t.test("a session: a cookie for pages of this origin alone, until it is ended", async () => {
    const url = ingest.http;
    const { secret } = await admin.call(AdminService.method.createAccount, { account: "paul", role: Role.TRADER });
    const own = { origin: url };
    const wrong = await post(url, startSession, { account: "paul", secret: `${secret}x` }, own);
    assert.deepEqual([wrong.status, wrong.headers["set-cookie"]], [401, undefined]);
    const elsewhere = await post(url, startSession, { account: "paul", secret }, { origin: "http://evil.example" });
    assert.deepEqual([elsewhere.json["code"], elsewhere.headers["set-cookie"]], ["failed_precondition", undefined]);

    const started = await post(url, startSession, { account: "paul", secret }, own);
    assert.equal(started.status, 200);
    const [set] = started.headers["set-cookie"]!;
    assert.match(set!, /^penstock=[\w.-]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict$/);
    const session = started.json["session"] as Record<string, string>;
    assert.deepEqual([session["account"], session["role"]], ["paul", "ROLE_TRADER"]);
    assert.deepEqual(Object.keys(session).sort(), ["account", "expiresAt", "role"]);
    const cookie = set!.split(";", 1)[0]!;

    const asked = await post(url, getSession, {}, { ...own, cookie });
    assert.deepEqual(asked.json, started.json);
    assert.match(String(asked.headers["server-timing"]), /^call;dur=\d+\.\d$/);
    for (const headers of [{}, { origin: "http://evil.example" }, { "sec-fetch-site": "same-site" }]) {
      const refused = await post(url, getSession, {}, { ...headers, cookie });
      assert.deepEqual([refused.status, refused.json["code"]], [403, "permission_denied"], JSON.stringify(headers));
    }
    const placed = await post(url, submitOrder, { ...JSON_ORDER, clientOrderId: "by-cookie" }, { ...own, cookie });
    assert.equal(placed.status, 200);
    const caller = new HttpCaller(t, url, { way: "Connect", headers: { ...own, cookie } });
    const live = new HttpWatch(caller, watch, { orders: { after: [{ entryId: "0-0" }] } });
    const report = await live.until(
      ({ update }) => update.case === "orders" && update.value.update.case === "execution",
    );
    assert.equal(accountOf(report), "paul");

    const over = await post(url, endSession, {}, { ...own, cookie });
    assert.deepEqual([over.status, over.headers["set-cookie"]], [200, [CLEARED]]);
    assert.equal((await post(url, getSession, {}, { ...own, cookie })).status, 401);
    assert.equal((await live.ended)?.code, "UNAUTHENTICATED");
    assert.equal((await refusalOf(admin.call(startSession, { account: "paul", secret }))).code, "FAILED_PRECONDITION");
  });

  await t.test("many watches over one stream, by both doors", async () => {
    const alice = await market.caller("alice");
    const http = new HttpCaller(t, ingest.http, { way: "Connect", token: await tokenOf("alice") });
    const request = {
      orders: {},
      books: [{ symbol: SYMBOL }, { symbol: "NONE" }],
      trades: [{ symbol: SYMBOL }],
      pipeline: {},
    };
    const doors: Watched<typeof watch.output>[] = [
      new GrpcWatch(alice, watch, request),
      new HttpWatch(http, watch, request),
    ];
    for (const live of doors) {
      const none = await live.until(({ symbol, update }) => update.case === "ended" && symbol === "NONE");
      assert.ok(none.update.case === "ended");
      assert.equal(none.update.value.subscription, Subscription.BOOK);
      assert.equal(none.update.value.status?.code, 3);
      assert.equal(none.update.value.status?.details[0]?.typeUrl, "type.googleapis.com/google.rpc.BadRequest");
      const pipeline = await live.until(
        ({ update }) => update.case === "ended" && update.value.subscription === Subscription.PIPELINE,
      );
      assert.ok(pipeline.update.case === "ended");
      assert.equal(pipeline.update.value.status?.code, 7);
      await live.until(({ update }) => update.case === "orders");
      await live.until(({ symbol, update }) => update.case === "trades" && symbol === SYMBOL);
      const book = await live.until(({ update }) => update.case === "book");
      assert.ok(book.update.case === "book" && book.update.value.update.case === "snapshot");
      assert.equal(book.symbol, SYMBOL);
    }
    await alice.call(submitOrder, order("sells", { side: Side.SELL, price: "50.00" }));
    await alice.call(submitOrder, order("buys", { price: "50.00" }));
    for (const live of doors) {
      const filled = await live.until((answer) => execTypeOf(answer) === ExecType.TRADE);
      assert.equal(accountOf(filled), "alice");
      const traded = await live.until(({ update }) => update.case === "trades" && update.value.trades.length > 0);
      assert.ok(traded.update.case === "trades");
      assert.equal(traded.symbol, SYMBOL);
      assert.equal(traded.update.value.trades[0]?.price, "50");
      await live.until(({ update }) => update.case === "book" && update.value.update.case === "increment");
    }
    // Behind the place of the first report: the others, and no gap.
    const [first, ...others] = doors[0]!.answers.flatMap(reportIn);
    const resumed = new GrpcWatch(alice, watch, { orders: { after: [first!.position!] }, books: [{ symbol: SYMBOL }] });
    await resumed.until(({ update }) => update.case === "orders" && update.value.update.case === "heartbeat");
    assert.deepEqual(
      resumed.answers.flatMap(reportIn).map(({ sequence }) => sequence),
      others.map(({ sequence }) => sequence),
    );
    for (const live of [...doors, resumed]) live.cancel();
  });

  await t.test("what is wrong with a stream as a whole, and with the last of its watches, ends it", async () => {
    const alice = await market.caller("alice");
    const refused = async (
      request: ConstructorParameters<typeof GrpcWatch<typeof watch.input, typeof watch.output>>[2],
    ) => {
      const ended = await new GrpcWatch(alice, watch, request).ended;
      return [ended?.code, ...(ended?.fields ?? [])];
    };
    assert.deepEqual(await refused({}), ["INVALID_ARGUMENT", "orders"]);
    const twice = [{ symbol: SYMBOL }, { symbol: SYMBOL }];
    assert.deepEqual(await refused({ books: twice }), ["INVALID_ARGUMENT", "books[1].symbol"]);
    const many = Array.from({ length: 17 }, (_, i) => ({ symbol: `S${i}` }));
    assert.deepEqual(await refused({ trades: many }), ["INVALID_ARGUMENT", "trades"]);
    assert.deepEqual(await refused({ books: [{ symbol: "NONE" }] }), ["INVALID_ARGUMENT", "symbol"]);
    assert.deepEqual(await refused({ pipeline: {} }), ["PERMISSION_DENIED"]);
    assert.deepEqual(await refused({ orders: { allAccounts: true } }), ["PERMISSION_DENIED"]);
  });

  await t.test("one order's whole way, for its own account (I12)", async () => {
    const alice = await market.caller("alice");
    const { orderId } = await alice.call(submitOrder, order("traced", { side: Side.SELL, price: "60.00" }));
    await alice.call(submitOrder, order("takes", { price: "60.00" }));
    const trace = await eventually(async () => {
      const found = await alice.call(getOrderTrace, { orderId });
      return found.written?.events === true && found.written.order && found.executions.length === 2 && found;
    }, "the rows of the order");
    const place = parseOrderId(orderId)!;
    const id = formatEntryId(place);
    const { order: traced, logged, matched, written, executions, incomplete } = trace;
    assert.deepEqual([traced?.clientOrderId, incomplete], ["traced", false]);
    assert.deepEqual(logged?.position, {
      ...logged?.position,
      partition: 0,
      epoch: place.epoch,
      entryId: id,
      index: 0,
    });
    assert.equal(timestampMs(logged.at!), place.ms);
    assert.deepEqual([logged.commands, logged.inStream], [1, true]);
    const ids = (await redis.xrange(keys.orders, "-", "+")).map(([entry]) => entry);
    const at = ids.indexOf(id);
    assert.deepEqual([logged.previousEntryId, logged.nextEntryId], [ids[at - 1], ids[at + 1]]);
    assert.ok(matched!.events >= 1);
    assert.ok(timestampMs(matched!.seenAt!) >= place.ms - 1_000);
    assert.ok(timestampMs(written!.orderAt!) >= place.ms && timestampMs(written!.eventsAt!) >= place.ms);
    assert.deepEqual(
      executions.map(({ execType }) => execType),
      [ExecType.NEW, ExecType.TRADE],
    );

    const byClientId = await alice.call(getOrderTrace, { symbol: SYMBOL, clientOrderId: "traced" });
    assert.deepEqual(byClientId.logged, logged);
    const bob = await market.caller("bob");
    assert.equal((await refusalOf(bob.call(getOrderTrace, { orderId }))).code, "NOT_FOUND");
    assert.deepEqual((await refusalOf(alice.call(getOrderTrace, {}))).fields, ["order_id"]);

    // Stopped, the engine has not come to what follows; that much is known, and no more is said.
    market.engine.signal("SIGSTOP");
    const { orderId: waiting } = await alice.call(submitOrder, order("waits"));
    const early = await alice.call(getOrderTrace, { orderId: waiting });
    assert.deepEqual([early.matched, early.executions, early.logged?.nextEntryId], [undefined, [], ""]);
    market.engine.signal("SIGCONT");
    await eventually(
      async () => (await alice.call(getOrderTrace, { orderId: waiting })).executions.length === 1,
      "its report",
    );
  });

  await t.test("the pipeline, a sample a second, with what came before", async () => {
    const alice = await market.caller("alice");
    const trader = new GrpcWatch(alice, AdminService.method.watchPipeline, {});
    assert.equal((await trader.ended)?.code, "PERMISSION_DENIED");
    const live = new GrpcWatch(admin, watch, { pipeline: {} });
    const samples = () =>
      live.answers.flatMap(({ update }) => (update.case === "pipeline" ? update.value.samples : []));
    let n = 0;
    const found = await eventually(async () => {
      const orders = Array.from({ length: 10 }, () => order(`pipeline-${n++}`, { price: "1.00" }));
      await alice.call(submitOrders, { orders });
      return samples().find((one) => one.accepted > 0 && one.matched > 0 && one.written > 0 && one.reportsWritten > 0);
    }, "a sample of a second with orders");
    assert.deepEqual(
      found.processes.map(({ role }) => role),
      ["consumers", "engine", "ingest"],
    );
    for (const spread of [found.acknowledgement, found.flush, found.append, found.transaction, found.orderAge]) {
      assert.ok(spread!.count > 0n && spread!.p50 > 0 && spread!.p50 <= spread!.p99, JSON.stringify(spread?.p50));
    }
    assert.ok(found.flushCommands!.mean >= 1 && found.transactionRows!.mean >= 1);
    assert.deepEqual([found.trouble, found.status?.partitions.length], ["", 1]);
    assert.ok(found.status!.redisUsedMemoryBytes > 0n);

    // Who comes later has what came before, from where it says.
    const after = found.at!;
    const late = new GrpcWatch(admin, AdminService.method.watchPipeline, { after });
    const first = await late.until(() => true);
    const times = first.samples.map(({ at }) => timestampMs(at!));
    assert.ok(times.every((ms) => ms > timestampMs(after)));
    const all = await new GrpcWatch(admin, AdminService.method.watchPipeline, {}).until(() => true);
    assert.ok(all.samples.some(({ at }) => timestampMs(at!) === timestampMs(after)));
    live.cancel();
    late.cancel();
  });

  await t.test("penstock top without a terminal prints one view", async () => {
    const env = { ...processEnv(), PENSTOCK_TOKEN: await tokenOf("root", "admin") };
    const run = (...more: string[]) =>
      promisify(execFile)(process.execPath, [MAIN, "top", "--url", ingest.address, ...more], { env });
    const { stdout } = await run();
    assert.match(stdout, /processes: ingest 1 {2}engine 1 {2}consumers 1\n/);
    assert.match(stdout, /^orders accepted +[\d,]+/m);
    assert.match(stdout, /^0 orders persist +1 /m);
    const sample = fromJson(PipelineSampleSchema, JSON.parse((await run("--json")).stdout) as JsonValue);
    assert.equal(sample.processes.length, 3);
  });

  await t.test("the book at each place of the log, forward and back (I7, I12)", async () => {
    await stepThrough(market, admin);
  });
});

/** Each order of a run, one by one, with the book as it was behind it; then what a replay makes of the same places. */
async function stepThrough(market: Market, admin: Caller): Promise<void> {
  const { redis } = market;
  const alice = await market.caller("alice");
  const bob = await market.caller("bob");
  const place = (request: Pick<MessageInitShape<typeof GetBookAtRequestSchema>, "place">) => {
    return eventually(async () => {
      try {
        return await alice.call(getBookAt, {
          symbol: SYMBOL,
          depth: 1_000,
          place: request.place ?? { case: undefined },
        });
      } catch (error) {
        // It is under way.
        if ((error as { code?: string }).code === "UNAVAILABLE") return undefined;
        throw error;
      }
    }, "a replay");
  };
  // Before and behind some snapshots, some steps each.
  const seen: { book: Awaited<ReturnType<typeof bookOf>>; position: string }[] = [];
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 4; i++) {
      const side = i % 2 === 0 ? Side.SELL : Side.BUY;
      const caller = i < 2 ? alice : bob;
      const fields = { side, price: i === 3 ? "72.50" : `${70 + 5 * i}.00`, quantity: "0.3" };
      const { orderId } = await caller.call(submitOrder, order(`step-${round}-${i}`, fields));
      await market.settled();
      seen.push({ book: await bookOf(alice, SYMBOL), position: formatEntryId(parseOrderId(orderId)!) });
    }
    await trade(alice, [SYMBOL], { run: `between-${round}`, batches: 12, size: 100, seed: round + 1 });
  }
  await market.settled();

  const answers = new Map<string, Awaited<ReturnType<typeof place>>>();
  for (const { book, position } of seen.toReversed()) {
    const answer = await place({ place: { case: "position", value: { partition: 0, entryId: position } } });
    assert.equal(answer.position?.entryId, position);
    assert.deepEqual(answer.book, book);
    answers.set(position, answer);
  }
  // By its time, and the neighbours of the neighbours.
  const { position, book } = seen[5]!;
  const at = timestampFromMs(Number(position.split("-", 1)[0]));
  assert.deepEqual((await place({ place: { case: "at", value: at } })).book, answers.get(position)!.book);
  const { previous, next } = answers.get(position)!;
  for (const [neighbour, back] of [
    [previous!, "next"],
    [next!, "previous"],
  ] as const) {
    const beside = await place({ place: { case: "position", value: neighbour } });
    assert.equal(beside[back]?.entryId, position);
    assert.equal(beside.book!.version, book.version + (back === "next" ? -1n : 1n));
  }
  // What it did: all see levels and trades, each its own reports, an admin all of them. The last step of a round is bob's.
  const bobs = seen[7]!.position;
  const request = {
    symbol: SYMBOL,
    depth: 1_000,
    place: { case: "position", value: { partition: 0, entryId: bobs } },
  } as const;
  const ofAlice = answers.get(bobs)!;
  const [ofBob, ofAll] = [await bob.call(getBookAt, request), await admin.call(getBookAt, request)];
  assert.deepEqual(
    [ofAlice.bids, ofAlice.asks, ofAlice.trades, ofAlice.commands],
    [ofBob.bids, ofBob.asks, ofBob.trades, 1],
  );
  assert.ok(ofAlice.bids.length + ofAlice.asks.length > 0);
  for (const [answer, account] of [
    [ofAlice, "alice"],
    [ofBob, "bob"],
  ] as const) {
    assert.ok(answer.reports.every(({ order }) => order?.account === account));
  }
  assert.ok(ofBob.reports.length > 0 && ofAll.reports.length === ofAlice.reports.length + ofBob.reports.length);

  // The newest has no next; the first has no previous, and before it there is nothing.
  const newest = await place({});
  assert.deepEqual(newest.book, await bookOf(alice, SYMBOL));
  assert.equal(newest.next, undefined);
  const before = await place({ place: { case: "at", value: timestampFromMs(1_000) } });
  assert.deepEqual(
    [before.position, before.previous, before.book?.version, before.book?.bids],
    [undefined, undefined, 0n, []],
  );
  const first = await place({ place: { case: "position", value: before.next! } });
  assert.deepEqual([first.previous, first.book?.version], [undefined, 1n]);

  // What Redis has no more is in the journal.
  await eventually(async () => {
    const [group] = (await redis.xinfo("GROUPS", keys.orders)) as unknown[][];
    const valueOf = (name: string) => group?.[group.indexOf(name) + 1];
    return valueOf("lag") === 0 && valueOf("pending") === 0;
  }, "the rows of all orders");
  await redis.xtrim(keys.orders, "MAXLEN", "=", 1);
  const trace = await alice.call(getOrderTrace, { symbol: SYMBOL, clientOrderId: "step-0-0" });
  assert.deepEqual([trace.logged?.inStream, trace.logged?.commands], [false, 1]);
  assert.ok(trace.logged!.previousEntryId !== "" && trace.logged!.nextEntryId !== "");
  await replayFromJournal(market, seen[2]!.position, answers.get(seen[2]!.position)!);

  const faults = async (given: object) => (await refusalOf(alice.call(getBookAt, { symbol: SYMBOL, ...given }))).fields;
  assert.deepEqual(await faults({ symbol: "NONE", depth: 1_001 }), ["depth", "symbol"]);
  const elsewhere = { partition: 3, entryId: "soon" };
  assert.deepEqual(await faults({ place: { case: "position", value: elsewhere } }), [
    "position.entry_id",
    "position.partition",
  ]);
  assert.deepEqual(await faults({ place: { case: "at", value: { seconds: -1n } } }), ["at"]);
}

/** A replay that has seen nothing yet, and is given less time than it takes. */
async function replayFromJournal(market: Market, entryId: string, known: GetBookAtResponse): Promise<void> {
  const sql = connect(market.databaseUrl, { max: 1 });
  const replay = new BookReplay(market.redis, sql);
  const question = { partition: 0, symbol: SYMBOL, at: parseEntryId(entryId), depth: 1_000 };
  let pauses = 0;
  const answer = await eventually(async () => {
    try {
      return await replay.book(question, 5);
    } catch (error) {
      assert.ok(error instanceof UnderWayError, String(error));
      pauses++;
      return undefined;
    }
  }, "a replay out of the journal");
  assert.ok(pauses > 0);
  assert.equal(answer.book.version, Number(known.book!.version));
  assert.deepEqual(
    [answer.position, answer.previous, answer.next].map((place) => place && formatEntryId(place)),
    [entryId, known.previous!.entryId, known.next!.entryId],
  );
  assert.deepEqual(
    answer.book.bids.map(({ orders }) => orders),
    known.book!.bids.map(({ orders }) => orders),
  );
  await sql.end({ timeout: 1 });
}

test("behind TLS the session's cookie goes nowhere else, and browsers come by TLS alone", async (t) => {
  const files = new TestCertificate(t);
  const venue = await Venue.open(t, { PENSTOCK_TLS_CERT_FILE: files.certFile, PENSTOCK_TLS_KEY_FILE: files.keyFile });
  const url = venue.ingest.http.replace("127.0.0.1", "localhost");
  const headers = { authorization: `Bearer ${await tokenOf("root", "admin")}` };
  const made = await post(
    url,
    AdminService.method.createAccount,
    { account: "paul", role: "ROLE_TRADER" },
    headers,
    files.ca,
  );
  const { secret } = made.json;
  const started = await post(url, startSession, { account: "paul", secret }, { origin: url }, files.ca);
  const [set] = started.headers["set-cookie"]!;
  assert.match(set!, /^__Host-penstock=[\w.-]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict; Secure$/);
  const cookie = set!.split(";", 1)[0]!;
  const own = await post(url, getSession, {}, { origin: url, cookie }, files.ca);
  assert.equal(own.status, 200);
  const inClear = await post(url, getSession, {}, { origin: url.replace("https", "http"), cookie }, files.ca);
  assert.equal(inClear.status, 403);

  const asked = httpsRequest(url, { ca: files.ca, agent: false }).end();
  const [page] = (await once(asked, "response")) as [IncomingMessage];
  page.resume();
  assert.match(String(page.headers["strict-transport-security"]), /^max-age=\d+$/);
});

test("without Postgres the pipeline is shown as far as it is known, and what is not is said", async (t) => {
  const venue = await Venue.open(t);
  const admin = new Caller(venue.ingest.address, `Bearer ${await tokenOf("root", "admin")}`);
  t.after(() => admin.close());
  const live = new GrpcWatch(admin, AdminService.method.watchPipeline, {});
  const samples = () => live.answers.flatMap((answer) => answer.samples);
  await eventually(async () => samples().some(({ trouble }) => trouble === ""), "a sample of all");
  venue.toPostgres.closed = true;
  const found = await eventually(
    async () => samples().find(({ trouble }) => trouble !== ""),
    "a sample with a trouble",
  );
  assert.equal(found.status?.partitions.length, 1);
  assert.ok(found.status.redisUsedMemoryBytes > 0n);
  venue.toPostgres.closed = false;
  const after = samples().length;
  await eventually(
    async () =>
      samples()
        .slice(after)
        .some(({ trouble }) => trouble === ""),
    "all again",
    40_000,
  );
  live.cancel();
});

const CLEARED = "penstock=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict";
const JSON_ORDER = { symbol: SYMBOL, side: "SIDE_BUY", type: "ORDER_TYPE_LIMIT", quantity: "0.1", price: "1.25" };

function reportIn({ update }: WatchResponse) {
  return update.case === "orders" && update.value.update.case === "execution" ? [update.value.update.value] : [];
}

function execTypeOf(answer: WatchResponse): ExecType | undefined {
  return reportIn(answer)[0]?.execType;
}

function accountOf(answer: WatchResponse): string | undefined {
  return reportIn(answer)[0]?.order?.account;
}
