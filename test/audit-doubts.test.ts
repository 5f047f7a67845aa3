/** What `penstock audit` does not tell, because something accounts for it, and what it says of what it could not look at. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type postgres from "postgres";

import { rawEvent } from "../src/stream/event-decoder.ts";
import { PARTITION_COUNT_KEY, PartitionKeys } from "../src/stream/keys.ts";
import { damaged, kindsOf, type LookOptions, makeScene, spoiled, unwriteEvents } from "./support/audit-scene.ts";
import { eventsOf } from "./support/engine.ts";

const KEYS = new PartitionKeys(0);

test("what the audit tells of a system that is not whole, and of one of which it cannot see all (I1, I2, I5, I8, I9)", async (t) => {
  const scene = await makeScene(t);
  const { redis, sql } = scene;

  await t.test("I9: a missing state is found beyond any number of others that are dead letters", async () => {
    const events = new Map((await eventsOf(scene)).map(({ id, payload }) => [id, payload]));
    const told = await sql<{ order_id: string; epoch: number; ms: string; seq: string; index: number }[]>`
      SELECT order_id, epoch, ms, seq, index FROM executions WHERE exec_type = 'NEW' ORDER BY order_id LIMIT 150`;
    assert.equal(told.length, 150);
    const letters = async (sql: postgres.TransactionSql) => {
      for (const { order_id: id, epoch, ms, seq, index } of told) {
        const raw = rawEvent(events.get(`${ms}-${seq}`)!, index)!;
        await sql`
          INSERT INTO dead_letters (stream, partition, epoch, ms, seq, index, raw, reason, attempts)
          VALUES (1, 0, ${epoch}, ${ms}, ${seq}, ${index}, ${raw}, 'refused', 1)`;
        await sql`DELETE FROM order_states WHERE order_id = ${id}`;
      }
    };
    assert.deepEqual(kindsOf(await spoiled(scene, [letters])), []);
    const beyond = "DELETE FROM order_states WHERE order_id = (SELECT max(order_id::text)::uuid FROM order_states)";
    const outcome = await spoiled(scene, [letters, beyond]);
    assert.deepEqual(kindsOf(outcome), ["an order without a state", "reports, but no state"]);
    assert.equal(outcome.findings, 2);
  });

  await t.test(
    "I2, I9: events that a slower worker has in hand are missed by nobody, unless it has them for long",
    async (t) => {
      // One that an order trades in, which trades again later, and that ends another one.
      const [held] = await sql<{ ms: string; seq: string; ended: string }[]>`
      SELECT report.ms, report.seq, ended.order_id AS ended FROM executions AS report
      JOIN executions AS ended USING (ms, seq)
      WHERE report.exec_type = 'TRADE' AND ended.leaves_quantity = 0 AND ended.order_id <> report.order_id
        AND ended.exec_type <> 'REJECTED'
        AND EXISTS (
          SELECT FROM executions AS later WHERE later.order_id = report.order_id AND later.exec_type = 'TRADE'
            AND (later.ms, later.seq) > (report.ms, report.seq))
        AND EXISTS (
          SELECT FROM executions AS before WHERE before.order_id = ended.order_id
            AND (before.ms, before.seq) < (ended.ms, ended.seq))
      ORDER BY report.ms, report.seq LIMIT 1`;
      assert.ok(held !== undefined);
      const [last] = (await redis.xrevrange(KEYS.events, "+", "-", "COUNT", 1))[0]!;
      const hold = async () => {
        const [entry] = await redis.xrevrange(KEYS.events, `(${held.ms}-${held.seq}`, "-", "COUNT", 1);
        await redis.xgroup("SETID", KEYS.events, "persist", entry![0]);
        await redis.xreadgroup("GROUP", "persist", "slow", "COUNT", 1, "STREAMS", KEYS.events, ">");
        await redis.xgroup("SETID", KEYS.events, "persist", last);
      };
      const unwritten = async (sql: postgres.TransactionSql) => {
        await unwriteEvents(sql, { ms: Number(held.ms), seq: Number(held.seq) });
        const [state] = await sql`SELECT open FROM order_states WHERE order_id = ${held.ended}`;
        assert.equal(state?.["open"], true);
      };
      const lines: string[] = [];
      const outcome = await damaged(redis, hold, () => spoiled(scene, [unwritten], { lines }));
      assert.deepEqual(kindsOf(outcome), [], lines.join("\n"));
      assert.equal(outcome.incomplete, undefined);
      assert.match(lines.join("\n"), /, 1 more of them under way/);

      // Its id is another order's by then: that it had ended before stands in what is held.
      const again = `UPDATE orders AS later SET (account, symbol, client_order_id, client_key) =
        (ended.account, ended.symbol, ended.client_order_id, ended.client_key)
      FROM orders AS ended WHERE ended.order_id = '${held.ended}'
        AND later.order_id = (SELECT order_id FROM order_states WHERE status <> 'REJECTED' ORDER BY order_id DESC LIMIT 1)`;
      const taken = await damaged(redis, hold, () => spoiled(scene, [unwritten, again]));
      assert.deepEqual(kindsOf(taken), ["a row is not what it must be"]);

      // Both clocks are ahead.
      const time = redis.time.bind(redis);
      t.mock.method(redis, "time", async () => {
        const [seconds, microseconds] = await time();
        return [Number(seconds) + 600, microseconds];
      });
      const now = Date.now();
      t.mock.method(Date, "now", () => now + 600_000);
      const stuck = await damaged(redis, hold, () => spoiled(scene, [unwritten]));
      assert.deepEqual(kindsOf(stuck), []);
      const words = `^partition 0: events ${held.ms}-${held.seq} has been under way for \\d+ minutes, and what is written behind`;
      assert.match(stuck.incomplete ?? "", new RegExp(words));
    },
  );

  await t.test("what the retention drops is not missing, while the audit runs either (I5, I8, I9)", async () => {
    const [first] = await sql<{ ms: string; seq: string }[]>`
      SELECT ms, seq FROM engine_snapshots ORDER BY ms, seq LIMIT 1`;
    const dropped = `INSERT INTO settings VALUES ('dropped_before', '${Number(first!.ms) + 1}')`;
    const lines: string[] = [];
    const before = await damaged(
      redis,
      () => redis.xtrim(KEYS.orders, "MINID", `${first!.ms}-${first!.seq}`),
      () => spoiled(scene, [`DELETE FROM journal WHERE (ms, seq) < (${first!.ms}, ${first!.seq})`, dropped], { lines }),
    );
    assert.deepEqual(kindsOf(before), [], lines.join("\n"));
    assert.equal(before.incomplete, undefined);
    assert.match(lines.join("\n"), /I7 {2}held: .*not proved: partition 0 was not replayed from the beginning/);

    const [day] = await sql<{ name: string }[]>`
      SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'executions'::regclass ORDER BY 1 LIMIT 1`;
    let isDropped = false;
    const onLine = (line: string, sql: postgres.Sql) => {
      if (!/entries journaled/.test(line)) return;
      isDropped = true;
      void sql.unsafe(`DROP TABLE ${day!.name}`).execute(); // before the audit's next statement, on the same connection
    };
    const outcome = await spoiled(scene, [], { onLine });
    assert.ok(isDropped);
    assert.deepEqual(kindsOf(outcome), []);
  });

  await t.test("what was found is told, though the audit cannot go on (I9)", async () => {
    const folder = mkdtempSync(join(tmpdir(), "penstock-audit-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const acknowledged = join(folder, "acknowledged.tsv");
    writeFileSync(acknowledged, "no tabs\n");
    const lines: string[] = [];
    const damage = "UPDATE order_states SET triggered = NOT triggered WHERE status = 'FILLED'";
    const outcome = await spoiled(scene, [damage], { acknowledged, lines });
    assert.deepEqual(kindsOf(outcome), ["a state is not the newest report"]);
    assert.match(lines.join("\n"), /^FOUND I9 a state is not the newest report: order /m);
    assert.match(lines.at(-1)!, /^[\d,]+ findings, but not all could be looked at: it ended early: .*not a line of/);
  });

  await t.test("where nothing is recorded nothing is held, and what a client has is lost (I1)", async () => {
    const folder = mkdtempSync(join(tmpdir(), "penstock-audit-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const acknowledged = join(folder, "acknowledged.tsv");
    const [row] = await sql<{ client_order_id: string; symbol: string; order_id: string }[]>`
      SELECT client_order_id, symbol, order_id FROM orders LIMIT 1`;
    writeFileSync(acknowledged, `${row!.client_order_id}\t${row!.symbol}\t${row!.order_id}\n`);
    const gone = ["DELETE FROM settings", "DELETE FROM orders", "DELETE FROM journal"];
    const lookAgain = (options: LookOptions) =>
      damaged(
        redis,
        () => redis.flushall(),
        () => spoiled(scene, gone, options),
      );
    const outcome = await lookAgain({});
    assert.deepEqual(kindsOf(outcome), []);
    assert.match(outcome.incomplete ?? "", /^no partitions are recorded/);
    assert.deepEqual(new Set(outcome.verdicts.map(({ verdict }) => verdict)), new Set(["not provable here"]));
    assert.deepEqual(kindsOf(await lookAgain({ acknowledged })), ["acknowledged and lost"]);
    const other = await damaged(
      redis,
      () => redis.set(PARTITION_COUNT_KEY, 2),
      () => spoiled(scene, []),
    );
    assert.ok(kindsOf(other).includes("another number of partitions"));
  });
});
