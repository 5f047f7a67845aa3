import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Alternative } from "./alternatives/alternative.ts";
import { INSERT_PER_ORDER } from "./alternatives/kinds.ts";
import { BATCH, Bencher } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { startServer } from "./child-server.ts";
import { startFloor } from "./floor.ts";
import { diskLatency } from "./measure/disk.ts";
import type { DiskLatency } from "./measure/disk.ts";
import { probe } from "./measure/health.ts";
import type { ProbeLatency } from "./measure/health.ts";
import { describeMachine } from "./measure/machine.ts";
import { memoryOverTime, waitingMemory } from "./measure/memory.ts";
import { diskTable, healthTable, measurementTable, memoryTable, waitingTable } from "./measure/table.ts";
import type { Stack } from "./stack.ts";
import type { Stacks } from "./stacks.ts";

export interface FigureOptions extends Durations {
  /** Of the long run for Redis' memory; 0 leaves it out. */
  readonly minutes: number;
}

/** What the pipeline is to hold on two cores. */
export const TARGET_RATES = { unary: 10_000, batches: 50_000 };
export const CALM_RATE = 1_000;
/** Of the long run: 3 million keys of idempotency in ten minutes. */
const LONG_RATE = 5_000;

/** What the tables' columns mean. */
export const LEGEND =
  'Latencies are in milliseconds and begin when a call was due (open loop); "to row" is the time from the acknowledgement ' +
  "at the client to the commit in Postgres. CPU is that of the servers, for one acknowledged and written order. The load " +
  'generator runs on the same machine: "generator" is its share of all CPU time, "others" that of everything which has ' +
  "nothing to do with the measurement.";

export const HIGHEST =
  "No error, no refusal, 98 % of the rate, and every acknowledged order a row within 5 s of the end. Found by search: the " +
  "runs shown are those of the highest rate at which all of them held; the attempts above it that failed are not shown.";

/** Penstock beside the floor and an INSERT per order: the sections of the results, each as soon as it is measured. */
export async function* measureFigures(stacks: Stacks, options: FigureOptions): AsyncGenerator<string> {
  const stack = await stacks.start();
  const { token } = stack.target;
  const floor = await startFloor(token);
  const alternative = await Alternative.start(INSERT_PER_ORDER, {
    databaseUrl: await stack.createDatabase("alternative"),
    postgresPid: stack.postgresPid,
    startRedis: () => stack.startRedis(),
    token,
  });
  const insert = alternative.target;
  try {
    const bencher = new Bencher(options);
    for (const target of [floor.target, stack.target, insert]) await bencher.warmUp(target);

    yield "# What was measured";
    yield `Written by \`penstock bench\`. ${LEGEND}`;
    yield describeMachine(stack.versions);
    yield `Each row: the medians of ${options.runs} runs of ${options.seconds} s, \`appendfsync always\`, \`fsync on\`.`;

    const disk: DiskLatency[] = [];
    const calm = await bencher.inTurns([floor.target, stack.target, insert], CALM_RATE, 0, () => {
      disk.push(diskLatency(CALM_RATE, options.seconds));
    });
    yield `## One order a call, ${CALM_RATE.toLocaleString("en")} a second`;
    yield measurementTable(calm);
    yield (
      "The disk by itself, in turns with these: an append of 300 bytes and its flush, as often, open loop too. An " +
      "acknowledgement waits for one."
    );
    yield diskTable(disk);

    yield "## /healthz meanwhile";
    yield (
      "Both probed 50 times a second at the same moments, while Penstock took as many orders: the floor is a bare handler in a " +
      "process of its own."
    );
    yield healthTable(await probeUnderLoad(stack, bencher, options));

    const unary = await bencher.inTurns([floor.target, stack.target], TARGET_RATES.unary, 0);
    yield `## One order a call, ${TARGET_RATES.unary.toLocaleString("en")} a second`;
    yield measurementTable(unary);

    const batches = await bencher.inTurns([floor.target, stack.target], TARGET_RATES.batches, BATCH);
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
      await bencher.highest(insert, INSERT_PER_ORDER.guess.unary, 0),
      await bencher.highest(insert, INSERT_PER_ORDER.guess.batches, BATCH),
    ];
    yield "## The highest rate that was sustained";
    yield HIGHEST;
    yield measurementTable(highest);

    if (options.minutes === 0) return;
    const long = await memoryOverTime(stack, LONG_RATE, BATCH, options.minutes);
    yield `## Redis' memory under ${LONG_RATE.toLocaleString("en")} orders a second, in batches of ${BATCH}`;
    yield memoryTable(long);
  } finally {
    await alternative.stop();
    await floor.stop();
  }
}

async function probeUnderLoad(stack: Stack, bencher: Bencher, { runs, seconds }: Durations): Promise<ProbeLatency[]> {
  const bare = await startServer("noop/http.ts");
  const urls = { floor: `http://127.0.0.1:${bare.port}/`, "/healthz": `${stack.httpUrl}/healthz` };
  const [latencies] = await Promise.all([probe(urls, runs * seconds), bencher.inTurns([stack.target], CALM_RATE, 0)]);
  await bare.stop();
  return latencies;
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
