import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from "node:fs";
import { dirname, join } from "node:path";

import type { Kind } from "./fault.ts";
import type { Round } from "./matrix.ts";

const PROJECT = join(import.meta.dirname, "..", "..", "/");

/** A round as it is kept. */
export interface Kept extends Round {
  /** Of what ran. */
  readonly commit: string;
  /** How often this round had been done before. */
  readonly attempt: number;
}

/**
 * What the rounds of one seed have shown: a line of JSON each, so that an interrupted run goes on behind the last.
 *
 * Always true: a round that is in `rounds` is in the file. One that was done again is there beside what it was before; what was found
 * of it later takes the place of its own line alone.
 */
export class Results {
  readonly #file: string;
  readonly #rounds = new Map<string, Kept>();

  constructor(file: string) {
    this.#file = file;
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) return;
    const text = readFileSync(file);
    // A run that was killed may have left half a line.
    const whole = text.subarray(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) truncateSync(file, whole.length);
    for (const line of whole.toString().split("\n").filter(Boolean)) {
      const kept = JSON.parse(line) as Kept;
      // What an earlier matrix noted answers other questions.
      if (kept.attempt === undefined) throw new Error(`${file} is of an earlier matrix: remove it`);
      this.#rounds.set(keyOf(kept), kept);
    }
  }

  get rounds(): readonly Kept[] {
    return [...this.#rounds.values()];
  }

  /** Behind all that are there. */
  get next(): number {
    return Math.max(-1, ...this.rounds.map(({ round }) => round)) + 1;
  }

  add(round: Omit<Kept, "attempt">): Kept {
    const attempt = this.rounds.filter((other) => other.round === round.round).length;
    const kept = { ...round, attempt };
    this.amend(kept);
    return kept;
  }

  /** One of them, of which more is known. */
  amend(kept: Kept): void {
    appendFileSync(this.#file, `${JSON.stringify(kept)}\n`);
    this.#rounds.set(keyOf(kept), kept);
  }
}

function keyOf({ round, attempt }: Kept): string {
  return `${round}/${attempt}`;
}

/** A round of one of several seeds. */
export type SeededRound = Kept & { readonly seed: number };

export interface Report {
  readonly rounds: readonly SeededRound[];
  readonly kinds: readonly Kind[];
  /** A line each. */
  readonly about: readonly string[];
  /** The file in which people have written of the findings. */
  readonly words: string | undefined;
}

/** The table, as markdown. */
export function report({ rounds, kinds, about, words }: Report): string {
  const sum = (of: (round: Round) => number) => rounds.reduce((total, round) => total + of(round), 0);
  const faults = sum((round) => round.faults.length);
  const failed = rounds.filter(({ findings }) => findings.length > 0);
  const unjudged = rounds.filter(({ lost }) => lost === undefined);
  const unseen = unjudged.reduce((total, { acknowledged }) => total + acknowledged, 0);
  const seeds = [...new Set(rounds.map(({ seed }) => seed))];
  return [
    "# The fault matrix",
    "",
    `Made by \`npm run fault\`. ${about.join(" ")} ${commitsOf(rounds)} The machine's load average was ` +
      `${median(rounds.map(({ load }) => load))} in the median: beyond its cores, every time below is longer for it.`,
    "",
    `**${number(faults)} faults of ${kinds.length} kinds in ${number(rounds.length)} rounds, seeds ${seeds.join(" and ")}; ` +
      `${number(sum((round) => round.acknowledged))} orders acknowledged under them: ${sum(({ lost = 0 }) => lost)} lost, ` +
      `${sum(({ doubled = 0 }) => doubled)} doubled; ${unjudged.length} rounds not judged, ${number(unseen)} orders in them; ` +
      `${failed.length} rounds with a finding.**`,
    "",
    "What dies here are processes: SIGKILL leaves what the operating system has taken, written or not. So what reaches the disk when, and with it",
    "`appendfsync` and fsync, is not tested by any of this; Postgres runs with `fsync off`. The kinds that take files from Redis (`redis-loses-tail`,",
    "`redis-empty`) stand for a disk that has lost what was on it.",
    "",
    "Each round: load from four clients (single calls, batches, streams; orders, cancels, replaces; three by gRPC, one by Connect) who keep their own",
    "record; one fault, in a fifth of the rounds two at once; then until every role is ready and an order of each partition has gone by each gRPC door through",
    "the engine to its rows: that is the time until healthy, from the moment that the cause is gone (a killed process is started again at once; what is paused or stopped goes",
    "on), with the load going on. Then the load stops, everything drains, and it is looked at: acknowledged = rows, once each, none that nobody was",
    "answered for; every watch has every report once, and it and the answers told what stands in the rows; commands sent again are answered as at",
    "first; no role said anything at level error that belongs to no fault. A round that was not healthy again or did not drain is not judged: nobody looked",
    "for its orders. `penstock audit` with the clients' record comes after every fifth round, after each that may lose something or found something, and at the end of each stack.",
    "",
    "| kind | what it does | attacks | injected | lost | doubled | findings | healthy after, ms: median | most |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...kinds.map((kind) => rowOf(kind, rounds)),
    "",
    "Lost, doubled and findings count for both kinds of a round with two; the times are of rounds with one, those with a finding among them.",
    "",
    ...contracts(kinds, rounds),
    ...findingsOf(failed, words),
  ].join("\n");
}

/** Which commits ran, each with its rounds. */
function commitsOf(rounds: readonly SeededRound[]): string {
  const counts = new Map<string, number>();
  for (const { commit } of rounds) counts.set(commit, (counts.get(commit) ?? 0) + 1);
  const list = Array.from(counts, ([commit, count]) => `${commit} (${number(count)} rounds)`);
  return `Commits: ${list.join(", ")}.`;
}

function rowOf({ name, what, attacks }: Kind, rounds: readonly Round[]): string {
  const of = rounds.filter(({ kinds }) => kinds.includes(name));
  const injected = of.reduce((total, { faults }) => total + faults.filter(({ kind }) => kind === name).length, 0);
  const sum = (count: (round: Round) => number) => of.reduce((total, round) => total + count(round), 0);
  // Of two at once nobody can tell which one it was that took so long.
  const times = of.flatMap(({ kinds, recoveryMs }) =>
    kinds.length > 1 || recoveryMs === undefined ? [] : [recoveryMs],
  );
  const cells = [
    ...[`\`${name}\``, what.replaceAll("|", "\\|"), attacks.join(", "), injected],
    ...[sum(({ lost = 0 }) => lost), sum(({ doubled = 0 }) => doubled), sum(({ findings }) => findings.length)],
    ...(times.length === 0 ? ["", ""] : [median(times), Math.max(...times)]),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** What some kinds may lose, how much of it they did, and whether that was told. */
function contracts(kinds: readonly Kind[], rounds: readonly Round[]): string[] {
  const lines = kinds.flatMap(({ name, mayLose }) => {
    if (mayLose === undefined) return [];
    const of = rounds.filter(({ faults }) => faults.some(({ kind }) => kind === name));
    const losing = of.filter(({ forgiven }) => forgiven > 0);
    const forgiven = losing.reduce((total, round) => total + round.forgiven, 0);
    const acknowledged = of.reduce((total, round) => total + round.acknowledged, 0);
    const told = losing.filter(({ isTold }) => isTold === true).length;
    const words =
      losing.length === 0 ? "" : `, in ${losing.length} of ${of.length} rounds; in ${told} of them a role said so`;
    return [
      `- \`${name}\`: ${mayLose.what}. ${number(forgiven)} of ${number(acknowledged)} acknowledged orders${words}.`,
    ];
  });
  return lines.length === 0 ? [] : ["Within the contract of their kind, and so not counted as lost:", "", ...lines, ""];
}

const SHOWN = 5;
const CHARACTERS = 300;

/** The rounds with a finding, each with its words. */
function findingsOf(failed: readonly SeededRound[], words: string | undefined): string[] {
  const page = words === undefined ? undefined : `[${words}](${words})`;
  if (failed.length === 0)
    return page === undefined ? [] : [`What became of the findings of earlier rounds: ${page}.`, ""];
  const more = page === undefined ? "" : ` What became of them: ${page}.`;
  const lines = failed.flatMap(({ seed, round, attempt, commit, kinds, findings }) => [
    `- seed ${seed}, round ${round}${attempt === 0 ? "" : `, done again (${attempt})`}, ${commit}, ${kinds.join(" and ")}:`,
    ...findings.slice(0, SHOWN).map((finding) => `  - ${lineOf(finding)}`),
    ...(findings.length > SHOWN ? [`  - and ${findings.length - SHOWN} more`] : []),
  ]);
  return [`The rounds with a finding, in the machine's words.${more}`, "", ...lines, ""];
}

/** On one line, that markdown leaves as it is; without folders of the machine: the places of an error, and what is before this project's. */
function lineOf(text: string): string {
  const line = text
    .replaceAll(/\n\s+at .*/g, "")
    .replaceAll(PROJECT, "")
    .replaceAll(/\s+/g, " ")
    .replaceAll("`", "'");
  return `\`${line.length > CHARACTERS ? `${line.slice(0, CHARACTERS)}…` : line}\``;
}

function median(values: readonly number[]): number | string {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? "unknown";
}

function number(count: number): string {
  return count.toLocaleString("en");
}
