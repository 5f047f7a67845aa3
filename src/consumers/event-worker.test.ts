/**
 * A worker of the events stream over real servers: what it shares with that of the orders is tried there.
 *
 * - I4 every entry ends acknowledged or dead-lettered; none is skipped in silence
 * - I5 the rows of an entry and its receipt commit together, and only then is it acknowledged
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { BORN, eventBatch, tradeOf } from "../../test/support/hand-events.ts";
import { HandStream } from "../../test/support/hand-stream.ts";
import { eventually } from "../../test/support/pipeline.ts";
import { setScene, unfinishedOf, untilFinished } from "../../test/support/worker.ts";
import { EVENTS_STREAM } from "../store/entry-record.ts";
import { allLetters } from "../store/test-entries.ts";
import { rawEvent } from "../stream/event-decoder.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { formatOrderId, parseEntryId } from "../stream/position.ts";

const orderId = (seq: number) => formatOrderId({ partition: 0, epoch: 1, ms: BORN, seq, index: 0 });

async function setEvents(t: TestContext) {
  const scene = await setScene(t);
  const events = await HandStream.begin(scene.redis, scene.log.keys.events);
  const count = async () => {
    const [row] = await scene.sql`
      SELECT (SELECT count(*)::int FROM journal WHERE stream = 1) AS journal,
             (SELECT count(*)::int FROM executions) AS executions, (SELECT count(*)::int FROM trades) AS trades,
             (SELECT count(*)::int FROM order_states) AS states, (SELECT count(*)::int FROM dead_letters) AS letters`;
    return { ...row };
  };
  return { ...scene, events, count };
}

test("I4: poison among good events: dead letters with their bytes, the others rows, and all is acknowledged", async (t) => {
  const scene = await setEvents(t);
  const { events, sql } = scene;
  const good = { seq: 0 };
  const mixed = eventBatch([
    good,
    { seq: 1, reason: 99 },
    { seq: 2, kind: 9 },
    { seq: 3, execType: 9 },
    { seq: 4, status: 77 },
    { seq: 5, symbol: "NO-SUCH" },
    { seq: 6, ms: 0 },
    { seq: 7, account: "nul\0nul" },
    { seq: 8, ...tradeOf(5)[0], side: 9 },
    ...tradeOf(7).toReversed(),
    good,
  ]);
  await events.append({ d: mixed });
  await events.append({ d: eventBatch([{ seq: 10 }], "nul\0nul") });
  await events.append({ d: Buffer.from([0xff, 0xff]) });
  await events.append({ d: "" });
  await events.append({ d: eventBatch([{ seq: 11 }]) });
  const worker = await scene.worker({ stream: "events" });
  await untilFinished(scene, "events");

  // 8 is a report though no trade, and so is each side of the pair that came in the wrong order.
  assert.deepEqual(await scene.count(), { journal: 5, executions: 6, trades: 0, states: 4, letters: 12 });
  const letters = (await allLetters(sql)).toReversed();
  const reasons = [/unknown reason 99/, /unknown event: kind 9/, /execution type 9/, /unknown status 77/];
  reasons.push(/symbol is unknown/, /without an id/, /0x00/, /unknown side 9/, /without its other side/);
  const ofFirst = letters.filter(({ seq, ms, index }) => index >= 0 && index < 11 && `${ms}-${seq}` < events.last);
  for (const [i, reason] of reasons.entries()) {
    const letter = letters.find((each) => reason.test(each.reason));
    assert.ok(letter, `${reason.source}\n${ofFirst.map((each) => each.reason).join("\n")}`);
    assert.equal(letter.stream, EVENTS_STREAM);
    if (i < 8) assert.deepEqual(letter.raw, rawEvent(mixed, i + 1));
  }
  assert.ok(letters.some(({ index, raw }) => index === -1 && raw.equals(Buffer.from([0xff, 0xff]))));
  const [state] = await sql`SELECT status, index FROM order_states WHERE order_id = ${orderId(0)}`;
  assert.deepEqual({ ...state }, { status: "NEW", index: 11 });

  await scene.redis.xgroup("SETID", events.key, PERSIST_GROUP, "0");
  await untilFinished(scene, "events");
  assert.deepEqual(await scene.count(), { journal: 5, executions: 6, trades: 0, states: 4, letters: 12 });
  assert.equal(await worker.count("entries_redelivered_total"), 5);
});

test("what is the system's makes no row; a mass cancel's report, and what is refused to an unknown order, are the account's", async (t) => {
  const scene = await setEvents(t);
  const none = { ms: 0, seq: 0, status: 0, execType: 0, quantity: 0, price: 0, leavesQuantity: 0 };
  const batch = eventBatch(
    [
      { ...none, kind: 4, account: "", sequence: 0 },
      { ...none, kind: 4, symbol: "", clientOrderId: "", affected: 3, remaining: 1, reason: 10 },
      { ...none, kind: 2, sequence: 2, reason: 15 },
      { kind: 3, sequence: 3, reason: 16 },
    ],
    "request-1",
  );
  await scene.events.append({ d: batch });
  await scene.worker({ stream: "events" });
  await untilFinished(scene, "events");
  const rows = await scene.sql`
    SELECT index, exec_type, reason, status, order_id, client_order_id, client_request_id, affected, remaining, price
    FROM executions ORDER BY index`;
  assert.deepEqual(
    rows.map((row) => Object.values(row) as unknown[]),
    [
      [1, "MASS_CANCEL_REPORT", "TRADING_STATUS", null, null, null, "request-1", 3, 1, null],
      [2, "CANCEL_REJECTED", "UNKNOWN_ORDER", null, null, "mine", "request-1", null, null, null],
      [3, "REPLACE_REJECTED", "ALREADY_FILLED", "NEW", orderId(0), null, "request-1", null, null, "100.25"],
    ],
  );
  assert.deepEqual(await scene.count(), { journal: 1, executions: 3, trades: 0, states: 0, letters: 0 });
});

test("I4: an instrument that is defined after the worker began is learned; one that only Postgres still knows, too", async (t) => {
  const scene = await setEvents(t);
  const { redis, log, events } = scene;
  await scene.worker({ stream: "events" });
  await log.define("NEW");
  await events.append({ d: eventBatch([{ symbol: "NEW" }]) });
  await untilFinished(scene, "events");
  const orders = await scene.worker(); // writes the definitions to Postgres
  await untilFinished(scene);
  await orders.stop();
  await redis.del(log.keys.instruments);
  await scene.worker({ stream: "events", name: "late" });
  await events.append({ d: eventBatch([{ symbol: "NEW", seq: 1 }]) });
  await events.append({ d: eventBatch(tradeOf(1)) });
  await untilFinished(scene, "events");
  assert.deepEqual(await scene.count(), { journal: 3, executions: 4, trades: 1, states: 2, letters: 0 });
});

test("an entry of a newer version is left alone, and the worker stops", async (t) => {
  const scene = await setEvents(t);
  await scene.events.append({ d: eventBatch([{}]) });
  await scene.events.append({ d: eventBatch([{}]), v: "2" });
  const worker = await scene.worker({ stream: "events" });
  await worker.hasLogged("STOPPED: the log has entries of a newer version");
  assert.deepEqual(await scene.count(), { journal: 1, executions: 1, trades: 0, states: 1, letters: 0 });
  assert.equal(await unfinishedOf(scene, "events"), 1);
});

test("I4: event entries that were removed before they were written are told, as dead letters", async (t) => {
  const scene = await setEvents(t);
  const { redis, events } = scene;
  const first = await events.append({ d: eventBatch([{}]) });
  await events.append({ d: eventBatch([{ seq: 1 }]) });
  await redis.xreadgroup("GROUP", PERSIST_GROUP, "dead", "STREAMS", events.key, ">");
  await redis.xdel(events.key, first);
  const worker = await scene.worker({ stream: "events", minIdleMs: 0 });
  await worker.hasLogged("ENTRIES LOST");
  await untilFinished(scene, "events");
  const [letter] = await allLetters(scene.sql);
  const { ms, seq } = parseEntryId(first);
  assert.deepEqual([letter?.stream, letter?.ms, letter?.seq], [EVENTS_STREAM, ms, seq]);
  assert.match(String(letter?.reason), /^LOST/);
});

test("I5: an order's states take each other's place in whatever transactions they come, also on another day than its own", async (t) => {
  const scene = await setEvents(t);
  const { events, sql } = scene;
  const worker = await scene.worker({ stream: "events", transactionRows: 1 });
  await events.append({ d: eventBatch([{}]) });
  await untilFinished(scene, "events");
  // The order of the first entry, another of last month, and one of each again.
  const old = { ms: BORN - 40 * 86_400_000 };
  await events.append({ d: eventBatch([old, { execType: 4, quantity: 2, leavesQuantity: 2 }]) });
  await events.append({ d: eventBatch([{ ...old, execType: 3, status: 5, leavesQuantity: 0, reason: 32 }]) });
  await untilFinished(scene, "events");
  const states = await sql`SELECT status, open, quantity, reason FROM order_states ORDER BY order_id`;
  assert.deepEqual(
    states.map((row) => Object.values(row) as unknown[]),
    [
      ["CANCELED", false, "0.00000003", "REQUESTED"],
      ["NEW", true, "0.00000002", null],
    ],
  );
  await eventually(async () => (await worker.count("rows_written_total")) === 4, "all to be counted");
});
