import type postgres from "postgres";

import { MAX_TOKEN_TTL_S } from "../config/variables.ts";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { type AccountKey, countGoodKeys, createKey, listKeys, revokeKey } from "../store/account-keys.ts";
import { findAccount } from "../store/accounts.ts";
import type { Change } from "../store/account-changes.ts";
import { revoke } from "../store/revocations.ts";
import { noSuchAccount } from "./accounts.ts";
import { type Administration, keepingAdmins, patiently } from "./administration.ts";
import { generateSecret, type Secrets } from "./auth/secrets.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateAccount, validateCreateKey, validateRevokeKey } from "./validation/accounts.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;

/** A key for each of some services and people; rotation needs one more for a while. */
const MAX_GOOD_KEYS = 20;
const MAX_LISTED = 100;

/** Keys of accounts: each has a secret of its own, and ends by itself. */
export class Keys implements Pick<AdminMethods, "createKey" | "listKeys" | "revokeKey"> {
  readonly #sql: postgres.Sql;
  readonly #secrets: Secrets;
  readonly #administration: Administration;

  constructor(sql: postgres.Sql, secrets: Secrets, administration: Administration) {
    this.#sql = sql;
    this.#secrets = secrets;
    this.#administration = administration;
  }

  createKey: AdminMethods["createKey"] = async (request, call) => {
    const fields = validateCreateKey(request, Date.now());
    if (isRefused(fields)) throw invalidArgument(fields);
    const { account, expiresAt } = fields;
    // Before the hash is paid for; the account cannot vanish meanwhile.
    if ((await findAccount(this.#sql, account)) === undefined) throw noSuchAccount();
    const { keyId, secret } = generateSecret();
    const secretHash = await patiently(this.#secrets.hash(secret));
    const details = { key_id: keyId, ...(expiresAt !== null && { expire_time: expiresAt.toISOString() }) };
    const action = { actor: call.principal.account, action: "CreateKey", subject: account, details };
    await this.#administration.administer(action, async ({ transaction }) => {
      if ((await countGoodKeys(transaction, account)) >= MAX_GOOD_KEYS) {
        throw new RequestError("FAILED_PRECONDITION", `the account has ${MAX_GOOD_KEYS} keys already: revoke one`);
      }
      await createKey(transaction, { id: keyId, account, bare: false, secretHash, expiresAt });
    });
    return { keyId, secret, ...(expiresAt !== null && { expireTime: timestampOf(expiresAt.getTime()) }) };
  };

  listKeys: AdminMethods["listKeys"] = async (request) => {
    const fields = validateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const keys = await listKeys(this.#sql, fields.account, MAX_LISTED);
    // Every account was made with a key, and none is ever removed.
    if (keys.length === 0) throw noSuchAccount();
    return { keys: keys.map(toMessage) };
  };

  revokeKey: AdminMethods["revokeKey"] = async (request, call) => {
    const fields = validateRevokeKey(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { account, keyId } = fields;
    const actor = call.principal.account;
    const action = { actor, action: "RevokeKey", subject: account, details: { key_id: keyId } };
    const key = await this.#administration.administer(action, (change) =>
      keepingAdmins(actor, change, async () => {
        const revoked = await endKey(change, account, keyId);
        if (revoked === undefined) throw new RequestError("NOT_FOUND", "the account has no key of this id");
        return revoked;
      }),
    );
    return { key: toMessage(key) };
  };
}

/**
 * Ends a key and the tokens that were issued for it, whatever time they had. Undefined where the account has no such
 * key.
 */
export async function endKey(change: Change, account: string, keyId: string): Promise<AccountKey | undefined> {
  const key = await revokeKey(change.transaction, account, keyId);
  if (key !== undefined) {
    await revoke(change, { id: keyId, account, expiresAt: new Date(Date.now() + MAX_TOKEN_TTL_S * 1_000) });
  }
  return key;
}

function toMessage({ id, createdAt, expiresAt, revokedAt }: AccountKey) {
  return {
    keyId: id,
    createdAt: timestampOf(createdAt.getTime()),
    ...(expiresAt !== null && { expireTime: timestampOf(expiresAt.getTime()) }),
    ...(revokedAt !== null && { revokedAt: timestampOf(revokedAt.getTime()) }),
  };
}
