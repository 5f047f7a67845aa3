import type postgres from "postgres";
import type { Logger } from "pino";

import type { AuthService } from "../gen/penstock/v1/auth_service_pb.ts";
import { findCredentials } from "../store/account-keys.ts";
import { endTokens } from "../store/accounts.ts";
import { countRevocations, revoke } from "../store/revocations.ts";
import { noSuchAccount, ROLES } from "./accounts.ts";
import { type Administration, patiently } from "./administration.ts";
import { Attempts } from "./auth/attempts.ts";
import { keyIdOf, type Secrets } from "./auth/secrets.ts";
import type { TokenService } from "./auth/tokens.ts";
import type { Call, Implementation } from "./call.ts";
import { invalidArgument, RequestError, resourceExhausted } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateIssueToken } from "./validation/accounts.ts";
import { isRefused } from "./validation/violation.ts";

type AuthMethods = Implementation<typeof AuthService>;

/**
 * Tokens of an account that are revoked one by one and not yet over: each is kept in the memory of every ingest
 * process.
 */
const MAX_REVOKED = 1_000;

/** Sign-ins at once: more would wait for a hash only, and on their way there for the connections of those who trade. */
const MAX_UNDER_WAY = 64;
const BUSY_RETRY_MS = 1_000;

const NO_BROWSER = new RequestError(
  "FAILED_PRECONDITION",
  "sessions are for browsers, on pages of the HTTP port: IssueToken gives a token",
);

export interface SignInOptions {
  readonly sql: postgres.Sql;
  readonly secrets: Secrets;
  readonly tokens: TokenService;
  readonly administration: Administration;
  readonly log: Logger;
}

interface Credentials {
  readonly account: string;
  readonly secret: string;
}

/** A token for a secret, and its end; for a browser as a session. */
export class SignIn implements AuthMethods {
  readonly #options: SignInOptions;
  readonly #attempts = new Attempts();
  #underWay = 0;

  constructor(options: SignInOptions) {
    this.#options = options;
  }

  issueToken: AuthMethods["issueToken"] = async (request) => {
    const { token, expiresAt } = await this.#signIn(request);
    return { token, expiresAt: timestampOf(expiresAt.getTime()) };
  };

  startSession: AuthMethods["startSession"] = async (request, { session }) => {
    if (session === undefined) throw NO_BROWSER;
    const { token, expiresAt, account, role } = await this.#signIn(request);
    session.start(token, expiresAt.getTime());
    return { session: { account, role: ROLES[role], expiresAt: timestampOf(expiresAt.getTime()) } };
  };

  endSession: AuthMethods["endSession"] = async (_, call) => {
    // Whatever becomes of the token: the browser has it no more.
    call.session?.end();
    await this.#revoke(false, call);
    return {};
  };

  getSession: AuthMethods["getSession"] = async (_, { principal: { account, role, expiresAtMs } }) => {
    return { session: { account, role: ROLES[role], expiresAt: timestampOf(expiresAtMs) } };
  };

  async #signIn(request: Credentials) {
    const fields = validateIssueToken(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    if (this.#underWay >= MAX_UNDER_WAY) throw resourceExhausted("too many sign in at once", BUSY_RETRY_MS);
    this.#underWay++;
    try {
      return await this.#issue(fields);
    } finally {
      this.#underWay--;
    }
  }

  async #issue({ account, secret }: Credentials) {
    const { sql, secrets, tokens } = this.#options;
    const keyId = keyIdOf(secret);
    const found = await findCredentials(sql, account, keyId);
    const attempt = keyId !== undefined && found?.key.id === keyId ? `${account}/${keyId}` : account;
    this.#attempts.allow(attempt);
    const good = await patiently(secrets.check(secret, found?.key.secretHash));
    if (found === undefined || !good) {
      this.#attempts.failed(attempt);
      // One answer for both, after the same time: who guesses does not learn which accounts there are.
      throw new RequestError("UNAUTHENTICATED", "no such account, or another secret");
    }
    const { key, role, generation, suspended } = found;
    const until = key.expiresAt?.getTime();
    if (key.revokedAt !== null) throw new RequestError("UNAUTHENTICATED", "the key of this secret is revoked");
    // A token counts whole seconds.
    if (until !== undefined && until < Date.now() + 1_000) {
      throw new RequestError("UNAUTHENTICATED", "the key of this secret has expired");
    }
    if (suspended) throw new RequestError("PERMISSION_DENIED", "the account is suspended");
    const { token, expiresAt } = await tokens.issue(account, role, { generation, keyId: key.id, until });
    return { token, expiresAt, account, role };
  }

  revokeToken: AuthMethods["revokeToken"] = async ({ all }, call) => {
    await this.#revoke(all, call);
    return {};
  };

  async #revoke(all: boolean, { principal }: Call): Promise<void> {
    const { administration, log } = this.#options;
    const { account, tokenId: id, expiresAtMs } = principal;
    if (!all && id === "") {
      throw new RequestError("FAILED_PRECONDITION", "this token has no id to revoke it by: revoke all");
    }
    await administration.change(async (change) => {
      if (all) {
        if (!(await endTokens(change, account))) throw noSuchAccount();
        return;
      }
      if ((await countRevocations(change.transaction, account)) >= MAX_REVOKED) {
        throw new RequestError("FAILED_PRECONDITION", `${MAX_REVOKED} tokens are revoked one by one: revoke all`);
      }
      await revoke(change, { id, account, expiresAt: new Date(expiresAtMs) });
    });
    log.info({ account, all }, "tokens revoked by their account");
  }
}
