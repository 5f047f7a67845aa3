import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { AdminService } from "../../src/gen/penstock/v1/admin_service_pb.ts";
import { isOutage } from "../../src/ingest/outage.ts";
import { Partitioning } from "../../src/stream/partition.ts";
import { Caller } from "../support/caller.ts";
import type { AuditFinding } from "./audit.ts";
import type { Fault, Kind } from "./fault.ts";
import { type Contract, Judge, type Told } from "./judge.ts";
import { LoadClient } from "./load-client.ts";
import type { Planned } from "./plan.ts";
import { MissedError } from "./points.ts";
import { Probe, PROBE_ACCOUNT } from "./probe.ts";
import { Random } from "./random.ts";
import { AcknowledgementRecord } from "./record.ts";
import { FaultStack, type StackOptions } from "./stack.ts";
import { Watcher } from "./watcher.ts";

const ACCOUNTS = ["ann", "bob", "cem", "dag"];
/** Of them one calls by the HTTP port; the others speak gRPC. */
const BY_CONNECT = "dag";
const SYMBOLS_OF_PARTITION = 2;

const HEALTHY_LIMIT_MS = 60_000;
const ANSWERED_LIMIT_MS = 30_000;
const DRAINED_LIMIT_MS = 30_000;
/** Of each client so many commands are sent again after a fault; more where the keys themselves were lost, and put back. */
const ASKED_AGAIN = 5;
const ASKED_AFTER_LOSS = 25;
const AGAIN_LIMIT_MS = 10_000;

/** What came of a round. */
export interface Outcome {
  /** What it was for; `faults`: what was injected. */
  readonly kinds: readonly string[];
  readonly faults: readonly { readonly kind: string; readonly where: string }[];
  /** From the moment that the causes were gone until all was healthy, or was given up, under load, ms. Absent: nothing was injected. */
  readonly recoveryMs?: number;
  /** Orders acknowledged in the round. */
  readonly acknowledged: number;
  readonly retries: number;
  /** Absent where nobody could look: what was not healthy again, or did not drain. */
  readonly lost?: number;
  readonly doubled?: number;
  /** Lost within the contract of the kind, and whether a role said that something was. */
  readonly forgiven: number;
  readonly isTold?: boolean;
  readonly findings: readonly string[];
  /** Why something was not injected: what a trap waits for did not come by. */
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
      told: Told;
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
      const { doors, httpDoors, partitions } = stack;
      const names = symbolsOf(partitions.length);
      await define(stack, names.flat());
      const record = new AcknowledgementRecord(join(folder, "acknowledged.tsv"));
      const symbols = names.flatMap((list) => list.slice(0, SYMBOLS_OF_PARTITION));
      const loads: LoadClient[] = [];
      const watchers: Watcher[] = [];
      const told: Told = { reports: [], answers: [] };
      for (const account of ACCOUNTS) {
        const token = await stack.tokenOf(account);
        const ways =
          account === BY_CONNECT
            ? { doors: httpDoors, protocol: "Connect" as const }
            : { doors, protocol: "gRPC" as const };
        loads.push(
          new LoadClient({
            ...{ ...ways, account, token, symbols, run: `${run}-${account}`, random: new Random(run, account), record },
            onTold: (answer) => told.answers.push(answer),
          }),
        );
        watchers.push(
          new Watcher({
            ...{ doors, account, token, partitions: partitions.length, random: new Random(run, "watch", account) },
            onTold: (report) => told.reports.push(report),
          }),
        );
      }
      const probe = new Probe(stack, {
        ...{ run, record, token: await stack.tokenOf(PROBE_ACCOUNT) },
        symbols: names.map((list) => list.at(-1)!),
      });
      await probe.untilHealthy(HEALTHY_LIMIT_MS);
      for (const watcher of watchers) watcher.start();
      return new Scene(stack, { record, loads, watchers, told, probe });
    } catch (error) {
      await stack.close();
      throw error;
    }
  }

  /** Faults under load; one or two of them at once. */
  async round(planned: Planned): Promise<Outcome> {
    const { kinds, random } = planned;
    const before = { acknowledged: this.#record.orders.length, retries: this.#retries };
    for (const load of this.#loads) load.start();
    const findings: string[] = [];
    await sleep(random.between(100, 500));
    const since = Date.now();
    const { faults, missed, recoveryMs } = await this.#inject(planned, findings);
    await Promise.all(this.#loads.map((load) => load.pause(ANSWERED_LIMIT_MS)));
    const outcome = (): Outcome => ({
      ...{ kinds: kinds.map(({ name }) => name), faults, findings, forgiven: 0 },
      acknowledged: this.#record.orders.length - before.acknowledged,
      retries: this.#retries - before.retries,
      ...(recoveryMs !== undefined && { recoveryMs }),
      ...(missed !== undefined && { missed }),
    });
    // What could not be made healthy is not looked at further: it would only be told in other words.
    if (findings.length > 0) return outcome();
    const { acknowledged } = outcome();
    try {
      await this.#probe.untilDrained(DRAINED_LIMIT_MS);
      const loss = kinds.find(({ mayLose }) => mayLose !== undefined)?.mayLose;
      const contract: Contract = {
        loss: loss && { ...loss, since },
        alarms: kinds.flatMap(({ alarms = [] }) => alarms),
      };
      const { lost, doubled, forgiven, isTold, findings: found } = await this.#judge.look(contract);
      findings.push(...lost.map((id) => `LOST: ${id}`), ...doubled.map((id) => `DOUBLED: ${id}`), ...found);
      await this.#askAgain(loss === undefined ? ASKED_AGAIN : ASKED_AFTER_LOSS, findings);
      const counts = { lost: lost.length, doubled: doubled.length, forgiven: forgiven.length };
      return { ...outcome(), ...counts, acknowledged, ...(loss !== undefined && { isTold }) };
    } catch (error) {
      findings.push(wordsOf(error));
      return { ...outcome(), acknowledged };
    }
  }

  /** What `penstock audit` finds. */
  audit(): Promise<AuditFinding[]> {
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

  /** Under load, until all is healthy again. What went wrong goes to the findings. */
  async #inject({ kinds, turn, random }: Planned, findings: string[]): Promise<Injected> {
    const injected = await Promise.allSettled(kinds.map((kind) => inject(kind, this.stack, random, turn)));
    const gone = performance.now();
    const hit: Fault[] = [];
    const faults: Outcome["faults"][number][] = [];
    let missed: string | undefined;
    for (const [i, outcome] of injected.entries()) {
      if (outcome.status === "fulfilled") {
        hit.push(outcome.value);
        faults.push({ kind: kinds[i]!.name, where: outcome.value.where });
      } else if (isMissed(outcome.reason, kinds)) missed = String(outcome.reason);
      else findings.push(wordsOf(outcome.reason));
    }
    let recoveryMs: number | undefined;
    try {
      await this.#probe.untilHealthy(HEALTHY_LIMIT_MS).finally(() => {
        if (faults.length > 0) recoveryMs = Math.round(performance.now() - gone);
      });
      for (const { healed } of hit) await healed?.();
    } catch (error) {
      findings.push(wordsOf(error));
    }
    return { faults, missed, recoveryMs };
  }

  async #askAgain(count: number, findings: string[]): Promise<void> {
    for (const load of this.#loads) {
      await load.askAgain(count, AGAIN_LIMIT_MS);
      findings.push(...load.findings.splice(0).map(({ text }) => text));
    }
  }
}

interface Injected {
  readonly faults: Outcome["faults"];
  readonly missed: string | undefined;
  readonly recoveryMs: number | undefined;
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Nothing was hit: it did not come by, or of two faults at once the other one had taken the server away. */
function isMissed(error: unknown, kinds: readonly Kind[]): boolean {
  return error instanceof MissedError || (kinds.length > 1 && isOutage(error));
}

/** Two at once come some moments apart. */
async function inject(kind: Kind, stack: FaultStack, random: Random, turn: number): Promise<Fault> {
  await sleep(random.between(0, 150));
  return await kind.inject(stack, random, turn);
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
