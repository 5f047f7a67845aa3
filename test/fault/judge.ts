import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { textArray } from "../../src/store/parameters.ts";
import type { LoadClient } from "./load-client.ts";
import type { AcknowledgementRecord } from "./record.ts";
import type { FaultStack } from "./stack.ts";
import type { Watcher } from "./watcher.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
/** Tens of thousands of orders take a second or two. */
const AUDIT_LIMIT_MS = 120_000;
const AUDIT_FOUND = 3;
const WATCH_LIMIT_MS = 10_000;
const POLL_MS = 20;
const CHUNK = 5_000;
const SHOWN = 10;

/** What a fault was allowed to do. */
export interface Contract {
  readonly mayLose: boolean;
  /** What roles may say at level error because of it. */
  readonly alarms: readonly RegExp[];
}

export interface Verdict {
  /** Acknowledged orders that are no rows, by their ids: against the contract, or within it. */
  readonly lost: readonly string[];
  readonly forgiven: readonly string[];
  /** Client order ids that stand for two orders. */
  readonly doubled: readonly string[];
  readonly findings: readonly string[];
}

/** What Redis says where acknowledged entries are gone, and what follows from it for those who knew of them. */
const LOSS = /ACKNOWLEDGED ENTRIES LOST|GAP IN THE LOG|ENTRIES LOST|GROUP LOST|ENTRIES ORPHANED|DEAD LETTER/;
const OF_LOSS = /NOT_FOUND|OUT_OF_RANGE|told twice|a gap|newly/;

/** Looks at what a fault has left behind. */
export class Judge {
  readonly #stack: FaultStack;
  readonly #record: AcknowledgementRecord;
  readonly #loads: readonly LoadClient[];
  readonly #watchers: readonly Watcher[];
  /** So many of the record were found in the tables already. */
  #checked = 0;
  /** Dead letters of what workers held when the log was lost, under faults that may lose something. */
  #orphans = 0;

  constructor(
    stack: FaultStack,
    record: AcknowledgementRecord,
    clients: { loads: readonly LoadClient[]; watchers: readonly Watcher[] },
  ) {
    this.#stack = stack;
    this.#record = record;
    this.#loads = clients.loads;
    this.#watchers = clients.watchers;
  }

  /**
   * With no load and nothing under way: what was acknowledged since the last time is a row, each once; there is no row that nobody was
   * answered for; watchers have seen every report; nothing was told that must not be. Takes some milliseconds.
   */
  async look(contract: Contract): Promise<Verdict> {
    const findings: string[] = [];
    const alarms = this.#stack.takeAlarms();
    const missing = await this.#missing(findings);
    const forgiven = contract.mayLose ? missing : [];
    const told = alarms.some(({ message }) => LOSS.test(message));
    if (forgiven.length > 0 && !told)
      findings.push(`${forgiven.length} acknowledged orders are gone, and no role said so`);
    if (contract.mayLose) this.#forgive(new Set(forgiven));
    const doubled = await this.#doubled();
    await this.#countRows(findings, contract);
    await this.#lookAtWatchers(findings, contract);
    const allowed = contract.mayLose ? [...contract.alarms, LOSS] : contract.alarms;
    for (const { role, message, line } of alarms) {
      if (!allowed.some((pattern) => pattern.test(message)))
        findings.push(`${role}: ${message}: ${line.slice(0, 600)}`);
    }
    const answers = this.#loads.flatMap((load) => load.findings.splice(0));
    findings.push(...answers.filter((finding) => !contract.mayLose || !OF_LOSS.test(finding)));
    findings.push(...this.#stack.takeCrashes());
    findings.push(...this.#stack.troubles.splice(0).map(String));
    return { lost: contract.mayLose ? [] : missing, forgiven, doubled, findings };
  }

  /** What `penstock audit` finds, with the clients' record. */
  async audit(): Promise<string[]> {
    const env = {
      PATH: process.env["PATH"],
      REDIS_URL: this.#stack.redisServer.url,
      DATABASE_URL: this.#stack.postgresServer.url,
    };
    const args = [MAIN, "audit", "--acknowledged", this.#record.file];
    const { promise, resolve } = Promise.withResolvers<string[]>();
    execFile(process.execPath, args, { env, timeout: AUDIT_LIMIT_MS, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      const found = stdout.split("\n").filter((line) => line.startsWith("FOUND"));
      if (error === null) resolve([]);
      else if (error.code === AUDIT_FOUND && found.length > 0) resolve(found.map((line) => `audit: ${line}`));
      else resolve([`the audit failed: ${error.message}\n${stdout}\n${stderr}`]);
    });
    return await promise;
  }

  /** Ids of acknowledged orders that are no rows, or other ones. */
  async #missing(findings: string[]): Promise<string[]> {
    const fresh = this.#record.orders.slice(this.#checked);
    const missing: string[] = [];
    for (let from = 0; from < fresh.length; from += CHUNK) {
      const chunk = fresh.slice(from, from + CHUNK);
      const ids = textArray(chunk.map(({ orderId }) => orderId));
      const rows = await this.#stack.sql<{ id: string; account: string; symbol: string; client_order_id: string }[]>`
        SELECT order_id AS id, account, symbol, client_order_id FROM orders WHERE order_id = ANY(${ids}::uuid[])`;
      const byId = new Map(rows.map((row) => [row.id, `${row.account} ${row.symbol} ${row.client_order_id}`]));
      for (const { orderId, account, symbol, clientOrderId } of chunk) {
        const row = byId.get(orderId);
        const acknowledged = `${account} ${symbol} ${clientOrderId}`;
        if (row === undefined) missing.push(orderId);
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
  async #countRows(findings: string[], { mayLose }: Contract): Promise<void> {
    const { sql } = this.#stack;
    const [row] = await sql<{ rows: number; letters: number; orphans: number }[]>`
      SELECT (SELECT count(*) FROM orders)::int AS rows, count(*)::int AS letters,
             count(*) FILTER (WHERE kind = 'orphaned')::int AS orphans
      FROM dead_letters`;
    const { rows = 0, orphans = 0 } = row ?? {};
    if (mayLose) this.#orphans = orphans;
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

  async #lookAtWatchers(findings: string[], { mayLose }: Contract): Promise<void> {
    const rows = await this.#stack.sql<{ account: string; partition: number; last: string }[]>`
      SELECT account, partition, max(sequence) AS last FROM executions GROUP BY account, partition`;
    const deadline = performance.now() + WATCH_LIMIT_MS;
    for (const watcher of this.#watchers) {
      if (mayLose) watcher.reset();
      const written = rows.filter(({ account }) => account === watcher.account);
      const behind = () => written.find(({ partition, last }) => watcher.seen[partition]! < BigInt(last));
      while (behind() !== undefined && performance.now() < deadline) await sleep(POLL_MS);
      for (const { partition, last } of written) {
        const seen = watcher.seen[partition]!;
        if (seen === BigInt(last)) continue;
        findings.push(`the watch of ${watcher.account} has report ${seen} of partition ${partition}, Postgres ${last}`);
      }
      const told = watcher.findings.splice(0);
      findings.push(...told.filter((finding) => !mayLose || !OF_LOSS.test(finding)));
    }
  }

  #forgive(lost: ReadonlySet<string>): void {
    // Cancels and replaces may be gone, too.
    for (const load of this.#loads) load.forget();
    if (lost.size === 0) return;
    this.#record.forgive(lost);
    this.#checked = this.#record.orders.length;
  }
}
