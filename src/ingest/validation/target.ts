import type { TradedInstrument, Instruments } from "../../stream/instrument.ts";
import { parseOrderId } from "../../stream/position.ts";
import type { Place } from "../../stream/position.ts";
import { clientIdFault, REQUIRED } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** The order that a request means: by its id, or by the client's own. */
export type Target =
  | { readonly by: "order_id"; readonly orderId: string; readonly place: Place }
  | { readonly by: "client_order_id"; readonly instrument: TradedInstrument; readonly clientOrderId: string };

interface TargetRequest {
  readonly orderId: string;
  readonly symbol: string;
  readonly clientOrderId: string;
}

/** The target, or undefined where one of its fields went to the faults. An order id comes back in lower case. */
export function readTarget(request: TargetRequest, instruments: Instruments, faults: Violation[]): Target | undefined {
  return request.orderId === "" ? readByClientId(request, instruments, faults) : readById(request, faults);
}

function readById({ orderId, symbol, clientOrderId }: TargetRequest, faults: Violation[]): Target | undefined {
  const place = parseOrderId(orderId);
  if (place === undefined) faults.push({ field: "order_id", description: "must be an order_id as it was answered" });
  const description = "must be empty beside order_id";
  if (symbol !== "") faults.push({ field: "symbol", description });
  if (clientOrderId !== "") faults.push({ field: "client_order_id", description });
  if (place === undefined || symbol !== "" || clientOrderId !== "") return undefined;
  return { by: "order_id", orderId: orderId.toLowerCase(), place };
}

function readByClientId(request: TargetRequest, instruments: Instruments, faults: Violation[]): Target | undefined {
  const { symbol, clientOrderId } = request;
  if (symbol === "" && clientOrderId === "") {
    faults.push({ field: "order_id", description: "is required, or symbol and client_order_id" });
    return undefined;
  }
  const instrument = readSymbol(symbol, instruments, faults);
  const fault = clientIdFault(clientOrderId);
  if (fault !== undefined) faults.push({ field: "client_order_id", description: fault });
  return instrument === undefined || fault !== undefined
    ? undefined
    : { by: "client_order_id", instrument, clientOrderId };
}

/** The instrument of a symbol, or undefined where the symbol went to the faults. */
export function readSymbol(
  symbol: string,
  instruments: Instruments,
  faults: Violation[],
): TradedInstrument | undefined {
  const instrument = instruments.get(symbol);
  if (instrument === undefined) {
    faults.push({ field: "symbol", description: symbol === "" ? REQUIRED : "no such instrument" });
  }
  return instrument;
}
