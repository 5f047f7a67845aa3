import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { SubmitOrderResponseSchema, SubmitOrdersResponseSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import type { SubmitOrderRequest, SubmitOrderResponse } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { OrderStatus } from "../../src/gen/penstock/v1/order_pb.ts";
import { serveOrders } from "../zz-order-server.ts";

// The floor: takes the real requests, does nothing with them, and gives answers of the real shape at once. What a call
// costs here is gRPC's and the machine's; only what comes on top of it is an order pipeline's.

const ORDER_ID = "00000000-0000-7000-8000-000000000000";

function answer(request: SubmitOrderRequest): SubmitOrderResponse {
  return create(SubmitOrderResponseSchema, {
    orderId: ORDER_ID,
    clientOrderId: request.clientOrderId,
    status: OrderStatus.PENDING_NEW,
    createdAt: timestampNow(),
  });
}

serveOrders({
  submitOrder: (call, callback) => callback(null, answer(call.request)),
  submitOrders: (call, callback) => {
    const results = call.request.orders.map((order) => ({
      result: { case: "accepted" as const, value: answer(order) },
    }));
    callback(null, create(SubmitOrdersResponseSchema, { results }));
  },
});
