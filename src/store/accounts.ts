import type postgres from "postgres";

export type AccountRole = "trader" | "admin";

export interface Account {
  readonly name: string;
  readonly role: AccountRole;
  readonly secretHash: string;
  readonly createdAt: Date;
}

/** False where the name is taken; nothing is changed then. */
export async function createAccount(
  sql: postgres.Sql,
  account: { readonly name: string; readonly role: AccountRole; readonly secretHash: string },
): Promise<boolean> {
  const { count } = await sql`
    INSERT INTO accounts (name, role, secret_hash) VALUES (${account.name}, ${account.role}, ${account.secretHash})
    ON CONFLICT DO NOTHING`;
  return count === 1;
}

export async function findAccount(sql: postgres.Sql, name: string): Promise<Account | undefined> {
  const [row] = await sql<{ name: string; role: AccountRole; secret_hash: string; created_at: Date }[]>`
    SELECT name, role, secret_hash, created_at FROM accounts WHERE name = ${name}`;
  return row && { name: row.name, role: row.role, secretHash: row.secret_hash, createdAt: row.created_at };
}
