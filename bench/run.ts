import { execFile } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { exitCodeOf, messageOf, UsageError } from "../src/runtime/errors.ts";
import { startServer } from "./child-server.ts";
import { diskLatency } from "./measure/disk.ts";
import type { DiskLatency } from "./measure/disk.ts";
import { describeMachine } from "./measure/machine.ts";
import { measure } from "./measure/measure.ts";
import type { Load, Measurement, Target } from "./measure/measure.ts";
import { memoryOverTime, waitingMemory } from "./measure/memory.ts";
import { highestRate } from "./measure/search.ts";
import { diskTable, measurementTable, memoryTable, waitingTable } from "./measure/table.ts";
import type { Row } from "./measure/table.ts";
import { startStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

const USAGE = `penstock bench [options]: measures a stack of its own on this machine, in about 40 minutes

  --quick       a trial of some minutes: short, once each, without the long run; writes no file
  --runs N      runs of which the median counts (default 3)
  --seconds N   of one run (default 20)
  --minutes N   of the long run for Redis' memory (default 10; 0 leaves it out)

Prints tables and writes them to bench/RESULTS.md.
`;

const BATCH = 100;
/** What the pipeline is to hold on two cores. */
const TARGET_RATES = { unary: 10_000, batches: 50_000 };
const CALM_RATE = 1_000;
/** Within the reach of all, and fast enough that the compiler has seen the hot path before anything counts. */
const WARM_UP_RATE = 2_000;
/** Of the long run: 3 million keys of idempotency in ten minutes. */
const LONG_RATE = 5_000;
const ALTERNATIVE_GUESS = { unary: 2_500, batches: 4_000 };

interface Options {
  readonly runs: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly minutes: number;
  readonly write: boolean;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function bench(args: readonly string[]): Promise<void> {
  const options = readOptions(args);
  if (options === undefined) return print(USAGE);
  const stack = await startStack();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // The bench's other processes end by themselves, with this one or with the servers that they talk to.
    process.once(signal, () => void stack.stop().finally(() => process.exit(128 + constants.signals[signal])));
  }
  try {
    const sections: string[] = [];
    for await (const section of measureAll(stack, options)) {
      print(section);
      sections.push(section);
      // As it grows, so that a bench that is ended early leaves what it has.
      if (options.write) await writeFile(join(import.meta.dirname, "RESULTS.md"), `${sections.join("\n\n")}\n`);
    }
  } finally {
    await stack.stop();
  }
}

function readOptions(args: readonly string[]): Options | undefined {
  let values;
  try {
    values = parseArgs({
      args: [...args],
      options: {
        quick: { type: "boolean", default: false },
        runs: { type: "string" },
        seconds: { type: "string" },
        minutes: { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help) return undefined;
  const number = (name: "runs" | "seconds" | "minutes", preset: number, least: number): number => {
    const value = Number(values[name] ?? preset);
    if (!Number.isInteger(value) || value < least)
      throw new UsageError(`--${name} must be a whole number from ${least} on`);
    return value;
  };
  return {
    runs: number("runs", values.quick ? 1 : 3, 1),
    seconds: number("seconds", values.quick ? 5 : 20, 1),
    warmupSeconds: values.quick ? 1 : 3,
    minutes: number("minutes", values.quick ? 0 : 10, 0),
    write: !values.quick,
  };
}

/** The sections of the results, each as soon as it is measured. */
async function* measureAll(stack: Stack, options: Options): AsyncGenerator<string> {
  const floorServer = await startServer("noop/main.ts");
  const databaseUrl = await stack.createDatabase("alternative");
  const { token } = stack.target;
  const insertServer = await startServer("alternatives/insert-per-order.ts", {
    DATABASE_URL: databaseUrl,
    PENSTOCK_TOKEN: token,
  });
  try {
    const nothing = async (): Promise<void> => {};
    const floor: Target = {
      name: "floor: a no-op behind the same door",
      port: floorServer.port,
      token,
      databaseUrl: undefined,
      processes: () => ({ server: floorServer.pid }),
      settled: nothing,
    };
    const insert: Target = {
      name: "one INSERT per order",
      port: insertServer.port,
      token,
      databaseUrl,
      processes: () => ({ server: insertServer.pid, postgres: stack.postgresPid }),
      settled: nothing,
    };
    const bencher = new Bencher(options);
    for (const target of [floor, stack.target, insert]) await bencher.warmUp(target);

    yield "# What was measured";
    yield (
      'Written by `penstock bench`. Latencies are in milliseconds and begin when a call was due (open loop); "to row" is the ' +
      "time from the acknowledgement at the client to the commit in Postgres. CPU is that of the servers, for one " +
      'acknowledged and written order. The load generator runs on the same machine: "generator" is its share of all CPU ' +
      'time, "others" that of everything which has nothing to do with the measurement.'
    );
    yield describeMachine(stack.versions);
    yield `Each row: the medians of ${options.runs} runs of ${options.seconds} s, \`appendfsync always\`, \`fsync on\`.`;

    const disk: DiskLatency[] = [];
    const calm = await bencher.inTurns([floor, stack.target, insert], CALM_RATE, 0, () => {
      disk.push(diskLatency(CALM_RATE, options.seconds));
    });
    yield `## One order a call, ${CALM_RATE.toLocaleString("en")} a second`;
    yield measurementTable(calm);
    yield (
      "The disk by itself, in turns with these: an append of 300 bytes and its flush, as often, open loop too. An " +
      "acknowledgement waits for one."
    );
    yield diskTable(disk);

    const unary = await bencher.inTurns([floor, stack.target], TARGET_RATES.unary, 0);
    yield `## One order a call, ${TARGET_RATES.unary.toLocaleString("en")} a second`;
    yield measurementTable(unary);

    const batches = await bencher.inTurns([floor, stack.target], TARGET_RATES.batches, BATCH);
    yield `## Batches of ${BATCH}, ${TARGET_RATES.batches.toLocaleString("en")} orders a second`;
    yield measurementTable(batches);

    const waiting = [
      await waitingMemory(stack, 0, CALM_RATE),
      await waitingMemory(stack, BATCH, TARGET_RATES.batches / 5),
    ];
    yield "## Redis' memory for an order that waits";
    yield waitingTable(waiting);
    yield "## Inner loops";
    yield await innerLoops(stack);

    const highest = [
      await bencher.highest(stack.target, TARGET_RATES.unary, 0),
      await bencher.highest(stack.target, TARGET_RATES.batches, BATCH),
      await bencher.highest(insert, ALTERNATIVE_GUESS.unary, 0),
      await bencher.highest(insert, ALTERNATIVE_GUESS.batches, BATCH),
    ];
    yield "## The highest rate that was sustained";
    yield (
      "No error, no refusal, 98 % of the rate, and every acknowledged order a row within 5 s of the end. Found by search: the " +
      "runs shown are those of the highest rate at which all of them held; the attempts above it that failed are not shown."
    );
    yield measurementTable(highest);

    if (options.minutes === 0) return;
    const long = await memoryOverTime(stack, LONG_RATE, BATCH, options.minutes);
    yield `## Redis' memory under ${LONG_RATE.toLocaleString("en")} orders a second, in batches of ${BATCH}`;
    yield memoryTable(long);
  } finally {
    await insertServer.stop();
    await floorServer.stop();
  }
}

/** Runs loads with the options' durations, and says of each how it went. */
class Bencher {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  /** So that no run meets code that was never run. */
  async warmUp(target: Target): Promise<void> {
    for (const batch of [0, BATCH]) await measure(target, { rate: WARM_UP_RATE, seconds: 8, warmupSeconds: 0, batch });
  }

  /** The targets take turns, so that a change of the machine's mood hits all of them. */
  async inTurns(
    targets: readonly Target[],
    rate: number,
    batch: number,
    beforeEach: () => void = () => {},
  ): Promise<Row[]> {
    const rows = targets.map((target) => ({ target: target.name, runs: [] as Measurement[] }));
    for (let run = 0; run < this.#options.runs; run++) {
      beforeEach();
      for (const [at, target] of targets.entries()) rows[at]?.runs.push(await this.#measure(target, rate, batch));
    }
    return rows;
  }

  async highest(target: Target, guess: number, batch: number): Promise<Row> {
    // The search asks by runs of half the time; what it finds must then hold in whole ones.
    const half = Math.ceil(this.#options.seconds / 2);
    let rate = await highestRate(
      guess,
      async (asked) => (await this.#measure(target, asked, batch, half)).faults.length === 0,
    );
    const name = `${target.name}, ${batch === 0 ? "one by one" : `batches of ${batch}`}`;
    // What held once must hold in every run; a twentieth less where it does not.
    for (;;) {
      const runs: Measurement[] = [];
      while (runs.length < this.#options.runs && rate > 0) {
        const measurement = await this.#measure(target, rate, batch);
        if (measurement.faults.length > 0 && rate > guess / 10) break;
        runs.push(measurement);
      }
      if (runs.length === this.#options.runs || rate === 0) return { target: name, runs };
      rate = Math.round(rate * 0.95);
    }
  }

  async #measure(target: Target, rate: number, batch: number, seconds = this.#options.seconds): Promise<Measurement> {
    const { warmupSeconds } = this.#options;
    const load: Load = { rate, seconds, warmupSeconds, batch };
    const measurement = await measure(target, load);
    const { report, rows, faults } = measurement;
    print(
      `${target.name}, batch ${batch}, ${rate}/s: acknowledged p50 ${report.latencyMs.p50} p99 ${report.latencyMs.p99} ms` +
        `${rows === undefined ? "" : `, to row p99 ${rows.p99.toFixed(1)} ms`}; ${faults.join("; ") || "no fault"}`,
    );
    return measurement;
  }
}

// Each prints lines of Markdown; those that need Redis find it in REDIS_URL.
async function innerLoops(stack: Stack): Promise<string> {
  const folder = join(import.meta.dirname, "inner");
  const files = (await readdir(folder)).filter((name) => name.endsWith(".ts")).toSorted();
  const lines = ["| loop | ns an operation |", "| --- | ---: |"];
  for (const file of files) {
    const env = { ...process.env, REDIS_URL: stack.redisUrl };
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, file)], { env });
    lines.push(stdout.trim());
  }
  return lines.join("\n");
}

try {
  await bench(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
