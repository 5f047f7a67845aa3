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

/** What windows without a kill are measured in, of which less is better. */
export interface Measure {
  readonly unit: string;
  /** A difference that is none: of a machine whose mood changes. */
  readonly slack: number;
}

/** Growth that is none, beside the slack; and how far the thirds may be from each other. */
const GROWTH = 1.5;
const APART = 4;
/** Fewer windows in a third have no median to speak of. */
const LEAST_WINDOWS = 4;

/**
 * Whether a series of windows grows: its last third against the better of the others, and the worst of them against the best, by
 * their medians. Not judged where the windows within a third differ by more than what would be growth.
 */
export function steadyWindows(what: string, points: readonly Point[], { unit, slack }: Measure): Finding {
  const limit =
    `the last third at most ${GROWTH} times the better of the others, or ${slack} ${unit} more; ` +
    `the worst at most ${APART} times the best, or ${APART * slack} ${unit} more`;
  const thirds = thirdsOf(points, LEAST_WINDOWS);
  const [first, second, last] = thirds.map(median);
  if (first === undefined || second === undefined || last === undefined)
    return { what, figure: "too few windows", limit, ok: undefined };
  const better = Math.min(first, second);
  const [best, worst] = [Math.min(better, last), Math.max(first, second, last)];
  const hasGrown = last > Math.max(GROWTH * better, better + slack);
  const isApart = worst > Math.max(APART * best, best + APART * slack);
  const noise = Math.max(...thirds.map(spread));
  const figure = `${[first, second, last].map((value) => value.toFixed(1)).join(", ")} ${unit}`;
  if (isApart && worst - best > 2 * noise) return { what, figure, limit, ok: false };
  if (noise > Math.max((GROWTH - 1) * best, slack)) {
    return { what, figure: `${figure}; ± ${noise.toFixed(1)} within a third`, limit, ok: undefined };
  }
  return { what, figure, limit, ok: !hasGrown && !isApart };
}

const LEAST_SAMPLES = 3;

/** Whether what is counted stays what it is: open files. */
export function steadyCount(what: string, points: readonly Point[]): Finding {
  const limit = "the last third at most 16 more than the first";
  const [first, , last] = thirdsOf(points, LEAST_SAMPLES).map(median);
  if (first === undefined || last === undefined) return { what, figure: "too few samples", limit, ok: undefined };
  return { what, figure: `${first} at first, ${last} at last`, limit, ok: last <= first + 16 };
}

/** The values of each third. None where one would have fewer than `least`. */
function thirdsOf(points: readonly Point[], least: number): readonly (readonly number[])[] {
  const third = Math.floor(points.length / 3);
  if (third < least) return [];
  const parts = [points.slice(0, third), points.slice(third, points.length - third), points.slice(-third)];
  return parts.map((part) => part.map(({ value }) => value));
}

/** Half of the distance between the quartiles. */
function spread(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? NaN;
  return (at(0.75) - at(0.25)) / 2;
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
