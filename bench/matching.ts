import { BATCH, Bencher } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { CALM_RATE, LEGEND } from "./figures.ts";
import { startFloor } from "./floor.ts";
import { describeMachine } from "./measure/machine.ts";
import { measurementTable } from "./measure/table.ts";
import type { Stacks } from "./stacks.ts";

/** Orders a second that the engine and all consumers are to keep up with. */
const MATCHED_RATES = { unary: 8_000, batches: 30_000 } as const;

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
}
