import type postgres from "postgres";
import type { Logger } from "pino";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import type { AuthService } from "../gen/penstock/v1/auth_service_pb.ts";
import { createAccount, findAccount } from "../store/accounts.ts";
import { generateSecret, type Secrets, SecretsBusyError } from "./auth/secrets.ts";
import type { TokenService } from "./auth/tokens.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError, resourceExhausted } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateCreateAccount, validateIssueToken } from "./validation/requests.ts";
import { isRefused } from "./validation/violation.ts";

const RETRY_AFTER_MS = 1_000;
export const ADMIN_ACCOUNT = "admin";

/** Accounts and their tokens. */
export class Accounts
  implements Implementation<typeof AuthService>, Pick<Implementation<typeof AdminService>, "createAccount">
{
  readonly #sql: postgres.Sql;
  readonly #secrets: Secrets;
  readonly #tokens: TokenService;
  readonly #log: Logger;

  constructor(sql: postgres.Sql, secrets: Secrets, tokens: TokenService, log: Logger) {
    this.#sql = sql;
    this.#secrets = secrets;
    this.#tokens = tokens;
    this.#log = log;
  }

  issueToken: Implementation<typeof AuthService>["issueToken"] = async (request) => {
    const fields = validateIssueToken(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const account = await findAccount(this.#sql, fields.account);
    const good = await patiently(this.#secrets.check(fields.secret, account?.secretHash));
    // One answer for both, after the same time: who guesses does not learn which accounts there are.
    if (account === undefined || !good) throw new RequestError("UNAUTHENTICATED", "no such account, or another secret");
    const { token, expiresAt } = await this.#tokens.issue(account.name, account.role);
    return { token, expiresAt: timestampOf(expiresAt.getTime()) };
  };

  createAccount: Implementation<typeof AdminService>["createAccount"] = async (request, call) => {
    const fields = validateCreateAccount(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const secret = generateSecret();
    const secretHash = await patiently(this.#secrets.hash(secret));
    if (!(await createAccount(this.#sql, { name: fields.account, role: fields.role, secretHash }))) {
      throw new RequestError("ALREADY_EXISTS", "there is an account of this name");
    }
    this.#log.info({ account: fields.account, role: fields.role, by: call.principal.account }, "account created");
    return { account: fields.account, secret };
  };

  /** The account that makes the others; nothing where it is there already. */
  async ensureAdmin(secret: string): Promise<void> {
    if ((await findAccount(this.#sql, ADMIN_ACCOUNT)) !== undefined) return;
    const secretHash = await this.#secrets.hash(secret);
    const created = await createAccount(this.#sql, { name: ADMIN_ACCOUNT, role: "admin", secretHash });
    if (created) this.#log.info({ account: ADMIN_ACCOUNT }, "first admin created");
  }
}

async function patiently<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof SecretsBusyError ? resourceExhausted(error.message, RETRY_AFTER_MS) : error;
  }
}
