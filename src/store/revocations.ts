import type { Change } from "./account-changes.ts";
import type { Transaction } from "./writer.ts";

/** A token that was revoked by itself, or a key whose tokens ended with it. */
export interface Revocation {
  /** Of the token or of the key. */
  readonly id: string;
  readonly account: string;
  /** When the last such token would have ended anyway. */
  readonly expiresAt: Date;
}

/**
 * A revocation is kept for so long, in ms, after its tokens have ended: where a clock is behind they are good for longer, and one
 * that has jumped ahead for a while must not have it forgotten for good.
 */
export const KEPT_AFTER_MS = 86_400_000;

const FORGET = `DELETE FROM revocations WHERE expires_at < now() - interval '${KEPT_AFTER_MS} ms'`;

/** A second time changes nothing. Forgets those that are long over. */
export async function revoke({ transaction, revision }: Change, { id, account, expiresAt }: Revocation): Promise<void> {
  await transaction.query(FORGET);
  await transaction.query(
    `INSERT INTO revocations (id, account, expires_at, revision)
     VALUES ($1, $2, $3::text::timestamptz, $4::bigint) ON CONFLICT DO NOTHING`,
    [id, account, expiresAt.toISOString(), revision],
  );
}

/** Revocations of the account that are not over. */
export async function countRevocations(transaction: Transaction, account: string): Promise<number> {
  const { rows } = await transaction.query<{ count: number }>(
    "SELECT count(*)::integer AS count FROM revocations WHERE account = $1 AND expires_at > now()",
    [account],
  );
  return rows[0]?.count ?? 0;
}

/** A page of what was revoked after a revision, by id. */
export async function listRevocations(
  transaction: Transaction,
  since: number,
  after: string,
  limit: number,
): Promise<Revocation[]> {
  const { rows } = await transaction.query<{ id: string; account: string; expires_at: Date }>(
    `SELECT id, account, expires_at FROM revocations
     WHERE revision > $1::bigint AND id > $2 ORDER BY id LIMIT $3::integer`,
    [since, after, limit],
  );
  return rows.map(({ id, account, expires_at: expiresAt }) => ({ id, account, expiresAt }));
}
