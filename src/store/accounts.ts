import type postgres from "postgres";

import type { Change } from "./account-changes.ts";
import type { Transaction } from "./writer.ts";

export type AccountRole = "trader" | "admin" | "read_only";

export interface Account {
  readonly name: string;
  readonly role: AccountRole;
  readonly suspended: boolean;
  /** Orders and calls a second; 0 is the deployment's default. */
  readonly rateLimit: number;
  /** Tokens of an earlier one have ended. */
  readonly generation: number;
  readonly createdAt: Date;
}

interface Row {
  readonly name: string;
  readonly role: AccountRole;
  readonly suspended: boolean;
  readonly rate_limit: number;
  readonly generation: number;
  readonly created_at: Date;
}

const COLUMNS = "name, role, suspended, rate_limit, generation, created_at";

/** Undefined where the name is taken; nothing is changed then. */
export async function createAccount(
  { transaction, revision }: Change,
  account: { readonly name: string; readonly role: AccountRole },
): Promise<Account | undefined> {
  const { rows } = await transaction.query<Row>(
    `INSERT INTO accounts (name, role, revision) VALUES ($1, $2, $3::bigint) ON CONFLICT DO NOTHING RETURNING ${COLUMNS}`,
    [account.name, account.role, revision],
  );
  return rows[0] && toAccount(rows[0]);
}

/** What of an account changes. */
export interface AccountUpdate {
  readonly role?: AccountRole | undefined;
  readonly suspended?: boolean | undefined;
  readonly rateLimit?: number | undefined;
}

/** The account as it is then, or undefined where there is none. What is undefined stays as it is. */
export async function updateAccount(
  { transaction, revision }: Change,
  name: string,
  { role, suspended, rateLimit }: AccountUpdate,
): Promise<Account | undefined> {
  const { rows } = await transaction.query<Row>(
    `UPDATE accounts SET
       role = coalesce($2::text, role), suspended = coalesce($3::boolean, suspended),
       rate_limit = coalesce($4::integer, rate_limit), revision = $5::bigint
     WHERE name = $1 RETURNING ${COLUMNS}`,
    [name, role ?? null, suspended ?? null, rateLimit ?? null, revision],
  );
  return rows[0] && toAccount(rows[0]);
}

/** Ends every token of the account that was issued up to now. False where there is no such account. */
export async function endTokens({ transaction, revision }: Change, name: string): Promise<boolean> {
  const { count } = await transaction.query(
    "UPDATE accounts SET generation = generation + 1, revision = $2::bigint WHERE name = $1",
    [name, revision],
  );
  return count === 1;
}

/** Accounts that could log in as admin now: of that role, not suspended, with a key that is good. */
export async function ableAdmins(transaction: Transaction): Promise<string[]> {
  const { rows } = await transaction.query<{ name: string }>(
    `SELECT name FROM accounts WHERE role = 'admin' AND NOT suspended AND EXISTS (
       SELECT FROM account_keys
       WHERE account = name AND revoked_at IS NULL AND coalesce(expires_at > now(), true))`,
  );
  return rows.map(({ name }) => name);
}

export async function findAccount(sql: postgres.Sql, name: string): Promise<Account | undefined> {
  const [row] = await sql<Row[]>`SELECT ${sql.unsafe(COLUMNS)} FROM accounts WHERE name = ${name}`;
  return row && toAccount(row);
}

/** By name; `after` is the name at which the page before ended. */
export async function listAccounts(
  sql: postgres.Sql,
  { after = "", limit }: { readonly after?: string | undefined; readonly limit: number },
): Promise<Account[]> {
  const rows = await sql<Row[]>`
    SELECT ${sql.unsafe(COLUMNS)} FROM accounts WHERE name > ${after} ORDER BY name LIMIT ${limit}`;
  return rows.map(toAccount);
}

/** An account with the number of its last change. */
export interface AccountState extends Account {
  readonly revision: number;
}

/** A page of the accounts that changed after a revision, by name. */
export async function listChangedAccounts(
  transaction: Transaction,
  since: number,
  after: string,
  limit: number,
): Promise<AccountState[]> {
  const { rows } = await transaction.query<Row & { readonly revision: string }>(
    `SELECT ${COLUMNS}, revision FROM accounts
     WHERE revision > $1::bigint AND name > $2 ORDER BY name LIMIT $3::integer`,
    [since, after, limit],
  );
  return rows.map((row) => ({ ...toAccount(row), revision: Number(row.revision) }));
}

function toAccount(row: Row): Account {
  return {
    name: row.name,
    role: row.role,
    suspended: row.suspended,
    rateLimit: row.rate_limit,
    generation: row.generation,
    createdAt: row.created_at,
  };
}
