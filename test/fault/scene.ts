import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { AdminService } from "../../src/gen/penstock/v1/admin_service_pb.ts";
import { isOutage } from "../../src/ingest/outage.ts";
import { Partitioning } from "../../src/stream/partition.ts";
import { Caller } from "../support/caller.ts";
import type { Fault, Kind } from "./fault.ts";
import { Judge } from "./judge.ts";
import { LoadClient } from "./load-client.ts";
import { Probe, PROBE_ACCOUNT } from "./probe.ts";
import { MissedError } from "./points.ts";
import { Random } from "./random.ts";
import { AcknowledgementRecord } from "./record.ts";
import { FaultStack, type StackOptions } from "./stack.ts";
import { Watcher } from "./watcher.ts";

const ACCOUNTS = ["ann", "bob", "cem", "dag"];
const SYMBOLS_OF_PARTITION = 2;

const HEALTHY_LIMIT_MS = 60_000;
const ANSWERED_LIMIT_MS = 30_000;
const DRAINED_LIMIT_MS = 30_000;
/** Of each client so many commands are sent again after a fault. */
const ASKED_AGAIN = 5;

/** What came of a round. */
export interface Outcome {
  readonly faults: readonly { readonly kind: string; readonly where: string }[];
  /** From the moment that the causes were gone until all was healthy, under load, ms. */
  readonly recoveryMs: number;
  /** Orders acknowledged in the round. */
  readonly acknowledged: number;
  readonly retries: number;
  readonly lost: number;
  readonly doubled: number;
  /** Within the contract of the kind. */
  readonly forgiven: number;
  readonly findings: readonly string[];
  /** Why nothing was injected: what a trap waits for did not come by. */
  readonly missed?: string;
}

/** A stack under load, with clients who know what they were answered. */
export class Scene {
  readonly stack: FaultStack;
  readonly #record: AcknowledgementRecord;
  readonly #loads: readonly LoadClient[];
  readonly #watchers: readonly Watcher[];
  readonly #probe: Probe;
  readonly #judge: Judge;

  private constructor(
    stack: FaultStack,
    parts: {
      record: AcknowledgementRecord;
      loads: readonly LoadClient[];
      watchers: readonly Watcher[];
      probe: Probe;
    },
  ) {
    this.stack = stack;
    this.#record = parts.record;
    this.#loads = parts.loads;
    this.#watchers = parts.watchers;
    this.#probe = parts.probe;
    this.#judge = new Judge(stack, parts.record, parts);
  }

  /** `run` begins every id of the clients', and with the seed decides what they do. */
  static async open(folder: string, run: string, options: StackOptions = {}): Promise<Scene> {
    const stack = await FaultStack.open(folder, options);
    try {
      const { doors, partitions } = stack;
      const names = symbolsOf(partitions.length);
      await define(stack, names.flat());
      const record = new AcknowledgementRecord(join(folder, "acknowledged.tsv"));
      const symbols = names.flatMap((list) => list.slice(0, SYMBOLS_OF_PARTITION));
      const loads: LoadClient[] = [];
      const watchers: Watcher[] = [];
      for (const account of ACCOUNTS) {
        const token = await stack.tokenOf(account);
        const random = new Random(run, account);
        loads.push(new LoadClient({ doors, account, token, symbols, run: `${run}-${account}`, random, record }));
        watchers.push(
          new Watcher({
            doors,
            account,
            token,
            partitions: partitions.length,
            random: new Random(run, "watch", account),
          }),
        );
      }
      const probe = new Probe(stack, {
        ...{ run, record, token: await stack.tokenOf(PROBE_ACCOUNT) },
        symbols: names.map((list) => list.at(-1)!),
      });
      await probe.untilHealthy(HEALTHY_LIMIT_MS);
      for (const watcher of watchers) watcher.start();
      return new Scene(stack, { record, loads, watchers, probe });
    } catch (error) {
      await stack.close();
      throw error;
    }
  }

  /** Faults under load; one or two of them at once. */
  async round(kinds: readonly Kind[], random: Random): Promise<Outcome> {
    const before = { acknowledged: this.#record.orders.length, retries: this.#retries };
    for (const load of this.#loads) load.start();
    const findings: string[] = [];
    let faults: { kind: string; where: string }[] = [];
    let missed: string | undefined;
    let recoveryMs = 0;
    try {
      await sleep(random.between(100, 500));
      const injected = await Promise.allSettled(kinds.map((kind) => inject(kind, this.stack, random)));
      const gone = performance.now();
      const hit: Fault[] = [];
      for (const [i, outcome] of injected.entries()) {
        if (outcome.status === "fulfilled") {
          hit.push(outcome.value);
          faults.push({ kind: kinds[i]!.name, where: outcome.value.where });
        } else if (isMissed(outcome.reason, kinds)) missed = String(outcome.reason);
        else throw outcome.reason;
      }
      await this.#probe.untilHealthy(HEALTHY_LIMIT_MS);
      recoveryMs = Math.round(performance.now() - gone);
      for (const { healed } of hit) await healed?.();
    } catch (error) {
      findings.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
      if (faults.length === 0) faults = kinds.map(({ name }) => ({ kind: name, where: "" }));
    }
    await Promise.all(this.#loads.map((load) => load.pause(ANSWERED_LIMIT_MS)));
    // What could not be made healthy is not looked at further: it would only be told in other words.
    if (findings.length > 0) return this.#outcome({ before, faults, recoveryMs, missed, findings });
    try {
      await this.#probe.untilDrained(DRAINED_LIMIT_MS);
      const contract = {
        mayLose: kinds.some(({ mayLose }) => mayLose !== undefined),
        alarms: kinds.flatMap(({ alarms = [] }) => alarms),
      };
      const verdict = await this.#judge.look(contract);
      const { lost, doubled, forgiven } = verdict;
      findings.push(...lost.map((id) => `LOST: ${id}`), ...doubled.map((id) => `DOUBLED: ${id}`), ...verdict.findings);
      await this.#askAgain(findings);
      const counts = { lost: lost.length, doubled: doubled.length, forgiven: forgiven.length };
      return { ...this.#outcome({ before, faults, recoveryMs, missed, findings }), ...counts };
    } catch (error) {
      findings.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
      return this.#outcome({ before, faults, recoveryMs, missed, findings });
    }
  }

  /** What `penstock audit` finds. */
  audit(): Promise<string[]> {
    return this.#judge.audit();
  }

  async close(): Promise<void> {
    for (const load of this.#loads) load.close();
    for (const watcher of this.#watchers) watcher.close();
    this.#probe.close();
    await this.stack.close();
    this.#record.close();
  }

  get #retries(): number {
    return this.#loads.reduce((sum, { counts }) => sum + counts.retries, 0);
  }

  async #askAgain(findings: string[]): Promise<void> {
    for (const load of this.#loads) {
      await load.askAgain(ASKED_AGAIN);
      findings.push(...load.findings.splice(0));
    }
  }

  #outcome(parts: {
    before: { acknowledged: number; retries: number };
    faults: Outcome["faults"];
    recoveryMs: number;
    missed: string | undefined;
    findings: readonly string[];
  }): Outcome {
    const { before, faults, recoveryMs, missed, findings } = parts;
    return {
      ...{ faults, recoveryMs, findings, lost: 0, doubled: 0, forgiven: 0 },
      acknowledged: this.#record.orders.length - before.acknowledged,
      retries: this.#retries - before.retries,
      ...(missed !== undefined && { missed }),
    };
  }
}

/** Nothing was hit: it did not come by, or of two faults at once the other one had taken the server away. */
function isMissed(error: unknown, kinds: readonly Kind[]): boolean {
  return error instanceof MissedError || (kinds.length > 1 && isOutage(error));
}

/** Two at once come some moments apart. */
async function inject(kind: Kind, stack: FaultStack, random: Random): Promise<Fault> {
  await sleep(random.between(0, 150));
  return await kind.inject(stack, random);
}

/** Of each partition those that are traded, and one more to probe with. */
function symbolsOf(partitions: number): string[][] {
  const partitioning = new Partitioning(partitions);
  const symbols: string[][] = Array.from({ length: partitions }, () => []);
  for (let n = 0; symbols.some((list) => list.length <= SYMBOLS_OF_PARTITION); n++) {
    const list = symbols[partitioning.of(`S${n}-USD`)]!;
    if (list.length <= SYMBOLS_OF_PARTITION) list.push(`S${n}-USD`);
  }
  return symbols;
}

async function define(stack: FaultStack, symbols: readonly string[]): Promise<void> {
  const admin = new Caller(stack.doors[0]!, `Bearer ${await stack.tokenOf("root", "admin")}`);
  try {
    for (const symbol of symbols) {
      const instrument = { symbol, tickSize: "0.01", lotSize: "0.1" };
      await admin.call(AdminService.method.upsertInstrument, { instrument }, { deadlineMs: 5_000 });
    }
  } finally {
    admin.close();
  }
}
