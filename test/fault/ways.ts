import { create, type DescEnum, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";

import {
  type CancelAllOrdersResponse,
  type CancelOrderResponse,
  OrderService,
  type ReplaceOrderResponse,
  StreamOrdersRequestSchema,
  StreamOrdersResponseSchema,
  type SubmitOrderResponse,
} from "../../src/gen/penstock/v1/order_service_pb.ts";
import { type Order, OrderStatusSchema } from "../../src/gen/penstock/v1/order_pb.ts";
import { type Caller, Refusal, toRefusal } from "../support/caller.ts";
import type { Command } from "./commands.ts";
import type { ConnectCaller } from "./connect-caller.ts";
import type { ToldAnswer } from "./told.ts";

/** What a command was answered with. */
export interface Answer {
  /** Its places in the log. */
  readonly places: readonly string[];
  /** Whether it was known already. */
  readonly duplicate: boolean;
  /** The order after it, where it was matched. */
  readonly told: ToldAnswer | undefined;
}

/** A client's connection to a door, whichever it is. */
export type UnaryCaller = Pick<Caller, "close"> & Pick<ConnectCaller, "call">;

/** A client waits so long for an answer, then it asks again. Shorter than the server's own limit (stack.ts). */
export const DEADLINE_MS = 2_500;
const UNAVAILABLE = 14;
const DEADLINE_EXCEEDED = 4;
const PATH = `/${OrderService.typeName}/${OrderService.method.streamOrders.name}`;

/** By a call of its own. @throws Refusal */
export async function call(caller: UnaryCaller, command: Command): Promise<Answer> {
  const { method } = OrderService;
  const options = { deadlineMs: DEADLINE_MS };
  switch (command.case) {
    case "submit":
      return answerOf(await caller.call(method.submitOrder, command.value, options));
    case "cancel":
      return answerOf(await caller.call(method.cancelOrder, command.value, options));
    case "replace":
      return answerOf(await caller.call(method.replaceOrder, command.value, options));
    case "cancelAll":
      return answerOf(await caller.call(method.cancelAllOrders, command.value, options));
    default: {
      const never: never = command;
      return never;
    }
  }
}

/** Several orders by one SubmitOrders. Of each its answer or its own refusal; @throws Refusal of the call. */
export async function callTogether(
  caller: UnaryCaller,
  orders: readonly (Command & { readonly case: "submit" })[],
): Promise<(Answer | Refusal)[]> {
  const request = { orders: orders.map(({ value }) => value) };
  const { results } = await caller.call(OrderService.method.submitOrders, request, { deadlineMs: DEADLINE_MS });
  return results.map(({ result }) => {
    if (result.case === "accepted") return answerOf(result.value);
    return new Refusal(result.value?.code ?? 2, result.value?.message ?? "no result", result.value);
  });
}

type Response = SubmitOrderResponse | CancelOrderResponse | ReplaceOrderResponse | CancelAllOrdersResponse;

function answerOf(response: Response): Answer {
  const { duplicate } = response;
  if ("commandIds" in response) return { places: response.commandIds, duplicate, told: undefined };
  const place = "orderId" in response ? response.orderId : response.commandId;
  return { places: [place], duplicate, told: response.order && toldOf(place, response.order) };
}

function toldOf(command: string, { orderId, status, cumQuantity: cum, leavesQuantity: leaves }: Order): ToldAnswer {
  return { command, orderId, status: nameOf(OrderStatusSchema, status, "ORDER_STATUS_"), cum, leaves };
}

/** A value of an enumeration as Postgres has it: without the prefix. */
export function nameOf(of: DescEnum, value: number, prefix: string): string {
  return of.value[value]?.name.slice(prefix.length) ?? String(value);
}

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (refusal: Refusal) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * A client's StreamOrders, opened when it is needed and again after its end.
 *
 * Always true: what was sent and not answered waits, for the deadline at most; where the stream ends its outcome is unknown.
 */
export class CommandStream {
  readonly #caller: Caller;
  readonly #waiting = new Map<bigint, Waiting>();
  #call: ClientDuplexStream<Buffer, Buffer> | undefined;
  #sequence = 0n;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** @throws Refusal */
  send(command: Command): Promise<Answer> {
    const call = (this.#call ??= this.#open());
    const sequence = ++this.#sequence;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    // One that says nothing for so long is taken to be dead, with all that waits on it.
    const late = () => this.#end(call, new Refusal(DEADLINE_EXCEEDED, "no answer in time", undefined));
    this.#waiting.set(sequence, { resolve, reject, timer: setTimeout(late, DEADLINE_MS) });
    const request = create(StreamOrdersRequestSchema, { sequence, command });
    call.write(Buffer.from(toBinary(StreamOrdersRequestSchema, request)));
    return promise;
  }

  close(): void {
    if (this.#call !== undefined) this.#end(this.#call, new Refusal(UNAVAILABLE, "the client closed it", undefined));
  }

  #open(): ClientDuplexStream<Buffer, Buffer> {
    const identity = (bytes: Buffer) => bytes;
    const call = this.#caller.client.makeBidiStreamRequest(PATH, identity, identity, this.#caller.metadata, {});
    call.on("data", (bytes: Buffer) => this.#read(bytes));
    call.on("error", (error: ServiceError) => this.#end(call, toRefusal(error)));
    call.on("end", () => this.#end(call, new Refusal(UNAVAILABLE, "the server ended the stream", undefined)));
    return call;
  }

  #read(bytes: Buffer): void {
    const { sequence, result } = fromBinary(StreamOrdersResponseSchema, bytes);
    const waiting = this.#waiting.get(sequence);
    if (waiting === undefined) return;
    this.#waiting.delete(sequence);
    clearTimeout(waiting.timer);
    if (result.case === undefined) waiting.reject(new Refusal(2, "an answer without a result", undefined));
    else if (result.case === "refused") {
      waiting.reject(new Refusal(result.value.code, result.value.message, result.value));
    } else waiting.resolve(answerOf(result.value));
  }

  #end(call: ClientDuplexStream<Buffer, Buffer>, refusal: Refusal): void {
    if (call !== this.#call) return;
    this.#call = undefined;
    call.cancel();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(refusal);
    }
    this.#waiting.clear();
  }
}
