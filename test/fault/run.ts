import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import type { Kind } from "./fault.ts";
import { KINDS } from "./kinds.ts";
import { type Audited, audited, Matrix, type Round } from "./matrix.ts";
import { type Kept, report, Results } from "./results.ts";

/**
 * `npm run fault -- --seed S [--rounds N | --minutes M] [--only KIND] [--from ROUND]`
 *
 * Goes on behind the last round of the seed, stops at the first that finds something, and writes the table of all seeds that
 * ran here. `--from` repeats something: what was found the first time stays beside it. `--only` has rounds of its own, which
 * are in no table.
 */

const FOLDER = join(import.meta.dirname, "..", "..", ".penstock", "fault");
const TABLE = join(import.meta.dirname, "RESULTS.md");
/** What people have written of the findings; the table names it. */
const WORDS = "FINDINGS.md";
const GIB = 2 ** 30;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      rounds: { type: "string" },
      minutes: { type: "string" },
      only: { type: "string" },
      from: { type: "string" },
    },
  });
  const seed = whole("--seed", values.seed);
  const kinds = values.only === undefined ? await possible() : KINDS.filter(({ name }) => name === values.only);
  if (kinds.length === 0) {
    say(`there is no kind "${values.only}"; there are ${KINDS.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  const results = new Results(
    join(FOLDER, values.only === undefined ? `seed-${seed}.jsonl` : `only-${values.only}.jsonl`),
  );
  const from = values.from === undefined ? results.next : whole("--from", values.from);
  const until =
    values.minutes === undefined ? Infinity : performance.now() + whole("--minutes", values.minutes) * 60_000;
  const rounds =
    values.rounds === undefined ? (values.minutes === undefined ? 50 : Infinity) : whole("--rounds", values.rounds);
  sweep(seed);
  say(`seed ${seed}, from round ${from} on, ${kinds.length} kinds`);
  const isWell = await run(new Matrix({ seed, kinds, folder: FOLDER }), results, {
    seed,
    from,
    until,
    rounds,
    only: values.only,
  });
  if (values.only === undefined) writeTable();
  return isWell ? 0 : 1;
}

/** Whether nothing was found. */
async function run(
  matrix: Matrix,
  results: Results,
  options: { seed: number; from: number; until: number; rounds: number; only: string | undefined },
): Promise<boolean> {
  const { seed, from, until, rounds, only } = options;
  let isAsked = false;
  // The second one ends it at once; what it started ends with it.
  process.once("SIGINT", () => (isAsked = true));
  const began = performance.now();
  const of = commit();
  let last: Kept | undefined;
  for (let round = from; round < from + rounds && performance.now() < until && !isAsked; round++) {
    const done = await matrix.round(round);
    last = results.add({ ...done, commit: of });
    const perMinute = ((round - from + 1) * 60_000) / (performance.now() - began);
    say(`${lineOf(done)}  (${perMinute.toFixed(1)} rounds/min)`);
    if (done.findings.length === 0) continue;
    tell(done.findings, matrix.folder, { seed, round, only });
    return false;
  }
  const found = await matrix.close();
  if (found.findings.length === 0) return true;
  tell(found.findings, matrix.folder, { seed, round: from, only });
  // Which of the rounds on this stack it comes from nobody knows: it stands at the last.
  if (last !== undefined) results.amend(atEnd(last, found));
  return false;
}

function atEnd(last: Kept, found: Audited): Kept {
  return audited(last, { ...found, findings: found.findings.map((finding) => `at the end of its stack: ${finding}`) });
}

function lineOf({ round, kinds, faults, missed, recoveryMs, acknowledged, retries, forgiven, seconds }: Round): string {
  const what = faults.map(({ kind, where }) => `${kind} (${where})`).join(" + ") || `nothing of ${kinds.join(" + ")}`;
  const not = missed === undefined ? "" : `, not injected: ${missed}`;
  const given = forgiven === 0 ? "" : `, ${forgiven} lost within the contract`;
  const healthy = recoveryMs === undefined ? "" : ` healthy after ${recoveryMs} ms,`;
  return `#${round} ${what}${not}:${healthy} ${acknowledged} acknowledged, ${retries} sent again${given}, ${seconds.toFixed(1)} s`;
}

function tell(
  findings: readonly string[],
  folder: string,
  { seed, round, only }: { seed: number; round: number; only: string | undefined },
): void {
  for (const finding of findings) say(`  FOUND ${finding}`);
  say(`data and logs: ${folder}`);
  say(
    `again: npm run fault -- --seed ${seed} --from ${round} --rounds 1${only === undefined ? "" : ` --only ${only}`}`,
  );
}

/** The kinds that this machine can do. */
async function possible(): Promise<Kind[]> {
  const kinds: Kind[] = [];
  for (const kind of KINDS) {
    const why = await kind.missing?.();
    if (why === undefined) kinds.push(kind);
    else say(`without ${kind.name}: ${why}`);
  }
  return kinds;
}

function writeTable(): void {
  const seeds = readdirSync(FOLDER)
    .flatMap((name) => /^seed-(\d+)\.jsonl$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
  const rounds = seeds.flatMap((seed) =>
    new Results(join(FOLDER, `seed-${seed}.jsonl`)).rounds.map((round) => ({ ...round, seed })),
  );
  const done = new Set(rounds.flatMap(({ kinds }) => kinds));
  const [cpu] = cpus();
  const about = [
    `${new Date().toISOString().slice(0, 10)};`,
    `${cpus().length} cores (${cpu?.model ?? "unknown"}), ${Math.round(totalmem() / GIB)} GiB, everything on them;`,
    "2 ingests, 2 engines (one stands by), 2 workers, 2 partitions, `appendfsync always`.",
  ];
  const words = existsSync(join(import.meta.dirname, WORDS)) ? WORDS : undefined;
  writeFileSync(TABLE, report({ rounds, kinds: KINDS.filter(({ name }) => done.has(name)), about, words }));
  say(`the table: test/fault/RESULTS.md`);
}

/** With "+" where what runs is not what was committed; the table is written while it runs. */
function commit(): string {
  const git = (...args: readonly string[]): string =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const paths = [":/src", ":/test", ":(top,exclude)test/fault/RESULTS.md"];
    const isChanged = git("status", "--porcelain", "--untracked-files=no", "--", ...paths) !== "";
    return git("rev-parse", "--short", "HEAD") + (isChanged ? "+" : "");
  } catch {
    return "unknown"; // not a clone
  }
}

/** What an interrupted run has left; not what a round failed at. */
function sweep(seed: number): void {
  mkdirSync(FOLDER, { recursive: true });
  for (const name of readdirSync(FOLDER)) {
    if (!name.startsWith(`seed-${seed}-`) || existsSync(join(FOLDER, name, "FAILED.txt"))) continue;
    rmSync(join(FOLDER, name), { recursive: true, force: true });
  }
}

function whole(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${name} takes a whole number, not ${text}`);
  return Number(text);
}
