import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";

import { PostgresWire } from "../../test/support/postgres-wire.ts";
import { Proxy } from "../../test/support/proxy.ts";
import { createTestDatabase } from "../../test/support/servers.ts";
import { until } from "../../test/support/until.ts";
import { persist } from "./batch.ts";
import type { TradeRow } from "./entry-record.ts";
import { rewrite } from "./rewrite.ts";
import { endStalledCopies } from "./stalled.ts";
import { makeEntry, makeEvents, makeOrder, NOON, openSql, openWriter } from "./test-entries.ts";
import type { Writer } from "./writer.ts";

const UUID = "019b0000-0000-7000-8001-000000000000";
const TRADE: TradeRow = {
  ...{ index: 0, symbol: "BTC-USD", trade: 1, price: "1", quantity: "1", aggressor: "BUY" },
  ...{ buyOrderId: UUID, sellOrderId: UUID, buyAccount: "a", sellAccount: "b" },
};

/** Of who ends them; so long a transaction must have stalled. It connects within that time on a busy machine, too. */
const TIMEOUT_MS = 1_500;

interface Stalled {
  /** How the transaction ended, once it has. */
  readonly outcome: Promise<"written" | "ended">;
  /** Lets it go on. */
  readonly release: () => void;
}

/** A transaction that has come to a COPY which begins like that; of its rows none comes. */
async function stall(
  t: TestContext,
  url: string,
  statement: string,
  work: (writer: Writer) => Promise<unknown>,
): Promise<Stalled> {
  const proxy = await Proxy.start(t, url, { wire: () => new PostgresWire() });
  let asked = "";
  const held = proxy.holdAt(({ name, text }) => {
    if (name === "Query") asked = text;
    return name === "CopyInResponse" && asked.trimStart().startsWith(statement);
  });
  const outcome = work(openWriter(t, proxy.url)).then(
    () => "written" as const,
    () => "ended" as const,
  );
  const { release } = await held;
  return { outcome, release };
}

/** The URL with another name for its connections, or another user. */
function named(url: string, name: string, user?: string): string {
  const other = new URL(url);
  other.searchParams.set("application_name", name);
  if (user !== undefined) [other.username, other.password] = [user, user];
  return other.href;
}

test("I4: the COPYs of other workers whose time is up are ended, whatever their connections are called, and nothing else", async (t) => {
  const { url } = await createTestDatabase(t);
  const { url: elsewhere } = await createTestDatabase(t);
  for (const database of [url, elsewhere]) await persist(openWriter(t, database), [makeEntry({ seq: 0 })]);
  await openSql(t, url)`CREATE TABLE facts (fact int PRIMARY KEY)`;

  const trades = makeEntry({ seq: 3, orders: 0, receipt: { stream: 1 }, more: { trades: [TRADE] } });
  const workers: [statement: string, work: (writer: Writer) => Promise<unknown>][] = [
    ["COPY orders (", (writer) => persist(writer, [makeEntry({ seq: 1 })])],
    ["COPY executions (", (writer) => persist(writer, [makeEvents(2, [makeOrder(NOON, 2, 0)])])],
    ["COPY trades (", (writer) => persist(writer, [trades])],
    ["COPY order_states (", (writer) => persist(writer, [makeEvents(4, [makeOrder(NOON, 4, 0)])])],
    ["COPY staged_orders (", (writer) => rewrite(writer, [makeEntry({ seq: 5 })], async () => {})],
  ];
  const stalled = await Promise.all(
    workers.map(([statement, work], i) => stall(t, named(url, `worker ${i}`), statement, work)),
  );
  const copy = (statement: string, row: string) => (writer: Writer) =>
    writer.transaction((transaction) => transaction.copy(statement, [Buffer.from(row)]));
  const others = await Promise.all([
    stall(t, url, "COPY facts", copy("COPY facts FROM STDIN", "1\n")),
    stall(t, url, "COPY facts", copy("COPY facts (fact) FROM STDIN /* COPY orders ( */", "2\n")),
    stall(t, elsewhere, "COPY orders (", (writer) => persist(writer, [makeEntry({ seq: 1 })])),
  ]);

  const writer = openWriter(t, named(url, "consumers"), TIMEOUT_MS);
  let ended = 0;
  await until("all of them are ended", async () => (ended += await endStalledCopies(writer)) >= workers.length);
  assert.equal(await endStalledCopies(writer), 0);
  assert.equal(ended, workers.length);
  for (const { release } of [...stalled, ...others]) release();
  for (const [i, { outcome }] of stalled.entries()) assert.equal(await outcome, "ended", workers[i]![0]);
  for (const { outcome } of others) assert.equal(await outcome, "written");

  // What is younger than a transaction may take is left alone.
  const young = await stall(t, url, "COPY orders (", (other) => persist(other, [makeEntry({ seq: 6 })]));
  assert.equal(await endStalledCopies(openWriter(t, url)), 0);
  young.release();
  assert.equal(await young.outcome, "written");
});

test("I4: a role ends the COPYs of the roles that it may signal, and leaves those of others", async (t) => {
  const { url } = await createTestDatabase(t);
  await persist(openWriter(t, url), [makeEntry({ seq: 0 })]);
  const sql = openSql(t, url);
  for (const role of ["first", "second"]) await sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`);
  await sql.unsafe("GRANT INSERT ON orders TO first; GRANT pg_read_all_stats TO second");

  const stalled = await stall(t, named(url, "one", "first"), "COPY orders (", (writer) =>
    writer.transaction((transaction) => transaction.copy("COPY orders (order_id) FROM STDIN", [])),
  );
  const second = openWriter(t, named(url, "two", "second"), TIMEOUT_MS);
  await until("its time is up", async () => {
    const { count } = await sql`
      SELECT FROM pg_stat_activity WHERE usename = 'first' 
        AND xact_start < clock_timestamp() - ${TIMEOUT_MS} * interval '1 ms'`;
    return count === 1;
  });
  assert.equal(await endStalledCopies(second), 0, "it sees the statement, and may not end it");
  await sql.unsafe("GRANT first TO second");
  assert.equal(await endStalledCopies(second), 1);
  stalled.release();
  assert.equal(await stalled.outcome, "ended");
});
