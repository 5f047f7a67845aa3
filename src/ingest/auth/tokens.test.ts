import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";

import { SignJWT } from "jose";

import { bearerToken, type Claims, type Principal, TokenService } from "./tokens.ts";

const key = createSecretKey("0123456789abcdef0123456789abcdef", "utf8");
const start = Date.UTC(2026, 0, 1);

/** A service whose clock the test turns. */
function serviceAt(nowMs: number, judge?: (claims: Claims) => Principal | undefined) {
  const clock = { now: nowMs };
  const options = { key, ttlS: 3_600, now: () => clock.now };
  return { clock, tokens: new TokenService(judge === undefined ? options : { ...options, judge }) };
}

/** Whose a token is found to be. */
async function bearerOf(tokens: TokenService, token: string): Promise<[account: string, role: string] | undefined> {
  const principal = await tokens.verify(token);
  return principal && [principal.account, principal.role];
}

interface Forgery {
  readonly alg?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: string;
  readonly role?: unknown;
  readonly signedBy?: KeyObject;
  readonly exp?: number | null;
  readonly more?: Record<string, unknown>;
}

/** A token that is right but for what the test says. */
async function forge(claims: Forgery): Promise<string> {
  const jwt = new SignJWT({ role: "role" in claims ? claims.role : "admin", ...claims.more })
    .setProtectedHeader({ alg: claims.alg ?? "HS256" })
    .setIssuer(claims.issuer ?? "penstock")
    .setAudience(claims.audience ?? "penstock.v1")
    .setSubject(claims.subject ?? "mallory");
  if (claims.exp !== null) jwt.setExpirationTime(claims.exp ?? start / 1_000 + 60);
  return jwt.sign(claims.signedBy ?? key);
}

test("an issued token names its account and role", async () => {
  const { tokens } = serviceAt(start);
  const { token, expiresAt } = await tokens.issue("alice", "trader");
  assert.equal(expiresAt.getTime(), start + 3_600_000);
  const { tokenId, ...principal } = (await tokens.verify(token))!;
  const expiresAtMs = start + 3_600_000;
  assert.deepEqual(principal, { account: "alice", role: "trader", suspended: false, rateLimit: 0, expiresAtMs });
  const again = await tokens.verify((await tokens.issue("alice", "trader")).token);
  assert.match(tokenId, /^[\w-]{22}$/);
  assert.notEqual(again?.tokenId, tokenId);
});

test("a token says what it was issued for, and ends no later than its key", async () => {
  const seen: Claims[] = [];
  const { tokens } = serviceAt(start, (claims) => void seen.push(claims));
  const until = start + 90_500;
  const { token, expiresAt } = await tokens.issue("alice", "read_only", {
    generation: 7,
    keyId: "0123456789ab",
    until,
  });
  assert.equal(expiresAt.getTime(), start + 90_000, "whole seconds, rounded down");
  assert.equal(await tokens.verify(token), undefined, "it is judged, and what is refused is not kept");
  assert.equal(await tokens.verify(token), undefined);
  assert.equal(seen.length, 2);
  const { tokenId: _, ...claims } = seen[0]!;
  const wanted = { account: "alice", role: "read_only", generation: 7, keyId: "0123456789ab" };
  assert.deepEqual(claims, { ...wanted, expiresAtMs: start + 90_000 });
});

test("a token of before there were generations, keys and ids is one of the first generation", async () => {
  const seen: Claims[] = [];
  const { tokens } = serviceAt(start, (claims) => void seen.push(claims));
  await tokens.verify(await forge({}));
  const expiresAtMs = start + 60_000;
  assert.deepEqual(seen, [{ account: "mallory", role: "admin", generation: 0, keyId: "", tokenId: "", expiresAtMs }]);
});

test("the tokens of an account that changed are judged anew, and no others", async () => {
  let judgements = 0;
  const { tokens } = serviceAt(start, ({ account, tokenId, expiresAtMs }) => {
    judgements++;
    return { account, role: "trader", suspended: judgements > 3, rateLimit: 0, tokenId, expiresAtMs };
  });
  const issued = [
    await tokens.issue("alice", "trader"),
    await tokens.issue("alice", "trader"),
    await tokens.issue("bob", "trader"),
  ];
  for (const { token } of issued) assert.equal((await tokens.verify(token))?.suspended, false);
  tokens.forget(new Set(["alice", "carol"]));
  const known = issued.map(({ token }) => tokens.cached(token)?.account);
  assert.deepEqual(known, [undefined, undefined, "bob"]);
  assert.equal((await tokens.verify(issued[0]!.token))?.suspended, true);
});

test("a token is known without a check from its first check to its end", async () => {
  const { tokens, clock } = serviceAt(start);
  const { token, expiresAt } = await tokens.issue("alice", "admin");
  assert.equal(tokens.cached(token), undefined);
  const principal = await tokens.verify(token);
  assert.equal(tokens.cached(token), principal);
  clock.now = expiresAt.getTime() - 1;
  assert.equal(tokens.cached(token), principal);
  clock.now = expiresAt.getTime();
  assert.equal(tokens.cached(token), undefined);
  assert.equal(await tokens.verify(token), undefined);
});

test("a token that was never seen before is refused from its end on", async () => {
  const { tokens, clock } = serviceAt(start);
  const { token, expiresAt } = await tokens.issue("alice", "trader");
  clock.now = expiresAt.getTime();
  assert.equal(await tokens.verify(token), undefined);
});

test("an altered token is refused, whatever was altered", async () => {
  const { tokens } = serviceAt(start);
  const { token } = await tokens.issue("alice", "trader");
  await tokens.verify(token);
  const [header = "", payload = "", signature = ""] = token.split(".");
  const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString());
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const altered = [
    [header, encode({ ...(claims as object), role: "admin" }), signature],
    [header, encode({ ...(claims as object), exp: 9_999_999_999 }), signature],
    [header, payload, signature.startsWith("A") ? `B${signature.slice(1)}` : `A${signature.slice(1)}`],
    [header, payload, ""],
    [encode({ alg: "none" }), payload, ""],
    [encode({ alg: "none" }), payload, signature],
    [encode({ alg: "HS512" }), payload, signature],
  ];
  for (const parts of altered) {
    const text = parts.join(".");
    assert.equal(await tokens.verify(text), undefined, text);
    assert.equal(tokens.cached(text), undefined);
  }
});

test("a token is refused that lacks or bends a claim, or that another key signed", async () => {
  const { tokens } = serviceAt(start);
  assert.deepEqual(await bearerOf(tokens, await forge({})), ["mallory", "admin"]);
  const forged: Forgery[] = [
    { signedBy: createSecretKey("another key another key another k", "utf8") },
    { audience: "another-service" },
    { issuer: "somebody" },
    { alg: "HS512", signedBy: createSecretKey("0123456789abcdef".repeat(4), "utf8") },
    { role: "root" },
    { role: undefined },
    { role: ["admin"] },
    { subject: "" },
    { more: { gen: "1" } },
    { more: { gen: 0.5 } },
    { more: { key: 1 } },
    { exp: null },
    { exp: start / 1_000 - 1 },
  ];
  for (const claims of forged)
    assert.equal(await tokens.verify(await forge(claims)), undefined, JSON.stringify(claims));
});

test("what is no token is refused, however long", async () => {
  const { tokens } = serviceAt(start);
  const { token } = await tokens.issue("alice", "trader");
  for (const text of [
    "",
    ".",
    "..",
    "a.b.c",
    "null",
    "\0",
    token.slice(0, -1),
    `${token}.`,
    token + "x".repeat(1_048_576),
  ]) {
    assert.equal(await tokens.verify(text), undefined);
  }
  const huge = await forge({ subject: "m".repeat(2_000) });
  assert.equal(await tokens.verify(huge), undefined);
});

test("a crowd with one new token is one check", async () => {
  const { tokens } = serviceAt(start);
  const { token } = await tokens.issue("alice", "trader");
  const principals = await Promise.all(Array.from({ length: 100 }, () => tokens.verify(token)));
  for (const principal of principals) assert.equal(principal, principals[0]);
});

test("what is kept is bounded, and what falls out is still good", { timeout: 60_000 }, async () => {
  const { tokens } = serviceAt(start);
  const issued = await Promise.all(Array.from({ length: 10_001 }, (_, i) => tokens.issue(`account-${i}`, "trader")));
  for (const { token } of issued) await tokens.verify(token);
  const [first, second] = issued;
  assert.equal(tokens.cached(first?.token ?? ""), undefined);
  assert.equal(tokens.cached(second?.token ?? "")?.account, "account-1");
  assert.deepEqual(await bearerOf(tokens, first?.token ?? ""), ["account-0", "trader"]);
});

test("the token of an authorization header", () => {
  assert.equal(bearerToken("Bearer abc"), "abc");
  assert.equal(bearerToken("bearer  abc"), "abc");
  for (const header of [undefined, "", "Basic abc", "Bearer", "bearer a b"])
    assert.equal(bearerToken(header), undefined);
});
