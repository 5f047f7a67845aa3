import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { crc32 } from "node:zlib";

import { enumToJson } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";

import { AuthService } from "../../src/gen/penstock/v1/auth_service_pb.ts";
import { MarketDataService, type PriceLevel } from "../../src/gen/penstock/v1/market_data_service_pb.ts";
import { ExecTypeSchema, OrderType, type Position, Side } from "../../src/gen/penstock/v1/order_pb.ts";
import { OrderService, type WatchOrdersResponse } from "../../src/gen/penstock/v1/order_service_pb.ts";

/** Watches orders and a book, by Connect: docs/clients.md says how to run it. */

const env = process.env;
let token = "";
const authorize: Interceptor = (next) => (request) => {
  if (token !== "") request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
// No default timeout: it would end a watch.
const transport = createConnectTransport({
  baseUrl: env["PENSTOCK_HTTP"] ?? "http://127.0.0.1:8080",
  httpVersion: "1.1",
  interceptors: [authorize],
});
const account = env["PENSTOCK_ACCOUNT"] ?? "";
const secret = env["PENSTOCK_SECRET"] ?? "";
({ token } = await createClient(AuthService, transport).issueToken({ account, secret }, { timeoutMs: 5_000 }));

const orders = createClient(OrderService, transport);
const market = createClient(MarketDataService, transport);

/** Every report and heartbeat behind these places, whatever happens to the connection. */
async function* reports(places: Map<number, Position>, signal: AbortSignal): AsyncGenerator<WatchOrdersResponse> {
  while (!signal.aborted) {
    try {
      for await (const answer of orders.watchOrders({ after: [...places.values()] }, { signal })) {
        const { update } = answer;
        if (update.case === "execution") places.set(update.value.position!.partition, update.value.position!);
        else for (const place of update.value?.highWater ?? []) places.set(place.partition, place);
        yield answer;
      }
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (signal.aborted) return;
      if (code !== Code.Unavailable && code !== Code.ResourceExhausted) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const places = new Map<number, Position>();
const clientOrderId = randomUUID();
// To leave the loop is not enough: a watch ends with its signal.
const first = new AbortController();
for await (const { update } of reports(places, first.signal)) {
  if (update.case === "heartbeat") {
    // From here on nothing is missed.
    const order = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "90.5" };
    await orders.submitOrder({ ...order, clientOrderId }, { timeoutMs: 5_000 });
  } else if (update.value?.order?.clientOrderId === clientOrderId) {
    console.log("reported", enumToJson(ExecTypeSchema, update.value.execType), update.value.order.quantity);
    first.abort();
    break;
  }
}
// It can be stopped, and goes on behind the last report: first comes what it missed.
await orders.cancelOrder({ clientRequestId: randomUUID(), symbol: "BTC-USD", clientOrderId }, { timeoutMs: 5_000 });
const second = new AbortController();
for await (const { update } of reports(places, second.signal)) {
  if (update.case !== "execution") continue;
  console.log("resumed", enumToJson(ExecTypeSchema, update.value.execType), update.value.reason);
  second.abort();
  break;
}

/** The text of which the server's checksum is made. */
const textOf = (side: Map<string, PriceLevel>, isBids: boolean): string =>
  [...side.values()]
    .sort((a, b) => (isBids ? -1 : 1) * (Number(a.price) - Number(b.price)))
    .slice(0, 10)
    .map(({ price, quantity, orders }) => `${price}:${quantity}:${orders}|`)
    .join("");

const bids = new Map<string, PriceLevel>();
const asks = new Map<string, PriceLevel>();
let version = 0n;
const third = new AbortController();
for await (const { update } of market.watchBook({ symbol: "BTC-USD" }, { signal: third.signal })) {
  if (update.case === "snapshot") {
    bids.clear();
    asks.clear();
  } else if (update.case === "increment") assert.equal(update.value.version, version + 1n);
  if (update.case === "snapshot" || update.case === "increment") {
    for (const [side, levels] of [
      [bids, update.value.bids],
      [asks, update.value.asks],
    ] as const) {
      for (const level of levels) {
        if (level.quantity === "0") side.delete(level.price);
        else side.set(level.price, level);
      }
    }
  }
  version = update.value?.version ?? version;
  assert.equal(crc32(textOf(bids, true) + textOf(asks, false)), update.value?.checksum);
  console.log("proven", "version", version, "with", bids.size, "bids and", asks.size, "asks");
  third.abort(); // or stay
  break;
}
