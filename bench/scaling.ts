import { BATCH, Bencher, print } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { HIGHEST, LEGEND, TARGET_RATES } from "./figures.ts";
import { describeMachine } from "./measure/machine.ts";
import type { Measurement } from "./measure/measure.ts";
import { seedOrders } from "./measure/seed.ts";
import { measurementTable, medianRate } from "./measure/table.ts";
import type { Row } from "./measure/table.ts";
import type { StackOptions } from "./stack.ts";
import type { Stacks } from "./stacks.ts";

export interface ScalingOptions extends Durations {
  /** Rows that stand in `orders` before. */
  readonly rows: number;
}

interface Calls {
  readonly batch: number;
  /** Orders a second. */
  readonly guess: number;
}

const UNARY: Calls = { batch: 0, guess: TARGET_RATES.unary };
const BATCHES: Calls = { batch: BATCH, guess: TARGET_RATES.batches };

/** Penstock beside itself, with more rows or more processes: the sections of the results, each as soon as it is measured. */
export async function* measureScaling(stacks: Stacks, options: ScalingOptions): AsyncGenerator<string> {
  const rows = options.rows.toLocaleString("en");
  yield "# How it scales on one machine";
  yield (
    "Written by `penstock bench scaling`. Stacks take turns, one at a time, each started anew. The highest rate is searched for in " +
    `each turn. ${HIGHEST} ${LEGEND}`
  );
  const folder = await stacks.keepFolder();
  const first = await stacks.start({ folder });
  yield describeMachine(first.versions);
  yield `Each row: the medians of ${options.runs} turns with a run of ${options.seconds} s, \`appendfsync always\`, \`fsync on\`.`;
  const started = performance.now();
  await seedOrders(first.databaseUrl, options.rows);
  print(`${rows} rows were made in ${Math.round((performance.now() - started) / 1000)} s`);
  await stacks.stop(first);

  const [empty, full] = await inTurns(stacks, options, [
    { name: "an empty table", stack: {}, calls: [BATCHES] },
    { name: `${rows} rows before`, stack: { folder }, calls: [BATCHES] },
  ]);
  await stacks.close();
  yield `## ${rows} rows in \`orders\` before, half of them yesterday's and half today's`;
  if (empty !== undefined && full !== undefined) {
    yield measurementTable([empty, full]);
    yield `Lost: ${((1 - medianRate(full) / medianRate(empty)) * 100).toFixed(1)} % of the rate.`;
  }

  const processes = await inTurns(stacks, options, [
    { name: "1 ingest process, 1 worker", stack: {}, calls: [UNARY, BATCHES] },
    { name: "2 ingest processes, 1 worker", stack: { ingestProcesses: 2 }, calls: [UNARY, BATCHES] },
    { name: "1 ingest process, 2 workers", stack: { workers: 2 }, calls: [UNARY, BATCHES] },
    { name: "1 ingest process, 4 workers", stack: { workers: 4 }, calls: [UNARY, BATCHES] },
  ]);
  yield "## More processes";
  yield measurementTable(processes);
}

interface Variant {
  readonly name: string;
  readonly stack: StackOptions;
  readonly calls: readonly Calls[];
}

/** A row for each variant and kind of call. */
async function inTurns(stacks: Stacks, options: Durations, variants: readonly Variant[]): Promise<Row[]> {
  const bencher = new Bencher({ ...options, runs: 1 });
  const rows = variants.map(({ name, calls }) =>
    calls.map(({ batch, guess }) => ({
      target: `${name}, ${batch === 0 ? "one by one" : `batches of ${batch}`}`,
      // What the turn before found is where the next begins to search.
      guess,
      batch,
      runs: [] as Measurement[],
    })),
  );
  for (let turn = 0; turn < options.runs; turn++) {
    for (const [at, variant] of variants.entries()) {
      const stack = await stacks.start(variant.stack);
      print(`${variant.name}:`);
      await bencher.warmUp(stack.target);
      for (const row of rows[at] ?? []) {
        const { runs } = await bencher.highest(stack.target, row.guess, row.batch);
        row.runs.push(...runs);
        row.guess = runs[0]?.load.rate ?? row.guess;
      }
      await stacks.stop(stack);
    }
  }
  return rows.flat();
}
