import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";

import { countOf, GAPS, wordsOf } from "./audit.ts";
import type { Kind } from "./fault.ts";
import { Plan } from "./plan.ts";
import { type Outcome, Scene } from "./scene.ts";
import type { StackOptions } from "./stack.ts";

/** A new stack after so many rounds: what has to be audited stays small, so that an audit takes a second or two. */
const STAGE_ROUNDS = 25;
/** Every round is looked at; `penstock audit` as a whole comes after so many, and at the end of a stage. */
const AUDITED_ROUNDS = 5;

/** What is noted of a round. */
export interface Round extends Outcome {
  readonly round: number;
  readonly seconds: number;
  /** The machine's load average of the last minute, ours included: how much the times mean. */
  readonly load: number;
}

/** What an audit of the rounds found that were not audited yet. */
export interface Audited {
  readonly findings: readonly string[];
  readonly lost: number;
  readonly doubled: number;
}

const NOTHING: Audited = { findings: [], lost: 0, doubled: 0 };

export interface MatrixOptions {
  readonly seed: number;
  readonly kinds: readonly Kind[];
  /** Where its folders are made: each with the data, the logs and the clients' record of some rounds. */
  readonly folder: string;
}

/**
 * Rounds of faults, each on the stack that the one before it left, as long as nothing is wrong with it.
 *
 * Always true: the stack is whole, under no load and looked at before a round begins; one at which something was found is
 * closed, and its folder stays.
 */
export class Matrix {
  readonly #options: MatrixOptions;
  readonly #plan: Plan;
  #stage: { readonly scene: Scene; readonly options: StackOptions | undefined } | undefined;
  #rounds = 0;
  #unaudited = 0;
  #folder: string;

  constructor(options: MatrixOptions) {
    this.#options = options;
    this.#plan = new Plan(options.seed, options.kinds);
    this.#folder = options.folder;
  }

  /** Where the data of the last round are, or were. */
  get folder(): string {
    return this.#folder;
  }

  async round(round: number): Promise<Round> {
    const since = performance.now();
    const planned = this.#plan.at(round);
    const options = planned.kinds[0]?.stack;
    const before = this.#rounds === STAGE_ROUNDS || options !== this.#stage?.options ? await this.#next() : NOTHING;
    let outcome = before.findings.length > 0 ? notDone(planned.kinds, before) : undefined;
    if (outcome === undefined) {
      const scene = await this.#open(round, options);
      outcome = await scene.round(planned);
      this.#rounds++;
      this.#unaudited++;
      const mayLose = planned.kinds.some((kind) => kind.mayLose !== undefined);
      // Where something was found, the rounds before it have not been audited either.
      const isDue = this.#unaudited === AUDITED_ROUNDS || options !== undefined || mayLose;
      if (isDue || outcome.findings.length > 0) outcome = audited(outcome, await this.#audit(mayLose));
      if (outcome.findings.length > 0) {
        writeFileSync(join(this.#folder, "FAILED.txt"), outcome.findings.map((finding) => `${finding}\n`).join(""));
        await scene.close();
        this.#stage = undefined;
      } else if (mayLose) {
        // Its log may have a gap for good, of which it would go on telling.
        await scene.close();
        await scene.stack.remove();
        this.#stage = undefined;
      }
    }
    const seconds = Math.round(performance.now() - since) / 1000;
    return { ...outcome, round, seconds, load: Math.round(loadavg()[0]! * 10) / 10 };
  }

  /** Audits what was not audited yet, and ends the stack. Where something was found the data stay. */
  async close(): Promise<Audited> {
    return await this.#next();
  }

  async #next(): Promise<Audited> {
    const scene = this.#stage?.scene;
    if (scene === undefined) return NOTHING;
    const found = await this.#audit();
    await scene.close();
    this.#stage = undefined;
    if (found.findings.length === 0) await scene.stack.remove();
    else writeFileSync(join(this.#folder, "FAILED.txt"), found.findings.map((finding) => `${finding}\n`).join(""));
    return found;
  }

  async #open(round: number, options: StackOptions | undefined): Promise<Scene> {
    if (this.#stage !== undefined) return this.#stage.scene;
    const { seed, folder } = this.#options;
    mkdirSync(folder, { recursive: true });
    this.#folder = mkdtempSync(join(folder, `seed-${seed}-round-${round}-`));
    chmodSync(this.#folder, 0o755); // the servers' user has to reach its own folders in it
    const scene = await Scene.open(this.#folder, `${seed}-${round}`, options);
    this.#stage = { scene, options };
    this.#rounds = 0;
    this.#unaudited = 0;
    return scene;
  }

  async #audit(mayLose = false): Promise<Audited> {
    const rounds = this.#unaudited;
    if (rounds === 0 || this.#stage === undefined) return NOTHING;
    this.#unaudited = 0;
    try {
      const all = await this.#stage.scene.audit();
      const found = all.filter(({ kind }) => !mayLose || !GAPS.has(kind));
      return {
        findings: found.map(wordsOf),
        lost: countOf(found, "acknowledged and lost"),
        doubled: countOf(found, "one id, several orders"),
      };
    } catch (error) {
      return { ...NOTHING, findings: [`the last ${rounds} rounds are not audited: ${String(error)}`] };
    }
  }
}

/** The same with what an audit found. What it does not find it does not answer for: where nobody could look, that stays so. */
export function audited<Of extends Outcome>(outcome: Of, { findings, lost, doubled }: Audited): Of {
  return {
    ...outcome,
    findings: [...outcome.findings, ...findings],
    ...(lost > 0 && { lost: Math.max(lost, outcome.lost ?? 0) }),
    ...(doubled > 0 && { doubled: Math.max(doubled, outcome.doubled ?? 0) }),
  };
}

/** Nothing was injected: what the rounds before have left was found at the end of their stack. */
function notDone(kinds: readonly Kind[], found: Audited): Outcome {
  const nothing: Outcome = {
    ...{ kinds: kinds.map(({ name }) => name), faults: [], findings: [] },
    ...{ acknowledged: 0, retries: 0, forgiven: 0 },
  };
  return audited(nothing, { ...found, findings: found.findings.map((finding) => `before this round: ${finding}`) });
}
