import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  createChart,
  type IChartApi,
  type ISeriesApi,
  type LineData,
  LineSeries,
  LineStyle,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { PipelineSample } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { colourOf } from "../shell/theme.ts";
import { CHART_OPTIONS, chartColours } from "../ui/chart-style.ts";
import type { Figure } from "./figures.ts";

/** Told apart by more than their colour. */
const STYLES = [LineStyle.Solid, LineStyle.Dashed, LineStyle.Dotted, LineStyle.LargeDashed] as const;

type Point = LineData<UTCTimestamp> | WhitespaceData<UTCTimestamp>;

export class LinePlot {
  readonly #chart: IChartApi;
  readonly #figure: Figure;
  readonly #series: readonly ISeriesApi<"Line">[];
  /** The second of the last sample that is drawn. */
  #last = -Infinity;

  constructor(box: HTMLElement, figure: Figure) {
    this.#figure = figure;
    this.#chart = createChart(box, {
      ...CHART_OPTIONS,
      handleScroll: false,
      handleScale: false,
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.1, bottom: 0.1 } },
      timeScale: { ...CHART_OPTIONS.timeScale, rightOffset: 0, fixLeftEdge: true },
    });
    this.#series = figure.lines.map((_, at) =>
      this.#chart.addSeries(LineSeries, {
        lineWidth: 2,
        lineStyle: STYLES[at % STYLES.length]!,
        priceLineVisible: false,
        lastValueVisible: false,
        // Below nothing there is only the margin, which the library measures the axis by.
        priceFormat: {
          type: "custom",
          formatter: (value: number) => (value < 0 ? "" : figure.format(value)),
          minMove: figure.step ?? 0.01,
        },
        // From nothing on, so that a small change looks small.
        autoscaleInfoProvider: (
          original: () => { priceRange: { minValue: number; maxValue: number } | null } | null,
        ) => {
          return { priceRange: { minValue: 0, maxValue: original()?.priceRange?.maxValue || 1 } };
        },
      }),
    );
    this.paint();
  }

  paint(): void {
    this.#chart.applyOptions(chartColours());
    for (const [at, series] of this.#series.entries()) series.applyOptions({ color: colourOf(`--line-${at}`) });
  }

  /** What is new of them. */
  draw(samples: readonly PipelineSample[]): void {
    let from = samples.length;
    while (from > 0 && secondOf(samples[from - 1]!) > this.#last) from--;
    if (from === samples.length) return;
    // The last one that is drawn comes again: whether a line goes on from it is known by what follows.
    const news = samples.slice(Math.max(0, from - 1));
    for (const [at, series] of this.#series.entries()) {
      const points = bySecond(news, this.#figure.lines[at]!.of);
      if (this.#last === -Infinity) series.setData(points);
      else for (const point of points) series.update(point);
    }
    this.#last = secondOf(samples.at(-1)!);
    this.#chart.timeScale().fitContent();
  }

  close(): void {
    this.#chart.remove();
  }
}

function secondOf({ at }: PipelineSample): number {
  return at === undefined ? 0 : Math.floor(timestampMs(at) / 1_000);
}

/** One point a second, which two samples may share: the later one. From a point before a time without values no line goes on. */
function bySecond(samples: readonly PipelineSample[], of: (sample: PipelineSample) => number | undefined): Point[] {
  const points = new Map<number, Point>();
  for (const [at, sample] of samples.entries()) {
    const time = secondOf(sample) as UTCTimestamp;
    const value = of(sample);
    const next = samples[at + 1];
    const goesOn = next === undefined || of(next) !== undefined;
    if (value === undefined) points.set(time, { time });
    else points.set(time, goesOn ? { time, value } : { time, value, color: "transparent" });
  }
  return [...points.values()];
}
