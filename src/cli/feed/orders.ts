import { create } from "@bufbuild/protobuf";

import { OrderType, TimeInForce } from "../../gen/penstock/v1/order_pb.ts";
import type { Side } from "../../gen/penstock/v1/order_pb.ts";
import {
  CancelOrderRequestSchema,
  ReplaceOrderRequestSchema,
  SubmitOrderRequestSchema,
} from "../../gen/penstock/v1/order_service_pb.ts";
import type { ParserOptions, Send } from "./step.ts";

interface Place {
  readonly line: number;
  /** When, in milliseconds of the recording's clock. */
  readonly at: number;
}

/** Makes the commands of a recording that has ids of its own: from one file they are the same in every run. */
export class RecordedOrders {
  readonly #run: string;
  readonly #symbol: string;

  constructor({ run, symbol }: Pick<ParserOptions, "run" | "symbol">) {
    this.#run = run;
    this.#symbol = symbol;
  }

  /** The client order id of a recorded id. */
  id(recorded: string): string {
    return `${this.#run}-${recorded}`;
  }

  limit(
    place: Place,
    recorded: string,
    order: { readonly side: Side; readonly quantity: string; readonly price: string; readonly immediate?: true },
  ): Send {
    const value = create(SubmitOrderRequestSchema, {
      clientOrderId: this.id(recorded),
      symbol: this.#symbol,
      side: order.side,
      type: OrderType.LIMIT,
      timeInForce: order.immediate ? TimeInForce.IOC : TimeInForce.GTC,
      quantity: order.quantity,
      price: order.price,
    });
    return { kind: "send", ...place, command: { case: "submit", value } };
  }

  cancel(place: Place, recorded: string): Send {
    const value = create(CancelOrderRequestSchema, this.#change(place, recorded));
    return { kind: "send", ...place, command: { case: "cancel", value } };
  }

  /** Values that are absent or empty stay as they are. */
  replace(place: Place, recorded: string, values: { readonly quantity?: string; readonly price?: string }): Send {
    const value = create(ReplaceOrderRequestSchema, { ...this.#change(place, recorded), ...values });
    return { kind: "send", ...place, command: { case: "replace", value } };
  }

  #change({ line }: Place, recorded: string) {
    return { clientRequestId: `${this.#run}-L${line}`, symbol: this.#symbol, clientOrderId: this.id(recorded) };
  }
}
