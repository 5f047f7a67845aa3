import assert from "node:assert/strict";
import { test } from "node:test";

import { pino } from "pino";

import { createTestDatabase } from "../../test/support/servers.ts";
import { AccountChanges } from "../store/account-changes.ts";
import { findCredentials, revokeKey } from "../store/account-keys.ts";
import { openSql } from "../store/test-entries.ts";
import { Secrets } from "./auth/secrets.ts";
import { ensureAdmin } from "./first-admin.ts";

test("the secret of the environment is good at each start, unless its key was revoked", async (t) => {
  const { url } = await createTestDatabase(t);
  const sql = openSql(t, url);
  const secrets = new Secrets();
  const start = async (secret: string) => {
    const changes = new AccountChanges(url);
    try {
      await ensureAdmin(sql, changes, secrets, secret, pino({ level: "silent" }));
    } finally {
      await changes.close();
    }
  };
  const keys = async () => (await sql`SELECT FROM account_keys`).length;
  const opens = async (secret: string) => {
    const found = await findCredentials(sql, "admin", undefined);
    assert.equal(found?.role, "admin");
    return found.key.revokedAt === null && (await secrets.check(secret, found.key.secretHash));
  };

  await Promise.all([1, 2, 3].map(() => start("the first secret")));
  assert.ok(await opens("the first secret"));
  await start("the first secret");
  assert.equal(await keys(), 1, "one key, however many started");

  const former = (await findCredentials(sql, "admin", undefined))!.key.id;
  await start("the second secret");
  assert.ok(await opens("the second secret"));
  const revoked = await sql<{ id: string }[]>`SELECT id FROM revocations`;
  assert.deepEqual([await keys(), revoked[0]?.id], [2, former], "the tokens of the former one have ended");

  const changes = new AccountChanges(url);
  t.after(() => changes.close());
  const present = (await findCredentials(sql, "admin", undefined))!.key.id;
  await changes.change(({ transaction }) => revokeKey(transaction, "admin", present));
  await start("the second secret");
  assert.deepEqual([await opens("the second secret"), await keys()], [false, 2]);
  await start("the third secret");
  assert.ok(await opens("the third secret"));
  const trail = await sql<{ actor: string; action: string }[]>`SELECT actor, action FROM admin_actions ORDER BY id`;
  assert.deepEqual(
    trail.map(({ actor, action }) => `${actor} ${action}`),
    ["(environment) CreateAccount", "(environment) CreateKey", "(environment) CreateKey"],
  );
});
