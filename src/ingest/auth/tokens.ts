import type { KeyObject } from "node:crypto";

import { errors, jwtVerify, SignJWT } from "jose";

export type Role = "trader" | "admin";

/** Who calls. */
export interface Principal {
  readonly account: string;
  readonly role: Role;
}

export interface IssuedToken {
  readonly token: string;
  readonly expiresAt: Date;
}

export interface TokenOptions {
  /** At least 32 bytes, as HS256 wants. */
  readonly key: KeyObject;
  readonly ttlS: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

const algorithm = "HS256";
const issuer = "penstock";
const audience = "penstock.v1";

/** Those issued here have about 220 characters; account names are short. */
const maxTokenLength = 1_024;
/** At most 10 MiB of the longest tokens. A venue has fewer accounts at work, and one that falls out costs a check. */
const maxCached = 10_000;

interface Verified {
  readonly principal: Principal;
  readonly expiresAtMs: number;
}

/**
 * Issues and checks the tokens of accounts: signed, with an end, and nothing to look up.
 *
 * Always true: `#verified` holds only tokens whose signature and claims were found good, and at most `maxCached`; a
 * token is good up to its end and not in the millisecond of it, cached or not.
 */
export class TokenService {
  readonly #key: KeyObject;
  readonly #ttlS: number;
  readonly #now: () => number;
  readonly #verified = new Map<string, Verified>();
  /** Checks under way: one for all calls that bring the same token. No more than calls in flight. */
  readonly #verifying = new Map<string, Promise<Principal | undefined>>();

  constructor({ key, ttlS, now = Date.now }: TokenOptions) {
    this.#key = key;
    this.#ttlS = ttlS;
    this.#now = now;
  }

  async issue(account: string, role: Role): Promise<IssuedToken> {
    const issuedAt = Math.floor(this.#now() / 1_000);
    const expiresAt = issuedAt + this.#ttlS;
    const token = await new SignJWT({ role })
      .setProtectedHeader({ alg: algorithm })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(account)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expiresAt)
      .sign(this.#key);
    return { token, expiresAt: new Date(expiresAt * 1_000) };
  }

  /**
   * The principal of a token that was verified before and is still good: one look-up, for the hot path. Undefined says
   * nothing about the token: ask `verify`.
   */
  cached(token: string): Principal | undefined {
    const verified = this.#verified.get(token);
    if (verified === undefined) return undefined;
    if (this.#now() < verified.expiresAtMs) return verified.principal;
    this.#verified.delete(token);
    return undefined;
  }

  /** The principal of a good token; undefined for any other text. */
  async verify(token: string): Promise<Principal | undefined> {
    if (token.length > maxTokenLength) return undefined;
    const cached = this.cached(token);
    if (cached !== undefined) return cached;
    const verifying = this.#verifying.get(token) ?? this.#verify(token).finally(() => this.#verifying.delete(token));
    this.#verifying.set(token, verifying);
    return verifying;
  }

  async #verify(token: string): Promise<Principal | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: [algorithm],
        issuer,
        audience,
        requiredClaims: ["sub", "exp"],
        currentDate: new Date(this.#now()),
      });
      const { sub: account, exp, role } = payload;
      if (!account || exp === undefined || (role !== "trader" && role !== "admin")) return undefined;
      const principal = Object.freeze({ account, role });
      this.#remember(token, { principal, expiresAtMs: exp * 1_000 });
      return principal;
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }

  #remember(token: string, verified: Verified): void {
    if (this.#verified.size >= maxCached) {
      const [oldest] = this.#verified.keys();
      if (oldest !== undefined) this.#verified.delete(oldest);
    }
    this.#verified.set(token, verified);
  }
}

/** The token of an authorization header, "Bearer <token>"; undefined for anything else. */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  // The usual spelling first: no pattern is run for it on the hot path.
  if (header.startsWith("Bearer ")) return header.slice(7);
  return /^bearer +(\S+)$/i.exec(header)?.[1];
}
