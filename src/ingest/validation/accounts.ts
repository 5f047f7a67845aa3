// Requests about accounts, their keys and tokens: one function each, which answers what the request says, or every field at
// fault. None throws.

import * as v from "valibot";

import { Role } from "../../gen/penstock/v1/admin_service_pb.ts";
import type {
  CreateAccountRequest,
  CreateKeyRequest,
  ListAccountsRequest,
  ListAdminActionsRequest,
  RevokeKeyRequest,
  UpdateAccountRequest,
} from "../../gen/penstock/v1/admin_service_pb.ts";
import type { IssueTokenRequest } from "../../gen/penstock/v1/auth_service_pb.ts";
import type { AccountRole } from "../../store/accounts.ts";
import { enumeration } from "./enumeration.ts";
import { AccountName, KeyId, PAGE_TOKEN, pageLimit, PageSize, requiredEnum, Secret, shapeFaults } from "./shape.ts";
import { readFutureTime } from "./time.ts";
import { take } from "./violation.ts";
import type { Fields, Violations } from "./violation.ts";

const RoleNumber = requiredEnum(enumeration(Role));

function roleOf(role: Role): AccountRole {
  if (role === Role.ADMIN) return "admin";
  return role === Role.READ_ONLY ? "read_only" : "trader";
}

const NewAccount = v.object({ account: AccountName, role: RoleNumber });

export interface AccountFields {
  readonly account: string;
  readonly role: AccountRole;
}

export function validateCreateAccount(request: Fields<CreateAccountRequest>): AccountFields | Violations {
  const faults = shapeFaults(NewAccount, request);
  return faults.length > 0 ? { violations: faults } : { account: request.account, role: roleOf(request.role) };
}

const Named = v.object({ account: AccountName });

/** A request that names an account and says no more. */
export function validateAccount(request: { readonly account: string }): { readonly account: string } | Violations {
  const faults = shapeFaults(Named, request);
  return faults.length > 0 ? { violations: faults } : { account: request.account };
}

/** As PENSTOCK_ACCOUNT_RATE. */
const MAX_RATE = 1_000_000;

const Update = v.object({
  account: AccountName,
  role: v.optional(RoleNumber),
  rateLimit: v.optional(v.pipe(v.number(), v.maxValue(MAX_RATE, `must be at most ${MAX_RATE}`))),
});

export interface UpdateFields {
  readonly account: string;
  /** What is undefined stays as it is; one at least is not. */
  readonly role: AccountRole | undefined;
  readonly suspended: boolean | undefined;
  readonly rateLimit: number | undefined;
}

export function validateUpdateAccount(request: Fields<UpdateAccountRequest>): UpdateFields | Violations {
  const faults = shapeFaults(Update, request);
  const { account, role, suspended, rateLimit } = request;
  if (role === undefined && suspended === undefined && rateLimit === undefined) {
    faults.push({ field: "role", description: "is required, or suspended or rate_limit" });
  }
  if (faults.length > 0) return { violations: faults };
  return { account, role: role === undefined ? undefined : roleOf(role), suspended, rateLimit };
}

const AccountPage = v.object({
  pageSize: PageSize,
  pageToken: v.pipe(v.string(), v.regex(/^[a-z0-9._-]{0,32}$/, PAGE_TOKEN)),
});

export interface AccountPageFields {
  readonly limit: number;
  /** The name at which the page before ended; empty for the first page. */
  readonly after: string;
}

export function validateListAccounts(request: Fields<ListAccountsRequest>): AccountPageFields | Violations {
  const faults = shapeFaults(AccountPage, request);
  return faults.length > 0 ? { violations: faults } : { limit: pageLimit(request.pageSize), after: request.pageToken };
}

export interface KeyFields {
  readonly account: string;
  /** Null where it has no end. */
  readonly expiresAt: Date | null;
}

export function validateCreateKey(request: Fields<CreateKeyRequest>, nowMs: number): KeyFields | Violations {
  const faults = shapeFaults(Named, request);
  const { account, expireTime } = request;
  const expiresAt =
    expireTime === undefined ? null : new Date(take(faults, "expire_time", readFutureTime(expireTime, nowMs)));
  return faults.length > 0 ? { violations: faults } : { account, expiresAt };
}

const NamedKey = v.object({ account: AccountName, keyId: KeyId });

export interface RevokeKeyFields {
  readonly account: string;
  readonly keyId: string;
}

export function validateRevokeKey(request: Fields<RevokeKeyRequest>): RevokeKeyFields | Violations {
  const faults = shapeFaults(NamedKey, request);
  return faults.length > 0 ? { violations: faults } : { account: request.account, keyId: request.keyId };
}

const ActionPage = v.object({
  pageSize: PageSize,
  pageToken: v.pipe(v.string(), v.regex(/^\d{0,15}$/, PAGE_TOKEN)),
});

export interface ActionPageFields {
  readonly limit: number;
  /** The id at which the page before ended; undefined for the first page. */
  readonly before: number | undefined;
}

export function validateListAdminActions(request: Fields<ListAdminActionsRequest>): ActionPageFields | Violations {
  const faults = shapeFaults(ActionPage, request);
  if (faults.length > 0) return { violations: faults };
  const before = request.pageToken === "" ? undefined : Number(request.pageToken);
  return { limit: pageLimit(request.pageSize), before };
}

const Credentials = v.object({ account: AccountName, secret: Secret });

export interface CredentialFields {
  readonly account: string;
  readonly secret: string;
}

export function validateIssueToken(request: Fields<IssueTokenRequest>): CredentialFields | Violations {
  const faults = shapeFaults(Credentials, request);
  return faults.length > 0 ? { violations: faults } : { account: request.account, secret: request.secret };
}
