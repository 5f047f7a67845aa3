import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";

import type { Kind } from "./fault.ts";
import { Plan } from "./plan.ts";
import { type Outcome, Scene } from "./scene.ts";
import type { StackOptions } from "./stack.ts";

/** A new stack after so many rounds: what has to be audited stays small, so that an audit takes a second or two. */
const STAGE_ROUNDS = 25;
/** Every round is looked at; `penstock audit` as a whole comes after so many, and at the end of a stage. */
const AUDITED_ROUNDS = 5;

/** What an audit says where entries are gone within the contract, and one behind them had been written. */
const GAP = /gap/;

/** What is noted of a round. */
export interface Round extends Outcome {
  readonly round: number;
  readonly seconds: number;
  /** The machine's load average of the last minute, ours included: how much the times mean. */
  readonly load: number;
}

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
    const { kinds, random } = this.#plan.at(round);
    const options = kinds[0]?.stack;
    const before = this.#rounds === STAGE_ROUNDS || options !== this.#stage?.options ? await this.#next() : [];
    const scene = await this.#open(round, options);
    const outcome = before.length > 0 ? failed(kinds, before) : await scene.round(kinds, random);
    this.#rounds++;
    this.#unaudited++;
    const findings = [...outcome.findings];
    const hasLost = outcome.forgiven > 0;
    const isDue = this.#unaudited === AUDITED_ROUNDS || options !== undefined || hasLost;
    if (findings.length === 0 && isDue) {
      const found = await this.#audit();
      findings.push(...found.filter((finding) => !hasLost || !GAP.test(finding)));
    }
    if (findings.length > 0) {
      writeFileSync(join(this.#folder, "FAILED.txt"), findings.map((finding) => `${finding}\n`).join(""));
      await scene.close();
      this.#stage = undefined;
    } else if (hasLost) {
      // Its log has a gap for good, of which it will go on telling.
      await scene.close();
      await scene.stack.remove();
      this.#stage = undefined;
    }
    const seconds = Math.round(performance.now() - since) / 1000;
    return { ...outcome, findings, round, seconds, load: Math.round(loadavg()[0]! * 10) / 10 };
  }

  /** Audits what was not audited yet, and ends the stack. Returns what was found: then the data stay. */
  async close(): Promise<string[]> {
    return await this.#next();
  }

  async #next(): Promise<string[]> {
    const scene = this.#stage?.scene;
    if (scene === undefined) return [];
    const findings = await this.#audit();
    await scene.close();
    this.#stage = undefined;
    if (findings.length === 0) await scene.stack.remove();
    return findings;
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

  async #audit(): Promise<string[]> {
    if (this.#unaudited === 0 || this.#stage === undefined) return [];
    this.#unaudited = 0;
    return await this.#stage.scene.audit();
  }
}

/** Nothing was done: what the rounds before have left was found at the end of their stage. */
function failed(kinds: readonly Kind[], findings: readonly string[]): Outcome {
  return {
    faults: kinds.map(({ name }) => ({ kind: name, where: "" })),
    findings: findings.map((finding) => `before this round: ${finding}`),
    ...{ recoveryMs: 0, acknowledged: 0, retries: 0, lost: 0, doubled: 0, forgiven: 0 },
  };
}
