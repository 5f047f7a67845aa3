import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import {
  CreateAccountRequestSchema,
  CreateKeyRequestSchema,
  ListAccountsRequestSchema,
  ListAdminActionsRequestSchema,
  RevokeKeyRequestSchema,
  Role,
  UpdateAccountRequestSchema,
} from "../../gen/penstock/v1/admin_service_pb.ts";
import { IssueTokenRequestSchema } from "../../gen/penstock/v1/auth_service_pb.ts";
import {
  validateAccount,
  validateCreateAccount,
  validateCreateKey,
  validateIssueToken,
  validateListAccounts,
  validateListAdminActions,
  validateRevokeKey,
  validateUpdateAccount,
} from "./accounts.ts";
import { isRefused } from "./violation.ts";

const NAME = "must be 1 to 32 characters of a-z, 0-9, '.', '-' and '_'";
const ROLES = "TRADER, ADMIN or READ_ONLY";
const WRONG_NAMES = ["A", "a b", "a\0", "a\n", "é", "a".repeat(33)];

function refused(result: object, expected: Record<string, string>): void {
  assert.ok(isRefused(result), inspect(result));
  const found = result.violations.map(({ field, description }): [string, string] => [field, description]);
  assert.deepEqual(Object.fromEntries(found), expected);
  assert.equal(found.length, Object.keys(expected).length, "one violation a field");
}

test("an account has a name and a role", () => {
  const ask = (account: string, role: number) =>
    validateCreateAccount({ ...create(CreateAccountRequestSchema, { account }), ...({ role } as { role: Role }) });
  assert.deepEqual(ask("desk-1.a_b", Role.TRADER), { account: "desk-1.a_b", role: "trader" });
  assert.deepEqual(ask("a".repeat(32), Role.ADMIN), { account: "a".repeat(32), role: "admin" });
  assert.deepEqual(ask("auditor", Role.READ_ONLY), { account: "auditor", role: "read_only" });
  for (const wrong of WRONG_NAMES) refused(ask(wrong, Role.TRADER), { account: NAME });
  refused(ask("", 0), { account: "is required", role: `is required: ${ROLES}` });
  refused(ask("a", 4), { role: `unknown number 4: must be ${ROLES}` });
});

test("what names an account names it well", () => {
  assert.deepEqual(validateAccount({ account: "desk" }), { account: "desk" });
  for (const wrong of WRONG_NAMES) refused(validateAccount({ account: wrong }), { account: NAME });
});

test("an update changes what it holds, and holds something", () => {
  const ask = (init: MessageInitShape<typeof UpdateAccountRequestSchema>) =>
    validateUpdateAccount(create(UpdateAccountRequestSchema, init));
  const same = { role: undefined, suspended: undefined, rateLimit: undefined };
  assert.deepEqual(ask({ account: "a", role: Role.READ_ONLY }), { ...same, account: "a", role: "read_only" });
  assert.deepEqual(ask({ account: "a", suspended: false }), { ...same, account: "a", suspended: false });
  assert.deepEqual(ask({ account: "a", rateLimit: 0 }), { ...same, account: "a", rateLimit: 0 });
  refused(ask({}), { account: "is required", role: "is required, or suspended or rate_limit" });
  refused(ask({ account: "a", role: Role.UNSPECIFIED, rateLimit: 1_000_001 }), {
    role: `is required: ${ROLES}`,
    rate_limit: "must be at most 1000000",
  });
});

test("a key may have an end, in the future", () => {
  const now = Date.UTC(2026, 0, 1);
  const ask = (init: MessageInitShape<typeof CreateKeyRequestSchema>) =>
    validateCreateKey(create(CreateKeyRequestSchema, init), now);
  const until = (ms: number) => ask({ account: "a", expireTime: timestampFromMs(ms) });
  assert.deepEqual(ask({ account: "a" }), { account: "a", expiresAt: null });
  assert.deepEqual(until(now + 1), { account: "a", expiresAt: new Date(now + 1) });
  refused(until(now), { expire_time: "must be in the future" });
  refused(until(now + 11 * 365 * 86_400_000), { expire_time: "must be at most 10 years ahead" });
  refused(ask({ account: "A", expireTime: { seconds: 4_000_000_000n, nanos: -1 } }), {
    account: NAME,
    expire_time: "must be a time in whole milliseconds",
  });
});

test("a key is named by its account and its id", () => {
  const ask = (account: string, keyId: string) => validateRevokeKey(create(RevokeKeyRequestSchema, { account, keyId }));
  assert.deepEqual(ask("a", "0123456789ab"), { account: "a", keyId: "0123456789ab" });
  refused(ask("", ""), { account: "is required", key_id: "is required" });
  for (const wrong of ["0123456789a", "0123456789AB", "0123456789ab.x"])
    refused(ask("a", wrong), { key_id: "must be a key_id as it was answered" });
});

test("lists have pages of a bounded size", () => {
  const accounts = (init: MessageInitShape<typeof ListAccountsRequestSchema>) =>
    validateListAccounts(create(ListAccountsRequestSchema, init));
  const actions = (init: MessageInitShape<typeof ListAdminActionsRequestSchema>) =>
    validateListAdminActions(create(ListAdminActionsRequestSchema, init));
  assert.deepEqual(accounts({}), { limit: 100, after: "" });
  assert.deepEqual(accounts({ pageSize: 1_000, pageToken: "desk" }), { limit: 1_000, after: "desk" });
  assert.deepEqual(actions({}), { limit: 100, before: undefined });
  assert.deepEqual(actions({ pageSize: 5, pageToken: "42" }), { limit: 5, before: 42 });
  const wrong = { page_size: "must be at most 1000", page_token: "must be the next_page_token of a page" };
  refused(accounts({ pageSize: 1_001, pageToken: "a b" }), wrong);
  refused(actions({ pageSize: 1_001, pageToken: "desk" }), wrong);
});

test("a token is asked for with an account and a secret", () => {
  const ask = (account: string, secret: string) =>
    validateIssueToken(create(IssueTokenRequestSchema, { account, secret }));
  assert.deepEqual(ask("desk", "pass wörd"), { account: "desk", secret: "pass wörd" });
  const secret = "must be 1 to 256 characters, none of them a control character";
  for (const wrong of ["a\0b", "a\x1f", "a\n", "\x7f", "a".repeat(257)]) refused(ask("desk", wrong), { secret });
  refused(ask("", ""), { account: "is required", secret: "is required" });
  refused(ask("Desk\0", "s"), { account: NAME });
});
