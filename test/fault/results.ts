import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from "node:fs";
import { dirname } from "node:path";

import type { Kind } from "./fault.ts";
import type { Round } from "./matrix.ts";

/**
 * What the rounds of one seed have shown: a line of JSON each, so that an interrupted run goes on behind the last.
 *
 * Always true: a round that is in `rounds` is in the file; one that was done again counts as it was last.
 */
export class Results {
  readonly #file: string;
  readonly #rounds = new Map<number, Round>();

  constructor(file: string) {
    this.#file = file;
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) return;
    const text = readFileSync(file);
    // A run that was killed may have left half a line.
    const whole = text.subarray(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) truncateSync(file, whole.length);
    for (const line of whole.toString().split("\n").filter(Boolean)) {
      const round = JSON.parse(line) as Round;
      this.#rounds.set(round.round, round);
    }
  }

  get rounds(): readonly Round[] {
    return [...this.#rounds.values()];
  }

  /** Behind all that are there. */
  get next(): number {
    return Math.max(-1, ...this.#rounds.keys()) + 1;
  }

  add(round: Round): void {
    appendFileSync(this.#file, `${JSON.stringify(round)}\n`);
    this.#rounds.set(round.round, round);
  }
}

export interface Report {
  readonly seeds: readonly number[];
  readonly rounds: readonly Round[];
  readonly kinds: readonly Kind[];
  /** A line each. */
  readonly about: readonly string[];
}

/** The table, as markdown. */
export function report({ seeds, rounds, kinds, about }: Report): string {
  const sum = (of: (round: Round) => number) => rounds.reduce((total, round) => total + of(round), 0);
  const faults = sum((round) => round.faults.length);
  const failed = rounds.filter(({ findings }) => findings.length > 0);
  return [
    "# The fault matrix",
    "",
    `Made by \`npm run fault\`. ${about.join(" ")} The machine's load average was ${median(rounds.map(({ load }) => load))} in the ` +
      `median: beyond its cores, every time below is longer for it.`,
    "",
    `**${number(faults)} faults of ${kinds.length} kinds in ${number(rounds.length)} rounds, seeds ${seeds.join(" and ")}; ` +
      `${number(sum((round) => round.acknowledged))} orders acknowledged under them: ${sum((round) => round.lost)} lost, ` +
      `${sum((round) => round.doubled)} doubled; ${failed.length} rounds with a finding.**`,
    "",
    "Each round: load from four clients (single calls, batches, streams; orders, cancels, replaces) who keep their own record; one fault, in a",
    "fifth of the rounds two at once; then until every role is ready and an order of each partition has gone by each door through the engine",
    "to its rows: that is the time until healthy, from the moment that the cause is gone (a killed process is started again at once; what is",
    "paused or stopped goes on), with the load going on. Then the load stops, everything drains, and it is looked at: acknowledged = rows, once each, none that",
    "nobody was answered for; every watch has every report once; commands sent again are answered as at first; no role said anything at level error that",
    "belongs to no fault. `penstock audit` with the clients' record comes after every fifth round and at the end of each stack.",
    "",
    "| kind | what it does | attacks | injected | lost | doubled | findings | healthy after, ms: p50 | p99 | max |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...kinds.map((kind) => rowOf(kind, rounds)),
    "",
    ...contracts(kinds, rounds),
  ].join("\n");
}

function rowOf({ name, what, attacks }: Kind, rounds: readonly Round[]): string {
  const of = rounds.filter(({ faults }) => faults.some(({ kind }) => kind === name));
  const injected = of.reduce((total, { faults }) => total + faults.filter(({ kind }) => kind === name).length, 0);
  const sum = (count: (round: Round) => number) => of.reduce((total, round) => total + count(round), 0);
  const times = of
    .filter(({ findings }) => findings.length === 0)
    .map(({ recoveryMs }) => recoveryMs)
    .sort((a, b) => a - b);
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? "";
  const cells = [
    ...[`\`${name}\``, what.replaceAll("|", "\\|"), attacks.join(", "), injected],
    ...[sum(({ lost }) => lost), sum(({ doubled }) => doubled), sum(({ findings }) => findings.length)],
    ...[at(0.5), at(0.99), at(1)],
  ];
  return `| ${cells.join(" | ")} |`;
}

/** What some kinds may lose, and how much of it they did. */
function contracts(kinds: readonly Kind[], rounds: readonly Round[]): string[] {
  const lossy = kinds.filter(({ mayLose }) => mayLose !== undefined);
  if (lossy.length === 0) return [];
  const lines = lossy.map(({ name, mayLose }) => {
    const of = rounds.filter(({ faults }) => faults.some(({ kind }) => kind === name));
    const forgiven = of.reduce((total, round) => total + round.forgiven, 0);
    const acknowledged = of.reduce((total, round) => total + round.acknowledged, 0);
    return `- \`${name}\`: ${mayLose}. ${number(forgiven)} of ${number(acknowledged)} were, and a role said so each time.`;
  });
  return ["Within the contract of their kind, and so not counted as lost:", "", ...lines, ""];
}

function median(values: readonly number[]): number | string {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? "unknown";
}

function number(count: number): string {
  return count.toLocaleString("en");
}
