import { randomBytes } from "node:crypto";

import { create, toJsonString } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";

import {
  AckLevel,
  OrderStatus,
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
} from "../gen/penstock/v1/order_pb.ts";
import {
  OrderService,
  SubmitOrderRequestSchema,
  SubmitOrderResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import type { SubmitOrderRequest, SubmitOrderResponse } from "../gen/penstock/v1/order_service_pb.ts";
import { exitCodes } from "../runtime/errors.ts";
import { ApiClient, describeRefusal, violationsIn } from "./client.ts";
import { apiOf } from "./stack-file.ts";
import { enumName, formatTable } from "./table.ts";
import { readTime } from "./time.ts";

export const orderWords = {
  side: { buy: Side.BUY, sell: Side.SELL },
  type: {
    limit: OrderType.LIMIT,
    market: OrderType.MARKET,
    stop: OrderType.STOP,
    "stop-limit": OrderType.STOP_LIMIT,
  },
  timeInForce: { gtc: TimeInForce.GTC, ioc: TimeInForce.IOC, fok: TimeInForce.FOK, gtd: TimeInForce.GTD },
  selfTradePrevention: {
    "cancel-newest": SelfTradePrevention.CANCEL_NEWEST,
    "cancel-oldest": SelfTradePrevention.CANCEL_OLDEST,
    "cancel-both": SelfTradePrevention.CANCEL_BOTH,
    decrement: SelfTradePrevention.DECREMENT,
  },
  ack: { logged: AckLevel.LOGGED, matched: AckLevel.MATCHED },
} as const;

export interface SubmitOptions {
  readonly url?: string;
  readonly token?: string;
  readonly symbol: string;
  readonly side: keyof typeof orderWords.side;
  readonly type: keyof typeof orderWords.type;
  readonly quantity: string;
  readonly price?: string;
  readonly stopPrice?: string;
  readonly displayQuantity?: string;
  readonly timeInForce?: keyof typeof orderWords.timeInForce;
  readonly expireTime?: string;
  readonly postOnly?: true;
  readonly selfTradePrevention?: keyof typeof orderWords.selfTradePrevention;
  readonly clientOrderId?: string;
  readonly ack?: keyof typeof orderWords.ack;
  readonly count?: number;
  readonly json?: true;
}

/** The API takes 1,000 in a call; half of it stays below 1 MiB with the longest ids. */
const ordersPerCall = 500;

/**
 * Submits one order, or `count` alike with ids that are numbered. Returns the exit code: 1 where one was refused, by the engine
 * too where its answer is waited for.
 */
export async function submit(options: SubmitOptions): Promise<number> {
  const api = new ApiClient(apiOf(options, "trader"));
  try {
    if (options.count === undefined) {
      const answer = await api.call(OrderService.method.submitOrder, requestOf(options, clientOrderId(options)));
      print([answer], options);
      return isRejected(answer) ? exitCodes.failed : exitCodes.ok;
    }
    let code: number = exitCodes.ok;
    const prefix = clientOrderId(options);
    for (let sent = 0; sent < options.count; sent += ordersPerCall) {
      const length = Math.min(ordersPerCall, options.count - sent);
      const orders = Array.from({ length }, (_, i) => requestOf(options, `${prefix}-${sent + i + 1}`));
      const { results } = await api.call(OrderService.method.submitOrders, { orders });
      print(
        results.flatMap(({ result }) => (result.case === "accepted" ? [result.value] : [])),
        options,
      );
      for (const [i, { result }] of results.entries()) {
        if (result.case === "accepted" && !isRejected(result.value)) continue;
        code = exitCodes.failed;
        if (result.case === "accepted") continue; // its line says so
        const { code: status, message, details } = result.value ?? { code: 2, message: "no result", details: [] };
        const refusal = describeRefusal(status, message, violationsIn(details));
        process.stderr.write(`penstock: ${orders[i]?.clientOrderId}: ${refusal}\n`);
      }
    }
    return code;
  } finally {
    api.close();
  }
}

function isRejected({ status }: SubmitOrderResponse): boolean {
  return status === OrderStatus.REJECTED;
}

function clientOrderId(options: SubmitOptions): string {
  return options.clientOrderId ?? `cli-${randomBytes(8).toString("hex")}`;
}

function requestOf(options: SubmitOptions, id: string): SubmitOrderRequest {
  const request = create(SubmitOrderRequestSchema, {
    clientOrderId: id,
    symbol: options.symbol,
    side: orderWords.side[options.side],
    type: orderWords.type[options.type],
    timeInForce: options.timeInForce ? orderWords.timeInForce[options.timeInForce] : TimeInForce.UNSPECIFIED,
    quantity: options.quantity,
    price: options.price ?? "",
    stopPrice: options.stopPrice ?? "",
    displayQuantity: options.displayQuantity ?? "",
    postOnly: options.postOnly ?? false,
    selfTradePrevention: options.selfTradePrevention
      ? orderWords.selfTradePrevention[options.selfTradePrevention]
      : SelfTradePrevention.UNSPECIFIED,
    ackLevel: options.ack ? orderWords.ack[options.ack] : AckLevel.UNSPECIFIED,
  });
  if (options.expireTime !== undefined) request.expireTime = readTime(options.expireTime);
  return request;
}

function print(answers: readonly SubmitOrderResponse[], { json, ack }: SubmitOptions): void {
  if (answers.length === 0) return;
  if (json) {
    const lines = answers.map(
      (answer) => `${toJsonString(SubmitOrderResponseSchema, answer, { alwaysEmitImplicit: true })}\n`,
    );
    process.stdout.write(lines.join(""));
    return;
  }
  const rows = answers.map((answer) => ({
    order_id: answer.orderId,
    client_order_id: answer.clientOrderId,
    status: enumName(OrderStatus, answer.status),
    ...(ack === "matched" ? whatBecameOf(answer) : {}),
    created_at: answer.createdAt ? timestampDate(answer.createdAt).toISOString() : "",
    duplicate: answer.duplicate ? "yes" : "no",
  }));
  process.stdout.write(`${formatTable(rows)}\n`);
}

/** Empty where the engine did not answer in time. */
function whatBecameOf({ order }: SubmitOrderResponse) {
  return {
    filled: order?.cumQuantity ?? "",
    leaves: order?.leavesQuantity ?? "",
    average_price: order?.averagePrice ?? "",
    reason: order?.reason ?? "",
  };
}
