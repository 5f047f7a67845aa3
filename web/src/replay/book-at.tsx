import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import type { GetBookAtResponse, PriceLevel } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { TradingStatus } from "../../../src/gen/penstock/v1/order_pb.ts";
import { digitsOf, padded } from "../live/decimal.ts";
import { tradingName } from "../shell/wording.ts";
import { Empty } from "../ui/states.tsx";

/** The book behind an entry; what the entry changed is marked. */
export function BookAt({ answer, instrument }: { answer: GetBookAtResponse; instrument: Instrument }) {
  const { book } = answer;
  const bids = book?.bids ?? [];
  const asks = book?.asks ?? [];
  const changed = {
    bids: new Set(answer.bids.map(({ price }) => price)),
    asks: new Set(answer.asks.map(({ price }) => price)),
  };
  const digits = Math.max(0, ...[...bids, ...asks].map(({ quantity }) => digitsOf(quantity)));
  const most = Math.max(Number.MIN_VALUE, ...[...bids, ...asks].map(({ quantity }) => Number(quantity)));
  const row = (side: "ask" | "bid", level: PriceLevel) => {
    const isChanged = changed[side === "ask" ? "asks" : "bids"].has(level.price);
    return (
      <tr
        key={`${side} ${level.price}`}
        class={`${side}${isChanged ? " changed" : ""}`}
        style={{ "--depth": String(Number(level.quantity) / most) }}
      >
        <td>{side}</td>
        <td>
          <span class="price">{padded(level.price, digitsOf(instrument.tickSize))}</span>
          {isChanged && (
            <span class="mine">
              ◂<span class="hidden"> changed by this entry</span>
            </span>
          )}
        </td>
        <td>{padded(level.quantity, digits)}</td>
        <td class="faint">{level.orders}</td>
      </tr>
    );
  };
  return (
    <section class="panel ladder" aria-labelledby="book-at-title">
      <h2 id="book-at-title">
        The book behind it
        {book !== undefined && book.tradingStatus > TradingStatus.OPEN && (
          <span class="tag bad">{tradingName(book.tradingStatus)}</span>
        )}
      </h2>
      {bids.length + asks.length === 0 && <Empty>The book is empty here.</Empty>}
      {bids.length + asks.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Side</th>
              <th scope="col">Price</th>
              <th scope="col">Quantity</th>
              <th scope="col">Orders</th>
            </tr>
          </thead>
          <tbody>
            {asks.toReversed().map((level) => row("ask", level))}
            <tr class="spread">
              <td colSpan={4}>{book?.lastPrice ? `last ${book.lastPrice}` : "no trade yet"}</td>
            </tr>
            {bids.map((level) => row("bid", level))}
          </tbody>
        </table>
      )}
    </section>
  );
}
