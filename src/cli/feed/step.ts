import type { Side } from "../../gen/penstock/v1/order_pb.ts";
import type { StreamOrdersRequest } from "../../gen/penstock/v1/order_service_pb.ts";
import type { Scale } from "../../stream/decimal.ts";

/** A command as StreamOrders takes it. */
export type OrderCommand = Exclude<StreamOrdersRequest["command"], { case: undefined }>;

/** A command that a line of a recording stands for. `at` is when it was recorded, in milliseconds of any clock. */
export interface Send {
  readonly kind: "send";
  readonly line: number;
  readonly at: number | undefined;
  readonly command: OrderCommand;
}

/** What the recorded venue filled of an order: nothing to send, and what an engine's result is held against. */
export interface Fill {
  readonly kind: "fill";
  readonly line: number;
  readonly at: number;
  /** The order's client order id. */
  readonly order: string;
  readonly side: Side;
  /** In units of the parser; undefined where the order is from before the recording, and nobody knows. */
  readonly quantity: number | undefined;
}

/** What a line says. One that is left out is counted by its reason; a fault is a line that could not be read. */
export type Step =
  | Send
  | Fill
  | { readonly kind: "skip"; readonly line: number; readonly why: string }
  | { readonly kind: "fault"; readonly line: number; readonly message: string };

/** Reads a recording line by line. What it remembers is the orders that are open. */
export interface Parser {
  /** Of quantities in fills; undefined where the format has none. */
  readonly unit: Scale | undefined;
  /** What a line says, in the order in which it is to be done. */
  read(text: string, line: number): Step[];
  /** What was held back until the next line. */
  end(): Step[];
}

export interface ParserOptions {
  /** Stands in front of the ids that are made from the file's. */
  readonly run: string;
  readonly symbol: string;
  /** LOBSTER: executions are turned into the orders that took. */
  readonly executions: boolean;
}

export const BEFORE_RECORDING = "of an order from before the recording";

/** The order that a command concerns, by the name that its commands share; undefined for a mass cancel. */
export function orderOf({ case: kind, value }: OrderCommand): string | undefined {
  return kind === "cancelAll" ? undefined : value.clientOrderId || (kind === "submit" ? "" : value.orderId);
}
