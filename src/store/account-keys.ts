import type postgres from "postgres";

import type { AccountRole } from "./accounts.ts";
import type { Transaction } from "./writer.ts";

export interface AccountKey {
  readonly id: string;
  readonly createdAt: Date;
  /** Null where it has no end. */
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
}

export interface NewKey {
  readonly id: string;
  readonly account: string;
  /** Its secret has no id in front. An account has at most one such key that is not revoked. */
  readonly bare: boolean;
  readonly secretHash: string;
  readonly expiresAt: Date | null;
}

interface Row {
  readonly id: string;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
}

const COLUMNS = "id, created_at, expires_at, revoked_at";

export async function createKey(transaction: Transaction, key: NewKey): Promise<AccountKey> {
  const { rows } = await transaction.query<Row>(
    `INSERT INTO account_keys (id, account, bare, secret_hash, expires_at)
     VALUES ($1, $2, $3::boolean, $4, $5::text::timestamptz) RETURNING ${COLUMNS}`,
    [key.id, key.account, key.bare, key.secretHash, key.expiresAt?.toISOString() ?? null],
  );
  return toKey(rows[0]!);
}

/** How many keys of the account are good. */
export async function countGoodKeys(transaction: Transaction, account: string): Promise<number> {
  const { rows } = await transaction.query<{ count: number }>(
    `SELECT count(*)::integer AS count FROM account_keys
     WHERE account = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true)`,
    [account],
  );
  return rows[0]?.count ?? 0;
}

/** The key as it is then, or undefined where the account has none of this id. A second time changes nothing. */
export async function revokeKey(
  transaction: Transaction,
  account: string,
  id: string,
): Promise<AccountKey | undefined> {
  const { rows } = await transaction.query<Row>(
    `UPDATE account_keys SET revoked_at = coalesce(revoked_at, now()) WHERE account = $1 AND id = $2 RETURNING ${COLUMNS}`,
    [account, id],
  );
  return rows[0] && toKey(rows[0]);
}

/** The newest key whose secret has no id, with its hash. */
export async function findBareKey(
  transaction: Transaction,
  account: string,
): Promise<(AccountKey & { readonly secretHash: string }) | undefined> {
  const { rows } = await transaction.query<Row & { readonly secret_hash: string }>(
    `SELECT ${COLUMNS}, secret_hash FROM account_keys WHERE account = $1 AND bare
     ORDER BY revoked_at IS NULL DESC, created_at DESC LIMIT 1`,
    [account],
  );
  return rows[0] && { ...toKey(rows[0]), secretHash: rows[0].secret_hash };
}

/** Keys that are good first, then the newest. */
export async function listKeys(sql: postgres.Sql, account: string, limit: number): Promise<AccountKey[]> {
  const rows = await sql<Row[]>`
    SELECT ${sql.unsafe(COLUMNS)} FROM account_keys WHERE account = ${account}
    ORDER BY revoked_at IS NULL AND coalesce(expires_at > now(), true) DESC, created_at DESC, id LIMIT ${limit}`;
  return rows.map(toKey);
}

/** A key with what its account may do. */
export interface Credentials {
  readonly key: AccountKey & { readonly secretHash: string };
  readonly role: AccountRole;
  readonly suspended: boolean;
  readonly generation: number;
}

/** The account's key of this id; else its newest one whose secret has no id. */
export async function findCredentials(
  sql: postgres.Sql,
  account: string,
  keyId: string | undefined,
): Promise<Credentials | undefined> {
  type CredentialsRow = Row & Pick<Credentials, "role" | "suspended" | "generation"> & { readonly secret_hash: string };
  const [row] = await sql<CredentialsRow[]>`
    SELECT id, k.created_at, expires_at, revoked_at, secret_hash, role, suspended, generation
    FROM accounts a JOIN account_keys k ON k.account = a.name
    WHERE a.name = ${account} AND (id = ${keyId ?? ""} OR bare)
    ORDER BY id = ${keyId ?? ""} DESC, revoked_at IS NULL DESC, k.created_at DESC LIMIT 1`;
  if (row === undefined) return undefined;
  const { role, suspended, generation } = row;
  return { key: { ...toKey(row), secretHash: row.secret_hash }, role, suspended, generation };
}

function toKey(row: Row): AccountKey {
  return { id: row.id, createdAt: row.created_at, expiresAt: row.expires_at, revokedAt: row.revoked_at };
}
