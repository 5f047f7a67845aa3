import { randomUUID } from "node:crypto";

import { toJsonString } from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Timestamp } from "@bufbuild/protobuf/wkt";

import {
  AccountSchema,
  ActionOutcome,
  AdminActionSchema,
  AdminService,
  CreateAccountResponseSchema,
  CreateKeyResponseSchema,
  KeySchema,
  Role,
  SetAccountLimitsResponseSchema,
} from "../gen/penstock/v1/admin_service_pb.ts";
import type { Account, AdminAction, Key } from "../gen/penstock/v1/admin_service_pb.ts";
import { ApiClient } from "./client.ts";
import { apiOf } from "./stack-file.ts";
import { enumName, formatTable } from "./table.ts";
import { readTime } from "./time.ts";

const { method } = AdminService;

export const roleWords = { trader: Role.TRADER, "read-only": Role.READ_ONLY, admin: Role.ADMIN } as const;

/** As many as the API gives at once. */
const PAGE = 1_000;

export interface AccountOptions {
  readonly url?: string;
  readonly token?: string;
  readonly json?: true;
}

/** What of an account changes. */
export interface AccountChange {
  readonly role?: Role;
  readonly suspended?: boolean;
  readonly rateLimit?: number;
}

/** Prints all accounts, by name. */
export async function listAccounts(options: AccountOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const all: Account[] = [];
    let pageToken = "";
    do {
      const page = await api.call(method.listAccounts, { pageSize: PAGE, pageToken });
      all.push(...page.accounts);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    print(options, AccountSchema, all, accountRow, "no accounts");
  });
}

/** Makes an account with its first key, and prints the secret. */
export async function createAccount(
  account: string,
  options: AccountOptions & { readonly role: keyof typeof roleWords },
): Promise<void> {
  await asAdmin(options, async (api) => {
    const created = await api.call(method.createAccount, { account, role: roleWords[options.role] });
    print(options, CreateAccountResponseSchema, [created], ({ account, keyId, secret }) => ({
      account,
      key: keyId,
      secret,
    }));
  });
}

/** Changes an account, and prints it as it is then. */
export async function updateAccount(account: string, change: AccountChange, options: AccountOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const updated = await api.call(method.updateAccount, { account, ...change });
    print(options, AccountSchema, updated.account === undefined ? [] : [updated.account], accountRow);
  });
}

/** The engine's limits of an account. What is not given is the default of its rules. */
export interface LimitOptions extends AccountOptions {
  readonly maxOpenOrders?: number;
  readonly maxQuantityLots?: number;
}

export async function setLimits(account: string, options: LimitOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const maxOpenOrders = options.maxOpenOrders ?? 0;
    const maxQuantityLots = options.maxQuantityLots ?? 0;
    const answer = await api.call(method.setAccountLimits, {
      ...{ requestId: randomUUID(), account, maxOpenOrders, maxQuantityLots: BigInt(maxQuantityLots) },
    });
    print(options, SetAccountLimitsResponseSchema, [answer], ({ commandIds }) => ({
      account,
      max_open_orders: maxOpenOrders || "default",
      max_quantity_lots: maxQuantityLots || "default",
      command_ids: commandIds.join(","),
    }));
  });
}

/** Prints the keys of an account: good ones first, then the newest. */
export async function listKeys(account: string, options: AccountOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const { keys } = await api.call(method.listKeys, { account });
    print(options, KeySchema, keys, keyRow);
  });
}

/** Makes one more key, and prints its secret. @throws UsageError where `expires` is no time. */
export async function createKey(
  account: string,
  options: AccountOptions & { readonly expires?: string },
): Promise<void> {
  const expireTime = options.expires === undefined ? {} : { expireTime: readTime(options.expires) };
  await asAdmin(options, async (api) => {
    const created = await api.call(method.createKey, { account, ...expireTime });
    print(options, CreateKeyResponseSchema, [created], ({ keyId, secret, expireTime }) => ({
      key: keyId,
      secret,
      expires: timeOf(expireTime, "never"),
    }));
  });
}

/** Ends a key and the tokens that were issued for it. */
export async function revokeKey(account: string, keyId: string, options: AccountOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const { key } = await api.call(method.revokeKey, { account, keyId });
    print(options, KeySchema, key === undefined ? [] : [key], keyRow);
  });
}

/** Ends every token of an account. */
export async function revokeTokens(account: string, options: AccountOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    await api.call(method.revokeTokens, { account });
    if (!options.json) process.stdout.write(`the tokens of ${account} have ended\n`);
  });
}

/** Prints the newest lines of the audit trail, the newest first. */
export async function listActions(options: AccountOptions & { readonly limit: number }): Promise<void> {
  await asAdmin(options, async (api) => {
    const { actions } = await api.call(method.listAdminActions, { pageSize: options.limit });
    print(options, AdminActionSchema, actions, actionRow, "no actions");
  });
}

async function asAdmin(options: AccountOptions, work: (api: ApiClient) => Promise<void>): Promise<void> {
  const api = new ApiClient(apiOf(options, "admin"));
  try {
    await work(api);
  } finally {
    api.close();
  }
}

/** A table, or a line of JSON for each. */
function print<Desc extends DescMessage>(
  { json }: AccountOptions,
  schema: Desc,
  messages: readonly MessageShape<Desc>[],
  row: (message: MessageShape<Desc>) => Record<string, string | number>,
  none = "none",
): void {
  const lines = json ? messages.map((message) => toJsonString(schema, message)) : [formatTable(messages.map(row))];
  if (messages.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
  else if (!json) process.stdout.write(`${none}\n`);
}

function accountRow({ account, role, suspended, rateLimit, createdAt }: Account) {
  return {
    account,
    role: enumName(roleWords, role),
    suspended: suspended ? "yes" : "no",
    rate: rateLimit === 0 ? "default" : rateLimit,
    created: timeOf(createdAt, ""),
  };
}

function keyRow({ keyId, createdAt, expireTime, revokedAt }: Key) {
  return {
    key: keyId,
    created: timeOf(createdAt, ""),
    expires: timeOf(expireTime, "never"),
    revoked: timeOf(revokedAt, "no"),
  };
}

function actionRow({ id, at, actor, action, subject, outcome, details }: AdminAction) {
  return {
    id: String(id),
    at: timeOf(at, ""),
    actor,
    action,
    subject,
    outcome: enumName(ActionOutcome, outcome).toLowerCase(),
    details: Object.entries(details)
      .map(([name, value]) => `${name}=${value}`)
      .join(" "),
  };
}

function timeOf(time: Timestamp | undefined, absent: string): string {
  return time === undefined ? absent : timestampDate(time).toISOString();
}
