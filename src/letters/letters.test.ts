/**
 * Dead letters that are tried again:
 *
 * - I4 what ended as a dead letter becomes the rows that it would have been, or stays one
 * - I5 its rows are written once, however often and by how many it is tried
 * - I6 in whatever order
 */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { eventFlow, flowInstruments, random } from "../../test/support/event-flow.ts";
import { ORDER } from "../../test/support/hand-log.ts";
import { createTestDatabase } from "../../test/support/servers.ts";
import { EVENT_ROWS } from "../consumers/event-rows.ts";
import { ORDER_ROWS } from "../consumers/order-rows.ts";
import { lostRecord, recordOf } from "../consumers/record.ts";
import { listAdminActions } from "../store/admin-actions.ts";
import { persist } from "../store/batch.ts";
import { listLetters } from "../store/dead-letter-shelf.ts";
import { raiseFence } from "../store/fences.ts";
import { allLetters, NOON, openSql, openWriter } from "../store/test-entries.ts";
import { MAX_ENTRY_COMMANDS, type SubmitFields } from "../stream/command.ts";
import { prepareSubmit } from "../stream/prepared-command.ts";
import type { Delivered } from "../stream/group-reader.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import { fieldsOf } from "./letter-fields.ts";
import { LetterError, Letters } from "./letters.ts";

const SYMBOLS = [...flowInstruments.keys()];
const [SYMBOL = ""] = SYMBOLS;
const known = (symbols: readonly string[]) =>
  new Map([...flowInstruments].filter(([symbol]) => symbols.includes(symbol)));
const optionsOf = (instruments: ReadonlyMap<string, TradedInstrument>) => ({
  ...{ partition: 0, instruments, instrumentsAreFresh: true },
});

/** A database, and a desk of letters over it that knows all instruments. */
async function open(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const desk = () => {
    const refresh = () => Promise.resolve();
    const letters = new Letters({
      databaseUrl: url,
      sql,
      instruments: { get: (s) => flowInstruments.get(s), refresh },
    });
    t.after(() => letters.close());
    return letters;
  };
  return { url, sql, writer: openWriter(t, url), desk };
}

/** An entry of the orders as a worker gets it, with these orders. */
function entryOf(seq: number, ...orders: readonly Partial<SubmitFields>[]): Delivered {
  const elements = orders.map(
    (order, i) => prepareSubmit("ann", { ...ORDER, symbol: SYMBOL, clientOrderId: `${seq}-${i}`, ...order }).element,
  );
  return delivered(seq, { d: Buffer.concat(elements), p: "0-0", e: "1", v: "1" });
}

function delivered(seq: number, values: Readonly<Record<string, string | Buffer>>): Delivered {
  const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
  return { id: `${NOON}-${seq}`, fields, deliveries: 1 };
}

async function dump(sql: postgres.Sql, tables: readonly string[]): Promise<Record<string, string[]>> {
  const rows: Record<string, string[]> = {};
  for (const table of tables) {
    const found = await sql<{ row: string }[]>`SELECT t::text AS row FROM ${sql(table)} AS t ORDER BY 1`;
    rows[table] = found.map(({ row }) => row);
  }
  return rows;
}

const EVENT_TABLES = ["journal", "executions", "trades", "order_states"];

test("I4, I5, I6: a poisoned history of events: redriven in any order, two at once, the rows are those of a sound one", async (t) => {
  const seed = 0xdead;
  const flow = eventFlow(seed, 90);
  const sound = await open(t);
  await persist(
    sound.writer,
    flow.map((entry) => recordOf(EVENT_ROWS, entry, optionsOf(flowInstruments))),
  );

  const { sql, writer, desk } = await open(t);
  await sql.unsafe(`
    ALTER TABLE executions ADD CONSTRAINT poison CHECK (index % 5 <> 3);
    ALTER TABLE trades ADD CONSTRAINT poison CHECK (trade % 4 <> 2);
    ALTER TABLE order_states ADD CONSTRAINT poison CHECK (ms % 9 <> 4)`);
  const half = optionsOf(known(SYMBOLS.filter((symbol) => symbol !== "C-D")));
  for (const entry of flow) await persist(writer, [recordOf(EVENT_ROWS, entry, half)]);
  const letters = await allLetters(sql);
  const kinds = new Set(letters.map(({ kind }) => kind));
  assert.deepEqual([...kinds].sort(), ["refused", "unreadable"], `seed ${seed}`);
  assert.ok(letters.length > 30, `${letters.length} letters`);

  await sql.unsafe(`
    ALTER TABLE executions DROP CONSTRAINT poison;
    ALTER TABLE trades DROP CONSTRAINT poison;
    ALTER TABLE order_states DROP CONSTRAINT poison`);
  const next = random(seed);
  const shuffled = letters.map(({ id }) => ({ id, at: next() })).sort((a, b) => a.at - b.at);
  const desks = [desk(), desk()];
  for (const { id } of shuffled) {
    const both = await Promise.all(desks.map((each) => each.redrive(id, "root")));
    assert.deepEqual(both.map(({ letter }) => letter.state), ["redriven", "redriven"], `seed ${seed}, letter ${id}`); // prettier-ignore
    assert.equal(both.filter(({ before }) => before).length, 1, "the other one found it done");
  }
  assert.deepEqual(await dump(sql, EVENT_TABLES), await dump(sound.sql, EVENT_TABLES), `seed ${seed}`);
  const actions = await listAdminActions(sql, { limit: 10_000 });
  assert.equal(actions.length, letters.length, "each stands in the audit trail once");
});

test("I4, I5: an order stays a dead letter for as long as its cause does, and is written once", async (t) => {
  const { sql, writer, desk } = await open(t);
  await sql.unsafe("ALTER TABLE orders ADD CONSTRAINT poison CHECK (client_order_id <> 'bad')");
  const entry = entryOf(0, {}, { clientOrderId: "bad", quantity: 1500 }, {});
  await persist(writer, [recordOf(ORDER_ROWS, entry, optionsOf(flowInstruments))]);
  const letters = desk();
  const [letter] = await allLetters(sql);
  assert.deepEqual([letter?.kind, letter?.index, letter?.sqlstate, letter?.attempts], ["refused", 1, "23514", 1]);
  const id = letter!.id;
  assert.equal(await letters.whyNot(letter!), undefined);

  for (const attempts of [2, 3]) {
    const failed = await letters.redrive(id, "root");
    assert.deepEqual([failed.letter.state, failed.letter.attempts, failed.before], ["open", attempts, false]);
    assert.match(failed.letter.reason, /violates check constraint "poison"/);
  }
  const counts = async () => (await sql`SELECT count(*)::int AS orders FROM orders`)[0]?.["orders"] as number;
  assert.equal(await counts(), 2);

  await sql.unsafe("ALTER TABLE orders DROP CONSTRAINT poison");
  const all = await Promise.all([letters, desk(), letters, desk()].map((each) => each.redrive(id, "root")));
  assert.equal(all.filter(({ before }) => before).length, 3, "all but one found it done");
  assert.equal(await counts(), 3);
  const [row] = await sql`SELECT client_order_id, quantity, created_at FROM orders WHERE quantity > 1`;
  assert.deepEqual({ ...row }, { client_order_id: "bad", quantity: "1.5", created_at: new Date(NOON) });
  const settled = await letters.find(id);
  assert.deepEqual([settled.state, settled.settledBy, settled.note], ["redriven", "root", null]);
  await assert.rejects(letters.discard(id, "root", "no"), refusal(/its rows are written/));
  const outcomes = (await listAdminActions(sql, { limit: 10 })).map(({ details }) => details["outcome"]);
  assert.deepEqual(outcomes, ["redriven", "failed", "failed"]);
});

test("what another row stands in the place of fails again, and leaves that row alone", async (t) => {
  const { sql, writer, desk } = await open(t);
  const record = recordOf(ORDER_ROWS, entryOf(0, {}), optionsOf(flowInstruments));
  await persist(writer, [record]);
  await sql.unsafe("DELETE FROM journal");
  await sql.unsafe("UPDATE orders SET quantity = 7");
  await persist(writer, [record]);
  const [letter] = await allLetters(sql);
  const failed = await desk().redrive(letter!.id, "root");
  assert.deepEqual([failed.letter.state, failed.letter.sqlstate], ["open", "23505"]);
  const [row] = await sql`SELECT quantity FROM orders`;
  assert.equal(row?.["quantity"], "7");
  await sql.unsafe("DELETE FROM orders");
  assert.equal((await desk().redrive(letter!.id, "root")).letter.state, "redriven");
});

test("a whole entry is taken apart again: what is good in it is written, what is not is a letter of its own", async (t) => {
  const { sql, writer, desk } = await open(t);
  const record = recordOf(ORDER_ROWS, entryOf(0, {}, { symbol: "NO-SUCH" }, {}), optionsOf(flowInstruments));
  const { payload } = record.receipt;
  // As by a program that could not read it.
  const whole = { index: -1, raw: payload!, sqlstate: null, reason: "the batch cannot be decoded: a newer field" };
  await persist(writer, [{ ...record, orders: [], deadLetters: [whole] }]);
  const damaged = delivered(1, { d: Buffer.from([0xff]), p: "0-0", e: "1", v: "1" });
  await persist(writer, [recordOf(ORDER_ROWS, damaged, optionsOf(flowInstruments))]);

  const letters = desk();
  const [bad, good] = await allLetters(sql);
  const { commands, orders } = fieldsOf(good!, flowInstruments);
  assert.equal(commands, "3");
  assert.match(orders ?? "", new RegExp(`^ann ${SYMBOL} 0-0 [-0-9a-f]{36}; ann NO-SUCH 0-1 .*; ann ${SYMBOL} 0-2 `));
  const { letter, letters: parts } = await letters.redrive(good!.id, "root");
  assert.equal(letter.state, "redriven");
  assert.deepEqual(
    parts.map(({ index, reason }) => [index, reason]),
    [[1, "the symbol is unknown"]],
  );
  const rows = await sql`SELECT client_order_id FROM orders ORDER BY 1`;
  assert.deepEqual(rows.map(({ client_order_id: id }) => id as string), ["0-0", "0-2"]); // prettier-ignore
  assert.equal((await letters.redrive(good!.id, "root")).before, true);

  const failed = await letters.redrive(bad!.id, "root");
  assert.deepEqual([failed.letter.state, failed.letter.attempts], ["open", 2]);
  assert.match(failed.letter.reason, /^the batch cannot be decoded/);
});

test("what there is nothing to write of is refused, with what to do instead; all of it can be discarded", async (t) => {
  const { sql, writer, desk } = await open(t);
  const record = (seq: number) => recordOf(ORDER_ROWS, entryOf(seq, {}), optionsOf(flowInstruments));
  const payload = Buffer.from("another history");
  const [first, second, third] = [record(0), record(1), record(2)];
  await persist(writer, [first, second]);
  const fork = { ...first.receipt, payload, hash: hash("sha256", payload, "buffer") };
  await persist(writer, [{ ...first, receipt: fork, raw: () => payload }]);
  await persist(writer, [lostRecord(ORDER_ROWS, `${NOON}-7`, 0)]);
  await persist(writer, [recordOf(ORDER_ROWS, delivered(8, { a: "b" }), optionsOf(new Map()))]);
  await persist(writer, [{ ...third, receipt: { ...third.receipt, hash: Buffer.alloc(31) } }]);
  const fourth = recordOf(ORDER_ROWS, entryOf(3, { symbol: "NO-SUCH" }), optionsOf(flowInstruments));
  await persist(writer, [fourth]);
  await sql`DELETE FROM journal WHERE seq = 3`;
  const end = { epoch: 1, ms: NOON, seq: 3 };
  await raiseFence(writer, 0, { epoch: 2, base: end, from: end, claim: "an opening" }, 1_000);
  await persist(writer, [record(9)]);

  const letters = desk();
  const answers: readonly (readonly [kind: string, index: number, answer: RegExp])[] = [
    ["fork", -1, /the journal has another payload in its place/],
    ["lost", -1, /no bytes to write: .*penstock audit --acknowledged/],
    ["foreign", -1, /find out who writes to the stream/],
    ["refused", -1, /receipt of its entry was refused .*"penstock replay --from 1795348800000-2"/],
    ["unreadable", 0, /no longer in the journal.*"penstock replay --from 1795348800000-3"/],
    ["orphaned", -1, /no engine will ever come to it: tell the clients/],
  ];
  const stored = (await allLetters(sql)).toReversed();
  assert.deepEqual(
    stored.map(({ kind, index }) => [kind, index]),
    answers.map(([kind, index]) => [kind, index]),
  );
  for (const [i, [, , answer]] of answers.entries()) {
    const { id } = stored[i]!;
    await assert.rejects(letters.redrive(id, "root"), refusal(answer));
    assert.match((await letters.whyNot(stored[i]!)) ?? "", answer);
    const { letter, before } = await letters.discard(id, "root", "looked into: ticket 4711");
    assert.deepEqual([letter.state, letter.note, before], ["discarded", "looked into: ticket 4711", false]);
    const again = await letters.discard(id, "other", "another reason");
    assert.deepEqual(
      [again.letter.note, again.letter.settledBy, again.before],
      ["looked into: ticket 4711", "root", true],
    );
  }
  assert.deepEqual(await listLetters(sql, { state: "open", limit: 10 }), []);
  assert.equal((await listLetters(sql, { limit: 10 })).length, answers.length, "none is removed");
  const rows = await sql`SELECT client_order_id FROM orders ORDER BY 1`;
  assert.deepEqual(rows.map(({ client_order_id: id }) => id as string), ["0-0", "1-0"]); // prettier-ignore

  // Once the entry was written whole after all, its letter can be settled by the rows that stand there.
  await persist(writer, [third]);
  const receiptLess = stored[3]!;
  assert.equal((await letters.redrive(receiptLess.id, "root")).letter.state, "redriven", "what was discarded, too");
  await assert.rejects(letters.redrive(999, "root"), { code: "unknown" });
  await assert.rejects(letters.discard(999, "root", "x"), { code: "unknown" });
});

test("a letter says what can be read out of it", async (t) => {
  const { sql, writer } = await open(t);
  await sql.unsafe("ALTER TABLE orders ADD CONSTRAINT poison CHECK (false)");
  await persist(writer, [
    recordOf(ORDER_ROWS, entryOf(0, { quantity: 2500, price: 10_025 }), optionsOf(flowInstruments)),
  ]);
  const [letter] = await allLetters(sql);
  assert.deepEqual(fieldsOf(letter!, flowInstruments), {
    command: "submit",
    account: "ann",
    client_order_id: "0-0",
    symbol: SYMBOL,
    side: "BUY",
    type: "LIMIT",
    time_in_force: "GTC",
    quantity: "2.5",
    price: "100.25",
    order_id: "01a20320-a200-7000-8001-000000000000",
  });
  const { quantity, price } = fieldsOf(letter!, new Map());
  assert.deepEqual([quantity, price], ["2500 lots", "10025 ticks"]);

  // Of a whole entry everybody has to be told who has an order in it.
  const orders = Array.from({ length: MAX_ENTRY_COMMANDS }, () => ({}));
  const { payload } = recordOf(ORDER_ROWS, entryOf(1, ...orders), optionsOf(flowInstruments)).receipt;
  const whole = fieldsOf({ ...letter!, index: -1, raw: payload! }, flowInstruments);
  assert.equal(whole["orders"]?.split("; ").length, MAX_ENTRY_COMMANDS);
});

function refusal(message: RegExp) {
  return (error: unknown) => error instanceof LetterError && error.code === "refused" && message.test(error.message);
}
