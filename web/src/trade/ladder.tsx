import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import type { PriceLevel } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { OrderType, Side, TradingStatus } from "../../../src/gen/penstock/v1/order_pb.ts";
import type { Ticket } from "../commands/ticket.ts";
import type { BookTopic } from "../live/book-topic.ts";
import { decimalOf, digitsOf, padded, unitsOf } from "../live/decimal.ts";
import type { TradesTopic } from "../live/trades-topic.ts";
import { useDesk, useShortcut } from "../shell/context.ts";
import { tradingName } from "../shell/wording.ts";
import { Loading, Stale } from "../ui/states.tsx";

/** Levels of each side: of what fits, and what a person takes in. */
const LEAST = 6;
const MOST = 24;
/** As in the styles. */
const ROW_PX = 22;
/** The head, the spread and the panel's title. */
const REST_PX = 78;

interface LadderProps {
  readonly instrument: Instrument;
  readonly book: BookTopic;
  readonly trades: TradesTopic;
  readonly ticket: Ticket;
}

export function Ladder({ instrument, book: topic, trades, ticket }: LadderProps) {
  const panel = useRef<HTMLElement>(null);
  const levels = useLevels(panel);
  const mine = useOwnPrices(instrument.symbol);
  useShortcut("l", "Go to the order book", () =>
    panel.current?.querySelector<HTMLElement>('button[tabindex="0"]')?.focus(),
  );
  void topic.frames.drawn;
  const { book } = topic;
  const trouble = topic.trouble.value;

  const take = (price: string): void => {
    const { type } = ticket.draft.peek();
    const hasPrice = type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
    ticket.change({ price, ...(hasPrice ? {} : { type: OrderType.LIMIT }) });
  };

  return (
    <section ref={panel} class="panel ladder" aria-labelledby="ladder-title">
      <h2 id="ladder-title">
        Order book
        {book !== undefined && book.tradingStatus !== TradingStatus.OPEN && (
          <span class="tag bad">{tradingName(book.tradingStatus)}</span>
        )}
      </h2>
      {book === undefined && <Loading what="the order book" trouble={trouble} />}
      {book !== undefined && trouble !== undefined && <Stale>As last seen. {trouble}</Stale>}
      {book !== undefined && (
        <Levels
          asks={book.asks.slice(0, levels)}
          bids={book.bids.slice(0, levels)}
          rows={levels}
          instrument={instrument}
          // The book's own is as old as its snapshot.
          lastPrice={trades.tape.trades[0]?.price ?? book.lastPrice}
          mine={mine}
          onTake={take}
        />
      )}
    </section>
  );
}

interface LevelsProps {
  readonly asks: readonly PriceLevel[];
  readonly bids: readonly PriceLevel[];
  readonly rows: number;
  readonly instrument: Instrument;
  readonly lastPrice: string;
  readonly mine: ReadonlySet<string>;
  readonly onTake: (price: string) => void;
}

/** A table whose prices are buttons: one is reached by Tab, the others by the arrow keys. */
function Levels({ asks, bids, rows, instrument, lastPrice, mine, onTake }: LevelsProps) {
  const body = useRef<HTMLTableElement>(null);
  const digits = Math.max(0, ...[...asks, ...bids].map(({ quantity }) => digitsOf(quantity)));
  const tickDigits = digitsOf(instrument.tickSize);
  const sides = { asks: withTotals(asks, digits), bids: withTotals(bids, digits) };
  const deepest = Math.max(Number(sides.asks.at(-1)?.total ?? 0n), Number(sides.bids.at(-1)?.total ?? 0n), 1);

  const onKeyDown = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const buttons = [...body.current!.querySelectorAll("button")];
    buttons[buttons.indexOf(event.target as HTMLButtonElement) + step]?.focus();
  };

  const row = ({ level, total }: Row, side: "ask" | "bid", isBest: boolean) => (
    <tr class={side} style={{ "--depth": String(Number(total) / deepest) }}>
      <td>
        <button
          type="button"
          tabIndex={isBest && (side === "bid" || bids.length === 0) ? 0 : -1}
          onClick={() => onTake(level.price)}
          aria-label={`${side} ${padded(level.price, tickDigits)}: take this price`}
        >
          {padded(level.price, tickDigits)}
        </button>
        {mine.has(`${side} ${level.price}`) && (
          <span class="mine" title="You have an order here">
            ◂<span class="hidden"> yours</span>
          </span>
        )}
      </td>
      <td>{padded(level.quantity, digits)}</td>
      <td>{decimalOf(total, digits)}</td>
      <td class="faint">{level.orders}</td>
    </tr>
  );

  const missing = (count: number) =>
    Array.from({ length: Math.max(0, count) }, (_, at) => (
      <tr key={`missing-${at}`} aria-hidden="true">
        <td colSpan={4} />
      </tr>
    ));

  return (
    <table ref={body} onKeyDown={onKeyDown}>
      <caption class="hidden">
        Asks, worst first, then bids, best first. A price that is pressed goes into the ticket.
      </caption>
      <thead>
        <tr>
          <th scope="col">Price</th>
          <th scope="col">Quantity</th>
          <th scope="col">Total</th>
          <th scope="col" title="Orders">
            <span aria-hidden="true">#</span>
            <span class="hidden">Orders</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {missing(rows - asks.length)}
        {sides.asks.map((one, at) => row(one, "ask", at === 0)).toReversed()}
        <tr class="spread">
          <td colSpan={4}>
            <Spread ask={asks[0]?.price} bid={bids[0]?.price} lastPrice={lastPrice} digits={tickDigits} />
          </td>
        </tr>
        {sides.bids.map((one, at) => row(one, "bid", at === 0))}
        {missing(rows - bids.length)}
      </tbody>
    </table>
  );
}

function Spread(props: { ask: string | undefined; bid: string | undefined; lastPrice: string; digits: number }) {
  const { ask, bid, lastPrice, digits } = props;
  const last = lastPrice === "" ? "no trade yet" : `last ${padded(lastPrice, digits)}`;
  if (ask === undefined && bid === undefined) return <span>The book is empty · {last}</span>;
  if (ask === undefined) return <span>No asks · {last}</span>;
  if (bid === undefined) return <span>No bids · {last}</span>;
  return (
    <span>
      Spread {decimalOf(unitsOf(ask, digits) - unitsOf(bid, digits), digits)} · {last}
    </span>
  );
}

interface Row {
  readonly level: PriceLevel;
  /** Of it and of all that are better, in 10^-digits. */
  readonly total: bigint;
}

function withTotals(levels: readonly PriceLevel[], digits: number): Row[] {
  let total = 0n;
  return levels.map((level) => {
    total += unitsOf(level.quantity, digits);
    return { level, total };
  });
}

/** "bid 100.25" where the account has an open order at that price. */
function useOwnPrices(symbol: string): ReadonlySet<string> {
  const { orders } = useDesk();
  const { drawn } = orders.frames;
  return useMemo(() => {
    const own = orders.list.open.filter((order) => order.symbol === symbol && order.price !== "");
    return new Set(own.map(({ side, price }) => `${side === Side.BUY ? "bid" : "ask"} ${price}`));
  }, [orders, symbol, drawn]);
}

/** How many levels of each side the panel has room for. */
function useLevels(panel: { readonly current: HTMLElement | null }): number {
  const [levels, setLevels] = useState(LEAST);
  useEffect(() => {
    const fit = new ResizeObserver(([entry]) => {
      const room = Math.floor(((entry?.contentRect.height ?? 0) - REST_PX) / 2 / ROW_PX);
      setLevels(Math.min(MOST, Math.max(LEAST, room)));
    });
    fit.observe(panel.current!);
    return () => fit.disconnect();
  }, [panel]);
  return levels;
}
