import { writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { exitCodeOf, messageOf, UsageError } from "../src/runtime/errors.ts";
import { measureAudit } from "./audit.ts";
import { print } from "./bencher.ts";
import { compareAlternatives } from "./comparison.ts";
import { measureFigures } from "./figures.ts";
import type { FigureOptions } from "./figures.ts";
import { measureMatching } from "./matching.ts";
import { measurePage } from "./page.ts";
import { measureScaling } from "./scaling.ts";
import type { ScalingOptions } from "./scaling.ts";
import { Stacks } from "./stacks.ts";

const USAGE = `penstock bench [figures | matching | alternatives | scaling | audit | page] [options]: measures stacks of its own here

  figures       rates, latencies, CPU and memory of Penstock, in about 40 minutes (this is the default)
  matching      the same with the engine, in about 10 minutes
  alternatives  Penstock beside what people would use instead, in about 45 minutes
  scaling       20 million rows before, and more processes, in about 45 minutes; takes 20 GB of disk meanwhile
  audit         what an audit of 20 million orders takes, in about 40 minutes; takes 20 GB of disk meanwhile
  page          the web page in a Chromium: its first load, and its frames while the book changes, in about 2 minutes

  --quick       a trial of some minutes: short, once each, without the long run, with fewer rows; writes no file
  --runs N      runs of which the median counts (default 3)
  --seconds N   of one run (default 20; for alternatives and scaling 10)
  --minutes N   figures: of the long run for Redis' memory (default 10; 0 leaves it out)

Prints tables and writes them to bench/RESULTS.md, MATCHING.md, ALTERNATIVES.md, SCALING.md, AUDIT.md or PAGE.md.
`;

type Options = FigureOptions & ScalingOptions;

interface Subject {
  readonly file: string;
  readonly seconds: number;
  readonly measure: (stacks: Stacks, options: Options) => AsyncGenerator<string>;
}

const SUBJECTS: ReadonlyMap<string, Subject> = new Map([
  ["figures", { file: "RESULTS.md", seconds: 20, measure: measureFigures }],
  ["matching", { file: "MATCHING.md", seconds: 20, measure: measureMatching }],
  ["alternatives", { file: "ALTERNATIVES.md", seconds: 10, measure: compareAlternatives }],
  ["scaling", { file: "SCALING.md", seconds: 10, measure: measureScaling }],
  ["audit", { file: "AUDIT.md", seconds: 10, measure: measureAudit }],
  ["page", { file: "PAGE.md", seconds: 10, measure: measurePage }],
]);

interface Order {
  readonly subject: Subject;
  readonly options: Options;
  readonly write: boolean;
}

async function bench(args: readonly string[]): Promise<void> {
  const order = readArguments(args);
  if (order === undefined) return print(USAGE);
  const { subject, options, write } = order;
  const stacks = new Stacks();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // The bench's other processes end by themselves, with this one or with the servers that they talk to.
    process.once(signal, () => void stacks.close().finally(() => process.exit(128 + constants.signals[signal])));
  }
  const started = performance.now();
  try {
    const sections: string[] = [];
    for await (const section of subject.measure(stacks, options)) {
      print(section);
      sections.push(section);
      // As it grows, so that a bench that is ended early leaves what it has.
      if (write) await writeFile(join(import.meta.dirname, subject.file), `${sections.join("\n\n")}\n`);
    }
    print(`That took ${Math.round((performance.now() - started) / 60_000)} minutes.`);
  } finally {
    await stacks.close();
  }
}

function readArguments(args: readonly string[]): Order | undefined {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        quick: { type: "boolean", default: false },
        runs: { type: "string" },
        seconds: { type: "string" },
        minutes: { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  if (values.help) return undefined;
  const [name = "figures", ...more] = positionals;
  const subject = SUBJECTS.get(name);
  if (subject === undefined || more.length > 0) {
    throw new UsageError(`what to measure is one of ${[...SUBJECTS.keys()].join(", ")}`);
  }
  const number = (name: "runs" | "seconds" | "minutes", preset: number, least: number): number => {
    const value = Number(values[name] ?? preset);
    if (!Number.isInteger(value) || value < least)
      throw new UsageError(`--${name} must be a whole number from ${least} on`);
    return value;
  };
  return {
    subject,
    write: !values.quick,
    options: {
      runs: number("runs", values.quick ? 1 : 3, 1),
      seconds: number("seconds", values.quick ? 5 : subject.seconds, 1),
      warmupSeconds: values.quick ? 1 : 3,
      minutes: number("minutes", values.quick ? 0 : 10, 0),
      rows: values.quick ? 1_000_000 : 20_000_000,
    },
  };
}

try {
  await bench(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
