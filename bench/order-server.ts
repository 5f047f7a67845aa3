import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, status } from "@grpc/grpc-js";
import type { handleUnaryCall, MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import type {
  SubmitOrderRequest,
  SubmitOrderResponse,
  SubmitOrdersRequest,
  SubmitOrdersResponse,
} from "../src/gen/penstock/v1/order_service_pb.ts";
import { announceReady } from "./child-server.ts";

/** What a server of the bench does with orders; the service's other methods are not implemented. */
export interface OrderHandlers {
  readonly submitOrder: handleUnaryCall<SubmitOrderRequest, SubmitOrderResponse>;
  readonly submitOrders: handleUnaryCall<SubmitOrdersRequest, SubmitOrdersResponse>;
}

const unimplemented: handleUnaryCall<unknown, unknown> = (_, callback) => {
  callback({ code: status.UNIMPLEMENTED, details: "the bench only submits orders" });
};

/**
 * A gRPC server of the same service and with the same library as Penstock's door, on a free port, which it prints as a
 * line. It ends when standard input does: with the process that started it.
 */
export function serveOrders(handlers: OrderHandlers): void {
  // channelz keeps books on every call, for a service that nobody asks here: 3, 10 and 26 µs of CPU a call more in three
  // pairs of runs at 5,000 calls/s, on a busy machine.
  const server = new Server({ "grpc.enable_channelz": 0 });
  const definition = serviceDefinition();
  const others = Object.fromEntries(Object.keys(definition).map((name) => [name, unimplemented]));
  server.addService(definition, { ...others, ...handlers });
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    announceReady(String(port));
  });
}

function serviceDefinition(): ServiceDefinition {
  return Object.fromEntries(
    OrderService.methods.map(
      (method): [string, MethodDefinition<MessageShape<DescMessage>, MessageShape<DescMessage>>] => [
        method.localName,
        {
          path: `/${OrderService.typeName}/${method.name}`,
          requestStream: false,
          responseStream: false,
          requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
          requestDeserialize: (bytes) => fromBinary(method.input, bytes),
          responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
          responseDeserialize: (bytes) => fromBinary(method.output, bytes),
        },
      ],
    ),
  );
}
