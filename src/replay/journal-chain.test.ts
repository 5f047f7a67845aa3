import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { persist } from "../store/batch.ts";
import { makeEntry, NOON, openSql, openWriter } from "../store/test-entries.ts";
import { JournalChain } from "./journal-chain.ts";

const BEGIN = { epoch: 0, ms: 0, seq: 0 };

/** Writes entries of one millisecond, each with its epoch, its place and the place before it (-1 for none). */
async function journalOf(
  t: TestContext,
  ...entries: readonly (readonly [epoch: number, seq: number, before: number])[]
) {
  const { url } = await createTestDatabase(t);
  const records = entries.map(([epoch, seq, before]) =>
    makeEntry({ seq, orders: 0, receipt: { epoch, prevMs: before < 0 ? 0 : NOON, prevSeq: Math.max(0, before) } }),
  );
  await persist(openWriter(t, url), records);
  return openSql(t, url);
}

async function chainOf(chain: JournalChain, after = BEGIN): Promise<string[]> {
  const found: string[] = [];
  for await (const page of chain.behind(after)) found.push(...page.map(({ epoch, seq }) => `${epoch}/${seq}`));
  return found;
}

test("what the log has lost is no part of the chain, though a worker wrote it (I4)", async (t) => {
  const sql = await journalOf(
    t,
    [1, 0, -1],
    [1, 1, 0],
    [1, 2, 1],
    [1, 3, 2],
    [2, 5, 1],
    [2, 6, 5],
    [4, 7, 5],
    [4, 8, 7],
  );
  const chain = await JournalChain.open(sql, 0, undefined);
  assert.deepEqual(await chainOf(chain), ["1/0", "1/1", "2/5", "4/7", "4/8"]);
  assert.deepEqual(await chainOf(chain, { epoch: 2, ms: NOON, seq: 5 }), ["4/7", "4/8"]);
  assert.ok(chain.has({ epoch: 1, ms: NOON, seq: 1 }));
  assert.ok(!chain.has({ epoch: 1, ms: NOON, seq: 2 }));
  assert.ok(!chain.has({ epoch: 2, ms: NOON, seq: 6 }));
  assert.deepEqual(await chain.before({ ms: NOON, seq: 5 }), { epoch: 1, ms: NOON, seq: 3 });
  assert.deepEqual(await chain.before({ ms: NOON, seq: 7 }), { epoch: 2, ms: NOON, seq: 6 });
  assert.equal(await chain.before({ ms: NOON, seq: 0 }), undefined);
  const lost = async (from: number, to: number) => {
    const found: string[] = [];
    for await (const { epoch, seq } of chain.lost({ ms: NOON, seq: from }, { ms: NOON, seq: to }))
      found.push(`${epoch}/${seq}`);
    return found;
  };
  assert.deepEqual(await lost(0, 9), ["1/2", "1/3", "2/6"]);
  assert.deepEqual(await lost(3, 5), ["1/3"]);
});

test("the log's head tells of an epoch that the journal has nothing of yet", async (t) => {
  const sql = await journalOf(t, [1, 0, -1], [1, 1, 0], [1, 2, 1]);
  const chain = await JournalChain.open(sql, 0, { epoch: 3, base: { ms: NOON, seq: 1 } });
  assert.deepEqual(await chainOf(chain), ["1/0", "1/1"]);
  const same = await JournalChain.open(sql, 0, { epoch: 1, base: { ms: 0, seq: 0 } });
  assert.deepEqual(await chainOf(same), ["1/0", "1/1", "1/2"]);
  assert.deepEqual(await chainOf(await JournalChain.open(sql, 1, undefined)), []);
});
