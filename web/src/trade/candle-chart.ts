import {
  CandlestickSeries,
  type CandlestickData,
  createChart,
  type IChartApi,
  type ISeriesApi,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Candle } from "../live/candles.ts";
import { chartColours, CHART_OPTIONS } from "../ui/chart-style.ts";
import { colourOf } from "../shell/theme.ts";

/** Candles on a canvas. Their prices are floats here, and here only: they are drawn, and nothing else. */
export class CandleChart {
  readonly #chart: IChartApi;
  readonly #series: ISeriesApi<"Candlestick">;
  #last = -Infinity;

  /** `digits`: of a price, behind the point. */
  constructor(box: HTMLElement, digits: number) {
    this.#chart = createChart(box, CHART_OPTIONS);
    this.#series = this.#chart.addSeries(CandlestickSeries, {
      priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits },
    });
    this.paint();
  }

  /** In the colours of the theme as it is now. */
  paint(): void {
    this.#chart.applyOptions(chartColours());
    const [up, down] = [colourOf("--buy"), colourOf("--sell")];
    // Filled or not: told by more than the colour.
    this.#series.applyOptions({
      upColor: colourOf("--surface"),
      downColor: down,
      borderUpColor: up,
      borderDownColor: down,
      wickUpColor: up,
      wickDownColor: down,
    });
  }

  /** In place of all that was shown. `length`: of each, in seconds. */
  show(candles: readonly Candle[], length: number): void {
    this.#series.setData(candles.map(drawn));
    this.#last = candles.at(-1)?.time ?? -Infinity;
    this.#chart.applyOptions({ timeScale: { secondsVisible: length < 60 } });
    this.#chart.timeScale().scrollToRealTime();
  }

  /** Those that changed, or, where older ones did (what comes late, out of Postgres), `all`. */
  change(changed: readonly Candle[], all: () => readonly Candle[]): void {
    const isLate = changed[0] !== undefined && changed[0].time < this.#last;
    if (isLate) this.#series.setData(all().map(drawn));
    else for (const candle of changed) this.#series.update(drawn(candle));
    this.#last = Math.max(this.#last, changed.at(-1)?.time ?? -Infinity);
  }

  close(): void {
    this.#chart.remove();
  }
}

function drawn({ time, open, high, low, close }: Candle): CandlestickData<UTCTimestamp> {
  return { time: time as UTCTimestamp, open: Number(open), high: Number(high), low: Number(low), close: Number(close) };
}
