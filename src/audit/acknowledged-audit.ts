import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type postgres from "postgres";
import { UsageError } from "../runtime/errors.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry } from "../store/journal.ts";
import { plainArray, textArray } from "../store/parameters.ts";
import { clientKeyOf, idempotencyKey } from "../stream/command.ts";
import { decodeBatch } from "../stream/logged-command.ts";
import { findEntry } from "../stream/lookup.ts";
import { parseOrderId, type Place } from "../stream/position.ts";
import { WireError } from "../stream/wire.ts";
import type { Findings } from "./findings.ts";
import { number } from "./report.ts";
import type { Kept, Scope } from "./scope.ts";

/** Lines that are looked up at once. */
const CHUNK = 10_000;
/** In the place of an order id: no answer came, so the order may or may not be in the log. */
const UNANSWERED = "unknown";

/** A line of the record. */
interface Answer {
  readonly clientOrderId: string;
  readonly symbol: string;
  readonly orderId: string;
  /** "" where the client did not note it. */
  readonly account: string;
}

interface Acknowledged extends Answer {
  readonly place: Place;
}

type Row = {
  readonly order_id: string;
  readonly client_order_id: string;
  readonly symbol: string;
  readonly account: string;
};

/**
 * I1, I2: every order of a client's own record is a row, a dead letter, or still in the log, under the id that was answered, and
 * no client order id of it stands for two orders.
 *
 * A line of the file is client_order_id, symbol, order_id, and where the client noted them the time of the answer and the account,
 * with tabs between; what follows is the client's own. The order id is "unknown" where there was no answer: such an order may be
 * there once, or not at all; only with its account can it be looked for.
 */
export async function auditAcknowledged(file: string, servers: AskedServers, findings: Findings): Promise<void> {
  const audit = new AcknowledgedAudit(servers, findings);
  let chunk: Answer[] = [];
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    if (line === "") continue;
    chunk.push(readLine(file, line));
    if (chunk.length < CHUNK) continue;
    await audit.check(chunk);
    chunk = [];
  }
  await audit.check(chunk);
  audit.conclude();
}

/** Where the orders are looked for. */
export interface AskedServers {
  readonly sql: postgres.Sql;
  readonly kept: Kept;
  /** Of all partitions; none where nothing says that there are any. */
  readonly scopes: readonly Scope[];
  /** Whether Redis answered. */
  readonly hasRedis: boolean;
}

function readLine(file: string, line: string): Answer {
  const [clientOrderId, symbol, orderId, _time, account = ""] = line.split("\t");
  if (clientOrderId === undefined || symbol === undefined || orderId === undefined) {
    throw new UsageError(
      `${file}: not a line of client_order_id, symbol and order_id with tabs between: ${line.slice(0, 80)}`,
    );
  }
  return { clientOrderId, symbol, orderId, account };
}

class AcknowledgedAudit {
  readonly #servers: AskedServers;
  readonly #findings: Findings;
  #acknowledged = 0;
  #rows = 0;
  /** In the log only. */
  #underWay = 0;
  /** In the journal, and no row: a dead letter, or found by the audit of the rows. */
  #journaled = 0;
  #unanswered = 0;
  /** Of days that are kept no more. */
  #tooOld = 0;
  /** Found nowhere, while Redis could not be asked. */
  #unknown = 0;

  constructor(servers: AskedServers, findings: Findings) {
    this.#servers = servers;
    this.#findings = findings;
  }

  async check(chunk: readonly Answer[]): Promise<void> {
    if (chunk.length === 0) return;
    const acknowledged: Acknowledged[] = [];
    for (const answer of chunk) {
      if (answer.orderId === UNANSWERED) {
        this.#unanswered++;
        continue;
      }
      this.#acknowledged++;
      const place = parseOrderId(answer.orderId);
      const { length } = this.#servers.scopes;
      if (place !== undefined && (length === 0 || place.partition < length)) acknowledged.push({ ...answer, place });
      else this.#findings.add("an id that is no place in the log", `the answer to ${nameOf(answer)}`);
    }
    const rows = await this.#rowsOf(acknowledged);
    for (const answer of acknowledged) {
      const row = rows.get(answer.orderId.toLowerCase());
      if (row === undefined) await this.#lookFor(answer);
      else this.#compare(answer, row);
    }
    await this.#checkDoubles(chunk, acknowledged);
  }

  conclude(): void {
    const parts = [
      `${number(this.#rows)} of ${number(this.#acknowledged)} acknowledged orders are rows`,
      ...(this.#underWay > 0 ? [`${number(this.#underWay)} are in the log, under way`] : []),
      ...(this.#journaled > 0 ? [`${number(this.#journaled)} are in the journal only`] : []),
      ...(this.#tooOld > 0 ? [`${number(this.#tooOld)} are of days that are kept no more`] : []),
      ...(this.#unanswered > 0 ? [`${number(this.#unanswered)} had no answer`] : []),
    ];
    if (this.#acknowledged > 0) this.#findings.proved("I1", parts.join(", "));
    else this.#findings.unproved("the client's record has no order that was acknowledged", "I1");
    if (this.#unknown > 0) {
      const words = `${number(this.#unknown)} acknowledged orders are not in Postgres, and Redis, which may hold them, has no log`;
      this.#findings.unproved(words, "I1");
    }
    if (this.#acknowledged > 0)
      this.#findings.proved("I2", "each id of the client's record stands for one order at most");
  }

  async #rowsOf(answers: readonly Acknowledged[]): Promise<Map<string, Row>> {
    const { sql } = this.#servers;
    const ids = textArray(answers.map(({ orderId }) => orderId));
    const rows = await sql<Row[]>`
      SELECT order_id, client_order_id, symbol, account FROM orders WHERE order_id = ANY(${ids}::uuid[])`;
    return new Map(rows.map((row) => [row.order_id, row]));
  }

  #compare(answer: Acknowledged, row: Row): void {
    const { clientOrderId, symbol, account, orderId } = answer;
    if (row.client_order_id !== clientOrderId || row.symbol !== symbol || (account !== "" && row.account !== account)) {
      const other = `${row.account} ${row.symbol} ${row.client_order_id}`;
      this.#findings.add("answered with another order's id", `${orderId} is ${other}, answered to ${nameOf(answer)}`);
    } else this.#rows++;
  }

  /** It is no row, or was none a moment ago. */
  async #lookFor(answer: Acknowledged): Promise<void> {
    const { place } = answer;
    const { sql, kept, hasRedis } = this.#servers;
    const scope = this.#servers.scopes[place.partition];
    const logged = scope?.redis && (await findEntry(scope.redis, scope.keys, place));
    // The log is trimmed when an entry is written: what left it meanwhile is found in the order of its way.
    const entry = logged ?? (await readEntry(sql, ORDERS_STREAM, place.partition, place));
    const command = submitAt(entry?.payload ?? Buffer.alloc(0), place.index);
    if (command !== undefined) {
      const isIts = command.clientOrderId === answer.clientOrderId && command.symbol === answer.symbol;
      if (!isIts) {
        const other = `${command.symbol} ${command.clientOrderId}`;
        this.#findings.add(
          "answered with another order's id",
          `${answer.orderId} is ${other}, answered to ${nameOf(answer)}`,
        );
      } else if (logged === undefined) this.#journaled++;
      else this.#underWay++;
      return;
    }
    const row = (await this.#rowsOf([answer])).get(answer.orderId.toLowerCase());
    if (row !== undefined) this.#compare(answer, row);
    else if (!(await kept.has(place.ms))) this.#tooOld++;
    else if (scope === undefined ? !hasRedis : scope.redis === undefined) this.#unknown++;
    else this.#findings.add("acknowledged and lost", `${nameOf(answer)}: order ${answer.orderId}`);
  }

  /** By the client's ids: each must stand for one order only. */
  async #checkDoubles(chunk: readonly Answer[], acknowledged: readonly Acknowledged[]): Promise<void> {
    const { sql } = this.#servers;
    const ids = textArray(acknowledged.map(({ orderId }) => orderId));
    const keys = plainArray(
      chunk.flatMap(({ account, symbol, clientOrderId }) =>
        account === "" ? [] : [BigInt(clientKeyOf(idempotencyKey("submit", account, symbol, clientOrderId)))],
      ),
    );
    // Kept apart by OFFSET 0: a look into each day's index for each key, 0.4 s for 10,000 of them over 10 days, however many orders
    // there are. By itself the planner reads all orders each time, up to tens of millions: 0.4 s and more a million.
    const doubled = await sql<{ client_order_id: string; symbol: string; account: string; orders: string }[]>`
      WITH keys AS (
        SELECT client_key FROM orders WHERE order_id = ANY(${ids}::uuid[]) UNION SELECT unnest(${keys}::bigint[])
      )
      SELECT client_order_id, symbol, account, string_agg(order_id::text, ', ' ORDER BY order_id) AS orders
      FROM keys CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.client_key = keys.client_key OFFSET 0) AS orders
      GROUP BY client_order_id, symbol, account HAVING count(*) > 1`;
    for (const { account, symbol, client_order_id: id, orders } of doubled)
      this.#findings.add("one id, several orders", `${account} ${symbol} ${id}: ${orders}`);
  }
}

function nameOf({ account, symbol, clientOrderId }: Answer): string {
  return `${account === "" ? "" : `${account} `}${symbol} ${clientOrderId}`;
}

/** The order that a command of an entry asks for; undefined where it is none. */
function submitAt(payload: Buffer, index: number): { clientOrderId: string; symbol: string } | undefined {
  try {
    const command = decodeBatch(payload)[index];
    return command?.kind === "submit" ? command.submit : undefined;
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
