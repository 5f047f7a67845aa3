import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { pino } from "pino";

import { createTestDatabase } from "../../test/support/servers.ts";
import { AccountChanges } from "../store/account-changes.ts";
import { createAccount, endTokens, updateAccount } from "../store/accounts.ts";
import { revoke } from "../store/revocations.ts";
import { openSql } from "../store/test-entries.ts";
import { AccountBook } from "./account-book.ts";
import type { Claims } from "./auth/tokens.ts";

const FAR = Date.now() + 3_600_000;
const CLAIMS: Claims = { account: "alice", role: "trader", generation: 0, keyId: "k", tokenId: "t", expiresAtMs: FAR };
const PRINCIPAL = { account: "alice", role: "trader", suspended: false, rateLimit: 0, tokenId: "t", expiresAtMs: FAR };

async function open(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const changes = new AccountChanges(url);
  t.after(() => changes.close());
  const told: string[][] = [];
  const onChange = (accounts: ReadonlySet<string>) => void told.push([...accounts].sort());
  const openBook = () =>
    new AccountBook({ databaseUrl: url, onChange, onLook: () => {}, log: pino({ level: "silent" }) });
  const book = openBook();
  t.after(() => book.stop());
  return { book, open: openBook, changes, told, sql: openSql(t, url) };
}

test("a bearer is who the account's present state says", async (t) => {
  const { book, changes, told } = await open(t);
  await book.look();
  assert.deepEqual(book.judge(CLAIMS), PRINCIPAL, "an account that is not known: by its token");
  await changes.change((change) => createAccount(change, { name: "alice", role: "read_only" }));
  await changes.change((change) => updateAccount(change, "alice", { suspended: true, rateLimit: 7 }));
  await book.look();
  assert.deepEqual(book.judge(CLAIMS), { ...PRINCIPAL, role: "read_only", suspended: true, rateLimit: 7 });
  await changes.change((change) => endTokens(change, "alice"));
  assert.ok(book.judge(CLAIMS) !== undefined, "not yet read");
  await book.look();
  assert.equal(book.judge(CLAIMS), undefined);
  for (const generation of [1, 2]) assert.ok(book.judge({ ...CLAIMS, generation }) !== undefined);
  await book.look();
  assert.deepEqual(told, [[], ["alice"], ["alice"]], "a look that finds nothing new tells nothing");
});

test("a token or key that is revoked is refused, for as long as it matters", async (t) => {
  const { book, changes, told } = await open(t);
  await changes.change((change) => revoke(change, { id: "t", account: "alice", expiresAt: new Date(FAR) }));
  const dayBeforeYesterday = new Date(Date.now() - 2 * 86_400_000);
  await changes.change((change) => revoke(change, { id: "over", account: "bob", expiresAt: dayBeforeYesterday }));
  await book.look();
  assert.equal(book.judge(CLAIMS), undefined);
  assert.ok(book.judge({ ...CLAIMS, tokenId: "t2" }) !== undefined);
  await changes.change((change) => revoke(change, { id: "k", account: "alice", expiresAt: new Date(FAR) }));
  await book.look();
  assert.equal(book.judge({ ...CLAIMS, tokenId: "t2" }), undefined);
  assert.ok(book.judge({ ...CLAIMS, tokenId: "", keyId: "" }) !== undefined, "of before there were ids");
  assert.ok(
    book.judge({ ...CLAIMS, tokenId: "over", keyId: "" }) !== undefined,
    "it has ended anyway, and is not kept",
  );
  assert.deepEqual(told, [["alice", "bob"], ["alice"]]);
});

test("a clock that jumps ahead for a while does not have a revocation forgotten", async (t) => {
  const { book, changes } = await open(t);
  await changes.change((change) => revoke(change, { id: "t", account: "alice", expiresAt: new Date(FAR) }));
  t.mock.timers.enable({ apis: ["Date"], now: FAR + 3_600_000 });
  await book.look();
  t.mock.timers.reset();
  assert.equal(book.judge(CLAIMS), undefined);
});

test("a database that was put back to an earlier state is read anew", async (t) => {
  const { book, changes, told, sql } = await open(t);
  await changes.change((change) => createAccount(change, { name: "alice", role: "trader" }));
  await sql`CREATE TABLE backup AS SELECT * FROM accounts`;
  await changes.change((change) => createAccount(change, { name: "bob", role: "trader" }));
  await changes.change((change) => updateAccount(change, "alice", { suspended: true }));
  await book.look();
  assert.equal(book.judge(CLAIMS)?.suspended, true);
  await sql`DELETE FROM accounts`;
  await sql`INSERT INTO accounts SELECT * FROM backup`;
  await sql`UPDATE account_revision SET number = 1`;
  await book.look();
  assert.equal(book.judge(CLAIMS)?.suspended, false);
  assert.deepEqual(told.at(-1), ["alice", "bob"], "those that are gone, too");
});

test("an account that changes while all are read for the first time is known", async (t) => {
  const { changes, open: openBook } = await open(t);
  await changes.change((change) => createAccount(change, { name: "alice", role: "trader" }));
  await changes.change((change) => updateAccount(change, "alice", { suspended: true }));
  let over = false;
  const changing = (async () => {
    for (let rateLimit = 1; !over; rateLimit++) {
      await changes.change((change) => updateAccount(change, "alice", { rateLimit }));
    }
  })();
  for (let i = 0; i < 30; i++) {
    const book = openBook();
    await book.look();
    assert.equal(book.judge(CLAIMS)?.suspended, true);
    await book.stop();
  }
  over = true;
  await changing;
});

test("looks at once are looks in turn", async (t) => {
  const { book, changes } = await open(t);
  await changes.change((change) => createAccount(change, { name: "alice", role: "read_only" }));
  await Promise.all(Array.from({ length: 10 }, () => book.look()));
  assert.equal(book.judge(CLAIMS)?.role, "read_only");
});
