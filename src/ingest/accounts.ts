import type postgres from "postgres";

import { type AdminService, Role } from "../gen/penstock/v1/admin_service_pb.ts";
import { createKey } from "../store/account-keys.ts";
import { type Account, createAccount, endTokens, findAccount, listAccounts, updateAccount } from "../store/accounts.ts";
import { type Administration, keepingAdmins, patiently } from "./administration.ts";
import { generateSecret, type Secrets } from "./auth/secrets.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import {
  validateAccount,
  validateCreateAccount,
  validateListAccounts,
  validateUpdateAccount,
} from "./validation/accounts.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;

export const ROLES = { trader: Role.TRADER, admin: Role.ADMIN, read_only: Role.READ_ONLY } as const;

/** Accounts, as admins make and change them. */
export class Accounts implements Pick<
  AdminMethods,
  "createAccount" | "getAccount" | "listAccounts" | "updateAccount" | "revokeTokens"
> {
  readonly #sql: postgres.Sql;
  readonly #secrets: Secrets;
  readonly #administration: Administration;

  constructor(sql: postgres.Sql, secrets: Secrets, administration: Administration) {
    this.#sql = sql;
    this.#secrets = secrets;
    this.#administration = administration;
  }

  createAccount: AdminMethods["createAccount"] = async (request, call) => {
    const fields = validateCreateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { account, role } = fields;
    const { keyId, secret } = generateSecret();
    const secretHash = await patiently(this.#secrets.hash(secret));
    const details = { role, key_id: keyId };
    const action = { actor: call.principal.account, action: "CreateAccount", subject: account, details };
    await this.#administration.administer(action, async (change) => {
      if ((await createAccount(change, { name: account, role })) === undefined) {
        throw new RequestError("ALREADY_EXISTS", "there is an account of this name");
      }
      await createKey(change.transaction, { id: keyId, account, bare: false, secretHash, expiresAt: null });
    });
    return { account, secret, keyId };
  };

  getAccount: AdminMethods["getAccount"] = async (request) => {
    const fields = validateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const account = await findAccount(this.#sql, fields.account);
    if (account === undefined) throw noSuchAccount();
    return { account: toMessage(account) };
  };

  listAccounts: AdminMethods["listAccounts"] = async (request) => {
    const fields = validateListAccounts(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { limit, after } = fields;
    // One more than asked for tells whether there is another page.
    const found = await listAccounts(this.#sql, { after, limit: limit + 1 });
    const accounts = found.slice(0, limit);
    const nextPageToken = found.length > limit ? accounts.at(-1)!.name : "";
    return { accounts: accounts.map(toMessage), nextPageToken };
  };

  updateAccount: AdminMethods["updateAccount"] = async (request, call) => {
    const fields = validateUpdateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { account: subject, role, suspended, rateLimit } = fields;
    const actor = call.principal.account;
    const details = {
      ...(role !== undefined && { role }),
      ...(suspended !== undefined && { suspended: String(suspended) }),
      ...(rateLimit !== undefined && { rate_limit: String(rateLimit) }),
    };
    const updated = await this.#administration.administer(
      { actor, action: "UpdateAccount", subject, details },
      (change) =>
        keepingAdmins(actor, change, async () => {
          const account = await updateAccount(change, subject, { role, suspended, rateLimit });
          if (account === undefined) throw noSuchAccount();
          return account;
        }),
    );
    return { account: toMessage(updated) };
  };

  revokeTokens: AdminMethods["revokeTokens"] = async (request, call) => {
    const fields = validateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { account } = fields;
    const action = { actor: call.principal.account, action: "RevokeTokens", subject: account, details: {} };
    await this.#administration.administer(action, async (change) => {
      if (!(await endTokens(change, account))) throw noSuchAccount();
    });
    return {};
  };
}

export function noSuchAccount(): RequestError {
  return new RequestError("NOT_FOUND", "there is no account of this name");
}

function toMessage({ name, role, suspended, rateLimit, createdAt }: Account) {
  return { account: name, role: ROLES[role], suspended, rateLimit, createdAt: timestampOf(createdAt.getTime()) };
}
