import assert from "node:assert/strict";
import { test } from "node:test";

import { generateSecret, keyIdOf, Secrets, SecretsBusyError } from "./secrets.ts";

test("a secret is known again, and no other is", async () => {
  const secrets = new Secrets();
  const { secret } = generateSecret();
  const stored = await secrets.hash(secret);
  assert.match(stored, /^scrypt\$16384\$8\$1\$/);
  assert.ok(!stored.includes(secret));
  assert.equal(await secrets.check(secret, stored), true);
  assert.equal(await secrets.check(`${secret}x`, stored), false);
  assert.equal(await secrets.check("", stored), false);
});

test("the same secret is stored in another form each time", async () => {
  const secrets = new Secrets();
  assert.notEqual(await secrets.hash("one secret"), await secrets.hash("one secret"));
});

test("secrets are random, need no escaping, and name their keys", () => {
  const made = Array.from({ length: 1_000 }, generateSecret);
  assert.equal(new Set(made.map(({ secret }) => secret.slice(13))).size, 1_000);
  for (const { keyId, secret } of made) {
    assert.match(secret, /^[0-9a-f]{12}\.[\w-]{43}$/);
    assert.equal(keyIdOf(secret), keyId);
  }
  for (const bare of [
    "",
    "a person's own",
    "x".repeat(43),
    `0123456789ab.${"x".repeat(42)}`,
    `0123456789AB.${"x".repeat(43)}`,
  ])
    assert.equal(keyIdOf(bare), undefined);
});

test("an account that does not exist costs a hash as well", async () => {
  const secrets = new Secrets();
  const stored = await secrets.hash("secret");
  const cpu = async (of: string | undefined): Promise<number> => {
    const before = process.cpuUsage();
    for (let i = 0; i < 5; i++) assert.equal(await secrets.check("wrong", of), false);
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  const known = await cpu(stored);
  const unknown = await cpu(undefined);
  // Without the hash the ratio is beyond a thousand.
  assert.ok(unknown > known / 5, `${unknown} µs for an unknown account, ${known} µs for a known one`);
});

test("what is stored carries its own cost", async () => {
  // scrypt of "pleaseletmein" with salt "SodiumChloride12", N 1024: another cost than the present one.
  const { scryptSync } = await import("node:crypto");
  const salt = Buffer.from("SodiumChloride12");
  const hash = scryptSync("pleaseletmein", salt, 32, { N: 1_024, r: 8, p: 1 });
  const stored = `scrypt$1024$8$1$${salt.toString("base64url")}$${hash.toString("base64url")}`;
  assert.equal(await new Secrets().check("pleaseletmein", stored), true);
  await assert.rejects(new Secrets().check("pleaseletmein", "plaintext"), /not in the known form/);
});

test("a crowd is bounded: some wait, the rest is told to come again", async () => {
  const secrets = new Secrets();
  const outcomes = await Promise.allSettled(Array.from({ length: 80 }, () => secrets.check("x", undefined)));
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.equal(refused.length, 80 - 2 - 64);
  for (const { reason } of refused) assert.ok(reason instanceof SecretsBusyError);
  assert.equal(await secrets.check("x", undefined), false);
});
