import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Metadata } from "@grpc/grpc-js";
import { SubmitOrderResponseSchema, SubmitOrdersResponseSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { SubmitOrderRequest } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { OrderStatus, OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { CODES, invalidArgument, RequestError, toStatus } from "../../src/ingest/errors.ts";
import { validateSubmit } from "../../src/ingest/validation/submit.ts";
import { isRefused } from "../../src/ingest/validation/violation.ts";
import { clientKeyOf, idempotencyKey } from "../../src/stream/command.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import { orderIdAt, orderIdPrefix } from "../../src/stream/position.ts";
import { benchInstrument } from "../instrument.ts";
import { serveOrders } from "../order-server.ts";
import type { QueuedOrder } from "./rows.ts";

// The door of every alternative: the same service, library and validation as Penstock's. In their favour: it has no
// idempotency, its account is fixed, and a token is only compared.

const ACCOUNT = "bench";

/**
 * Serves orders. `keep` makes those of one call as durable as the alternative does, one or up to 1,000, all of them or,
 * where it rejects, for all that the client is told, none.
 */
export function serveAlternative(keep: (orders: QueuedOrder[]) => Promise<unknown>): void {
  const authorization = `Bearer ${process.env["PENSTOCK_TOKEN"] ?? ""}`;
  const authorize = (metadata: Metadata): void => {
    if (metadata.get("authorization")[0] !== authorization) throw new RequestError("UNAUTHENTICATED", "no such token");
  };
  serveOrders({
    submitOrder: (call, callback) => {
      const answer = async () => {
        authorize(call.metadata);
        const order = accept(call.request);
        if (order instanceof RequestError) throw order;
        await keep([order]);
        return create(SubmitOrderResponseSchema, answerTo(order));
      };
      answer().then(
        (response) => callback(null, response),
        (error: unknown) => callback(failure(error)),
      );
    },
    submitOrders: (call, callback) => {
      const answer = async () => {
        authorize(call.metadata);
        const accepted = call.request.orders.map(accept);
        const orders = accepted.filter((order): order is QueuedOrder => !(order instanceof RequestError));
        if (orders.length > 0) await keep(orders);
        const results = accepted.map((order) =>
          order instanceof RequestError
            ? { result: { case: "refused" as const, value: toStatus(order) } }
            : { result: { case: "accepted" as const, value: answerTo(order) } },
        );
        return create(SubmitOrdersResponseSchema, { results });
      };
      answer().then(
        (response) => callback(null, response),
        (error: unknown) => callback(failure(error)),
      );
    },
  });
}

const instrument = prepareInstrument(benchInstrument);
const instruments = new Map([[instrument.symbol, instrument]]);
let sequence = 0;

function accept(request: SubmitOrderRequest): QueuedOrder | RequestError {
  const now = Date.now();
  const fields = validateSubmit(request, instruments, now);
  if (isRefused(fields)) return invalidArgument(fields);
  sequence = (sequence + 1) % 2 ** 32;
  return {
    orderId: orderIdAt(orderIdPrefix(0, { epoch: 1, ms: now, seq: sequence }), 0),
    clientKey: clientKeyOf(idempotencyKey("submit", ACCOUNT, fields.symbol, fields.clientOrderId)),
    createdAt: now,
    postOnly: fields.postOnly,
    account: ACCOUNT,
    clientOrderId: fields.clientOrderId,
    symbol: fields.symbol,
    // The generator sends GTC limit orders only, and as decimals of the client they are exact.
    side: fields.side === Side.BUY ? "BUY" : "SELL",
    type: fields.type === OrderType.LIMIT ? "LIMIT" : "MARKET",
    timeInForce: fields.timeInForce === TimeInForce.GTC ? "GTC" : "IOC",
    quantity: request.quantity,
    price: request.price,
  };
}

function answerTo(order: QueuedOrder) {
  return create(SubmitOrderResponseSchema, {
    orderId: order.orderId,
    clientOrderId: order.clientOrderId,
    status: OrderStatus.NEW,
    createdAt: timestampFromMs(order.createdAt),
  });
}

function failure(error: unknown): { code: number; details: string } {
  const refusal =
    error instanceof RequestError
      ? error
      : new RequestError("UNAVAILABLE", error instanceof Error ? error.message : String(error));
  return { code: CODES[refusal.code], details: refusal.message };
}
