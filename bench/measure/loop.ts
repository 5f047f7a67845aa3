import { Bench } from "tinybench";

// Half a second each: a median of some thousand passes, and all of them together still take less than a minute.
const MILLISECONDS = 500;

/** A loop to measure: `pass` does `operations` of them, enough that the clock's grain does not show. */
export interface Loop {
  readonly name: string;
  readonly operations: number;
  readonly pass: () => unknown;
}

/** Measures loops with tinybench and prints a row of Markdown for each: its name, and the median of ns an operation. */
export async function printLoops(loops: readonly Loop[]): Promise<void> {
  const bench = new Bench({ time: MILLISECONDS, warmupTime: MILLISECONDS, throws: true });
  for (const { name, pass } of loops) bench.add(name, pass);
  for (const [at, task] of (await bench.run()).entries()) {
    const { name, operations } = loops[at] ?? { name: task.name, operations: 1 };
    if (!("latency" in task.result)) throw new Error(`${name} was not measured`);
    printRow(name, (task.result.latency.p50 * 1e6) / operations);
  }
}

export function printRow(name: string, nanoseconds: number): void {
  const text = nanoseconds < 1000 ? nanoseconds.toFixed(0) : (Math.round(nanoseconds / 10) * 10).toLocaleString("en");
  process.stdout.write(`| ${name} | ${text} |\n`);
}
