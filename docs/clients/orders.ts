import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";

import { BadRequestSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { AuthService } from "../../src/gen/penstock/v1/auth_service_pb.ts";
import { MarketDataService } from "../../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { OrderType, Side } from "../../src/gen/penstock/v1/order_pb.ts";

/** A client in TypeScript, by Connect or by gRPC: docs/clients.md says how to run it. */

const env = process.env;
const http = env["PENSTOCK_HTTP"] ?? "http://127.0.0.1:8080";
const grpc = env["PENSTOCK_GRPC"] ?? "http://127.0.0.1:50051";
const account = env["PENSTOCK_ACCOUNT"] ?? "";
const secret = env["PENSTOCK_SECRET"] ?? "";

let token = "";
const authorize: Interceptor = (next) => (request) => {
  if (token !== "") request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const common = { interceptors: [authorize], defaultTimeoutMs: 5_000 };
const transport =
  process.argv[2] === "grpc"
    ? createGrpcTransport({ ...common, baseUrl: grpc })
    : createConnectTransport({ ...common, baseUrl: http, httpVersion: "1.1" });

({ token } = await createClient(AuthService, transport).issueToken({ account, secret }));

const { instruments } = await createClient(MarketDataService, transport).listInstruments({});
console.log("instruments", instruments.map(({ symbol }) => symbol).join(" "));

const orders = createClient(OrderService, transport);
const order = {
  clientOrderId: randomUUID(),
  symbol: "BTC-USD",
  side: Side.BUY,
  type: OrderType.LIMIT,
  quantity: "0.1",
  price: "100.25",
};
const first = await orders.submitOrder(order);
console.log("submitted", first.orderId);

// After a lost answer just send it again: it is one order, and the first answer.
const again = await orders.submitOrder(order);
assert.deepEqual([again.orderId, again.duplicate], [first.orderId, true]);
console.log("duplicate", again.orderId);

const bad = { ...order, clientOrderId: randomUUID(), quantity: "", price: "100.251" };
const refusal = ConnectError.from(await orders.submitOrder(bad).catch((error: unknown) => error));
assert.equal(refusal.code, Code.InvalidArgument);
for (const { fieldViolations } of refusal.findDetails(BadRequestSchema)) {
  for (const { field, description } of fieldViolations) console.log("refused", field, description);
}

const cancelled = await orders.cancelOrder({ clientRequestId: randomUUID(), orderId: first.orderId });
console.log("cancel asked", cancelled.commandId);

const { order: found } = await orders.getOrder({ symbol: order.symbol, clientOrderId: order.clientOrderId });
assert.equal(found?.orderId, first.orderId);
console.log("got", found?.quantity, "at", found?.price);

// A list is complete up to the place that it names: a new order may stand in it a moment later.
const { orders: newest } = await orders.listOrders({ pageSize: 10 });
console.log("listed", newest.length);
