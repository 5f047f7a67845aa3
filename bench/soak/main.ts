import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeMachine } from "../measure/machine.ts";
import { pageOf, plotOf, verdictOf } from "./report.ts";
import { soak, type SoakResult } from "./soak.ts";

const USAGE = `npm run soak -- --minutes 180 [options]

Runs a stack of its own under the load of days of some minutes each, kills each of its processes now and then, and judges: whether
anything was lost or doubled, and whether memory, latency and open files stay what they are. Writes bench/SOAK.md and docs/soak.svg.

  --minutes N   how long (default 60)
  --seed S      what decides orders and kills (default: a random one, which is printed)
  --clients N   that trade at the height of the day, some 80 commands a second each (default 6)
  --page FILE   judges a run again that was kept, below .penstock/soak, and makes its page; runs nothing

Exit code 1: something was wrong.
`;

const ROOT = join(import.meta.dirname, "..", "..");
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: randomBytes(4).toString("hex") },
    clients: { type: "string", default: "6" },
    page: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!(value >= least && value <= most)) throw new RangeError(`--${name} must be a number from ${least} to ${most}`);
  return value;
}

/** A run and what it ran on, as it is kept. */
interface KeptRun {
  readonly result: SoakResult;
  readonly machine: string;
}

async function run(): Promise<KeptRun> {
  const minutes = number("minutes", values.minutes, 1, 7 * 24 * 60);
  const clients = number("clients", values.clients, 1, 100);
  const { seed } = values;
  say(`seed ${seed}`);
  const result = await soak({ minutes, seed, clients, say });
  const kept = { result, machine: describeMachine(result.versions) };
  const folder = join(ROOT, ".penstock", "soak");
  const name = `${new Date().toISOString().replaceAll(":", "-")}-${seed.replaceAll(/[^\w-]/g, "_")}.json`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), JSON.stringify(kept));
  say(`kept as ${join(".penstock", "soak", name)}`);
  return kept;
}

function judge({ result, machine }: KeptRun): boolean {
  const verdict = verdictOf(result);
  writeFileSync(join(ROOT, "docs", "soak.svg"), plotOf(result));
  writeFileSync(join(ROOT, "bench", "SOAK.md"), pageOf(result, verdict, "../docs/soak.svg", machine));
  for (const { what, figure, limit, ok } of verdict) {
    say(`${ok === undefined ? "?   " : ok ? "well" : "NO  "}  ${what}: ${figure} (${limit})`);
  }
  for (const finding of result.findings.slice(0, 20)) say(`      ${finding}`);
  return verdict.every(({ ok }) => ok !== false);
}

if (values.help) {
  process.stdout.write(USAGE);
} else {
  const kept = values.page === undefined ? await run() : (JSON.parse(readFileSync(values.page, "utf8")) as KeptRun);
  if (!judge(kept)) process.exitCode = 1;
}
