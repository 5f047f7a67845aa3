import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "../store/batch.ts";
import type { StreamNumber } from "../store/entry-record.ts";
import { makeEntry, NOON, openSql, openWriter } from "../store/test-entries.ts";
import { successor } from "../stream/journal.ts";
import type { EntryPosition } from "../stream/position.ts";
import { engineJournal } from "./engine-journal.ts";

const DAY_MS = 86_400_000;
const START: EntryPosition = { epoch: 0, ms: 0, seq: 0 };

/** Place `n` of a chain of ten entries, two days long. */
function place(n: number, epoch = 1): EntryPosition {
  return { epoch, ms: NOON + (n < 5 ? 0 : DAY_MS), seq: n };
}

async function setScene(t: TestContext, walkedAtOnce?: number) {
  const { url } = await createTestDatabase(t);
  const writer = openWriter(t, url);
  return {
    journal: engineJournal(openSql(t, url), walkedAtOnce),
    /** Writes receipts of these places, each behind the one before it in the chain, or behind the one given. */
    write: async (
      stream: StreamNumber,
      ...entries: readonly (number | readonly [n: number, epoch: number, after: number])[]
    ) => {
      const records = entries.map((entry) => {
        const [n, epoch, after] = typeof entry === "number" ? [entry, 1, entry - 1] : entry;
        const before = after < 0 ? START : place(after);
        const receipt = { stream, ...place(n, epoch), prevMs: before.ms, prevSeq: before.seq };
        return makeEntry({ seq: n, orders: 0, receipt: stream === 0 ? receipt : { ...receipt, payload: null } });
      });
      await persist(writer, records);
    },
  };
}

for (const walkedAtOnce of [undefined, 1, 2, 3]) {
  test(`the receipts of the events stream count up to the first that is missing, ${walkedAtOnce} at once`, async (t) => {
    await assertCounted(await setScene(t, walkedAtOnce));
  });
}

async function assertCounted({ journal, write }: Awaited<ReturnType<typeof setScene>>): Promise<void> {
  assert.deepEqual(await journal.eventsEnd(0, START), START);
  await write(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  assert.deepEqual(await journal.eventsEnd(0, START), START, "commands are no events");
  await write(1, 0, 1, 2, 4, 6);
  assert.deepEqual(await journal.eventsEnd(0, START), place(2));
  assert.deepEqual(await journal.eventsEnd(0, place(1)), place(2));
  assert.deepEqual(await journal.eventsEnd(0, place(4)), place(4), "what is before the place is not asked for");
  await write(1, 3);
  assert.deepEqual(await journal.eventsEnd(0, START), place(4));
  await write(1, 5);
  assert.deepEqual(await journal.eventsEnd(0, START), place(6));
  assert.deepEqual(await journal.eventsEnd(0, place(8)), place(8));
  assert.deepEqual(await journal.eventsEnd(1, START), START, "another partition's are its own");
}

test("where the first receipt of all is missing, none counts; but what the retention dropped is not missing", async (t) => {
  const young = await setScene(t);
  await young.write(0, 0, 1, 2);
  await young.write(1, 1, 2);
  assert.deepEqual(await young.journal.eventsEnd(0, START), START);
  const old = await setScene(t);
  await old.write(0, 5, 6, 7);
  await old.write(1, 5, 6);
  assert.deepEqual(await old.journal.eventsEnd(0, START), place(6));
});

test("what the log lost when it was opened anew is no gap in the receipts", async (t) => {
  const { journal, write } = await setScene(t, 2);
  await write(0, 0, 1, 2, 3, [4, 2, 2], [5, 2, 4]);
  await write(1, 0, 1, 2, 3, [4, 2, 2], [5, 2, 4]);
  assert.deepEqual(await journal.eventsEnd(0, START), place(5, 2));
  // Reading on behind 2, the newer epoch's entry is the log's.
  assert.equal(successor(await journal.read(0, place(2), 10), place(2))?.seq, 4);
});

test("commands are read in pages, and compared by their hash", async (t) => {
  const { journal, write } = await setScene(t);
  await write(0, 0, 1, 2, 3);
  const page = await journal.read(0, START, 3);
  assert.deepEqual(
    page.map(({ seq, previous, payload }) => [seq, previous.seq, payload.toString()]),
    [0, 1, 2].map((n) => [n, Math.max(0, n - 1), `payload ${NOON}-${n}`]),
  );
  assert.equal((await journal.hashOf(0, place(1)))?.length, 32);
  assert.equal(await journal.hashOf(0, { ...place(1), epoch: 2 }), undefined);
});
