import { type Line, type Mark, type Panel, plot } from "./plot.ts";
import type { Sample } from "./sampler.ts";
import { KILLED_SHARE, SETTLE_LIMIT_MS, type SoakResult, type Window } from "./soak.ts";
import {
  type Finding,
  flatMemory,
  type Measure,
  median,
  type Point,
  steadyCount,
  steadyWindows,
  trendOf,
} from "./verdict.ts";

const MIB = 1024 * 1024;
/** How long a kill is seen in the latency: the start of Postgres or of the engine, and what has waited for it. */
const DISTURBED_S = 20;
/** What may be in a group at once: its workers, an extra one, and those that are not gone for long enough yet. */
const LIVE_CONSUMERS = 3;

/** Of the probe's calls between kills: a stack that is well answers all; one in a hundred is a machine out of breath. */
const MOST_FAILED = 0.01;
const LATENCY: Measure = { unit: "ms", slack: 10 };
/** A client that is answered at once takes some 12 ms for a command (crowd.ts). */
const PACE: Measure = { unit: "ms of a client's time a command", slack: 5 };

/** Everything that the run is judged by. */
export function verdictOf(result: SoakResult): Finding[] {
  const { samples, settings, audit, findings, acknowledged, rows, seconds, extraWorkers, settledAfter } = result;
  const names = [...new Set(samples.flatMap(({ processes }) => processes.map(({ name }) => name)))].sort();
  const steady = names.filter((name) => name !== "extra"); // its lives are short ones
  const undisturbed = windowsBetweenKills(result);
  const { warmUpSeconds } = settings;
  const calm = samples.filter(({ at }) => at >= seconds * KILLED_SHARE);
  const goneS = (settings.goneMs * 1.5 + 15_000) / 1000;
  const bound = LIVE_CONSUMERS + Math.ceil(goneS / settings.killSeconds);
  const consumers = samples.map(({ redis }) => redis?.consumers ?? 0).reduce((a, b) => Math.max(a, b), 0);
  return [
    { what: "audit", figure: `exit code ${audit.code}`, limit: "0", ok: audit.code === 0 },
    {
      what: "acknowledged orders that are rows",
      figure: `${rows} of ${acknowledged}`,
      limit: "all",
      ok: rows === acknowledged,
    },
    {
      what: "what clients or logs tell that must not be",
      figure: String(findings.length),
      limit: "0",
      ok: findings.length === 0,
    },
    {
      what: "all matched and written after the load",
      figure: settledAfter === undefined ? "never" : `after ${settledAfter.toFixed(1)} s`,
      limit: `within ${SETTLE_LIMIT_MS / 1000} s`,
      ok: settledAfter !== undefined,
    },
    unplannedStarts(result, steady),
    ...unanswered(undisturbed),
    ...steady.map((name) =>
      flatMemory(
        `memory of ${name}`,
        trendOf(
          seriesOf(calm, name, ({ rss }) => rss),
          warmUpSeconds,
        ),
      ),
    ),
    ...steady
      .filter((name) => samples.some(({ processes }) => processes.some((each) => each.name === name && each.heap)))
      .map((name) =>
        flatMemory(
          `heap of ${name}`,
          trendOf(
            seriesOf(calm, name, ({ heap }) => heap),
            warmUpSeconds,
          ),
        ),
      ),
    flatMemory(
      "memory of Redis' data",
      trendOf(
        redisSeries(calm, ({ memory }) => memory),
        warmUpSeconds,
      ),
    ),
    ...steady.map((name) =>
      steadyCount(
        `open files of ${name}`,
        seriesOf(samples, name, ({ files }) => files),
      ),
    ),
    steadyWindows(
      "acknowledged (LOGGED), p50",
      latencySeries(undisturbed, ({ logged }) => logged.p50),
      LATENCY,
    ),
    steadyWindows(
      "acknowledged (LOGGED), p99",
      latencySeries(undisturbed, ({ logged }) => logged.p99),
      LATENCY,
    ),
    steadyWindows(
      "matched (MATCHED), p99",
      latencySeries(undisturbed, ({ matched }) => matched.p99),
      LATENCY,
    ),
    steadyWindows("pace of the clients", paceSeries(undisturbed), PACE),
    {
      what: "consumers in a group at most",
      figure: `${consumers}, of ${extraWorkers} that came under a new name`,
      limit: String(bound),
      ok: consumers <= bound,
    },
  ];
}

/** The page of a run: what was run, the verdict, the figures over time. `svg` is where the plot is, seen from the page. */
export function pageOf(result: SoakResult, verdict: readonly Finding[], svg: string, machine: string): string {
  const { seconds, options, kills, windows, acknowledged, retries, settings, audit, findings } = result;
  const { minutes, seed, clients } = options;
  const commands = windows.reduce((sum, window) => sum + window.acknowledged, 0);
  const byName = new Map<string, number>();
  for (const { name } of kills) byName.set(name, (byName.get(name) ?? 0) + 1);
  const killed = Array.from(byName, ([name, count]) => `${name} ${count}`).join(", ");
  return `# Soak

Made by \`npm run soak -- --minutes ${minutes} --seed ${seed} --clients ${clients}\`: a stack of its own as \`penstock up\` starts it (Redis with \`appendfsync always\`, Postgres with \`fsync on\`, an ingest, an engine, two workers), under the load of a day
pressed into ${settings.daySeconds} s, over and over, and a worker beside them that comes under a new name each time. Load, kills and
measuring share the machine. ${machine}

| | |
| --- | ---: |
| ran for | ${(seconds / 60).toFixed(1)} min |
| commands acknowledged | ${commands} |
| orders acknowledged and noted | ${acknowledged} |
| commands sent again, since nobody knew what had become of them | ${retries} |
| killed with SIGKILL | ${kills.length}: ${killed} |

${verdict.every(({ ok }) => ok !== false) ? "Nothing was wrong." : "**Something was wrong.**"} A line without a verdict had too little time: the trend of memory is
that of the last third, in which nothing was killed, without its first ${settings.warmUpSeconds} s, and needs ten minutes; latencies and pace are those of windows without a kill, of whose thirds the medians
are compared.

| | figure | limit | |
| --- | --- | --- | --- |
${verdict.map(({ what, figure, limit, ok }) => `| ${what} | ${figure} | ${limit} | ${ok === undefined ? "–" : ok ? "well" : "**NO**"} |`).join("\n")}

![Over time](${svg})

A letter above is a kill: W and w the workers, x the extra one, I ingest, E the engine, R Redis, P Postgres. Latencies are those of
a small load by the clock beside the others, 10 orders a second of each level, from when a call was due.

${thirds(result)}
The audit at the end:

\`\`\`text
${audit.output}
\`\`\`
${
  findings.length === 0
    ? ""
    : `\nWhat must not be:\n\n${findings
        .slice(0, 20)
        .map((each) => `- ${each}`)
        .join("\n")}\n`
}`;
}

const LETTERS: Readonly<Record<string, string>> = {
  ...{ "worker-1": "W", "worker-2": "w", extra: "x", ingest: "I", engine: "E", redis: "R", postgres: "P" },
};

/** The figures of the run over time, as SVG. */
export function plotOf({ samples, windows, kills, seconds }: SoakResult): string {
  const marks: Mark[] = kills.map(({ at, name }) => ({ at, letter: LETTERS[name] ?? "?" }));
  const names = [...new Set(samples.flatMap(({ processes }) => processes.map(({ name }) => name)))];
  const ofProcess = (value: (usage: Sample["processes"][number]) => number | undefined): Line[] =>
    names.map((name) => ({
      name,
      points: samples.map(({ at, processes }) => {
        const usage = processes.find((each) => each.name === name);
        return [at, (usage && value(usage)) ?? NaN] as const;
      }),
    }));
  const ofWindow = (name: string, value: (window: Window) => number | null): Line => ({
    name,
    points: windows.map((window) => [(window.from + window.to) / 2, value(window) ?? NaN] as const),
  });
  const ofRedis = (name: string, value: (redis: NonNullable<Sample["redis"]>) => number): Line => ({
    name,
    points: samples.map(({ at, redis }) => [at, redis === undefined ? NaN : value(redis)] as const),
  });
  const bytes = (value: number) => `${(value / MIB).toFixed(0)} MiB`;
  const plain = (value: number) => (value >= 10_000 ? `${(value / 1000).toFixed(0)}k` : value.toFixed(0));
  const panels: Panel[] = [
    {
      title: "commands acknowledged a second",
      format: plain,
      lines: [ofWindow("all clients", ({ acknowledged, from, to }) => acknowledged / (to - from))],
    },
    { title: "clients that trade", format: plain, lines: [ofWindow("clients", ({ clients }) => clients)] },
    {
      title: "latency, ms",
      format: plain,
      logarithmic: true,
      lines: [
        ofWindow("LOGGED p50", ({ logged }) => logged.p50),
        ofWindow("LOGGED p99", ({ logged }) => logged.p99),
        ofWindow("MATCHED p50", ({ matched }) => matched.p50),
        ofWindow("MATCHED p99", ({ matched }) => matched.p99),
      ],
    },
    { title: "resident memory", format: bytes, lines: ofProcess(({ rss }) => rss) },
    {
      title: "heap",
      format: bytes,
      lines: ofProcess(({ heap }) => heap).filter(({ points }) => points.some(([, value]) => value > 0)),
    },
    { title: "open files", format: plain, lines: ofProcess(({ files }) => files) },
    { title: "memory of Redis' data", format: bytes, lines: [ofRedis("used", ({ memory }) => memory)] },
    {
      title: "Redis",
      format: plain,
      lines: [ofRedis("keys", ({ keys }) => keys), ofRedis("consumers", ({ consumers }) => consumers)],
    },
    {
      title: "entries that the workers have not finished",
      format: plain,
      lines: [ofRedis("entries", ({ unfinished }) => unfinished)],
    },
    {
      title: "the engine behind the log, ms",
      format: plain,
      lines: [ofRedis("engine", ({ engineBehind }) => engineBehind)],
    },
    {
      title: "the database",
      format: bytes,
      lines: [{ name: "size", points: samples.map(({ at, database }) => [at, database ?? NaN] as const) }],
    },
  ];
  return plot(panels, marks, seconds);
}

/** Means of the thirds of the run, as a table. */
function thirds({ samples, windows, seconds }: SoakResult): string {
  const part = (at: number) => Math.min(2, Math.floor((3 * at) / seconds));
  const cells = (values: readonly (readonly [at: number, value: number | null | undefined])[], digits = 1) =>
    [0, 1, 2].map((third) => {
      const of = values.flatMap(([at, value]) => (part(at) === third && Number.isFinite(value) ? [value!] : []));
      return of.length === 0 ? "" : median(of).toFixed(digits);
    });
  const ofRedis = (value: (redis: NonNullable<Sample["redis"]>) => number) =>
    samples.map(({ at, redis }) => [at, redis && value(redis)] as const);
  const ofWindow = (value: (window: Window) => number | null) =>
    windows.map((window) => [window.from, value(window)] as const);
  const rows: readonly (readonly [string, readonly string[]])[] = [
    [
      "commands/s",
      cells(
        ofWindow(({ acknowledged, from, to }) => acknowledged / (to - from)),
        0,
      ),
    ],
    ["LOGGED p50, ms", cells(ofWindow(({ logged }) => logged.p50))],
    ["LOGGED p99, ms", cells(ofWindow(({ logged }) => logged.p99))],
    ["MATCHED p50, ms", cells(ofWindow(({ matched }) => matched.p50))],
    ["MATCHED p99, ms", cells(ofWindow(({ matched }) => matched.p99))],
    ["Redis' data, MiB", cells(ofRedis(({ memory }) => memory / MIB))],
    [
      "keys of Redis",
      cells(
        ofRedis(({ keys }) => keys),
        0,
      ),
    ],
    [
      "consumers in a group",
      cells(
        ofRedis(({ consumers }) => consumers),
        0,
      ),
    ],
    [
      "entries not finished",
      cells(
        ofRedis(({ unfinished }) => unfinished),
        0,
      ),
    ],
    ["database, MiB", cells(samples.map(({ at, database }) => [at, database && database / MIB] as const))],
  ];
  const lines = rows.map(([name, values]) => `| ${name} | ${values.join(" | ")} |`);
  return ["| median of the | first third | second | last |", "| --- | ---: | ---: | ---: |", ...lines, ""].join("\n");
}

type Usage = Sample["processes"][number];

function seriesOf(samples: readonly Sample[], name: string, value: (usage: Usage) => number | undefined): Point[] {
  return samples.flatMap(({ at, processes }) => {
    const usage = processes.find((each) => each.name === name);
    const found = usage && value(usage);
    return usage === undefined || found === undefined ? [] : [{ at, value: found, run: usage.pid }];
  });
}

function redisSeries(samples: readonly Sample[], value: (redis: NonNullable<Sample["redis"]>) => number): Point[] {
  return samples.flatMap(({ at, redis }) => (redis === undefined ? [] : [{ at, value: value(redis) }]));
}

function windowsBetweenKills({ windows, kills }: SoakResult): Window[] {
  return windows.filter(({ from, to }) => !kills.some(({ at }) => at < to && from < at + DISTURBED_S));
}

function latencySeries(windows: readonly Window[], of: (window: Window) => number | null): Point[] {
  return windows.flatMap((window) => {
    const value = of(window);
    return value === null ? [] : [{ at: window.from, value }]; // those without an answer have a verdict of their own
  });
}

/** How much of its time a client took for a command. Where none was acknowledged, all of the window. */
function paceSeries(windows: readonly Window[]): Point[] {
  return windows.map(({ from, to, clients, acknowledged }) => {
    return { at: from, value: ((to - from) * 1000 * clients) / Math.max(1, acknowledged) };
  });
}

/** Of each process one start, and one more for each kill: neither a process that ends by itself, nor one that does not come back. */
function unplannedStarts({ samples, kills }: SoakResult, names: readonly string[]): Finding {
  const others = names.flatMap((name) => {
    const pids = new Set(
      samples.flatMap(({ processes }) => processes.flatMap((each) => (each.name === name ? [each.pid] : []))),
    );
    const planned = 1 + kills.filter((kill) => kill.name === name).length;
    return pids.size === planned ? [] : [`${name} ${pids.size}, not ${planned}`];
  });
  const figure = others.length === 0 ? "none" : others.join("; ");
  return { what: "starts that no kill explains", figure, limit: "none", ok: others.length === 0 };
}

/** Whether the probe was answered between kills. */
function unanswered(windows: readonly Window[]): Finding[] {
  const failed = windows.reduce((sum, window) => sum + window.failed, 0);
  const calls = windows.reduce((sum, window) => sum + window.failed + window.answered, 0);
  const silent = windows.filter(({ answered }) => answered === 0).length;
  const isKnown = windows.length > 0;
  return [
    {
      what: "calls of the small load that failed between kills",
      figure: `${failed} of ${calls}`,
      limit: `${MOST_FAILED * 100} %`,
      ok: isKnown ? failed <= MOST_FAILED * calls : undefined,
    },
    {
      what: "windows between kills without an answer",
      figure: `${silent} of ${windows.length}`,
      limit: "none",
      ok: isKnown ? silent === 0 : undefined,
    },
  ];
}
