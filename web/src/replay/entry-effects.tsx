import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import type { GetBookAtResponse, PriceLevel } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { useDesk } from "../shell/context.ts";
import { hrefOf } from "../shell/router.ts";
import { isAdmin } from "../shell/session.ts";
import { described, execTypeName, reasonOf } from "../shell/wording.ts";
import { SideMark } from "../ui/side.tsx";
import { Empty } from "../ui/states.tsx";

/** What the entry did to the symbol. */
export function EntryEffects({ answer, instrument }: { answer: GetBookAtResponse; instrument: Instrument }) {
  const { account, role } = useDesk();
  const { commands, bids, asks, trades, reports } = answer;
  if (answer.position === undefined) return null;
  return (
    <section class="panel effects" aria-labelledby="effects-title">
      <h2 id="effects-title">What it did</h2>
      <p>
        {commands === 0 && "None of its commands names the symbol: it was time that did this."}
        {commands > 0 && `${commands} ${commands === 1 ? "command names" : "commands name"} ${instrument.symbol}.`}
      </p>
      <h3>Levels</h3>
      {bids.length + asks.length === 0 && <Empty>No level that can be seen was changed.</Empty>}
      <ul class="levels">
        {bids.map((level) => (
          <Changed key={`bid ${level.price}`} side="bid" level={level} />
        ))}
        {asks.map((level) => (
          <Changed key={`ask ${level.price}`} side="ask" level={level} />
        ))}
      </ul>
      {trades.length > 0 && (
        <>
          <h3>Trades</h3>
          <ul class="levels">
            {trades.map(({ trade, quantity, price, aggressorSide }) => (
              <li key={String(trade)}>
                <SideMark side={aggressorSide} /> {quantity} at {price} <small>no. {String(trade)}</small>
              </li>
            ))}
          </ul>
        </>
      )}
      <h3>{isAdmin(role) ? "Reports of all accounts" : "Your reports"}</h3>
      {reports.length === 0 && <Empty>{isAdmin(role) ? "None." : "None of yours."}</Empty>}
      <ul class="levels">
        {reports.map(({ position, execType, reason, order }) => (
          <li key={`${position?.index}`}>
            <strong>{execTypeName(execType)}</strong>{" "}
            {order !== undefined && order.account !== account && described(order)}
            {order !== undefined && order.account === account && (
              <a href={hrefOf({ screen: "order", orderId: order.orderId })}>{described(order)}</a>
            )}
            {reason !== "" && <small> {reasonOf(reason)}</small>}
            {isAdmin(role) && <small> {order?.account}</small>}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Changed({ side, level }: { side: "bid" | "ask"; level: PriceLevel }) {
  return (
    <li>
      <span class={side === "bid" ? "buy" : "sell"}>{side}</span> {level.price}:{" "}
      {level.quantity === "0"
        ? "gone"
        : `${level.quantity} in ${level.orders} ${level.orders === 1 ? "order" : "orders"}`}
    </li>
  );
}
