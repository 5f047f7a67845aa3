/**
 * `penstock audit` on real servers: nothing is found where all is well, under load too, and each damage of each invariant is,
 * under its name. The damage is done to data that an appender, an engine and workers have made, and is undone again.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type postgres from "postgres";

import { audit } from "../src/audit/audit.ts";
import { KINDS } from "../src/audit/kinds.ts";
import { crossedBooks } from "../src/audit/replay-audit.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { decodeBatch } from "../src/stream/logged-command.ts";
import { formatOrderId, parseEntryId, parseOrderId } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { damaged, kindsOf, look, makeScene, spoiled, unwriteEvents } from "./support/audit-scene.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { startConsumers } from "./support/pipeline.ts";
import { untilFinished } from "./support/worker.ts";

const KEYS = new PartitionKeys(0);

/** SQL that spoils something, and all that is to be found then. */
const DAMAGES: Readonly<
  Record<string, readonly (readonly [damage: string | readonly string[], ...found: string[]])[]>
> = {
  I2: [
    [
      `UPDATE orders AS later SET (account, symbol, client_order_id, client_key) =
         (open.account, open.symbol, open.client_order_id, open.client_key)
       FROM orders AS open
       WHERE open.order_id = (SELECT order_id FROM order_states WHERE open ORDER BY order_id LIMIT 1)
         AND later.order_id = (SELECT order_id FROM order_states WHERE status <> 'REJECTED' ORDER BY order_id DESC LIMIT 1)`,
      ...["a live order's id was taken again", "a row is not what it must be"],
    ],
  ],
  I3: [
    [
      `UPDATE orders SET order_id = overlay(order_id::text PLACING '00ff' FROM 33)::uuid
       WHERE order_id = (SELECT order_id FROM orders ORDER BY order_id LIMIT 1)`,
      ...["a row of no command", "an order without a state", "neither row nor dead letter"],
    ],
    [
      `INSERT INTO orders SELECT overlay(order_id::text PLACING '7005' FROM 15)::uuid, client_key + 1, created_at, expire_time, post_only,
         account, 'made up', symbol, side, type, time_in_force, quantity FROM orders LIMIT 1`,
      "an id that is no place in the log",
    ],
    [
      `UPDATE journal SET hash = sha256('another') WHERE stream = 0 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 0 ORDER BY ms, seq OFFSET 5 LIMIT 1)`,
      ...["a receipt is not its entry's", "two entries in one place"],
    ],
    [
      `INSERT INTO executions (ms, seq, sequence, index, partition, epoch, account, symbol, exec_type)
       SELECT ms, seq, 0, index, 7, epoch, account, symbol, 'CANCEL_REJECTED' FROM executions LIMIT 1`,
      "another number of partitions",
    ],
  ],
  I4: [
    [
      `UPDATE journal SET prev_ms = 0, prev_seq = 0 WHERE stream = 0 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 0 ORDER BY ms, seq OFFSET 20 LIMIT 1)`,
      ...["a gap in the journal", "a receipt is not its entry's"],
    ],
    [
      `DELETE FROM journal WHERE stream = 0 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 0 AND commands > 3 ORDER BY ms, seq OFFSET 5 LIMIT 1)`,
      ...[
        "a gap in the journal",
        "a row of no command",
        "done by the workers, and not journaled",
        "events of no entry",
      ],
    ],
    [
      `INSERT INTO journal SELECT stream, partition, 2, ms + 1000000, 0, prev_ms, prev_seq, version, 0, sha256(''), ''
       FROM journal WHERE stream = 0 ORDER BY ms DESC, seq DESC LIMIT 1`,
      "the log went on without it",
    ],
  ],
  I5: [
    [
      `INSERT INTO journal SELECT 0, 0, 0, ms - 1000, 0, 0, 0, 0, 0, sha256(''), '' FROM journal ORDER BY ms LIMIT 1`,
      "neither row nor dead letter",
    ],
    [
      "DELETE FROM orders WHERE order_id = (SELECT max(order_id::text)::uuid FROM orders)",
      "neither row nor dead letter",
    ],
    [
      `UPDATE orders SET price = price + 1 WHERE order_id = (
         SELECT order_id FROM orders WHERE price IS NOT NULL ORDER BY order_id LIMIT 1)`,
      "a row is not what it must be",
    ],
    [
      `UPDATE trades SET buy_order_id = sell_order_id, sell_order_id = buy_order_id, buy_account = sell_account, sell_account = buy_account
       WHERE (symbol, trade) = ('BTC-USD', 3)`,
      "a row is not what it must be",
    ],
    [
      `UPDATE orders SET created_at = created_at + interval '1 microsecond' WHERE order_id = (
         SELECT order_id FROM orders ORDER BY order_id LIMIT 1)`,
      "a row is not what it must be",
    ],
    [
      `DELETE FROM executions WHERE (ms, seq, index) IN (
         SELECT ms, seq, index FROM executions WHERE account = 'ann' AND exec_type = 'CANCEL_REJECTED' ORDER BY ms LIMIT 1)`,
      ...["a gap in an account's reports", "neither row nor dead letter"],
    ],
    [
      `UPDATE executions SET reason = 'BUSY' WHERE (ms, seq, index) IN (
         SELECT ms, seq, index FROM executions WHERE exec_type = 'CANCEL_REJECTED' ORDER BY ms LIMIT 1)`,
      "a row is not what it must be",
    ],
    [
      `INSERT INTO executions (ms, seq, sequence, index, partition, epoch, account, symbol, exec_type)
       SELECT ms, seq, sequence, 900, partition, epoch, account, symbol, 'CANCEL_REJECTED' FROM executions
       WHERE account = 'bob' ORDER BY ms OFFSET 5 LIMIT 1`,
      ...["a gap in an account's reports", "a row of no event"],
    ],
    [
      `INSERT INTO executions (ms, seq, sequence, index, partition, epoch, account, symbol, exec_type)
       SELECT ms, seq, 0, 0, partition, 9, account, symbol, 'CANCEL_REJECTED' FROM executions ORDER BY ms LIMIT 1`,
      "a row of no event",
    ],
    [
      `UPDATE instruments SET version = version + 5 WHERE symbol = 'BTC-USD'`,
      "an instrument is not its newest definition",
    ],
    [
      `UPDATE instruments SET definition = (SELECT definition FROM instruments WHERE symbol = 'ETH-USD') WHERE symbol = 'BTC-USD'`,
      "an instrument is not its newest definition",
    ],
    [
      `UPDATE journal SET commands = commands + 1 WHERE stream = 0 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 0 ORDER BY ms, seq OFFSET 9 LIMIT 1)`,
      "a receipt is not its entry's",
    ],
  ],
  I7: [
    [
      `UPDATE journal SET hash = sha256('another') WHERE stream = 1 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 1 ORDER BY ms, seq OFFSET 5 LIMIT 1)`,
      ...["other events in a replay", "two entries in one place"],
    ],
    [
      `UPDATE engine_snapshots SET state_hash = state_hash + 1 WHERE (ms, seq) IN (
         SELECT ms, seq FROM engine_snapshots ORDER BY ms, seq LIMIT 1)`,
      "a snapshot of another state",
    ],
    [
      `UPDATE engine_snapshot_parts SET data = overlay(data PLACING '\\x00ff00ff' FROM 100) WHERE (ms, seq) IN (
         SELECT ms, seq FROM engine_snapshots ORDER BY ms DESC, seq DESC LIMIT 1)`,
      "a snapshot that cannot be restored",
    ],
    [
      [
        `UPDATE engine_snapshot_parts SET data = overlay(data PLACING '\\x00ff00ff' FROM 100) WHERE (ms, seq) IN (
           SELECT ms, seq FROM engine_snapshots ORDER BY ms, seq LIMIT 1)`,
        `UPDATE engine_snapshots SET entry_hash = sha256('another') WHERE (ms, seq) IN (
           SELECT ms, seq FROM engine_snapshots ORDER BY ms DESC, seq DESC LIMIT 1)`,
      ],
      ...["a snapshot of another state", "a snapshot that cannot be restored"],
    ],
  ],
  I8: [
    [
      `UPDATE journal SET (prev_ms, prev_seq) = (SELECT ms, seq FROM journal WHERE stream = 1 ORDER BY ms, seq LIMIT 1)
       WHERE stream = 1 AND (ms, seq) IN (SELECT ms, seq FROM journal WHERE stream = 1 ORDER BY ms, seq OFFSET 20 LIMIT 1)`,
      ...["a gap in the events", "a receipt is not its entry's", "other events in a replay"],
    ],
    [
      `DELETE FROM journal WHERE stream = 1 AND (ms, seq) IN (
         SELECT ms, seq FROM executions GROUP BY ms, seq HAVING count(*) > 3 ORDER BY ms, seq OFFSET 5 LIMIT 1)`,
      ...["a gap in the events", "a row of no event", "done by the workers, and not journaled", "no events"],
    ],
    [
      `DELETE FROM journal WHERE stream = 1 AND (ms, seq) IN (
         SELECT ms, seq FROM journal WHERE stream = 1 ORDER BY ms DESC, seq DESC LIMIT 1)`,
      ...["a row of no event", "done by the workers, and not journaled", "no events"],
    ],
  ],
  I9: [
    [
      "UPDATE order_states SET cum_quantity = cum_quantity + 1 WHERE status = 'CANCELED'",
      "a state is not the newest report",
    ],
    [
      `UPDATE trades SET quantity = quantity + 1 WHERE (symbol, trade) = ('BTC-USD', 3)`,
      ...["a row is not what it must be", "a trade and its reports do not agree"],
    ],
    [
      `UPDATE executions SET cum_quantity = cum_quantity + 1, quantity = quantity + 1 WHERE (ms, seq, index) IN (
         SELECT ms, seq, index FROM executions WHERE exec_type = 'TRADE' AND status = 'FILLED' ORDER BY ms LIMIT 1)`,
      ...["a row is not what it must be", "a state is not the newest report", "an order's trades do not add up"],
    ],
  ],
};

test("I2, I3, I4, I5, I7, I8, I9: each damage is found, under its name", async (t) => {
  const scene = await makeScene(t);
  const { redis, sql } = scene;

  await t.test("nothing is found where all is well (I2, I3, I4, I5, I7, I8, I9)", async () => {
    const lines: string[] = [];
    const outcome = await look(redis, sql, { lines });
    assert.deepEqual(kindsOf(outcome), [], lines.join("\n"));
    assert.equal(outcome.incomplete, undefined);
    const verdicts = Object.fromEntries(outcome.verdicts.map(({ invariant, verdict }) => [invariant, verdict]));
    const held = Object.fromEntries(["I2", "I3", "I4", "I5", "I7", "I8", "I9"].map((name) => [name, "held"]));
    assert.deepEqual(verdicts, { ...held, I1: "not provable here", I6: "not provable here" });
    const text = lines.join("\n");
    assert.match(text, /^I1 {2}not provable here: there is no record of a client/m);
    assert.match(text, /^I7 {2}held: partition 0: 1\d\d entries replayed from the beginning to \d+-\d+$/m);
    assert.match(text, /[1-9]\d* idempotency keys stand for the places of their commands/);
    assert.match(text, /^partition 0: 1\d\d entries in the log, 0 of them under way$/m);
    assert.equal(lines.at(-1), "all is well");
  });

  for (const [invariant, damages] of Object.entries(DAMAGES)) {
    await t.test(`${invariant}: ${damages.length} kinds of damage`, async () => {
      for (const [damage, ...found] of damages) {
        const lines: string[] = [];
        const statements = typeof damage === "string" ? [damage] : damage;
        const outcome = await spoiled(scene, statements, { lines });
        assert.deepEqual(kindsOf(outcome), found, `${statements.join("; ")}\n${lines.join("\n")}`);
        const verdict = outcome.verdicts.find((verdict) => verdict.invariant === invariant);
        assert.equal(verdict?.verdict, "broken", statements.join("; "));
        for (const line of lines.filter((line) => line.startsWith("FOUND"))) assert.match(line, /^FOUND I\d [^:]+: ./);
      }
    });
  }

  await t.test("I5: what is a dead letter is not missing, as long as it has the bytes of the log", async () => {
    const [last] = await sql<{ order_id: string }[]>`SELECT order_id FROM orders ORDER BY order_id DESC LIMIT 1`;
    const { epoch, ms, seq, index } = parseOrderId(last!.order_id)!;
    const [entry] = await sql<{ payload: Buffer }[]>`
      SELECT payload FROM journal WHERE stream = 0 AND ms = ${ms} AND seq = ${seq}`;
    const { raw } = decodeBatch(entry!.payload)[index]!;
    const letter = (bytes: Buffer) =>
      `INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, reason, attempts)
       VALUES (0, 0, ${epoch}, ${ms}, ${seq}, ${index}, '\\x${bytes.toString("hex")}', 'refused', 1)`;
    const remove = "DELETE FROM orders WHERE order_id = (SELECT max(order_id::text)::uuid FROM orders)";
    assert.deepEqual(kindsOf(await spoiled(scene, [letter(raw), remove])), []);
    const other = Buffer.concat([raw, Buffer.alloc(1)]);
    assert.deepEqual(kindsOf(await spoiled(scene, [letter(other), remove])), ["a row is not what it must be"]);
  });

  await t.test("I7: where the beginning is not kept, the replay begins at the oldest snapshot", async () => {
    const [first] = await sql<{ ms: string; seq: string }[]>`
      SELECT ms, seq FROM engine_snapshots ORDER BY ms, seq LIMIT 1`;
    const upTo = `(ms, seq) < (${first!.ms}, ${first!.seq})`;
    const trim = () => redis.xtrim(KEYS.orders, "MINID", `${first!.ms}-${first!.seq}`);
    const lines: string[] = [];
    const removed = await damaged(redis, trim, () => spoiled(scene, [`DELETE FROM journal WHERE ${upTo}`], { lines }));
    assert.match(
      removed.incomplete ?? "",
      /^partition 0 was not replayed from the beginning of the log up to the snapshot/,
    );
    const text = lines.join("\n");
    assert.match(text, new RegExp(`entries replayed from the snapshot at ${first!.ms}-${first!.seq} to \\d`));
    assert.match(text, /not proved: partition 0 was not replayed from the beginning of the log up to the snapshot at/);
    assert.doesNotMatch(text, /other events in a replay|cannot be restored/);
    const broken = `UPDATE journal SET prev_ms = 0, prev_seq = 0 WHERE stream = 0 AND (ms, seq) IN (
      SELECT ms, seq FROM journal WHERE stream = 0 ORDER BY ms, seq OFFSET 20 LIMIT 1)`;
    const { incomplete } = await damaged(redis, trim, () => spoiled(scene, [broken]));
    assert.match(incomplete ?? "", /^partition 0 was not replayed behind \d+-\d+ up to the snapshot at/);
  });

  await t.test("Redis away, or empty: what Postgres has is proved, and the rest is told (I4)", async () => {
    const away = connectRedis("redis://127.0.0.1:1", { name: "nobody", socketTimeoutMs: 1_000 });
    try {
      const lines: string[] = [];
      const outcome = await look(away, sql, { lines });
      assert.deepEqual(kindsOf(outcome), [], lines.join("\n"));
      assert.match(outcome.incomplete ?? "", /^Redis cannot be reached: .*ECONNREFUSED/);
      assert.match(lines.at(-1)!, /^all is well, but not all could be looked at: Redis cannot be reached/);
      assert.match(lines.join("\n"), /^I7 {2}held: .* from the beginning/m);
      assert.match(lines.join("\n"), /^I4 {2}held: .*; not proved: Redis cannot be reached/m);
    } finally {
      away.disconnect();
    }
    const empty = await damaged(
      redis,
      () => redis.flushall(),
      () => look(redis, sql),
    );
    assert.deepEqual(kindsOf(empty), []);
    assert.match(empty.incomplete ?? "", /^Redis has no log of partition 0/);
  });

  await t.test("damage to Redis (I1, I2, I4, I8)", async () => {
    const ids = (await redis.xrange(KEYS.orders, "-", "+")).map(([id]) => id);
    const middle = ids[50]!;
    const [seen] = await redis.hkeysBuffer(KEYS.seen(1));
    const [, other] = await redis.hvalsBuffer(KEYS.seen(1));
    const later = `${parseEntryId(ids.at(-1)!).ms + 1}-0`;
    const damages: readonly (readonly [() => Promise<unknown>, ...string[]])[] = [
      [() => redis.xdel(KEYS.orders, middle), "a gap in the log"],
      [() => redis.xdel(KEYS.events, middle)], // the journal has it
      [() => redis.hset(KEYS.head, "last", later), "the log ends before its head"],
      [() => redis.xadd(KEYS.orders, "*", "what", "is this"), "not an entry of the log"],
      [() => redis.hdel(KEYS.seen(1), seen!), "an idempotency key is missing"],
      [() => redis.hset(KEYS.seen(1), seen!, other!), "an id was taken twice"],
      [() => redis.hset(KEYS.head, "turned", Date.now())],
    ];
    for (const [damage, ...found] of damages) {
      const lines: string[] = [];
      const outcome = await damaged(redis, damage, () => look(redis, sql, { lines }));
      assert.deepEqual(kindsOf(outcome), found, `${damage.toString()}\n${lines.join("\n")}`);
    }
  });

  await t.test("events that neither the stream nor the journal has are a gap (I8)", async () => {
    const middle = (await redis.xrange(KEYS.events, "-", "+"))[50]![0];
    const lost = async (sql: postgres.TransactionSql) => {
      await redis.xdel(KEYS.events, middle);
      await unwriteEvents(sql, parseEntryId(middle));
    };
    const outcome = await damaged(
      redis,
      () => Promise.resolve(),
      () => spoiled(scene, [lost]),
    );
    assert.ok(kindsOf(outcome).includes("a gap in the events"));
  });

  await t.test("what is trimmed between two pages of a stream is no gap (I4, I8)", async (t) => {
    const middle = (await redis.xrange(KEYS.orders, "-", "+"))[50]![0];
    const read = redis.callBuffer.bind(redis) as (...args: readonly unknown[]) => Promise<unknown>;
    const trimmed: string[] = [];
    t.mock.method(redis, "callBuffer", async (...args: readonly [string, string, ...unknown[]]) => {
      const reply = await read(...args);
      const [command, key, from, to] = args;
      const isFirstPage = command === "XRANGE" && from === "-" && to !== "+";
      if (isFirstPage) {
        trimmed.push(key);
        await redis.xtrim(key, "MINID", middle);
      }
      return reply;
    });
    const lines: string[] = [];
    const outcome = await damaged(
      redis,
      async () => {},
      () => look(redis, sql, { lines }),
    );
    assert.deepEqual(trimmed.toSorted(), [KEYS.events, KEYS.orders]);
    assert.deepEqual(kindsOf(outcome), [], lines.join("\n"));
  });

  await t.test("I7: an event that was altered on its way is found before it is written, too", async () => {
    const events = (await redis.xrangeBuffer(KEYS.events, "-", "+")) as [Buffer, Buffer[]][];
    const [[before], [newest, fields]] = events.slice(-2) as [[Buffer, Buffer[]], [Buffer, Buffer[]]];
    const payload = fields[fields.findIndex((field) => field.toString() === "d") + 1]!;
    payload[1]! ^= 0xff; // of the state hash
    const alter = async () => {
      await redis.del(KEYS.events);
      for (const [id, event] of events) await redis.xadd(KEYS.events, id, ...event);
      await redis.xgroup("CREATE", KEYS.events, "persist", before);
    };
    const remove = [(sql: postgres.TransactionSql) => unwriteEvents(sql, parseEntryId(newest.toString()))];
    const lines: string[] = [];
    const outcome = await damaged(redis, alter, () => spoiled(scene, remove, { lines }));
    assert.deepEqual(kindsOf(outcome), ["other events in a replay"], lines.join("\n"));
    assert.match(lines.join("\n"), /the state by the replay is [0-9a-f]{16}, there it is [0-9a-f]{16}$/m);
  });

  await t.test("the clients' record (I1, I2)", async () => {
    const folder = mkdtempSync(join(tmpdir(), "penstock-audit-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "acknowledged.tsv");
    const rows = await sql<{ client_order_id: string; symbol: string; order_id: string; account: string }[]>`
      SELECT client_order_id, symbol, order_id, account FROM orders ORDER BY order_id`;
    const lines = rows.map((row) => `${row.client_order_id}\t${row.symbol}\t${row.order_id}\t0\t${row.account}`);
    const record = async (more: readonly string[], damage?: readonly string[]) => {
      writeFileSync(file, `${[...lines, ...more].join("\n")}\n`);
      const options = { acknowledged: file };
      return damage === undefined ? await look(redis, sql, options) : await spoiled(scene, damage, options);
    };
    const [first] = rows;
    const never = formatOrderId({ partition: 0, epoch: 1, ms: Date.now(), seq: 0, index: 0 });

    const whole = await record([
      "never-sent\tBTC-USD\tunknown\t0\tann",
      `${first!.client_order_id}\t${first!.symbol}\tunknown`,
    ]);
    assert.deepEqual(kindsOf(whole), []);
    const { verdict, proved } = whole.verdicts[0]!;
    assert.equal(verdict, "held");
    assert.equal(proved[0], `${rows.length} of ${rows.length} acknowledged orders are rows, 2 had no answer`);

    const wrong = [never, "no id", first!.order_id].map((id, i) => `wrong-${i}\tBTC-USD\t${id}`);
    assert.deepEqual(kindsOf(await record(wrong)), [
      "acknowledged and lost",
      "an id that is no place in the log",
      "answered with another order's id",
    ]);
    const doubled = `INSERT INTO orders SELECT overlay(order_id::text PLACING '7005' FROM 15)::uuid, client_key, created_at, expire_time,
        post_only, account, client_order_id, symbol, side, type, time_in_force, quantity FROM orders ORDER BY order_id LIMIT 1`;
    assert.deepEqual(kindsOf(await record([], [doubled])), [
      "an id that is no place in the log",
      "one id, several orders",
    ]);
    writeFileSync(file, "no tabs\n");
    await assert.rejects(look(redis, sql, { acknowledged: file }), /not a line of client_order_id/);
  });

  assert.deepEqual(kindsOf(await look(redis, sql)), [], "all damage was undone");
});

test("I9: a book is crossed where its best bid is not below its best ask", () => {
  const book = (bid: number, ask: number) => ({
    symbols: () => [{ symbol: "A-B" }] as never,
    depth: (_symbol: string, side: number) => [
      { price: side === 1 ? bid : ask, quantityHigh: 0, quantityLow: 1, orders: 1 },
    ],
  });
  assert.deepEqual(crossedBooks(book(99, 100)), []);
  assert.deepEqual(crossedBooks(book(100, 100)), ["A-B: bid 100, ask 100 ticks"]);
});

test("I1, I2, I4, I5, I7, I8, I9: a running system under load has no findings, whatever is under way", async (t) => {
  const stack = await EngineStack.open(t, { env: { PENSTOCK_SNAPSHOT_COMMANDS: "2000" } });
  const { servers, client, redis } = stack;
  const folder = mkdtempSync(join(tmpdir(), "penstock-audit-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "acknowledged.tsv");
  const worker = (name: string) =>
    startConsumers(t, { ...servers, env: { ...servers.env, PENSTOCK_CONSUMER_NAME: name, PENSTOCK_READ_COUNT: "5" } });
  await Promise.all([stack.engine(), worker("first"), worker("second")]);

  const answers: string[] = [];
  let isOver = false;
  const load = async (name: string, side: Side) => {
    for (let i = 0; !isOver; i++) {
      const orders = Array.from({ length: 20 }, (_, k) => {
        const clientOrderId = `${name}-${i}-${k}`;
        const price = String(95 + ((7 * i + k) % 11));
        return { clientOrderId, symbol: "BTC-USD", side, type: OrderType.LIMIT, quantity: "0.1", price };
      });
      const { results } = await client.call(OrderService.method.submitOrders, { orders });
      for (const { result } of results)
        if (result.case === "accepted")
          answers.push(`${result.value.clientOrderId}\tBTC-USD\t${result.value.orderId}\t0\tdemo\n`);
      if (i % 20 === 0) await client.call(OrderService.method.cancelAllOrders, { clientRequestId: `${name}-${i}` });
    }
  };
  const loads = [load("buyer", Side.BUY), load("seller", Side.SELL)];
  const { redisUrl, databaseUrl } = servers;
  let underWay = 0;
  try {
    // Quick workers have nothing under way when it looks, so it looks until they had: twenty times are some 20 s.
    for (let i = 0; i < 3 || (underWay === 0 && i < 20); i++) {
      writeFileSync(file, answers.join(""));
      const lines: string[] = [];
      const outcome = await audit({
        redisUrl,
        databaseUrl,
        acknowledged: file,
        print: (line) => void lines.push(line),
      });
      assert.deepEqual(kindsOf(outcome), [], lines.join("\n"));
      underWay += Number(/, ([\d,]+) of them under way/.exec(lines.join("\n"))?.[1] ?? 0);
      assert.equal(lines.at(-1), "all is well");
    }
  } finally {
    isOver = true;
    await Promise.all(loads);
  }
  assert.ok(underWay > 0, "something was under way");
  await stack.untilMatched();
  for (const stream of ["orders", "events"] as const)
    await untilFinished({ redis, log: { keys: KEYS } as never }, stream);
  writeFileSync(file, answers.join(""));
  const lines: string[] = [];
  const outcome = await audit({
    redisUrl,
    databaseUrl,
    acknowledged: file,
    json: true,
    print: (line) => void lines.push(line),
  });
  const [first, ...rest] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(first?.["underWay"], 0);
  assert.deepEqual(rest.at(-1), { findings: 0, incomplete: null });
  assert.deepEqual(
    outcome.verdicts.map(({ verdict }) => verdict).filter((verdict) => verdict === "held").length,
    8,
    "all but I6",
  );
});

test("docs/audit.md says what to do about each kind of finding", () => {
  const text = readFileSync(join(import.meta.dirname, "..", "docs", "audit.md"), "utf8");
  for (const [kind, invariant] of Object.entries(KINDS)) {
    const line = text.split("\n").find((line) => line.startsWith(`| ${invariant} | \`${kind}\` |`));
    assert.ok(line !== undefined, `${invariant} ${kind}`);
  }
});
