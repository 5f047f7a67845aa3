/**
 * What was tried against watches: clients that do not read, and clients that open and leave without end. Real sockets.
 *
 * - I11 who does not read is told so and ended; what it leaves untaken is bounded, and nobody else is touched
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { connect as connectTcp } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { create, toBinary } from "@bufbuild/protobuf";

import { MarketDataService } from "../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderService, WatchOrdersRequestSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { HttpCaller } from "./support/http-caller.ts";
import { Market, randomOf } from "./support/market.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { order } from "./support/venue.ts";
import { GrpcWatch, HttpWatch } from "./support/watch.ts";

const { watchOrders, submitOrder, submitOrders } = OrderService.method;
const { watchTrades } = MarketDataService.method;

/** Their reports are 12 MB of JSON: more than a connection holds on its way. */
const ORDERS = 20_000;
const EVERYTHING = { after: [{ entryId: "0-0" }] };

function opened(session: ClientHttp2Session, authorization: string): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": "/penstock.v1.OrderService/WatchOrders",
    "content-type": "application/grpc",
    te: "trailers",
    authorization,
  });
  const message = toBinary(WatchOrdersRequestSchema, create(WatchOrdersRequestSchema, EVERYTHING));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([head, message]));
  stream.on("error", () => {});
  return stream;
}

test("watches under attack (I11)", { concurrency: true }, async (t) => {
  const market = await Market.open(t);
  const { ingest } = market;
  const alice = await market.caller();
  for (let from = 0; from < ORDERS; from += 1_000) {
    const orders = Array.from({ length: 1_000 }, (_, i) => order(`o-${from + i}`));
    await alice.call(submitOrders, { orders });
  }
  await market.settled();
  const token = await tokenOf("alice");
  const authorization = `Bearer ${token}`;
  const metric = (name: string, labels = "") => market.metric(name, labels);
  const watchesOf = (method: string) => metric("watches", `method="${method}"`);
  const before = await metric("process_resident_memory_bytes");

  await t.test("opened and left at once, again and again: nothing stays", async (t) => {
    const caller = await market.caller("restless");
    const below = randomOf(1);
    const http = new HttpCaller(t, ingest.http, { way: "Connect", token: await tokenOf("restless") });
    for (let round = 0; round < 20; round++) {
      const watches = Array.from({ length: 20 }, (_, i) =>
        i % 4 === 0 ? new HttpWatch(http, watchOrders, EVERYTHING) : new GrpcWatch(caller, watchOrders, EVERYTHING),
      );
      // What is canceled before it was sent is sent all the same by grpc-js, and never taken back.
      if (round % 2 === 0) await Promise.all(watches.slice(0, 4).map((watch) => watch.until(() => true)));
      else await sleep(below(20));
      for (const watch of watches) watch.cancel();
      await Promise.all(watches.map(({ ended }) => ended));
    }
  });

  // Of alice's four watches one is read.
  const ended = () =>
    eventually(async () => (await watchesOf("WatchOrders")) === 1, "the ends of those that are not read");
  await Promise.all([
    t.test("streams that are not read are ended, and then reset; the others of their connection go on", async (t) => {
      const session = connect(`http://${ingest.address}`);
      t.after(() => session.destroy());
      await once(session, "connect");
      // What is not read of one stream must not fill the window of all.
      session.setLocalWindowSize(2 ** 20);
      const [late, never] = [opened(session, authorization), opened(session, authorization)];
      for (const stream of [late, never]) stream.pause();
      const read = opened(session, authorization);
      let bytes = 0;
      read.on("data", (chunk: Buffer) => (bytes += chunk.length));
      await eventually(async () => bytes > ORDERS * 180, "the whole of what is read");
      await ended();
      const status = once(late, "trailers") as Promise<[Record<string, string>]>;
      late.resume();
      assert.equal((await status)[0]["grpc-status"], "8", "RESOURCE_EXHAUSTED");
      const seen = bytes;
      await alice.call(submitOrder, order("while-others-do-not-read"));
      await eventually(async () => bytes > seen, "the next report");
      await new Promise((resolve) => never.once("close", resolve));
      assert.equal(never.rstCode, 11, "ENHANCE_YOUR_CALM");
      assert.ok(!session.destroyed);
    }),
    t.test("responses that are not read are ended; who reads on finds the reason", async (t) => {
      const { hostname, port } = new URL(ingest.http);
      const socket = connectTcp({ host: hostname, port: Number(port) });
      t.after(() => socket.destroy());
      const json = Buffer.from(JSON.stringify(EVERYTHING));
      const head = Buffer.alloc(5);
      head.writeUInt32BE(json.length, 1);
      socket.write(
        [
          "POST /penstock.v1.OrderService/WatchOrders HTTP/1.1",
          `host: ${hostname}`,
          "content-type: application/connect+json",
          `authorization: ${authorization}`,
          `content-length: ${json.length + 5}`,
          "\r\n",
        ].join("\r\n"),
      );
      socket.write(Buffer.concat([head, json]));
      socket.pause();
      socket.on("error", () => {});
      await eventually(async () => (await watchesOf("WatchOrders")) === 4, "the watch");
      await ended();
      socket.resume();
      let text = "";
      socket.on("data", (chunk: Buffer) => (text = (text + chunk.toString("latin1")).slice(-2_000)));
      // Whoever reads in time finds the reason behind what was on its way.
      await eventually(async () => text.includes("resource_exhausted") || socket.destroyed, "the reason");
      assert.match(text, /resource_exhausted/);
    }),
    t.test("thousands of opens by one account: a hundred are taken, and all of them are let go", async (t) => {
      // By several connections: one with a thousand refusals at once is ended as a flood.
      const callers = await Promise.all(Array.from({ length: 6 }, () => market.caller("mallory")));
      const watches = callers.flatMap((caller) =>
        Array.from({ length: 500 }, () => new GrpcWatch(caller, watchTrades, { symbol: "BTC-USD" })),
      );
      t.after(() => {
        for (const watch of watches) watch.cancel();
      });
      await eventually(async () => watches.filter(({ over }) => over).length === 2_900, "the refusals");
      for (const watch of watches) {
        if (watch.over) assert.equal((await watch.ended)?.code, "RESOURCE_EXHAUSTED");
        else await watch.until(() => true);
      }
      const http = new HttpCaller(t, ingest.http, { way: "Connect", token: await tokenOf("mallory") });
      const one = new HttpWatch(http, watchTrades, { symbol: "BTC-USD" });
      assert.match(String(await one.ended), /may have 100 watches open/);
      for (const watch of watches) watch.cancel();
      await eventually(async () => (await watchesOf("WatchTrades")) === 0, "none left");
    }),
  ]);
  await eventually(async () => (await metric("watches")) === 0, "no watches");
  const grown = (await metric("process_resident_memory_bytes")) - before;
  t.diagnostic(`${Math.round(grown / 2 ** 20)} MiB more than before`);
  assert.ok(grown < 400 * 2 ** 20);
  assert.doesNotMatch(ingest.lines.join("\n"), /"level":"(error|fatal)"/);
});
