import { randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";

import { errors, type JWTPayload, jwtVerify, SignJWT } from "jose";

export type Role = "trader" | "admin" | "read_only";

/** Who calls. */
export interface Principal {
  readonly account: string;
  readonly role: Role;
  /** A suspended account may do nothing. */
  readonly suspended: boolean;
  /** Calls and orders a second; 0 is the deployment's default. */
  readonly rateLimit: number;
  /** Of the token; empty for one that was issued before tokens had ids. */
  readonly tokenId: string;
  /** The end of the token, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** What a good token says. */
export interface Claims {
  readonly account: string;
  /** As it was when the token was issued. */
  readonly role: Role;
  /** As it was when the token was issued: the account's tokens of an earlier one than its present one have ended. */
  readonly generation: number;
  /** Of the key whose secret it was issued for; empty where it was for none. */
  readonly keyId: string;
  readonly tokenId: string;
  readonly expiresAtMs: number;
}

export interface IssuedToken {
  readonly token: string;
  readonly expiresAt: Date;
}

export interface TokenOptions {
  /** At least 32 bytes, as HS256 wants. */
  readonly key: KeyObject;
  readonly ttlS: number;
  /**
   * Who the bearer is by what is known of the account now; undefined where the token has ended. Without it the claims
   * hold.
   */
  readonly judge?: (claims: Claims) => Principal | undefined;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** More about a token that is issued. */
export interface Grant {
  readonly generation?: number;
  readonly keyId?: string;
  /** Milliseconds since 1970, after which it must have ended. */
  readonly until?: number | undefined;
}

const algorithm = "HS256";
const issuer = "penstock";
const audience = "penstock.v1";

/** Those issued here have about 320 characters; account names are short. */
const maxTokenLength = 1_024;
/** At most 10 MiB of the longest tokens. A venue has fewer accounts at work, and one that falls out costs a check. */
const maxCached = 10_000;

/**
 * Issues and checks the tokens of accounts: signed, with an end, and nothing to look up.
 *
 * Always true: `#verified` holds only tokens whose signature and claims were found good, as their accounts were judged
 * last, and at most `maxCached`; a token is good up to its end and not in the millisecond of it, cached or not.
 */
export class TokenService {
  readonly #key: KeyObject;
  readonly #ttlS: number;
  readonly #judge: (claims: Claims) => Principal | undefined;
  readonly #now: () => number;
  readonly #verified = new Map<string, Principal>();
  /** Checks under way: one for all calls that bring the same token. No more than calls in flight. */
  readonly #verifying = new Map<string, Promise<Principal | undefined>>();

  constructor({ key, ttlS, judge = asClaimed, now = Date.now }: TokenOptions) {
    this.#key = key;
    this.#ttlS = ttlS;
    this.#judge = judge;
    this.#now = now;
  }

  async issue(account: string, role: Role, { generation = 0, keyId = "", until }: Grant = {}): Promise<IssuedToken> {
    const issuedAt = Math.floor(this.#now() / 1_000);
    const expiresAt = Math.min(issuedAt + this.#ttlS, Math.floor((until ?? Infinity) / 1_000));
    const token = await new SignJWT({ role, gen: generation, key: keyId })
      .setProtectedHeader({ alg: algorithm })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(account)
      .setJti(randomBytes(16).toString("base64url"))
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
    const principal = this.#verified.get(token);
    if (principal === undefined) return undefined;
    if (this.#now() < principal.expiresAtMs) return principal;
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

  /** The tokens of these accounts are judged anew when they come again. */
  forget(accounts: ReadonlySet<string>): void {
    for (const [token, { account }] of this.#verified) if (accounts.has(account)) this.#verified.delete(token);
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
      const claims = readClaims(payload);
      // In one go with the judgement: what changes after it finds the token among those to forget.
      const principal = claims && this.#judge(claims);
      if (principal !== undefined) this.#remember(token, principal);
      return principal;
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }

  #remember(token: string, principal: Principal): void {
    if (this.#verified.size >= maxCached) {
      const [oldest] = this.#verified.keys();
      if (oldest !== undefined) this.#verified.delete(oldest);
    }
    this.#verified.set(token, principal);
  }
}

/** Tokens that were issued before there were generations, keys and ids have none. */
function readClaims({ sub, exp, role, gen = 0, key = "", jti = "" }: JWTPayload): Claims | undefined {
  if (!sub || exp === undefined || typeof key !== "string" || !Number.isSafeInteger(gen)) return undefined;
  if (role !== "trader" && role !== "admin" && role !== "read_only") return undefined;
  return { account: sub, role, generation: gen as number, keyId: key, tokenId: jti, expiresAtMs: exp * 1_000 };
}

function asClaimed({ account, role, tokenId, expiresAtMs }: Claims): Principal {
  return { account, role, suspended: false, rateLimit: 0, tokenId, expiresAtMs };
}

/** The token of an authorization header, "Bearer <token>"; undefined for anything else. */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  // The usual spelling first: no pattern is run for it on the hot path.
  if (header.startsWith("Bearer ")) return header.slice(7);
  return /^bearer +(\S+)$/i.exec(header)?.[1];
}
