/** I4, I5: what the log has lost does not reach the journal, and everything else does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "./batch.ts";
import type { EntryRecord, LogPosition, Receipt, StreamNumber } from "./entry-record.ts";
import { TransientStoreError } from "./errors.ts";
import { type FencedLog, newestFence, type NewFence, raiseFence, withdrawLost } from "./fences.ts";
import { type Conflict, rewrite } from "./rewrite.ts";
import { allLetters, makeEntry, makeEvents, NOON, openSql, openWriter } from "./test-entries.ts";
import type { Writer } from "./writer.ts";

const STALLED_MS = 20_000;

async function open(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  const raise = (fence: NewFence, stalledMs = STALLED_MS) => raiseFence(openWriter(t, url), 0, fence, stalledMs);
  return { url, writer, sql, raise };
}

const at = (epoch: number, seq: number): LogPosition => ({ epoch, ms: NOON, seq });

/** Of an epoch that begins behind `base`; up to `from` the stream itself had everything. */
function fence(epoch: number, base: LogPosition, from: LogPosition = base): NewFence {
  return { epoch, base, from, claim: `claim of ${epoch}` };
}

function entry(epoch: number, seq: number, stream: StreamNumber = 0): EntryRecord {
  const made = makeEntry({ seq, orders: stream === 0 ? 1 : 0, receipt: { epoch, stream } });
  return stream === 0 ? made : { ...made, receipt: { ...made.receipt, payload: null } };
}

/** Gives the entries to a worker, and tells which of them it wrote: "<stream> <epoch>/<seq>". */
async function written(writer: Writer, sql: postgres.Sql, entries: readonly EntryRecord[]): Promise<string[]> {
  await persist(writer, entries);
  const rows = await sql<{ place: string }[]>`SELECT stream || ' ' || epoch || '/' || seq AS place FROM journal`;
  const there = new Set(rows.map(({ place }) => place));
  return entries.map(placeOf).filter((place) => there.has(place));
}

function placeOf({ receipt: { stream, epoch, seq } }: EntryRecord): string {
  return `${stream} ${epoch}/${seq}`;
}

test("I4, I5: an entry behind a fence becomes one dead letter with its bytes, and nothing else; its neighbours are written", async (t) => {
  const { writer, sql, raise } = await open(t);
  await persist(writer, [entry(1, 4)]);
  assert.equal(await raise(fence(2, at(1, 4))), "raised");
  const [before, orphan, after] = [entry(1, 4), entry(1, 5), entry(2, 6)];
  const told: number[] = [];
  const outcome = await persist(writer, [before, orphan, after], {
    told: (letters) => told.push(letters.length),
  });
  assert.deepEqual(outcome, { written: 1, duplicates: 1, rows: 1, deadLetters: 1, forks: 0, orphans: 1 });
  assert.deepEqual(told, [1]);
  const again = await persist(writer, [orphan]);
  assert.deepEqual(again, { written: 0, duplicates: 0, rows: 0, deadLetters: 0, forks: 0, orphans: 1 });
  const letters = await allLetters(sql);
  assert.deepEqual(
    letters.map(({ kind, epoch, seq, index, raw, sqlstate }) => ({ kind, epoch, seq, index, raw, sqlstate })),
    [{ kind: "orphaned", epoch: 1, seq: 5, index: -1, raw: orphan.receipt.payload, sqlstate: null }],
  );
  assert.match(letters[0]!.reason, /^ORPHANED: .* epoch 2, and went on without it$/);
  const rows = await sql`SELECT order_id FROM orders WHERE order_id = ${orphan.orders[0]!.orderId}`;
  assert.equal(rows.length, 0);
});

test("the careful way of writing meets the fence, too; a replay tells what it left out", async (t) => {
  const { writer, sql, raise } = await open(t);
  await raise(fence(2, at(1, 4)));
  const poison = makeEntry({ seq: 3, order: () => ({ quantity: "many" }) });
  const outcome = await persist(writer, [poison, entry(1, 5), entry(2, 6)]);
  assert.deepEqual(outcome, { written: 2, duplicates: 0, rows: 1, deadLetters: 2, forks: 0, orphans: 1 });
  const conflicts: Conflict[] = [];
  for (const batch of [
    [entry(1, 7), entry(2, 8)],
    [poison, entry(1, 7)],
  ])
    conflicts.push(...(await rewrite(writer, batch, async () => {})).conflicts);
  assert.deepEqual(
    conflicts.map(({ what }) => what),
    Array(2).fill("an entry that the log has lost"),
  );
  const rows = await sql`SELECT seq::int FROM journal WHERE stream = 0 ORDER BY seq`;
  assert.deepEqual(rows.map(({ seq }) => seq as number), [3, 6, 8]); // prettier-ignore
});

test("events of what was put back are made again and written; those of what is missing wait for its commands (I8)", async (t) => {
  const { writer, sql, raise } = await open(t);
  await persist(writer, [entry(1, 6)]); // of 3 to 8, which the stream had lost, the journal has this one
  await raise(fence(2, at(1, 6), at(1, 2)));
  const events = [2, 3, 6, 7].map((seq) => entry(1, seq, 1));
  assert.deepEqual(await written(writer, sql, events), ["1 1/2", "1 1/6"]);
  // The commands fill the gap; then the engine comes to them, and makes their events again.
  assert.deepEqual(await written(writer, sql, [entry(1, 3), entry(1, 7)]), ["0 1/3"]);
  assert.deepEqual(await written(writer, sql, events), ["1 1/2", "1 1/3", "1 1/6"]);
});

test("I8: events that were written before their commands, which the log then lost, are taken back behind the fence", async (t) => {
  const { writer, sql, raise } = await open(t);
  const withdraw = (fence: NewFence) => withdrawLost(writer, 0, fence, STALLED_MS);
  const [known, lost] = [entry(1, 4), entry(1, 6)];
  const fill = (seq: number, cumQuantity: string) => makeEvents(seq, known.orders, { execType: "TRADE", cumQuantity });
  const foreign = entry(0, 9, 1); // no entry of the log
  await persist(writer, [known, makeEvents(4, known.orders), fill(5, "0.00000001"), foreign]);
  const triggered = makeEvents(6, known.orders, { execType: "TRIGGERED", triggered: true });
  await persist(writer, [triggered, fill(7, "0.00000002"), makeEvents(8, lost.orders)]);
  // More than one transaction takes back.
  for (let seq = 9; seq < 159; seq++) await persist(writer, [makeEvents(seq, [])]);
  const base = at(1, 5);
  // Nothing for those who have raised no fence.
  assert.deepEqual(await withdraw(fence(2, base)), { entries: 0, isAll: true });
  assert.equal(await raise(fence(2, base)), "raised");
  assert.deepEqual(await withdraw({ ...fence(2, base), claim: "another's" }), { entries: 0, isAll: true });
  // The epoch has begun, and its events are quicker than its commands.
  const next = makeEvents(200, []);
  await persist(writer, [{ ...next, receipt: { ...next.receipt, epoch: 2 } }]);
  assert.deepEqual(await withdraw(fence(2, base)), { entries: 153, isAll: true });
  const left = { receipts: ["1/4", "1/5", "0/9", "2/200"], reports: [4, 5], states: ["0.00000001 false"] };
  assert.deepEqual(await tells(sql), left);
  await raise(fence(3, at(2, 200)));
  assert.deepEqual(await withdraw(fence(2, base)), { entries: 0, isAll: true });
  assert.deepEqual(await tells(sql), left);
});

/** What stands of events: the places of the receipts, those of the reports, and the orders' states. */
async function tells(sql: postgres.Sql) {
  const receipts = await sql<{ place: string }[]>`
    SELECT epoch || '/' || seq AS place FROM journal WHERE stream = 1 ORDER BY seq`;
  const reports = await sql<{ seq: number }[]>`SELECT seq::int FROM executions ORDER BY seq`;
  const states = await sql<{ state: string }[]>`SELECT cum_quantity || ' ' || triggered AS state FROM order_states`;
  return {
    receipts: receipts.map(({ place }) => place),
    reports: reports.map(({ seq }) => seq),
    states: states.map(({ state }) => state),
  };
}

test("I2, I4: what fills a gap is written once its ids are known again, and an orphan where one of them is taken", async (t) => {
  const { writer, raise, sql } = await open(t);
  await persist(writer, [entry(1, 4), entry(1, 7)]);
  assert.equal(await raise(fence(2, at(1, 7), at(1, 4))), "raised");
  const asked: string[] = [];
  const logOf = (answer: () => boolean, assertOpenSince = () => Promise.resolve()): FencedLog => ({
    recall: async (receipt: Receipt, epoch: number) => {
      asked.push(`${receipt.seq} of epoch ${receipt.epoch}, without it ${epoch}`);
      return answer();
    },
    assertOpenSince,
  });
  const away = logOf(() => {
    throw new Error("Redis is away");
  });
  const batch = [entry(1, 4), entry(1, 5), entry(1, 7), entry(1, 8), entry(2, 9)];
  await assert.rejects(persist(writer, batch, { log: away }), /Redis is away/);
  assert.equal((await persist(writer, [entry(1, 4)], { log: away })).duplicates, 1);
  const shut = () => Promise.reject(new Error("the log is not open"));
  const behind = [entry(1, 8)];
  await assert.rejects(persist(writer, behind, { log: logOf(() => true, shut) }), /the log is not open/);
  const outcome = await persist(writer, batch, { log: logOf(() => true) });
  assert.deepEqual([outcome.written, outcome.duplicates, outcome.orphans], [2, 2, 1]);
  assert.equal((await persist(writer, [entry(1, 6)], { log: logOf(() => false) })).orphans, 1);
  assert.deepEqual(asked, ["5 of epoch 1, without it 2", "5 of epoch 1, without it 2", "6 of epoch 1, without it 2"]);
  assert.deepEqual(
    (await allLetters(sql)).map(({ seq }) => seq).toSorted((a, b) => a - b),
    [6, 8],
  );
});

test("of several fences each counts, unless the log went on behind an older one as if it had never been", async (t) => {
  const { writer, sql, raise } = await open(t);
  await raise(fence(1, at(0, 0)));
  await raise(fence(2, at(1, 4)));
  await raise(fence(3, at(2, 9)));
  const lost = [entry(1, 5), entry(1, 8), entry(2, 10)];
  assert.deepEqual(await written(writer, sql, [...lost, entry(1, 3), entry(2, 9), entry(3, 11)]), [
    "0 1/3",
    "0 2/9",
    "0 3/11",
  ]);
  // Epoch 4 was claimed and never opened: Redis came back as it had been in epoch 3.
  await raise(fence(4, at(3, 11)));
  await raise(fence(5, at(3, 20)));
  assert.deepEqual(await written(writer, sql, [entry(3, 15), entry(4, 12), entry(3, 21), entry(5, 22)]), [
    "0 3/15",
    "0 5/22",
  ]);
  assert.deepEqual(await newestFence(sql, 0), { epoch: 5, claim: "claim of 5" });
  assert.equal(await newestFence(sql, 1), undefined);
});

test("what is no entry of the log meets no fence", async (t) => {
  const { writer, sql, raise } = await open(t);
  await raise(fence(2, at(1, 4)));
  assert.deepEqual(await written(writer, sql, [entry(0, 9)]), ["0 0/9"]);
});

test("a fence is not raised where the journal has grown, or another opening has the epoch; the same one may come again", async (t) => {
  const { writer, raise } = await open(t);
  await persist(writer, [entry(1, 5)]);
  assert.equal(await raise(fence(2, at(1, 4))), "grown");
  assert.equal(await raise(fence(2, at(1, 5))), "raised");
  assert.equal(await raise(fence(2, at(1, 5))), "raised");
  assert.equal(await raise({ ...fence(2, at(1, 5)), claim: "another's" }), "overtaken");
  assert.equal(await raise(fence(3, at(1, 5))), "raised");
  assert.equal(await raise(fence(2, at(1, 5))), "overtaken");
});

test("a transaction that is under way is waited for, and then the journal has grown", async (t) => {
  const { url, writer, sql, raise } = await open(t);
  await persist(writer, [entry(1, 4)]);
  const holder = openWriter(t, url);
  await holder.transaction(async (transaction) => {
    await transaction.query("LOCK TABLE orders IN EXCLUSIVE MODE");
    const writing = persist(writer, [entry(1, 5)]);
    await untilWaiting(sql, "relation");
    const raising = raise(fence(2, at(1, 4)));
    await untilWaiting(sql, "advisory");
    await transaction.query("COMMIT; BEGIN");
    assert.equal((await writing).written, 1);
    assert.equal(await raising, "grown");
  });
});

test("a transaction whose process has stalled is ended, and a younger one is not", async (t) => {
  const { url, writer, sql, raise } = await open(t);
  await persist(writer, [entry(1, 4)]);
  const stalled = openWriter(t, url);
  const asleep = Promise.withResolvers<void>();
  const lost = stalled.transaction(async (transaction) => {
    await transaction.query("SELECT pg_advisory_xact_lock_shared(7366514, 0)");
    asleep.resolve();
    await new Promise(() => {});
  });
  const ended = assert.rejects(lost);
  await asleep.promise;
  // Sooner than its time is up it is waited for.
  const raising = raise(fence(2, at(1, 4)), 1_500);
  await untilWaiting(sql, "advisory");
  await ended;
  assert.equal(await raising, "raised");
  assert.equal((await persist(writer, [entry(1, 5)])).orphans, 1);
});

test("a backend that is terminated while it waits for a fence: the batch is refused as transient, and may come again", async (t) => {
  const { url, writer, sql } = await open(t);
  await persist(writer, [entry(1, 4)]); // the statements are prepared: both are on their way at once
  const fresh = openWriter(t, url); // and here the second one waits for the first one's types
  for (const waiting of [writer, fresh]) {
    await openWriter(t, url).transaction(async (transaction) => {
      await transaction.query("SELECT pg_advisory_xact_lock(7366514, 0)");
      const refused = assert.rejects(persist(waiting, [entry(1, 5)]), TransientStoreError);
      await untilWaiting(sql, "advisory");
      await sql`
        SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
      await refused;
    });
    const { written, duplicates } = await persist(waiting, [entry(1, 5)]);
    assert.equal(written + duplicates, 1);
  }
});

async function untilWaiting(sql: postgres.Sql, locktype: string): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    const waiting = await sql`
      SELECT FROM pg_locks WHERE locktype = ${locktype} AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
    if (waiting.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`nobody waits for a lock (${locktype})`);
}
