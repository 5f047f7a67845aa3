/** I4, I5: a gap is closed whole and once, or not at all; what comes later of it is a dead letter. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { listAdminActions } from "./admin-actions.ts";
import { persist } from "./batch.ts";
import { closeGap, ClosingBusyError, ClosingError, findClosing, type NewClosing } from "./closings.ts";
import { saveSnapshot, snapshotPlaces } from "./engine-snapshots.ts";
import type { EntryRecord } from "./entry-record.ts";
import { JOURNAL_LOCK } from "./journal-lock.ts";
import { allLetters, makeEntry, makeEvents, makeOrder, NOON, openSql, openWriter } from "./test-entries.ts";

const payload = Buffer.from("nothing");
const hash = createHash("sha256").update(payload).digest();
const at = (seq: number) => ({ epoch: 1, ms: NOON, seq });
/** Of 3 and 4, behind 2. */
const GAP: NewClosing = { partition: 0, after: at(2), missing: at(4), epoch: 1, payload, hash, version: 1 };
const ACTION = { actor: "root", action: "CloseGap", subject: "partition 0", details: { reason: "it is lost" } };
const PATIENT = Number.POSITIVE_INFINITY;

async function open(t: TestContext, journaled: readonly number[] = [1, 2, 5, 6]) {
  const { url } = await createTestDatabase(t);
  const [writer, sql] = [openWriter(t, url), openSql(t, url)];
  await persist(
    writer,
    journaled.map((seq) => makeEntry({ seq })),
  );
  const close = (gap = GAP, until = PATIENT) => closeGap(openWriter(t, url), gap, ACTION, until);
  /** Of a stream, in its order. */
  const seqs = async (stream: number) =>
    (await sql<{ seq: string }[]>`SELECT seq FROM journal WHERE stream = ${stream} ORDER BY seq`).map(({ seq }) =>
      Number(seq),
    );
  return { url, writer, sql, close, seqs };
}

/** An event entry in which the order of a command entry is new. */
function eventsOf(seq: number): EntryRecord {
  return makeEvents(seq, [makeOrder(NOON, seq, 0)]);
}

test("I4, I8: one entry stands in the gap; snapshots and events at or behind it are gone; the audit trail tells, once", async (t) => {
  const { writer, sql, close, seqs } = await open(t);
  await persist(writer, [1, 2, 3, 5].map(eventsOf));
  for (const seq of [1, 2, 3, 5]) {
    const data = Buffer.from("state");
    await saveSnapshot(writer, {
      ...at(seq),
      partition: 0,
      rules: 1,
      kept: true,
      stateHash: 7n,
      entryHash: hash,
      data,
    });
  }
  const { closing, before } = await close();
  assert.equal(before, false);
  assert.deepEqual(closing, { ...at(4), after: at(2), hash, withdrawn: 2, snapshots: 2 });
  assert.deepEqual(await seqs(0), [1, 2, 4, 5, 6]);
  assert.deepEqual(await seqs(1), [1, 2]);
  assert.deepEqual(
    (await snapshotPlaces(sql, 0)).map(({ seq }) => seq),
    [1, 2],
  );
  const [row] = await sql`SELECT prev_seq, commands, payload FROM journal WHERE seq = 4`;
  assert.deepEqual({ ...row }, { prev_seq: "2", commands: 1, payload });
  const states = await sql<{ seq: string }[]>`SELECT seq FROM order_states ORDER BY seq`;
  assert.deepEqual(
    states.map(({ seq }) => seq),
    ["1", "2"],
  );

  assert.deepEqual(await close(), { closing, before: true });
  assert.deepEqual(await findClosing(sql, 0, at(4)), closing);
  assert.equal(await findClosing(sql, 1, at(4)), undefined);
  const actions = await listAdminActions(sql, { limit: 10 });
  const details = { reason: "it is lost", withdrawn: "2", snapshots: "2" };
  assert.deepEqual(
    actions.map((action) => [action.actor, action.outcome, action.details]),
    [["root", "done", details]],
  );
});

test("I4, I5: what comes later of a closed gap is a dead letter, told, and no row; its neighbours are written", async (t) => {
  const { writer, sql, close, seqs } = await open(t);
  await close();
  const late = [makeEntry({ seq: 3 }), makeEntry({ seq: 4 }), eventsOf(3)];
  const own = makeEntry({ seq: 4, orders: 0, receipt: { payload, hash, prevSeq: 2 } });
  const outcome = await persist(writer, [...late, makeEntry({ seq: 2 }), own, makeEntry({ seq: 7 })]);
  assert.deepEqual(outcome, { written: 1, duplicates: 2, rows: 1, deadLetters: 3, forks: 0, orphans: 3 });
  const letters = await allLetters(sql);
  assert.deepEqual(letters.map(({ kind, stream, seq }) => `${kind} ${stream}/${seq}`).sort(), [
    "orphaned 0/3",
    "orphaned 0/4",
    "orphaned 1/3",
  ]);
  for (const { reason } of letters) assert.match(reason, /^ORPHANED: .* gap in which it stood was closed without it$/);
  assert.deepEqual(await seqs(0), [1, 2, 4, 5, 6, 7]);
  // Of the entry that stands there the engine makes events.
  assert.equal((await persist(writer, [eventsOf(4), eventsOf(5)])).written, 2);
});

test("a gap of which something is there, or is being written, stays as it is; a call that has no time left is gone on with", async (t) => {
  const { writer, sql, close, seqs } = await open(t, [1, 2, 3, 5]);
  await assert.rejects(
    close(),
    (error: Error) => error instanceof ClosingError && /-3 of that gap/.test(error.message),
  );
  await sql`DELETE FROM journal WHERE seq = 3`;
  const many = Array.from({ length: 250 }, (_, i) => eventsOf(5 + i));
  await persist(writer, many);
  await assert.rejects(close(GAP, 0), ClosingBusyError);
  assert.equal((await seqs(1)).length, 150);
  assert.deepEqual(await seqs(0), [1, 2, 5]);

  const held = Promise.withResolvers<void>();
  const holding = Promise.withResolvers<void>();
  const worker = writer.transaction(async (transaction) => {
    await transaction.query("SELECT pg_advisory_xact_lock_shared($1, $2)", [JOURNAL_LOCK, 0]);
    holding.resolve();
    await held.promise;
  });
  await holding.promise;
  await assert.rejects(close(), /workers are writing this partition/);
  held.resolve();
  await worker;
  const { closing } = await close();
  assert.equal(closing.withdrawn, 150);
  assert.deepEqual(await seqs(0), [1, 2, 4, 5]);
  assert.deepEqual(await seqs(1), []);
});
