import type { Logger } from "pino";
import type postgres from "postgres";

import type { AccountChanges } from "../store/account-changes.ts";
import { createKey, findBareKey, findCredentials } from "../store/account-keys.ts";
import { createAccount } from "../store/accounts.ts";
import { recordDone } from "../store/admin-actions.ts";
import { generateSecret, type Secrets } from "./auth/secrets.ts";
import { endKey } from "./keys.ts";

const ADMIN = "admin";
/** No account can have this name. */
const ACTOR = "(environment)";

/**
 * Makes the account "admin", where there is none, and sees to it that the secret given by the environment is good for
 * it: another one than at the last start takes the place of that one. A secret whose key an admin has revoked stays so.
 */
export async function ensureAdmin(
  sql: postgres.Sql,
  changes: AccountChanges,
  secrets: Secrets,
  secret: string,
  log: Logger,
): Promise<void> {
  // At most starts nothing is to be done: many processes that start at once do not wait for each other then.
  const present = await findCredentials(sql, ADMIN, undefined);
  if (present?.key.revokedAt === null && (await secrets.check(secret, present.key.secretHash))) return;
  const { keyId: id } = generateSecret();
  const secretHash = await secrets.hash(secret);
  const outcome = await changes.change(async (change) => {
    const created = (await createAccount(change, { name: ADMIN, role: "admin" })) !== undefined;
    const known = await findBareKey(change.transaction, ADMIN);
    if (known !== undefined && (await secrets.check(secret, known.secretHash))) {
      return known.revokedAt === null ? undefined : "revoked";
    }
    if (known !== undefined && known.revokedAt === null) await endKey(change, ADMIN, known.id);
    await createKey(change.transaction, { id, account: ADMIN, bare: true, secretHash, expiresAt: null });
    const action = created ? "CreateAccount" : "CreateKey";
    const details = { key_id: id, ...(known?.revokedAt === null && { replaces: known.id }) };
    await recordDone(change.transaction, { actor: ACTOR, action, subject: ADMIN, details });
    return created ? "created" : "replaced";
  });
  if (outcome === "created") log.info({ account: ADMIN }, "first admin created");
  if (outcome === "replaced") log.warn({ account: ADMIN }, "the secret of the environment took the place of another");
  if (outcome === "revoked") log.warn({ account: ADMIN }, "the secret of the environment is revoked");
}
