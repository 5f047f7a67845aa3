import { type JsonValue, type MessageShape, fromJson, toJson } from "@bufbuild/protobuf";
import {
  CancelAllOrdersRequestSchema,
  CancelAllOrdersResponseSchema,
  CancelOrderRequestSchema,
  CancelOrderResponseSchema,
  ReplaceOrderRequestSchema,
  ReplaceOrderResponseSchema,
  SubmitOrderRequestSchema,
  SubmitOrderResponseSchema,
} from "../../../src/gen/penstock/v1/order_service_pb.ts";
import type { Clients } from "../api/clients.ts";

/** What is asked for and what is answered, by the kind of command. */
const SCHEMAS = {
  submit: [SubmitOrderRequestSchema, SubmitOrderResponseSchema],
  cancel: [CancelOrderRequestSchema, CancelOrderResponseSchema],
  replace: [ReplaceOrderRequestSchema, ReplaceOrderResponseSchema],
  cancelAll: [CancelAllOrdersRequestSchema, CancelAllOrdersResponseSchema],
} as const;

export type Kind = keyof typeof SCHEMAS;
type Request<K extends Kind> = MessageShape<(typeof SCHEMAS)[K][0]>;
export type Answer<K extends Kind> = MessageShape<(typeof SCHEMAS)[K][1]>;

/** A command with the id that it keeps however often it is sent. */
export type Command = { [K in Kind]: { readonly kind: K; readonly request: Request<K> } }[Kind];

/** The client's own id of it. */
export function idOf(command: Command): string {
  return command.kind === "submit" ? command.request.clientOrderId : command.request.clientRequestId;
}

export async function call(orders: Clients["orders"], command: Command, signal: AbortSignal): Promise<Answer<Kind>> {
  switch (command.kind) {
    case "submit":
      return await orders.submitOrder(command.request, { signal });
    case "cancel":
      return await orders.cancelOrder(command.request, { signal });
    case "replace":
      return await orders.replaceOrder(command.request, { signal });
    case "cancelAll":
      return await orders.cancelAllOrders(command.request, { signal });
    default:
      return command satisfies never;
  }
}

export function toStored(command: Command): JsonValue {
  switch (command.kind) {
    case "submit":
      return toJson(SCHEMAS.submit[0], command.request);
    case "cancel":
      return toJson(SCHEMAS.cancel[0], command.request);
    case "replace":
      return toJson(SCHEMAS.replace[0], command.request);
    case "cancelAll":
      return toJson(SCHEMAS.cancelAll[0], command.request);
    default:
      return command satisfies never;
  }
}

/** @throws where it is none, or another version's. */
export function fromStored(kind: string, json: JsonValue): Command {
  switch (kind) {
    case "submit":
      return { kind, request: fromJson(SCHEMAS.submit[0], json) };
    case "cancel":
      return { kind, request: fromJson(SCHEMAS.cancel[0], json) };
    case "replace":
      return { kind, request: fromJson(SCHEMAS.replace[0], json) };
    case "cancelAll":
      return { kind, request: fromJson(SCHEMAS.cancelAll[0], json) };
    default:
      throw new Error(`no command is called ${kind}`);
  }
}
