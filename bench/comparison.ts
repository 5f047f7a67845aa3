import { Alternative } from "./alternatives/alternative.ts";
import { ALTERNATIVES } from "./alternatives/kinds.ts";
import type { AlternativeKind, Place } from "./alternatives/alternative.ts";
import { BATCH, Bencher, print } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { CALM_RATE, HIGHEST, LEGEND, TARGET_RATES } from "./figures.ts";
import { startFloor } from "./floor.ts";
import { describeMachine } from "./measure/machine.ts";
import { measureLoss } from "./measure/loss.ts";
import type { Contender, Loss } from "./measure/loss.ts";
import type { Load, Measurement } from "./measure/measure.ts";
import { lossTable, measurementTable, medianRate, promiseTable } from "./measure/table.ts";
import type { Promises, Row } from "./measure/table.ts";
import type { Stack } from "./stack.ts";
import type { Stacks } from "./stacks.ts";

const PENSTOCK: Promises = {
  acknowledged: "its entry of the log is on Redis' disk",
  death: "its successor or another worker takes them over",
  refusedRow: "a dead letter beside the good rows of its entry",
};

/** Penstock beside what people would use instead: the sections of the results, each as soon as it is measured. */
export async function* compareAlternatives(stacks: Stacks, durations: Durations): AsyncGenerator<string> {
  const stack = await stacks.start();
  const bencher = new Bencher(durations);
  yield "# Penstock and the alternatives";
  yield (
    "Written by `penstock bench alternatives`: all of them behind the same gRPC door with the same validation, on the same " +
    "Postgres with the same table and indexes, each in a database of its own, those on Redis with one of their own under " +
    `the same settings. Each has one server and one worker process and uses its own best bulk call. ${LEGEND}`
  );
  yield describeMachine(stack.versions);
  yield `Each row: the medians of ${durations.runs} runs of ${durations.seconds} s, \`appendfsync always\`, \`fsync on\`.`;
  yield "## What is promised";
  const promises = ALTERNATIVES.map((kind) => ({ target: kind.name, promises: kind.promises }));
  yield promiseTable([{ target: stack.target.name, promises: PENSTOCK }, ...promises]);

  yield `## One order a call, ${CALM_RATE.toLocaleString("en")} a second`;
  yield "Penstock takes turns with each alternative, the two alone; its row is of all of them.";
  yield measurementTable(await calm(stack, bencher));

  const highest: { readonly unary: Row[]; readonly batches: Row[] } = { unary: [], batches: [] };
  const ownHighest = async (moment: string) => {
    const unary = await bencher.highest(stack.target, TARGET_RATES.unary, 0);
    const batches = await bencher.highest(stack.target, TARGET_RATES.batches, BATCH);
    highest.unary.push({ ...unary, target: `${unary.target}, ${moment}` });
    highest.batches.push({ ...batches, target: `${batches.target}, ${moment}` });
  };
  await ownHighest("before the others");
  const others: { readonly kind: AlternativeKind; readonly unary: Row; readonly batches: Row }[] = [];
  for (const kind of ALTERNATIVES) {
    await withAlternative(stack, kind, async ({ target }) => {
      await bencher.warmUp(target);
      const unary = await bencher.highest(target, kind.guess.unary, 0);
      const batches = await bencher.highest(target, kind.guess.batches, BATCH);
      others.push({ kind, unary, batches });
      highest.unary.push(unary);
      highest.batches.push(batches);
    });
  }
  await ownHighest("behind the others");
  yield "## The highest rate that was sustained";
  yield `${HIGHEST} Each alone; Penstock twice, since the machine's mood changes in the course of half an hour.`;
  yield measurementTable(highest.unary);
  yield measurementTable(highest.batches);
  yield "## The closest, in turns with Penstock";
  yield (
    "The two alone, one run each in turns: asked for a twentieth more than the fastest alternative sustained above, then for another " +
    "twentieth, until one of them has a fault in most of its runs."
  );
  for (const { pick, batch } of [
    { pick: "unary", batch: 0 },
    { pick: "batches", batch: BATCH },
  ] as const) {
    const closest = others.toSorted((a, b) => medianRate(b[pick]) - medianRate(a[pick]))[0];
    if (closest === undefined) continue;
    yield measurementTable(await duel(stack, bencher, closest.kind, closest[pick], batch));
  }

  yield "## The worker killed, and an order sent twice";
  yield (
    `${LOSS.rate.toLocaleString("en")} orders a second for ${LOSS.seconds} s, in batches of ${BATCH}; meanwhile the worker got SIGKILL again and ` +
    "again, and another was started each time. Lost is what was then neither a row nor in the queue, stuck what still stood in " +
    "the queue after 90 s with a worker there. Before that 500 orders were sent, acknowledged, and sent again with the same " +
    "ids, as a client does whose answer was lost."
  );
  const losses = [await lossOf(stack)];
  for (const kind of ALTERNATIVES) losses.push(await withAlternative(stack, kind, lossOf));
  yield lossTable(losses);
}

/** Within the reach of all. */
const LOSS: Load = { rate: 2_000, seconds: 12, warmupSeconds: 0, batch: BATCH };

async function lossOf(contender: Contender): Promise<Loss> {
  const loss = await measureLoss(contender, LOSS);
  const { kills, lost, stuck, doubled } = loss;
  print(`${loss.target}, worker killed ${kills} times: lost ${lost}, stuck ${stuck}, doubled ${doubled}`);
  return loss;
}

async function calm(stack: Stack, bencher: Bencher): Promise<Row[]> {
  const floor = await startFloor(stack.target.token);
  await bencher.warmUp(floor.target);
  const rows = await bencher.inTurns([floor.target], CALM_RATE, 0);
  await floor.stop();
  await bencher.warmUp(stack.target);
  const penstock: Measurement[] = [];
  rows.push({ target: stack.target.name, runs: penstock });
  for (const kind of ALTERNATIVES) {
    await withAlternative(stack, kind, async ({ target }) => {
      await bencher.warmUp(target);
      const [own, other] = await bencher.inTurns([stack.target, target], CALM_RATE, 0);
      if (own === undefined || other === undefined) return;
      penstock.push(...own.runs);
      rows.push(other);
    });
  }
  return rows;
}

// A twentieth each: half as much again as the alternative sustained, more than the machine's mood makes of it.
const DUEL_STEPS = 8;

/** A row of each for each rate, which grows until one of the two does not sustain it. */
async function duel(
  stack: Stack,
  bencher: Bencher,
  kind: AlternativeKind,
  sustained: Row,
  batch: number,
): Promise<Row[]> {
  return withAlternative(stack, kind, async ({ target }) => {
    for (const each of [stack.target, target]) await bencher.warmUp(each);
    const rows: Row[] = [];
    let rate = sustained.runs[0]?.load.rate ?? 0;
    for (let step = 0; step < DUEL_STEPS && rows.every(isSustained); step++) {
      rate = Math.round(rate * 1.05);
      rows.push(...(await bencher.inTurns([stack.target, target], rate, batch)));
    }
    return rows;
  });
}

function isSustained({ runs }: Row): boolean {
  return runs.filter(({ faults }) => faults.length > 0).length <= runs.length / 2;
}

// Alone beside Penstock's stack, in an empty database.
async function withAlternative<T>(
  stack: Stack,
  kind: AlternativeKind,
  work: (alternative: Alternative) => Promise<T>,
): Promise<T> {
  const alternative = await Alternative.start(kind, await placeOf(stack, kind));
  try {
    return await work(alternative);
  } finally {
    await alternative.stop();
    await stack.dropDatabase(databaseOf(kind));
  }
}

async function placeOf(stack: Stack, kind: AlternativeKind): Promise<Place> {
  return {
    databaseUrl: await stack.createDatabase(databaseOf(kind)),
    postgresPid: stack.postgresPid,
    startRedis: () => stack.startRedis(),
    token: stack.target.token,
  };
}

function databaseOf({ folder }: AlternativeKind): string {
  return folder.replaceAll("-", "_");
}
