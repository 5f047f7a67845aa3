import type { Order } from "../../../src/gen/penstock/v1/order_pb.ts";
import type { Outcome, Pending } from "../commands/outbox.ts";
import { useDesk } from "../shell/context.ts";
import { hrefOf } from "../shell/router.ts";
import { reasonOf, statusName } from "../shell/wording.ts";

/** Fields of the request that people do not fill in by themselves. */
const WITHOUT_INPUT = ["client_order_id", "symbol", "side"];

/** What became of the order that was sent last, or what is being done to find out. */
export function TicketOutcome({ pending, outcome }: { pending: Pending | undefined; outcome: Outcome | undefined }) {
  const { outbox } = useDesk();
  const isUnknown = pending !== undefined && (pending.tries > 0 || pending.resumed);
  return (
    <div class="outcome" role="status">
      {pending !== undefined && !isUnknown && <p>Sending…</p>}
      {isUnknown && (
        <p class="warning">
          No answer yet: the order may be in the log. Asking again with the same id ({pending.id}), which cannot make a
          second order.
          <button type="button" onClick={() => outbox.giveUp(pending.id)}>
            Stop asking
          </button>
        </p>
      )}
      {pending === undefined && outcome !== undefined && <Known outcome={outcome} />}
    </div>
  );
}

function Known({ outcome }: { outcome: Outcome }) {
  switch (outcome.kind) {
    case "refused":
      return (
        <p class="error">
          {outcome.failure.message}
          {WITHOUT_INPUT.map((field) => {
            const description = outcome.failure.fields.get(field);
            return description === undefined ? null : <span key={field}>{` ${field} ${description}.`}</span>;
          })}
        </p>
      );
    case "unknown":
      return (
        <p class="error">It is not known what became of the order: look at your orders before you send another.</p>
      );
    case "found":
      return <Taken orderId={outcome.order.orderId} order={outcome.order} isSecond={false} />;
    case "answered": {
      const { answer } = outcome;
      if (!("orderId" in answer)) return null;
      return <Taken orderId={answer.orderId} order={answer.order} isSecond={answer.duplicate} />;
    }
    default:
      return outcome satisfies never;
  }
}

function Taken({ orderId, order, isSecond }: { orderId: string; order: Order | undefined; isSecond: boolean }) {
  const state = order === undefined ? "In the log" : statusName(order.status);
  const filled = order === undefined || order.cumQuantity === "" || order.cumQuantity === "0" ? "" : order.cumQuantity;
  return (
    <p class={order !== undefined && order.reason !== "" ? "warning" : "good"}>
      {state}
      {filled !== "" && ` · ${filled} filled at ${order!.averagePrice}`}
      {order !== undefined && order.reason !== "" && `: ${reasonOf(order.reason)}`}
      {isSecond && " · it was in the log before, and was not taken twice"} ·{" "}
      <a href={hrefOf({ screen: "order", orderId })}>its way</a>
    </p>
  );
}
