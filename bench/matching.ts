import { BATCH, Bencher } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { CALM_RATE, LEGEND } from "./figures.ts";
import { startFloor } from "./floor.ts";
import { describeMachine } from "./measure/machine.ts";
import { RestartBench } from "./measure/restart.ts";
import type { Restart } from "./measure/restart.ts";
import { measurementTable, restartTable } from "./measure/table.ts";
import type { Stacks } from "./stacks.ts";

/** Orders a second that the engine and all consumers are to keep up with. */
const MATCHED_RATES = { unary: 8_000, batches: 30_000 } as const;

/** Orders in the book of an engine that is killed. A tenth of it in a trial. */
const RESTING_ORDERS = 1_000_000;

/** Penstock with its engine: the sections of the results, each as soon as it is measured. */
export async function* measureMatching(stacks: Stacks, durations: Durations): AsyncGenerator<string> {
  const stack = await stacks.start({ engine: true });
  const bencher = new Bencher(durations);
  const logged = { ...stack.target, name: "Penstock, answers when logged" };
  const matched = { ...stack.target, name: "Penstock, answers when matched", engine: { answers: true } };
  const floor = await startFloor(stack.target.token);
  try {
    for (const target of [floor.target, logged, matched]) await bencher.warmUp(target);
    yield "# With the engine";
    yield (
      "Written by `penstock bench matching`: the same with an engine beside ingest and a worker for each of the two streams. A run without a " +
      "fault also means that each acknowledged order had its final state in Postgres within 5 s of the end. " +
      LEGEND
    );
    yield describeMachine(stack.versions);
    yield `Each row: the medians of ${durations.runs} runs of ${durations.seconds} s, \`appendfsync always\`, \`fsync on\`.`;
    yield `## One order a call, ${CALM_RATE.toLocaleString("en")} a second`;
    yield measurementTable(await bencher.inTurns([floor.target, logged, matched], CALM_RATE, 0));
    yield "## Under load";
    yield measurementTable([
      ...(await bencher.inTurns([logged], MATCHED_RATES.unary, 0)),
      ...(await bencher.inTurns([logged], MATCHED_RATES.batches, BATCH)),
    ]);
  } finally {
    await floor.stop();
  }
  await stacks.stop(stack);

  const resting = durations.runs === 1 ? RESTING_ORDERS / 10 : RESTING_ORDERS;
  const full = await stacks.start({ engine: true });
  const bench = new RestartBench(full);
  try {
    await bench.fill(resting);
    yield `## Killed with ${resting.toLocaleString("en")} orders in its book`;
    yield (
      "The engine gets SIGKILL, its supervisor starts it again, and it begins with its newest snapshot and the log behind that. An order " +
      "that is sent right behind the kill has to meet the oldest of the best price, and that one alone. " +
      `The engine's process held ${Math.round(bench.memory / 2 ** 20).toLocaleString("en")} MiB before.`
    );
    const restarts: Restart[] = [];
    for (let run = 0; run < durations.runs; run++) restarts.push(await bench.restart());
    yield restartTable(restarts);
  } finally {
    bench.close();
  }
}
