import { useEffect, useRef, useState } from "preact/hooks";
import type { Order } from "../../../src/gen/penstock/v1/order_pb.ts";
import { useDesk, useShortcut } from "../shell/context.ts";
import { hrefOf } from "../shell/router.ts";
import { mayTrade } from "../shell/session.ts";
import { clockTime, described, reasonOf, statusName, timeName, typeName } from "../shell/wording.ts";
import { Check, Segments } from "../ui/field.tsx";
import { SideMark } from "../ui/side.tsx";
import { Empty, Loading, Stale } from "../ui/states.tsx";
import { type Column, VirtualTable } from "../ui/virtual-table.tsx";
import { CancelAll } from "./cancel-all.tsx";
import { ReplaceDialog } from "./replace-dialog.tsx";

const TABS = ["open", "ended"] as const;
type Tab = (typeof TABS)[number];

export function OrdersPanel({ symbol }: { symbol: string | undefined }) {
  const desk = useDesk();
  const { orders, role } = desk;
  const [tab, setTab] = useState<Tab>("open");
  const [all, setAll] = useState(true);
  const [replaced, setReplaced] = useState<Order>();
  const panel = useRef<HTMLElement>(null);
  useShortcut("o", "Go to my orders", () => panel.current?.querySelector<HTMLElement>(".scroll, button")?.focus());
  void orders.frames.drawn;
  const ofSymbol = (list: readonly Order[]) =>
    all || symbol === undefined ? list : list.filter((order) => order.symbol === symbol);
  const lists = { open: ofSymbol(orders.list.open), ended: ofSymbol(orders.list.ended) };
  const shown = lists[tab];
  const loaded = orders.loaded.value;
  const trouble = orders.trouble.value;
  const columns = tab === "open" && mayTrade(role) ? [...COLUMNS, actions(setReplaced)] : COLUMNS;
  return (
    <section ref={panel} class="panel orders" aria-labelledby="orders-title">
      <div class="head">
        <h2 id="orders-title">My orders</h2>
        <Segments
          label="Which orders"
          value={tab}
          onChange={setTab}
          options={[
            { value: "open", name: `Open ${lists.open.length}` },
            { value: "ended", name: `Ended ${lists.ended.length}` },
          ]}
        />
        {symbol !== undefined && <Check label="All symbols" checked={all} onChange={setAll} />}
        {mayTrade(role) && <CancelAll symbol={all ? "" : (symbol ?? "")} open={lists.open.length} />}
      </div>
      {!loaded && <Loading what="orders" trouble={trouble} />}
      {loaded && trouble !== undefined && <Stale>As last seen. {trouble}</Stale>}
      {loaded && shown.length === 0 && (
        <Empty>{tab === "open" ? "No order is open." : "No order has ended lately."}</Empty>
      )}
      {shown.length > 0 && (
        <VirtualTable label={`${tab} orders, newest first`} columns={columns} rows={shown} keyOf={keyOf} />
      )}
      {replaced !== undefined && <ReplaceDialog order={replaced} onClose={() => setReplaced(undefined)} />}
    </section>
  );
}

function keyOf({ orderId }: Order): string {
  return orderId;
}

const COLUMNS: readonly Column<Order>[] = [
  { name: "Time", class: "wide", cell: ({ createdAt }) => clockTime(createdAt) },
  { name: "Symbol", cell: ({ symbol }) => symbol },
  { name: "Side", cell: ({ side }) => <SideMark side={side} /> },
  { name: "Type", class: "wide", cell: ({ type, timeInForce }) => `${typeName(type)} ${timeName(timeInForce)}` },
  {
    name: "Price",
    class: "number",
    cell: ({ price, stopPrice }) => price || (stopPrice && `stop ${stopPrice}`) || "market",
  },
  { name: "Quantity", class: "number", cell: ({ quantity }) => quantity },
  { name: "Filled", class: "number", cell: ({ cumQuantity }) => cumQuantity },
  { name: "Average", class: "number wide", cell: ({ averagePrice }) => averagePrice || "–" },
  {
    name: "Status",
    cell: ({ status, reason }) => (
      <span title={reason === "" ? undefined : reasonOf(reason)}>
        {statusName(status)}
        {reason !== "" && <small class="wide-only"> {reasonOf(reason)}</small>}
      </span>
    ),
  },
  {
    name: "Way",
    cell: (order) => (
      <a href={hrefOf({ screen: "order", orderId: order.orderId })} aria-label={`The way of: ${described(order)}`}>
        way
      </a>
    ),
  },
];

function actions(onReplace: (order: Order) => void): Column<Order> {
  return { name: "Change", class: "actions", cell: (order) => <Actions order={order} onReplace={onReplace} /> };
}

function Actions({ order, onReplace }: { order: Order; onReplace: (order: Order) => void }) {
  const desk = useDesk();
  const [canceling, setCanceling] = useState(false);
  const here = useRef(true);
  useEffect(() => () => void (here.current = false), []);
  const cancel = async (): Promise<void> => {
    if (canceling) return;
    setCanceling(true);
    await desk.cancel(order);
    if (here.current) setCanceling(false);
  };
  return (
    <>
      <button type="button" class="small" onClick={() => onReplace(order)} aria-label={`Replace: ${described(order)}`}>
        Replace
      </button>
      <button
        type="button"
        class="small"
        aria-disabled={canceling}
        onClick={() => void cancel()}
        aria-label={`Cancel: ${described(order)}`}
      >
        {canceling ? "Canceling…" : "Cancel"}
      </button>
    </>
  );
}
