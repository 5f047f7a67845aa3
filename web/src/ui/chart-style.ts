import { ColorType, type ChartOptions, type DeepPartial } from "lightweight-charts";
import { colourOf } from "../shell/theme.ts";
import { clockTimeOf } from "../shell/wording.ts";

/** What all charts of the page have in common. Its maker is named in the help instead of on each. */
export const CHART_OPTIONS: DeepPartial<ChartOptions> = {
  autoSize: true,
  layout: { attributionLogo: false, fontFamily: "system-ui, sans-serif", fontSize: 11 },
  localization: { timeFormatter: (time: unknown) => clockTimeOf(Number(time) * 1_000) },
  timeScale: {
    timeVisible: true,
    borderVisible: false,
    rightOffset: 4,
    // The library's own are of UTC.
    tickMarkFormatter: (time: unknown) => clockTimeOf(Number(time) * 1_000).replace(/:00$/, ""),
  },
  rightPriceScale: { borderVisible: false },
};

/** Those of the theme as it is now. */
export function chartColours(): DeepPartial<ChartOptions> {
  const line = colourOf("--line");
  return {
    layout: { background: { type: ColorType.Solid, color: colourOf("--surface") }, textColor: colourOf("--faint") },
    grid: { vertLines: { color: line }, horzLines: { color: line } },
  };
}
