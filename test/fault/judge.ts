import { setTimeout as sleep } from "node:timers/promises";

import { textArray } from "../../src/store/parameters.ts";
import { parseOrderId } from "../../src/stream/position.ts";
import { audit, type AuditFinding } from "./audit.ts";
import type { Complaint } from "./complaint.ts";
import type { LoadClient } from "./load-client.ts";
import { isCutOff, type Loss, mayBeLost, type Reopening } from "./loss.ts";
import type { AcknowledgementRecord, Noted } from "./record.ts";
import type { FaultStack } from "./stack.ts";
import { answersThatDiffer, type ExecutionRow, reportsThatDiffer, type ToldAnswer, type ToldReport } from "./told.ts";
import type { Watcher } from "./watcher.ts";

const WATCH_LIMIT_MS = 10_000;
const POLL_MS = 20;
const CHUNK = 5_000;
const SHOWN = 10;

/** What a fault was allowed to do. */
export interface Contract {
  /** What may be lost, and since when, ms since 1970; undefined: nothing. */
  readonly loss: (Loss & { readonly since: number }) | undefined;
  /** What roles may say at level error because of it. */
  readonly alarms: readonly RegExp[];
}

export interface Verdict {
  /** Acknowledged orders that are no rows, by their ids: against the contract, or within it. */
  readonly lost: readonly string[];
  readonly forgiven: readonly string[];
  /** Whether a role said that the log had lost something. */
  readonly isTold: boolean;
  /** Client order ids that stand for two orders. */
  readonly doubled: readonly string[];
  readonly findings: readonly string[];
}

/** What clients were told since the last look. */
export interface Told {
  readonly reports: ToldReport[];
  readonly answers: ToldAnswer[];
}

/** What roles say where entries are gone. */
const ENTRIES_LOST =
  /ACKNOWLEDGED ENTRIES LOST|GAP IN THE LOG|LOG IS GIVEN UP|ENTRIES LOST|ENTRIES ORPHANED|DEAD LETTER/;
/** Says nothing of orders: where the log is gone, its groups are, too. */
const GROUP_LOST = /GROUP LOST/;

/** Looks at what a fault has left behind. */
export class Judge {
  readonly #stack: FaultStack;
  readonly #record: AcknowledgementRecord;
  readonly #loads: readonly LoadClient[];
  readonly #watchers: readonly Watcher[];
  readonly #told: Told;
  /** So many of the record were found in the tables already. */
  #checked = 0;
  /** Dead letters of what workers held when the log was lost, under faults that may lose something. */
  #orphans = 0;

  constructor(
    stack: FaultStack,
    record: AcknowledgementRecord,
    clients: { loads: readonly LoadClient[]; watchers: readonly Watcher[]; told: Told },
  ) {
    this.#stack = stack;
    this.#record = record;
    this.#loads = clients.loads;
    this.#watchers = clients.watchers;
    this.#told = clients.told;
  }

  /**
   * With no load and nothing under way: what was acknowledged since the last time is a row, each once; there is no row that nobody was
   * answered for; watchers have seen every report, and what they and the answers told is what stands there; nothing was told that
   * must not be. Takes some tens of milliseconds.
   */
  async look(contract: Contract): Promise<Verdict> {
    const findings: string[] = [];
    const { loss } = contract;
    const alarms = this.#stack.takeAlarms();
    const reopenings = loss === undefined ? [] : await this.#reopenings(loss.since);
    const missing = await this.#missing(findings);
    const isForgiven = (order: Noted): boolean => loss !== undefined && mayBeLost(order, loss, reopenings);
    const forgiven = new Set(missing.filter(isForgiven).map(({ orderId }) => orderId));
    const lost = missing.map(({ orderId }) => orderId).filter((id) => !forgiven.has(id));
    const isTold = alarms.some(({ message }) => ENTRIES_LOST.test(message));
    if (forgiven.size > 0 && !isTold)
      findings.push(`${forgiven.size} acknowledged orders are gone, and no role said so`);
    if (loss !== undefined) this.#forgive(forgiven);
    const doubled = await this.#doubled();
    await this.#countRows(findings, contract);
    const excused = ({ orderId, ofLoss }: Complaint): boolean =>
      loss !== undefined && (ofLoss === true || (orderId !== undefined && forgiven.has(orderId)));
    await this.#lookAtAnswers(findings, reopenings);
    await this.#lookAtWatchers(findings, contract, reopenings);
    const complaints = [...this.#loads, ...this.#watchers].flatMap((client) => client.findings.splice(0));
    findings.push(...complaints.filter((complaint) => !excused(complaint)).map(({ text }) => text));
    const allowed = loss === undefined ? contract.alarms : [...contract.alarms, ENTRIES_LOST, GROUP_LOST];
    for (const { role, message, line } of alarms) {
      if (!allowed.some((pattern) => pattern.test(message)))
        findings.push(`${role}: ${message}: ${line.slice(0, 600)}`);
    }
    findings.push(...this.#stack.takeCrashes());
    findings.push(...this.#stack.servers.troubles.splice(0).map(String));
    return { lost, forgiven: [...forgiven], isTold, doubled, findings };
  }

  /** What `penstock audit` finds, with the clients' record. Rejects where it could not look at all of it. */
  async audit(): Promise<AuditFinding[]> {
    const { redis, postgres } = this.#stack.servers;
    return await audit({ redisUrl: redis.url, databaseUrl: postgres.url, record: this.#record.file });
  }

  /** Of each partition the first opening since then that lacks something. */
  async #reopenings(since: number): Promise<Reopening[]> {
    const rows = await this.#stack.sql<
      { partition: number; epoch: number; base_epoch: number; base_ms: string; base_seq: string; at: number }[]
    >`
      SELECT DISTINCT ON (partition) partition, epoch, base_epoch, base_ms, base_seq,
             (extract(epoch FROM opened_at) * 1000)::float8 AS at
      FROM log_fences WHERE opened_at >= to_timestamp(${since / 1_000}::float8) ORDER BY partition, epoch`;
    return rows.map(({ partition, epoch, at, base_epoch, base_ms, base_seq }) => {
      return { partition, epoch, at, base: { epoch: base_epoch, ms: Number(base_ms), seq: Number(base_seq) } };
    });
  }

  /** Acknowledged orders that are no rows, or other ones. */
  async #missing(findings: string[]): Promise<Noted[]> {
    const fresh = this.#record.orders.slice(this.#checked);
    const missing: Noted[] = [];
    for (let from = 0; from < fresh.length; from += CHUNK) {
      const chunk = fresh.slice(from, from + CHUNK);
      const ids = textArray(chunk.map(({ orderId }) => orderId));
      const rows = await this.#stack.sql<{ id: string; account: string; symbol: string; client_order_id: string }[]>`
        SELECT order_id AS id, account, symbol, client_order_id FROM orders WHERE order_id = ANY(${ids}::uuid[])`;
      const byId = new Map(rows.map((row) => [row.id, `${row.account} ${row.symbol} ${row.client_order_id}`]));
      for (const order of chunk) {
        const { orderId, account, symbol, clientOrderId } = order;
        const row = byId.get(orderId);
        const acknowledged = `${account} ${symbol} ${clientOrderId}`;
        if (row === undefined) missing.push(order);
        else if (row !== acknowledged) findings.push(`${orderId} was acknowledged as ${acknowledged}, and is ${row}`);
      }
    }
    this.#checked = this.#record.orders.length;
    return missing;
  }

  async #doubled(): Promise<string[]> {
    const rows = await this.#stack.sql<{ id: string }[]>`
      SELECT account || ' ' || symbol || ' ' || client_order_id AS id FROM orders
      GROUP BY account, symbol, client_order_id HAVING count(*) > 1 LIMIT 100`;
    return rows.map(({ id }) => id);
  }

  /**
   * As many rows as acknowledgements: everything that was sent is known by now. And no dead letters, but of what a worker held
   * when the log was lost.
   */
  async #countRows(findings: string[], { loss }: Contract): Promise<void> {
    const { sql } = this.#stack;
    const [row] = await sql<{ rows: number; letters: number; orphans: number }[]>`
      SELECT (SELECT count(*) FROM orders)::int AS rows, count(*)::int AS letters,
             count(*) FILTER (WHERE kind = 'orphaned')::int AS orphans
      FROM dead_letters`;
    const { rows = 0, orphans = 0 } = row ?? {};
    if (loss !== undefined) this.#orphans = orphans;
    const letters = (row?.letters ?? 0) - this.#orphans;
    const expected = this.#record.orders.length;
    if (letters > 0) findings.push(`${letters} dead letters`);
    if (rows === expected) return;
    const known = new Set(this.#record.orders.map(({ orderId }) => orderId));
    const all = await sql<
      { id: string; client_order_id: string }[]
    >`SELECT order_id AS id, client_order_id FROM orders`;
    const unknown = all.filter(({ id }) => !known.has(id)).map(({ id, client_order_id: of }) => `${id} (${of})`);
    const some = unknown.slice(0, SHOWN).join(", ");
    findings.push(`${rows} rows, ${expected} acknowledged; nobody was answered for ${unknown.length}: ${some}`);
  }

  /** What answers told of orders stands in their reports; but for commands that the log went on without. */
  async #lookAtAnswers(findings: string[], reopenings: readonly Reopening[]): Promise<void> {
    const told = this.#told.answers.splice(0).filter(({ command }) => {
      const place = parseOrderId(command);
      return place === undefined || !isCutOff(place, reopenings);
    });
    const ids = textArray([...new Set(told.map(({ orderId }) => orderId))]);
    const rows = await this.#stack.sql<ExecutionRow[]>`SELECT * FROM executions WHERE order_id = ANY(${ids}::uuid[])`;
    findings.push(...answersThatDiffer(told, rows).slice(0, SHOWN));
  }

  /** Watches have told every report as it stands there. Where the log may have lost something, they begin anew. */
  async #lookAtWatchers(findings: string[], { loss }: Contract, reopenings: readonly Reopening[]): Promise<void> {
    const rows = await this.#stack.sql<{ account: string; partition: number; last: string }[]>`
      SELECT account, partition, max(sequence) AS last FROM executions GROUP BY account, partition`;
    const deadline = performance.now() + WATCH_LIMIT_MS;
    const before = loss === undefined ? [] : this.#told.reports.splice(0);
    for (const watcher of this.#watchers) {
      if (loss !== undefined) watcher.reset();
      const written = rows.filter(({ account }) => account === watcher.account);
      const behind = () => written.find(({ partition, last }) => watcher.seen[partition]! < BigInt(last));
      while (behind() !== undefined && performance.now() < deadline) await sleep(POLL_MS);
      for (const { partition, last } of written) {
        const seen = watcher.seen[partition]!;
        if (seen === BigInt(last)) continue;
        findings.push(`the watch of ${watcher.account} has report ${seen} of partition ${partition}, Postgres ${last}`);
      }
    }
    const isLeftOut = ({ partition, place }: ToldReport): boolean =>
      isCutOff({ ...place, partition, index: 0 }, reopenings);
    const told = [...before.filter((report) => !isLeftOut(report)), ...this.#told.reports.splice(0)];
    const from = told.reduce((least, { place }) => Math.min(least, place.ms), Infinity);
    if (from === Infinity) return;
    const written = await this.#stack.sql<ExecutionRow[]>`SELECT * FROM executions WHERE ms >= ${from}`;
    findings.push(...reportsThatDiffer(told, written).slice(0, SHOWN));
  }

  /** What was lost within the contract counts no more; what is left must still be answered as it was. */
  #forgive(lost: ReadonlySet<string>): void {
    for (const load of this.#loads) load.forget(lost);
    if (lost.size === 0) return;
    this.#record.forgive(lost);
    this.#checked = this.#record.orders.length;
  }
}
