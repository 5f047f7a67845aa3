import { measure } from "./measure/measure.ts";
import type { Load, Measurement, Target } from "./measure/measure.ts";
import { highestRate } from "./measure/search.ts";
import type { Row } from "./measure/table.ts";

/** How much is measured. */
export interface Durations {
  /** Runs of which the median counts. */
  readonly runs: number;
  /** Of one run. */
  readonly seconds: number;
  readonly warmupSeconds: number;
}

/** Orders of a call where they come in batches. */
export const BATCH = 100;
// Within the reach of all, and fast enough that the compiler has seen the hot path before anything counts.
const WARM_UP = { rate: 1_000, seconds: 8, warmupSeconds: 0 };

export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Runs loads with the given durations, and says of each how it went. */
export class Bencher {
  readonly #durations: Durations;

  constructor(durations: Durations) {
    this.#durations = durations;
  }

  /** So that no run meets code that was never run. */
  async warmUp(target: Target): Promise<void> {
    for (const batch of [0, BATCH]) await measure(target, { ...WARM_UP, batch });
  }

  /** The targets take turns, so that a change of the machine's mood hits all of them. */
  async inTurns(
    targets: readonly Target[],
    rate: number,
    batch: number,
    beforeEach: () => void = () => {},
  ): Promise<Row[]> {
    const rows = targets.map((target) => ({ target: target.name, runs: [] as Measurement[] }));
    for (let run = 0; run < this.#durations.runs; run++) {
      beforeEach();
      for (const [at, target] of targets.entries()) rows[at]?.runs.push(await this.#measure(target, rate, batch));
    }
    return rows;
  }

  async highest(target: Target, guess: number, batch: number): Promise<Row> {
    // The search asks by runs of half the time; what it finds must then hold in whole ones.
    const half = Math.ceil(this.#durations.seconds / 2);
    let rate = await highestRate(
      guess,
      async (asked) => (await this.#measure(target, asked, batch, half)).faults.length === 0,
    );
    const name = `${target.name}, ${batch === 0 ? "one by one" : `batches of ${batch}`}`;
    // What held once must hold in every run; a twentieth less where it does not.
    for (;;) {
      const runs: Measurement[] = [];
      while (runs.length < this.#durations.runs && rate > 0) {
        const measurement = await this.#measure(target, rate, batch);
        if (measurement.faults.length > 0 && rate > guess / 10) break;
        runs.push(measurement);
      }
      if (runs.length === this.#durations.runs || rate === 0) return { target: name, runs };
      rate = Math.round(rate * 0.95);
    }
  }

  async #measure(target: Target, rate: number, batch: number, seconds = this.#durations.seconds): Promise<Measurement> {
    const { warmupSeconds } = this.#durations;
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
