/**
 * A worker over real servers, and what it must not lose or double:
 *
 * - I4 every entry ends acknowledged or dead-lettered; none is skipped in silence
 * - I5 the rows of an entry and its receipt commit together, and only then is it acknowledged
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { pino } from "pino";

import type { HandLog } from "../../test/support/hand-log.ts";
import { eventually } from "../../test/support/pipeline.ts";
import { Proxy } from "../../test/support/proxy.ts";
import { pendingOf, type Scene, setScene, unfinishedOf, untilFinished } from "../../test/support/worker.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { allLetters, countRows } from "../store/test-entries.ts";
import { prepareInstrument } from "../stream/prepared-command.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { InstrumentBook } from "../stream/instrument-book.ts";
import { parseEntryId } from "../stream/position.ts";

test("I5: entries become rows once each, in transactions that are divided at their bounds", async (t) => {
  const scene = await setScene(t);
  await scene.log.fill(100, 7);
  const worker = await scene.worker({ count: 30, transactionRows: 50 });
  await untilFinished(scene);
  await scene.log.fill(1);
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 102, orders: 701, deadLetters: 0 });
  const [{ distinct } = {}] = await scene.sql`SELECT count(DISTINCT client_order_id)::int AS distinct FROM orders`;
  assert.equal(distinct, 701);
  assert.equal(await worker.count("rows_written_total"), 701);
  assert.equal(await worker.count("entries_redelivered_total"), 0);
});

test("I4: what is too much for the time of one transaction is written in smaller ones", async (t) => {
  const scene = await setScene(t);
  await scene.sql`
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END'`;
  await scene.sql`CREATE TRIGGER dawdle BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION dawdle()`;
  await scene.log.fill(30);
  // All of it takes 1.5 s.
  const worker = await scene.worker({ transactionTimeoutMs: 1_000 });
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 31, orders: 30, deadLetters: 0 });
  assert.ok((await worker.count("retries_total")) > 0);
});

/** One element of a batch whose command is these bytes. */
function element(command: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(1 << 3) | 2, command.length]), command]);
}

/** Appends bad entries of every kind, with good orders in and between them; how many orders are good, and what is wrong with the others. */
async function appendPoison(log: HandLog, redis: Scene["redis"]): Promise<{ good: number; bad: RegExp[] }> {
  const order = (fields?: Parameters<HandLog["order"]>[0]) => log.order(fields);
  const unknown = (value: number) => value as Side & OrderType & TimeInForce & SelfTradePrevention;
  const huge = Buffer.from([(4 << 3) | 2, 11, (7 << 3) | 0, ...Array<number>(9).fill(0xff), 0x01]); // a price of 2^63 and more
  const instrument = { symbol: "BAD", tickSize: "a lot", lotSize: "1", version: 1 };
  await log.append(order(), order({ clientOrderId: "nul\0nul" }), order());
  await log.append(order({ expireTime: Number.MAX_SAFE_INTEGER }), order()); // good: the year 287,396 is a time to Postgres
  await log.append(
    order(),
    order({ side: unknown(9) }),
    order({ type: unknown(77) }),
    order({ timeInForce: unknown(9) }),
  );
  await log.append(order({ selfTradePrevention: unknown(99) }), order({ symbol: "NO-SUCH" }), order());
  await log.append(order(), element(Buffer.from([0xff, 0xff, 0xff])), element(huge), order());
  await log.append(element(Buffer.from([(1 << 3) | 2, 1, 0x61])), order()); // an account and no command
  await log.append(prepareInstrument("root", create(InstrumentSchema, instrument)).element, order());
  await log.appendOdd({ d: Buffer.from([0xff, 0xff]) });
  await log.appendOdd({ d: "" });
  await log.appendOdd({ d: order(), e: "0" });
  await log.appendOdd({ d: order(), e: "16384" });
  await log.appendOdd({ d: order(), p: "before" });
  await redis.xadd(log.keys.orders, "*", "greeting", "hello");
  await log.append(order());
  return {
    good: 11,
    bad: [
      ...[/0x00/, /unknown side 9/, /unknown order type 77/, /unknown time in force 9/],
      ...[
        /unknown self-trade prevention 99/,
        /symbol is unknown/,
        /ends inside a number/,
        /beyond 2\^53/,
        /unknown kind/,
      ],
      ...[/instrument cannot be defined/, /batch cannot be decoded/, /no field d/, /e is no epoch/, /e is no epoch/],
      ...[/p is no entry ID/, /no field d/],
    ],
  };
}

test("I4: bad rows become dead letters, the good ones beside them rows, and all is acknowledged", async (t) => {
  const scene = await setScene(t);
  const { good, bad } = await appendPoison(scene.log, scene.redis);
  const worker = await scene.worker();
  await untilFinished(scene);
  await scene.log.fill(3);
  await untilFinished(scene);

  const counted = { journal: 1 + 14 + 3, orders: good + 3, deadLetters: bad.length };
  assert.deepEqual(await countRows(scene.sql), counted);
  const letters = (await allLetters(scene.sql)).toReversed();
  for (const [i, reason] of bad.entries()) {
    assert.ok(
      letters.some((letter) => reason.test(letter.reason)),
      `${i}: ${reason.source}\n${letters.map((l) => l.reason).join("\n")}`,
    );
  }
  const nul = letters.find(({ sqlstate }) => sqlstate === "22021");
  assert.equal(nul?.index, 1);
  assert.ok(nul.raw.includes("nul\0nul"));
  assert.ok(letters.some(({ raw }) => raw.toString() === "greetinghello"));
  assert.deepEqual(letters.filter(({ index }) => index === -1).length, 6);
  assert.equal(await worker.count("dead_letters_total"), bad.length);

  // All of it once more: nothing is added.
  await scene.redis.xgroup("SETID", scene.log.keys.orders, PERSIST_GROUP, "0");
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), counted);
  assert.equal(await worker.count("entries_redelivered_total"), counted.journal);
});

test("an entry of a newer version is left alone: what is older is written, then the worker stops", async (t) => {
  const scene = await setScene(t);
  await scene.log.fill(2);
  await scene.log.appendOdd({ d: scene.log.order(), v: "2" });
  await scene.log.fill(2);
  const worker = await scene.worker();
  await worker.hasLogged("STOPPED: the log has entries of a newer version");
  assert.match(String(worker.worker.trouble), /schema version 2; this worker knows 1/);
  assert.deepEqual(await countRows(scene.sql), { journal: 3, orders: 2, deadLetters: 0 });
  assert.equal(await unfinishedOf(scene), 3);
  await worker.stop();
  assert.equal(worker.logged("STOPPED"), 1);
});

test("I5: a write that fails through no fault of its rows is never acknowledged, and succeeds after the repair", async (t) => {
  const scene = await setScene(t);
  const worker = await scene.worker();
  await untilFinished(scene);
  const troubles = [
    { spoil: "ALTER TABLE orders RENAME TO hidden", repair: "ALTER TABLE hidden RENAME TO orders" },
    { spoil: "ALTER TABLE journal RENAME TO hidden", repair: "ALTER TABLE hidden RENAME TO journal" },
    {
      spoil: "ALTER TABLE orders RENAME COLUMN account TO owner",
      repair: "ALTER TABLE orders RENAME COLUMN owner TO account",
    },
    {
      spoil: `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full'; END $$;
              CREATE TRIGGER full_disk AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION full_disk()`,
      repair: "DROP FUNCTION full_disk CASCADE",
    },
  ];
  for (const [i, { spoil, repair }] of troubles.entries()) {
    await scene.sql.unsafe(spoil);
    const tries = await worker.count("retries_total");
    await scene.log.fill(5, 2);
    await eventually(async () => (await worker.count("retries_total")) >= tries + 2, "two tries");
    assert.ok(worker.worker.trouble !== undefined);
    assert.equal(await unfinishedOf(scene), 5);
    await scene.sql.unsafe(repair);
    await untilFinished(scene);
    assert.deepEqual(await countRows(scene.sql), { journal: 1 + 5 * (i + 1), orders: 10 * (i + 1), deadLetters: 0 });
    await eventually(async () => worker.worker.trouble === undefined, "no more trouble");
  }
});

test("I5: a permission that is withdrawn stops the writing, until it is given again", async (t) => {
  const scene = await setScene(t);
  await (await scene.worker()).stop(); // as the owner: the tables are there for today
  await scene.sql.unsafe(
    "CREATE ROLE limited LOGIN PASSWORD 'limited'; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO limited",
  );
  const url = new URL(scene.databaseUrl);
  url.username = url.password = "limited";
  const worker = await scene.worker({ databaseUrl: url.href });
  await scene.log.fill(3);
  await untilFinished(scene);
  await scene.sql`REVOKE INSERT ON orders FROM limited`;
  await scene.log.fill(3);
  await eventually(async () => (await worker.count("retries_total")) >= 2, "two tries");
  assert.equal(await unfinishedOf(scene), 3);
  await scene.sql`GRANT INSERT ON orders TO limited`;
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 7, orders: 6, deadLetters: 0 });
});

test("I4: a rule that is added to a table makes dead letters of the rows that break it, and of no others", async (t) => {
  const scene = await setScene(t);
  await scene.sql`ALTER TABLE orders ADD CONSTRAINT no_threes CHECK (client_order_id NOT LIKE '%3')`;
  await scene.log.fill(5, 2);
  await scene.worker();
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 6, orders: 9, deadLetters: 1 });
  const [letter] = await allLetters(scene.sql);
  assert.equal(letter?.sqlstate, "23514");
  assert.match(letter.reason, /no_threes/);
});

for (const found of ["by a claim", "in the own pending list"]) {
  test(`I4: entries that were removed while pending, found ${found}: what was written is no loss, the rest a dead letter`, async (t) => {
    const scene = await setScene(t);
    const { redis, log, sql } = scene;
    const [written] = await log.fill(2);
    const first = await scene.worker();
    await untilFinished(scene);
    await first.stop();
    // Taken by a worker that dies before it acknowledges: two entries that were written, then three that were not.
    await redis.xgroup("SETID", log.keys.orders, PERSIST_GROUP, "0");
    const [gone, , alsoGone] = await log.fill(3);
    await redis.xreadgroup("GROUP", PERSIST_GROUP, "dead", "STREAMS", log.keys.orders, ">");
    await redis.xdel(log.keys.orders, written!, gone!, alsoGone!);
    await log.fill(1);

    await sql`ALTER TABLE dead_letters RENAME TO hidden`;
    const worker = await scene.worker(found === "by a claim" ? { minIdleMs: 0, count: 1 } : { name: "dead", count: 2 });
    await eventually(async () => (await worker.count("retries_total")) >= 2, "two tries");
    await sql`ALTER TABLE hidden RENAME TO dead_letters`;
    await untilFinished(scene);
    const letters = await allLetters(sql);
    assert.deepEqual(
      letters.map(({ ms, seq }) => ({ ms, seq })).toSorted((a, b) => a.ms - b.ms || a.seq - b.seq),
      [gone!, alsoGone!].map(parseEntryId),
    );
    for (const { reason } of letters) assert.match(reason, /^LOST/);
    assert.equal(await worker.count("entries_lost_total"), 2);
    assert.ok(worker.logged("ENTRIES LOST") > 0);
    assert.equal((await countRows(sql)).orders, 4);
  });
}

test("I4: a group that is lost is made again from the beginning, aloud, and nothing is doubled", async (t) => {
  const scene = await setScene(t);
  const worker = await scene.worker();
  await scene.log.fill(10);
  await untilFinished(scene);
  assert.equal(worker.logged("GROUP LOST"), 0);
  await scene.redis.xgroup("DESTROY", scene.log.keys.orders, PERSIST_GROUP);
  await worker.hasLogged("GROUP LOST");
  await scene.log.fill(10);
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 21, orders: 20, deadLetters: 0 });
  assert.equal(await worker.count("entries_redelivered_total"), 11);
});

test("I4: a Redis that is emptied: the group is made again, and symbols are known from Postgres", async (t) => {
  const scene = await setScene(t);
  const first = await scene.worker({ name: "first" });
  await scene.log.fill(10);
  await untilFinished(scene);
  await scene.redis.flushall();
  await first.hasLogged("GROUP LOST");
  await scene.worker({ name: "second" }); // knows no instrument yet
  await scene.log.fill(10);
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 21, orders: 20, deadLetters: 0 });
});

test("I4: instruments that change while they are being read are known to whoever asks after that", async (t) => {
  const { redis, log } = await setScene(t);
  const book = new InstrumentBook(redis, [log.keys], pino({ level: "silent" }));
  await book.refresh();
  const underWay = book.refresh();
  // Its question is on the connection by now, and the definition behind it.
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  const defined = log.define("NEW");
  await Promise.all([underWay, book.refresh(), defined]);
  assert.ok(book.get("NEW"));
});

test("I4: what a worker holds that is cut off from Postgres is taken over, although it goes on trying", async (t) => {
  const scene = await setScene(t);
  const nowhere = "postgres://nobody@127.0.0.1:1/nowhere";
  await scene.log.fill(20, 3);
  const cutOff = await scene.worker({ name: "cut off", databaseUrl: nowhere });
  await eventually(async () => (await cutOff.count("retries_total")) >= 2, "two tries");
  assert.equal(await unfinishedOf(scene), 21);
  // Had it read them again, they would have been young again each time.
  const held = (await scene.redis.xpending(scene.log.keys.orders, PERSIST_GROUP, "-", "+", 100)) as unknown[][];
  assert.deepEqual(new Set(held.map(([, , , deliveries]) => deliveries)), new Set([1]));
  const other = await scene.worker({ name: "other", minIdleMs: 200 });
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 21, orders: 60, deadLetters: 0 });
  assert.equal(await other.count("entries_written_total"), 21);
  assert.ok(cutOff.worker.trouble !== undefined);
});

test("I4: what is in hand is written though Redis is away, and acknowledged when it is back", async (t) => {
  const scene = await setScene(t);
  const toPostgres = await Proxy.start(t, scene.databaseUrl);
  const toRedis = await Proxy.start(t, scene.server.url);
  toPostgres.closed = true;
  await scene.log.fill(30);
  const worker = await scene.worker({ count: 10, redisUrl: toRedis.url, databaseUrl: toPostgres.url });
  await eventually(async () => (await pendingOf(scene)) === 20, "two deliveries in hand");
  toRedis.closed = true;
  toPostgres.closed = false;
  await eventually(async () => (await countRows(scene.sql)).journal === 20, "both of them written");
  assert.equal(await pendingOf(scene), 20);
  await eventually(async () => worker.worker.trouble !== undefined, "trouble");
  toRedis.closed = false;
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 31, orders: 30, deadLetters: 0 });
  assert.equal(await worker.count("entries_written_total"), 31);
});

test("I5: a stop writes and acknowledges what was read; what cannot be written stays pending", async (t) => {
  const scene = await setScene(t);
  await scene.log.fill(60);
  const worker = await scene.worker({ count: 10 });
  await eventually(async () => (await worker.count("entries_written_total")) > 0, "the first entries");
  await worker.stop();
  const { journal } = await countRows(scene.sql);
  assert.equal(await pendingOf(scene), 0);
  assert.equal(await worker.count("entries_written_total"), journal);

  await scene.sql`ALTER TABLE orders RENAME TO hidden`;
  await scene.log.fill(10);
  const next = await scene.worker({ name: "next" });
  await eventually(async () => (await next.count("retries_total")) > 0, "a try");
  await next.stop();
  assert.ok((await unfinishedOf(scene)) > 0);
  await scene.sql`ALTER TABLE hidden RENAME TO orders`;
  await scene.worker({ name: "next" });
  await untilFinished(scene);
  assert.deepEqual(await countRows(scene.sql), { journal: 71, orders: 70, deadLetters: 0 });
});
