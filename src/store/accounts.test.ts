import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createTestDatabase } from "../../test/support/servers.ts";
import { AccountChanges, ChangesBusyError, lastRevision } from "./account-changes.ts";
import type { Change } from "./account-changes.ts";
import { countGoodKeys, createKey, findBareKey, findCredentials, listKeys, revokeKey } from "./account-keys.ts";
import {
  ableAdmins,
  createAccount,
  endTokens,
  findAccount,
  listAccounts,
  listChangedAccounts,
  updateAccount,
} from "./accounts.ts";
import { listAdminActions, recordAsked, recordDone, settle } from "./admin-actions.ts";
import { countRevocations, KEPT_AFTER_MS, listRevocations, revoke } from "./revocations.ts";
import { openSql, openWriter } from "./test-entries.ts";

async function open(t: TestContext) {
  const { url } = await createTestDatabase(t);
  const changes = new AccountChanges(url);
  t.after(() => changes.close());
  const key = (change: Change, account: string, id: string, more: { bare?: boolean; expiresAt?: Date } = {}) =>
    createKey(change.transaction, { id, account, bare: false, secretHash: `hash of ${id}`, expiresAt: null, ...more });
  return { url, sql: openSql(t, url), writer: openWriter(t, url), changes, key };
}

test("an account is created once, and changes field by field", async (t) => {
  const { sql, changes } = await open(t);
  const alice = await changes.change((change) => createAccount(change, { name: "alice", role: "trader" }));
  assert.deepEqual(alice, await findAccount(sql, "alice"));
  const { createdAt, ...rest } = alice!;
  assert.deepEqual(rest, { name: "alice", role: "trader", suspended: false, rateLimit: 0, generation: 0 });
  assert.ok(createdAt instanceof Date);
  assert.equal(await changes.change((change) => createAccount(change, { name: "alice", role: "admin" })), undefined);
  assert.equal((await findAccount(sql, "alice"))?.role, "trader");
  assert.equal(await findAccount(sql, "bob"), undefined);

  const update = (fields: object) => changes.change((change) => updateAccount(change, "alice", fields));
  assert.deepEqual(await update({ role: "read_only" }), { ...alice, role: "read_only" });
  assert.deepEqual(await update({ suspended: true, rateLimit: 5 }), {
    ...alice,
    role: "read_only",
    suspended: true,
    rateLimit: 5,
  });
  assert.equal((await update({ suspended: false }))?.suspended, false);
  assert.equal(await changes.change((change) => updateAccount(change, "bob", { suspended: true })), undefined);
  assert.equal(await changes.change((change) => endTokens(change, "alice")), true);
  assert.equal(await changes.change((change) => endTokens(change, "bob")), false);
  assert.equal((await findAccount(sql, "alice"))?.generation, 1);
});

test("lists go by name, page by page", async (t) => {
  const { sql, changes } = await open(t);
  for (const name of ["c", "a", "b"]) await changes.change((change) => createAccount(change, { name, role: "trader" }));
  const names = async (after: string | undefined, limit: number) =>
    (await listAccounts(sql, { after, limit })).map(({ name }) => name);
  assert.deepEqual(await names(undefined, 2), ["a", "b"]);
  assert.deepEqual(await names("b", 2), ["c"]);
});

test("changes have numbers in the order of their commits, and are found by them", async (t) => {
  const { writer, changes, url } = await open(t);
  const elsewhere = new AccountChanges(url);
  t.after(() => elsewhere.close());
  const committed: number[] = [];
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const of = i % 2 === 0 ? changes : elsewhere;
      await of.change(async (change) => {
        await createAccount(change, { name: `account-${i}`, role: "trader" });
        await revoke(change, { id: `token-${i}`, account: `account-${i}`, expiresAt: new Date(Date.now() + 60_000) });
        // The next change waits for this one's commit, in whichever process.
        assert.equal(committed.length, change.revision - 1);
        committed.push(change.revision);
      });
    }),
  );
  assert.deepEqual(
    committed,
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  const found = await writer.transaction(async (transaction) => ({
    last: await lastRevision(transaction),
    accounts: await listChangedAccounts(transaction, 15, "", 100),
    page: await listChangedAccounts(transaction, -1, "account-17", 2),
    revocations: await listRevocations(transaction, 15, "", 100),
  }));
  assert.equal(found.last, 20);
  assert.deepEqual(
    found.accounts.map(({ revision }) => revision).sort((a, b) => a - b),
    [16, 17, 18, 19, 20],
  );
  assert.deepEqual(found.page.map(({ name }) => name), ["account-18", "account-19"]); // prettier-ignore
  assert.equal(found.revocations.length, 5);
});

test("what a change throws undoes it, and the next one is not disturbed", async (t) => {
  const { sql, changes } = await open(t);
  const refused = changes.change(async (change) => {
    await createAccount(change, { name: "alice", role: "trader" });
    throw new Error("no");
  });
  const next = changes.change((change) => createAccount(change, { name: "bob", role: "trader" }));
  await assert.rejects(refused, /^Error: no$/);
  assert.equal((await next)?.name, "bob");
  assert.equal(await findAccount(sql, "alice"), undefined);
});

test("a crowd of changes is bounded", async (t) => {
  const { changes } = await open(t);
  const crowd = await Promise.allSettled(Array.from({ length: 70 }, () => changes.change(async () => {})));
  const refused = crowd.filter((outcome) => outcome.status === "rejected");
  assert.equal(refused.length, 6);
  for (const { reason } of refused) assert.ok(reason instanceof ChangesBusyError);
  await changes.change(async () => {});
});

test("a secret tells its key; one without an id is of the newest key that has none", async (t) => {
  const { sql, writer, changes, key } = await open(t);
  const past = new Date(Date.now() - 1_000);
  await changes.change(async (change) => {
    await createAccount(change, { name: "alice", role: "trader" });
    await createAccount(change, { name: "bob", role: "trader" });
    await key(change, "alice", "k1");
    await key(change, "alice", "k2", { expiresAt: past });
    await key(change, "bob", "k3");
  });
  const idOf = async (account: string, keyId?: string) => (await findCredentials(sql, account, keyId))?.key.id;
  assert.equal(await idOf("alice", "k1"), "k1");
  assert.equal(await idOf("alice", "k3"), undefined, "of another account");
  assert.equal(await idOf("alice"), undefined, "no key is without an id");
  assert.equal(await writer.transaction((transaction) => countGoodKeys(transaction, "alice")), 1);

  await changes.change((change) => key(change, "alice", "bare-1", { bare: true }));
  assert.equal(await idOf("alice", "k3"), "bare-1", "a person's secret may look as if it named a key");
  await assert.rejects(
    changes.change((change) => key(change, "alice", "bare-2", { bare: true })),
    { code: "23505" },
  );
  const revoked = await changes.change(({ transaction }) => revokeKey(transaction, "alice", "bare-1"));
  assert.ok(revoked?.revokedAt instanceof Date);
  assert.equal(await idOf("alice"), "bare-1", "which is told that it is revoked");
  await changes.change((change) => key(change, "alice", "bare-2", { bare: true }));
  assert.equal(await idOf("alice"), "bare-2");
  const bare = await writer.transaction((transaction) => findBareKey(transaction, "alice"));
  assert.deepEqual([bare?.id, bare?.secretHash], ["bare-2", "hash of bare-2"]);

  const again = await changes.change(({ transaction }) => revokeKey(transaction, "alice", "bare-1"));
  assert.deepEqual(again, revoked, "a second time changes nothing");
  assert.equal(await changes.change(({ transaction }) => revokeKey(transaction, "bob", "k1")), undefined);
  assert.deepEqual((await listKeys(sql, "alice", 3)).map(({ id }) => id), ["bare-2", "k1", "bare-1"]); // prettier-ignore
});

test("an admin who could log in has the role, a good key and no suspension", async (t) => {
  const { writer, changes, key } = await open(t);
  await changes.change(async (change) => {
    for (const name of ["able", "suspended", "keyless", "expired", "revoked"]) {
      await createAccount(change, { name, role: "admin" });
      if (name !== "keyless") {
        await key(change, name, `key of ${name}`, name === "expired" ? { expiresAt: new Date(Date.now() - 1) } : {});
      }
    }
    await createAccount(change, { name: "trader", role: "trader" });
    await key(change, "trader", "key of trader");
    await updateAccount(change, "suspended", { suspended: true });
    await revokeKey(change.transaction, "revoked", "key of revoked");
  });
  assert.deepEqual(await writer.transaction(ableAdmins), ["able"]);
});

test("a revocation is forgotten once it is long over", async (t) => {
  const { writer, changes, sql } = await open(t);
  const at = (ms: number) => new Date(Date.now() + ms);
  await changes.change((change) =>
    revoke(change, { id: "over", account: "a", expiresAt: at(-KEPT_AFTER_MS - 60_000) }),
  );
  await changes.change((change) => revoke(change, { id: "just over", account: "a", expiresAt: at(-60_000) }));
  await changes.change((change) => revoke(change, { id: "good", account: "a", expiresAt: at(60_000) }));
  await changes.change((change) => revoke(change, { id: "good", account: "a", expiresAt: at(90_000) }));
  const ids = (await sql<{ id: string }[]>`SELECT id FROM revocations ORDER BY id`).map(({ id }) => id);
  assert.deepEqual(ids, ["good", "just over"]);
  assert.equal(await writer.transaction((transaction) => countRevocations(transaction, "a")), 1);
});

test("the audit trail: newest first, and what was asked is settled once", async (t) => {
  const { sql, changes } = await open(t);
  const details = { rate_limit: "5", note: `"quoted" \\ and ä` };
  await changes.change(({ transaction }) =>
    recordDone(transaction, { actor: "root", action: "UpdateAccount", subject: "alice", details }),
  );
  const asked = { actor: "root", action: "UpsertInstrument", subject: "BTC-USD", details: { version: "1" } };
  const id = await recordAsked(sql, asked);
  const [newest, oldest] = await listAdminActions(sql, { limit: 10 });
  assert.deepEqual([newest?.id, newest?.outcome, newest?.details], [id, "asked", { version: "1" }]);
  const { id: first, at, ...done } = oldest!;
  assert.deepEqual(done, { actor: "root", action: "UpdateAccount", subject: "alice", outcome: "done", details });
  assert.ok(at instanceof Date && first < id);
  await settle(sql, id, "done", { command_id: "c" });
  await settle(sql, id, "refused", { command_id: "d" });
  const [settled] = await listAdminActions(sql, { limit: 1 });
  assert.deepEqual([settled?.outcome, settled?.details], ["done", { version: "1", command_id: "c" }]);
  assert.deepEqual((await listAdminActions(sql, { before: id, limit: 10 })).map((action) => action.id), [first]); // prettier-ignore
});
