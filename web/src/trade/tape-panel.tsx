import { Side } from "../../../src/gen/penstock/v1/order_pb.ts";
import { digitsOf, padded } from "../live/decimal.ts";
import type { TradesTopic } from "../live/trades-topic.ts";
import { clockTime } from "../shell/wording.ts";
import { Empty, Loading, Stale } from "../ui/states.tsx";

/** What a tall screen shows. */
const SHOWN = 40;

export function TapePanel({ trades: topic }: { trades: TradesTopic }) {
  void topic.frames.drawn;
  const trades = topic.tape.trades.slice(0, SHOWN);
  const trouble = topic.trouble.value;
  const priceDigits = Math.max(0, ...trades.map(({ price }) => digitsOf(price)));
  const quantityDigits = Math.max(0, ...trades.map(({ quantity }) => digitsOf(quantity)));
  return (
    <section class="panel tape" aria-labelledby="tape-title">
      <h2 id="tape-title">Trades</h2>
      {trades.length === 0 && !topic.loaded.value && <Loading what="trades" trouble={trouble} />}
      {trades.length === 0 && topic.loaded.value && <Empty>Nothing was traded yet.</Empty>}
      {trades.length > 0 && trouble !== undefined && <Stale>As last seen. {trouble}</Stale>}
      {trades.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Trades, newest first">
          <table>
            <thead>
              <tr>
                <th scope="col">Price</th>
                <th scope="col">Quantity</th>
                <th scope="col">Time</th>
              </tr>
            </thead>
            <tbody>
              {trades.map(({ trade, price, quantity, aggressorSide, at }) => (
                <tr key={String(trade)}>
                  <td class={aggressorSide === Side.BUY ? "buy" : "sell"}>
                    <span aria-hidden="true">{aggressorSide === Side.BUY ? "▲ " : "▼ "}</span>
                    <span class="hidden">{aggressorSide === Side.BUY ? "bought at " : "sold at "}</span>
                    {padded(price, priceDigits)}
                  </td>
                  <td>{padded(quantity, quantityDigits)}</td>
                  <td class="faint">{clockTime(at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
