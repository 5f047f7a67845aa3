import { useEffect, useMemo } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import { BookTopic } from "../live/book-topic.ts";
import { TradesTopic } from "../live/trades-topic.ts";
import { useApp, useDesk } from "../shell/context.ts";
import { Broken, Empty, Loading } from "../ui/states.tsx";
import { Instruments } from "./instruments.tsx";
import { Ladder } from "./ladder.tsx";
import { OrdersPanel } from "./orders-panel.tsx";
import { PriceChart } from "./price-chart.tsx";
import { TapePanel } from "./tape-panel.tsx";
import { TicketPanel } from "./ticket-panel.tsx";

/** The symbol that was looked at last, on this machine. */
const LAST = "penstock.symbol";

export function TradeScreen({ symbol }: { symbol: string | undefined }) {
  const { router } = useApp();
  const desk = useDesk();
  const instruments = desk.instruments.value;
  const instrument = instruments?.find((one) => one.symbol === symbol);
  useEffect(() => {
    if (symbol !== undefined || instruments === undefined) return;
    const last = instruments.find((one) => one.symbol === localStorage.getItem(LAST)) ?? instruments[0];
    if (last !== undefined) router.go({ screen: "trade", symbol: last.symbol }, { replace: true });
  }, [symbol, instruments, router]);
  useEffect(() => {
    if (instrument !== undefined) localStorage.setItem(LAST, instrument.symbol);
  }, [instrument]);

  if (instruments === undefined) return <Loading what="instruments" trouble={desk.instrumentTrouble.value} />;
  if (instruments.length === 0) {
    return <Empty>No instrument is defined yet. An admin defines one by “penstock instruments define”.</Empty>;
  }
  return (
    <>
      <h1 class="hidden">Trade {symbol ?? ""}</h1>
      <Instruments instruments={instruments} current={symbol} />
      {instrument !== undefined && <Market key={instrument.symbol} instrument={instrument} />}
      {instrument === undefined && symbol !== undefined && (
        <Broken onRetry={() => void desk.loadInstruments()}>There is no instrument {symbol}.</Broken>
      )}
      <OrdersPanel symbol={symbol} />
    </>
  );
}

function Market({ instrument }: { instrument: Instrument }) {
  const { symbol } = instrument;
  const desk = useDesk();
  const book = useMemo(() => new BookTopic(symbol), [symbol]);
  const trades = useMemo(() => new TradesTopic(symbol, desk.clients.market), [symbol, desk]);
  const ticket = desk.ticketOf(symbol);
  useEffect(() => {
    const removals = [desk.live.add(book), desk.live.add(trades)];
    return () => {
      for (const remove of removals) remove();
      trades.close();
    };
  }, [desk, book, trades]);
  return (
    <>
      <TicketPanel instrument={instrument} ticket={ticket} book={book} />
      <PriceChart instrument={instrument} trades={trades} />
      <Ladder instrument={instrument} book={book} trades={trades} ticket={ticket} />
      <TapePanel trades={trades} />
    </>
  );
}
