import { useEffect, useRef, useState } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import { digitsOf, padded } from "../live/decimal.ts";
import type { Candles } from "../live/candles.ts";
import type { TradesTopic } from "../live/trades-topic.ts";
import { useApp } from "../shell/context.ts";
import { Segments } from "../ui/field.tsx";
import { Empty, Loading } from "../ui/states.tsx";
import type { CandleChart } from "./candle-chart.ts";

const LENGTHS = [
  { value: 1, name: "1 s" },
  { value: 10, name: "10 s" },
  { value: 60, name: "1 min" },
  { value: 300, name: "5 min" },
  { value: 3_600, name: "1 h" },
] as const;

export function PriceChart({ instrument, trades }: { instrument: Instrument; trades: TradesTopic }) {
  const { theme } = useApp();
  const box = useRef<HTMLDivElement>(null);
  const [chart, setChart] = useState<CandleChart>();
  const [broken, setBroken] = useState(false);
  const [length, setLength] = useState<number>(60);
  const digits = digitsOf(instrument.tickSize);
  const { drawn } = trades.frames;
  const { seen } = theme;

  useEffect(() => {
    let made: CandleChart | undefined;
    let gone = false;
    const make = async (): Promise<void> => {
      // Apart from the rest of the page, which does not wait for it.
      const { CandleChart } = await import("./candle-chart.ts");
      if (!gone) setChart((made = new CandleChart(box.current!, digits)));
    };
    make().catch(() => setBroken(true));
    return () => {
      gone = true;
      made?.close();
    };
  }, [digits]);
  useEffect(() => chart?.paint(), [chart, seen]);
  useEffect(() => {
    if (chart === undefined) return;
    trades.candles.takeChanges();
    chart.show(trades.candles.of(length), length);
  }, [chart, length, trades]);
  useEffect(() => {
    const from = trades.candles.takeChanges();
    if (chart === undefined || from === Infinity) return;
    chart.change(trades.candles.of(length, from), () => trades.candles.of(length));
  }, [chart, drawn]);

  const { ends } = trades.candles;
  return (
    <section class="panel chart" aria-labelledby="chart-title">
      <div class="head">
        <h2 id="chart-title">
          Price chart <span class="faint">{ends === undefined ? "" : padded(ends.last, digits)}</span>
        </h2>
        <Segments label="Length of a candle" value={length} options={LENGTHS} onChange={setLength} />
      </div>
      <div class="canvas" ref={box} role="img" aria-label={inWords(ends, length)} />
      {ends === undefined && !trades.loaded.value && <Loading what="trades" trouble={trades.trouble.value} />}
      {ends === undefined && trades.loaded.value && <Empty>There is no price before the first trade.</Empty>}
      {broken && <Empty>The chart could not be loaded. Load the page anew.</Empty>}
    </section>
  );
}

/** What the chart shows, for who does not see it. */
function inWords(ends: Candles["ends"], length: number): string {
  const { name } = LENGTHS.find(({ value }) => value === length)!;
  return ends === undefined ? "No trades yet" : `Price in candles of ${name}: from ${ends.first} to ${ends.last}`;
}
