import { useEffect, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import type { GetOrderTraceResponse } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { useApp, useDesk } from "../shell/context.ts";
import { hrefOf } from "../shell/router.ts";
import {
  dateTime,
  described,
  preventionName,
  reasonOf,
  roleName,
  statusName,
  timeName,
  typeName,
} from "../shell/wording.ts";
import { Field } from "../ui/field.tsx";
import { Broken, Loading, Stale } from "../ui/states.tsx";
import { Executions } from "./executions.tsx";
import { LogPlace } from "./log-place.tsx";
import { Stages } from "./stages.tsx";

/** While something of its way is missing, and after each report of it. */
const AGAIN_MS = 500;
/** After that whoever waits can look again. */
const TRIES = 60;

export function OrderScreen({ orderId }: { orderId: string }) {
  return (
    <>
      <div class="head">
        <h1>An order’s way</h1>
        <Finder orderId={orderId} />
      </div>
      {orderId === "" ? (
        <p class="state">Choose an order from your orders, or give its id.</p>
      ) : (
        <Way orderId={orderId} />
      )}
    </>
  );
}

function Finder({ orderId }: { orderId: string }) {
  const { router } = useApp();
  const [id, setId] = useState(orderId);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (id.trim() !== "") router.go({ screen: "order", orderId: id.trim() });
  };
  return (
    <form class="finder" onSubmit={submit}>
      <Field label="Order id" type="search" value={id} onInput={setId} spellcheck={false} autoComplete="off" />
      <button>Show</button>
    </form>
  );
}

function Way({ orderId }: { orderId: string }) {
  const { account, role } = useDesk();
  const { trace, failure, again } = useTrace(orderId);
  if (trace === undefined) {
    if (failure === undefined) return <Loading what="the order" />;
    if (failure.code === Code.NotFound || failure.code === Code.InvalidArgument) {
      return (
        <Broken onRetry={again}>
          {account} ({roleName(role)}) has no order with this id. {[...failure.fields.values()].join(" ")}
        </Broken>
      );
    }
    return <Loading what="the order" trouble={failure.message} />;
  }
  const order = trace.order!;
  const facts: readonly (readonly [name: string, value: string])[] = [
    ["Status", `${statusName(order.status)}${order.reason === "" ? "" : `: ${reasonOf(order.reason)}`}`],
    ["Type", `${typeName(order.type)}, ${timeName(order.timeInForce)}${order.postOnly ? ", post only" : ""}`],
    ["Filled", `${order.cumQuantity || "0"} of ${order.quantity}`],
    ["Open", order.leavesQuantity || "0"],
    ["Average price", order.averagePrice || "–"],
    ["Shown in the book", order.displayQuantity || "all of it"],
    ["Expires", order.expireTime === undefined ? "–" : dateTime(order.expireTime, { ms: false })],
    ["Self-trade prevention", preventionName(order.selfTradePrevention)],
    ["Account", order.account],
    ["Client order id", order.clientOrderId],
    ["Order id", order.orderId],
  ];
  return (
    <>
      {failure !== undefined && <Stale>As last seen. {failure.message}</Stale>}
      <section class="panel" aria-labelledby="order-title">
        <h2 id="order-title">
          {described(order)} <a href={hrefOf({ screen: "trade", symbol: order.symbol })}>to the market</a>
        </h2>
        <dl class="facts">
          {facts.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </section>
      <Stages trace={trace} />
      <LogPlace trace={trace} />
      <Executions executions={trace.executions} symbol={order.symbol} />
    </>
  );
}

/** Asks until all stages are there, and again when the order changes. */
function useTrace(orderId: string) {
  const desk = useDesk();
  const [trace, setTrace] = useState<GetOrderTraceResponse>();
  const [failure, setFailure] = useState<Failure>();
  const [round, setRound] = useState(0);
  void desk.orders.frames.drawn;
  const known = desk.orders.list.find(orderId);
  useEffect(() => {
    const gone = new AbortController();
    const { signal } = gone;
    const follow = async (): Promise<void> => {
      for (let attempt = 0; attempt < TRIES; attempt++) {
        try {
          const answer = await desk.clients.orders.getOrderTrace({ orderId }, { signal });
          setTrace(answer);
          setFailure(undefined);
          if (isWhole(answer)) return;
          await wait(AGAIN_MS, signal);
        } catch (error) {
          if (signal.aborted) return;
          const failed = failureOf(error);
          setFailure(failed);
          if (failed.code === Code.NotFound || failed.code === Code.InvalidArgument) return;
          await wait(failed.retryAfterMs ?? backoffMs(attempt), signal).catch(() => {});
        }
      }
    };
    void follow();
    return () => gone.abort();
  }, [desk, orderId, round, known]);
  return { trace, failure, again: () => setRound(round + 1) };
}

function isWhole({ matched, written }: GetOrderTraceResponse): boolean {
  return matched !== undefined && written !== undefined && written.order && written.events;
}
