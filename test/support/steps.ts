import { Side } from "../../src/gen/penstock/v1/order_pb.ts";
import type { Parser, Step } from "../../src/cli/feed/step.ts";

/** What a parser makes of the lines, a text each. */
export function stepsOf(parser: Parser, lines: readonly string[]): string[] {
  const steps = lines.flatMap((line, i) => parser.read(line, i + 1));
  return [...steps, ...parser.end()].map(textOf);
}

/** `3 replace r-L3 of r-17: price 9.5` */
function textOf(step: Step): string {
  switch (step.kind) {
    case "skip":
      return `${step.line} skip ${step.why}`;
    case "fault":
      return `${step.line} fault ${step.message}`;
    case "fill":
      return `${step.line} fill ${step.order} ${step.side === Side.BUY ? "buy" : "sell"} ${step.quantity ?? "?"}`;
    case "send": {
      const { command, line, at } = step;
      const { case: kind, value } = command;
      const when = at === undefined ? "" : ` at ${at}`;
      if (kind === "submit") {
        const side = value.side === Side.BUY ? "buy" : "sell";
        const time = value.timeInForce === 3 ? " ioc" : "";
        return `${line} ${side} ${value.clientOrderId}: ${value.quantity} ${value.symbol} @ ${value.price}${time}${when}`;
      }
      if (kind === "cancelAll") return `${line} cancelAll ${value.clientRequestId} of ${value.symbol || "all"}${when}`;
      const target = value.orderId || `${value.clientOrderId} ${value.symbol}`;
      const values = kind === "replace" ? `: ${value.quantity || "-"} @ ${value.price || "-"}` : "";
      return `${line} ${kind} ${value.clientRequestId} of ${target}${values}${when}`;
    }
    default: {
      const never: never = step;
      return never;
    }
  }
}
