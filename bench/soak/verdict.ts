/** A value at a moment, in seconds; `run` tells apart the lives of a process that was started again. */
export interface Point {
  readonly at: number;
  readonly value: number;
  readonly run?: number;
}

/** How a series changes within the lives of its process. */
export interface Trend {
  /** Per hour, in the unit of the values: the slope of the least squares, each life with a level of its own. */
  readonly perHour: number;
  readonly mean: number;
  /** Seconds of all lives that counted. */
  readonly span: number;
}

/**
 * The trend of a series behind the warm-up of each life, in seconds; undefined where no life outlasts it. What a process takes in
 * its first moments is none: code is loaded and compiled, buffers and heaps grow to their size.
 */
export function trendOf(points: readonly Point[], warmUp: number): Trend | undefined {
  const lives = new Map<number, Point[]>();
  for (const point of points) {
    const life = lives.get(point.run ?? 0);
    if (life === undefined) lives.set(point.run ?? 0, [point]);
    else life.push(point);
  }
  let [covariance, variance, sum, count, span] = [0, 0, 0, 0, 0];
  for (const life of lives.values()) {
    const from = life[0]!.at + warmUp;
    const steady = life.filter(({ at }) => at >= from);
    if (steady.length < 2) continue;
    const time = mean(steady.map(({ at }) => at));
    const level = mean(steady.map(({ value }) => value));
    for (const { at, value } of steady) {
      covariance += (at - time) * (value - level);
      variance += (at - time) ** 2;
      sum += value;
    }
    count += steady.length;
    span += steady.at(-1)!.at - steady[0]!.at;
  }
  return variance === 0 ? undefined : { perHour: (covariance / variance) * 3600, mean: sum / count, span };
}

/** A finding of the run: `ok` undefined where it was too short to tell. */
export interface Finding {
  readonly what: string;
  readonly figure: string;
  readonly limit: string;
  readonly ok: boolean | undefined;
}

/** Shorter than that a garbage collector's waves are what one sees. */
const LEAST_SPAN_S = 600;
/** Growth within the measured time that is none: the waves of a heap of some tens of MB. */
const SHARE = 0.1;
const BYTES = 16 * 1024 * 1024;
const MIB = 1024 * 1024;

/** Whether memory (bytes) stays what it is: what the trend adds up to over the measured time. */
export function flatMemory(what: string, trend: Trend | undefined): Finding {
  const limit = `at most ${SHARE * 100} % or ${BYTES / MIB} MiB within the measured time`;
  if (trend === undefined) return { what, figure: "no life outlasts the warm-up", limit, ok: undefined };
  const growth = (trend.perHour * trend.span) / 3600;
  const minutes = (trend.span / 60).toFixed(0);
  if (trend.span < LEAST_SPAN_S)
    return { what, figure: `${mib(trend.mean)} MiB over ${minutes} min`, limit, ok: undefined };
  const figure = `${mib(trend.mean)} MiB, ${signed(trend.perHour / MIB)} MiB/h over ${minutes} min`;
  return { what, figure, limit, ok: growth <= Math.max(SHARE * trend.mean, BYTES) };
}

/** Whether the last third of a series is like its first one; values are of windows without a kill. Milliseconds. */
export function steadyLatency(what: string, points: readonly Point[]): Finding {
  const limit = "the last third at most 1.5 times the first, or 10 ms more";
  const [first, last] = thirdsOf(points).map((values) => median(values));
  if (first === undefined || last === undefined) return { what, figure: "too few windows", limit, ok: undefined };
  const figure = `${first.toFixed(1)} ms at first, ${last.toFixed(1)} ms at last`;
  return { what, figure, limit, ok: last <= Math.max(1.5 * first, first + 10) };
}

/** Whether what is counted stays what it is: open files. */
export function steadyCount(what: string, points: readonly Point[]): Finding {
  const limit = "the last third at most 16 more than the first";
  const [first, last] = thirdsOf(points).map((values) => median(values));
  if (first === undefined || last === undefined) return { what, figure: "too few samples", limit, ok: undefined };
  return { what, figure: `${first} at first, ${last} at last`, limit, ok: last <= first + 16 };
}

/** The values of the first and of the last third. None where a third would have fewer than three. */
function thirdsOf(points: readonly Point[]): readonly (readonly number[])[] {
  const third = Math.floor(points.length / 3);
  if (third < 3) return [];
  return [points.slice(0, third), points.slice(-third)].map((part) => part.map(({ value }) => value));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(2)}`;
}
