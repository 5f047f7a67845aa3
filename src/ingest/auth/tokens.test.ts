import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";

import { SignJWT } from "jose";

import { bearerToken, TokenService } from "./tokens.ts";

const key = createSecretKey("0123456789abcdef0123456789abcdef", "utf8");
const start = Date.UTC(2026, 0, 1);

/** A service whose clock the test turns. */
function serviceAt(nowMs: number) {
  const clock = { now: nowMs };
  return { clock, tokens: new TokenService({ key, ttlS: 3_600, now: () => clock.now }) };
}

interface Claims {
  readonly alg?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: string;
  readonly role?: unknown;
  readonly signedBy?: KeyObject;
  readonly exp?: number | null;
}

/** A token that is right but for what the test says. */
async function forge(claims: Claims): Promise<string> {
  const jwt = new SignJWT({ role: "role" in claims ? claims.role : "admin" })
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
  assert.deepEqual(await tokens.verify(token), { account: "alice", role: "trader" });
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
  assert.deepEqual(await tokens.verify(await forge({})), { account: "mallory", role: "admin" });
  const forged: Claims[] = [
    { signedBy: createSecretKey("another key another key another k", "utf8") },
    { audience: "another-service" },
    { issuer: "somebody" },
    { alg: "HS512", signedBy: createSecretKey("0123456789abcdef".repeat(4), "utf8") },
    { role: "root" },
    { role: undefined },
    { role: ["admin"] },
    { subject: "" },
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
  assert.deepEqual(tokens.cached(second?.token ?? ""), { account: "account-1", role: "trader" });
  assert.deepEqual(await tokens.verify(first?.token ?? ""), { account: "account-0", role: "trader" });
});

test("the token of an authorization header", () => {
  assert.equal(bearerToken("Bearer abc"), "abc");
  assert.equal(bearerToken("bearer  abc"), "abc");
  for (const header of [undefined, "", "Basic abc", "Bearer", "bearer a b"])
    assert.equal(bearerToken(header), undefined);
});
