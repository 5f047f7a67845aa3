import { randomUUID } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { bearerToken, type Principal, type TokenService } from "./auth/tokens.ts";
import { asRequestError, RequestError } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Access } from "./served.ts";

const NOBODY: Principal = {
  account: "",
  role: "read_only",
  suspended: false,
  rateLimit: 0,
  tokenId: "",
  expiresAtMs: Infinity,
};
const MAX_REQUEST_ID = 64;

/** A call that was refused, and where it is our fault the id under which it was logged. */
export interface Refusal {
  readonly error: RequestError;
  readonly requestId: string | undefined;
}

/** What every door does with a call before and after it is served: who calls, may they, and what became of it. */
export class Gate {
  readonly #tokens: TokenService;
  readonly #metrics: IngestMetrics;
  readonly #log: Logger;

  constructor(tokens: TokenService, metrics: IngestMetrics, log: Logger) {
    this.#tokens = tokens;
    this.#metrics = metrics;
    this.#log = log;
  }

  /**
   * Who calls, by the value of the header "authorization". The hot path is one look-up; only a token that was not seen
   * before, or whose account has changed, waits for its check. Throws, or rejects with, a RequestError. A call that
   * lasts is admitted again from time to time: its token may have ended, its account may have changed.
   */
  admit(access: Access, authorization: string | undefined): Principal | Promise<Principal> {
    if (access === "anyone") return NOBODY;
    const token = bearerToken(authorization);
    if (token === undefined) {
      throw new RequestError("UNAUTHENTICATED", '"authorization: Bearer <token>" is required');
    }
    const principal = this.#tokens.cached(token);
    return principal === undefined ? this.#verified(access, token) : permitted(access, principal);
  }

  /** Counts what was thrown; what is our fault is logged, under an id that the client is told as well. */
  refuse(method: DescMethod, thrown: unknown, givenRequestId: string | undefined): Refusal {
    const error = asRequestError(thrown);
    this.#metrics.requests.inc({ method: method.name, code: error.code });
    if (error.code === "PERMISSION_DENIED" && method.parent === AdminService) {
      this.#log.warn({ method: method.name, account: error.cause }, "an admin's call was refused");
    }
    if (error.code !== "INTERNAL" && (error.code !== "UNAVAILABLE" || error.cause === undefined)) {
      return { error, requestId: undefined };
    }
    const requestId = givenRequestId?.slice(0, MAX_REQUEST_ID) ?? randomUUID();
    const level = error.code === "INTERNAL" ? "error" : "warn";
    this.#log[level]({ err: error.cause, requestId, method: method.name }, error.message);
    return { error, requestId };
  }

  async #verified(access: Access, token: string): Promise<Principal> {
    const principal = await this.#tokens.verify(token);
    if (principal === undefined) throw new RequestError("UNAUTHENTICATED", "the token is not valid, or no longer");
    return permitted(access, principal);
  }
}

function permitted(access: Access, principal: Principal): Principal {
  const refusal = refusalOf(access, principal);
  if (refusal !== undefined) throw new RequestError("PERMISSION_DENIED", refusal, { cause: principal.account });
  return principal;
}

/** Why this principal may not make such a call, or undefined where it may. */
function refusalOf(access: Access, { role, suspended }: Principal): string | undefined {
  if (suspended) return "the account is suspended";
  if (access === "admin" && role !== "admin") return "this needs a token of the role admin";
  if (access === "trade" && role === "read_only") return "this needs a token of a role that may trade";
  return undefined;
}
