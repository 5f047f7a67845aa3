import type postgres from "postgres";

import type { Transaction } from "./writer.ts";

/** What an admin asked for. Details are names and texts without secrets. */
export interface AdminAction {
  readonly actor: string;
  /** The method. */
  readonly action: string;
  /** The account or symbol that it is about. */
  readonly subject: string;
  readonly details: Readonly<Record<string, string>>;
}

/** `asked`: what came of it is not known here. */
export type ActionOutcome = "done" | "asked" | "refused";

export interface StoredAction extends AdminAction {
  readonly id: number;
  readonly at: Date;
  readonly outcome: ActionOutcome;
}

/** IDs of the entries of a partition that admins have had voided. */
export async function listVoided(sql: postgres.Sql, partition: number): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    SELECT details->>'entry_id' AS id FROM admin_actions
    WHERE action = 'VoidEntry' AND outcome <> 'refused' AND subject = ${`partition ${partition}`}`;
  return rows.map(({ id }) => id);
}

/** In the transaction of the change itself. */
export async function recordDone(transaction: Transaction, action: AdminAction): Promise<void> {
  await transaction.query(
    `INSERT INTO admin_actions (actor, action, subject, outcome, details) VALUES ($1, $2, $3, 'done', $4::text::jsonb)`,
    [action.actor, action.action, action.subject, JSON.stringify(action.details)],
  );
}

/** Before something is done outside of Postgres. The id is for `settle`. */
export async function recordAsked(sql: postgres.Sql, action: AdminAction): Promise<number> {
  const [row] = await sql<{ id: string }[]>`
    INSERT INTO admin_actions (actor, action, subject, outcome, details)
    VALUES (${action.actor}, ${action.action}, ${action.subject}, 'asked', ${JSON.stringify(action.details)}::text::jsonb)
    RETURNING id`;
  return Number(row?.id);
}

/** What came of what was asked, with more details. */
export async function settle(
  sql: postgres.Sql,
  id: number,
  outcome: ActionOutcome,
  details: Readonly<Record<string, string>>,
): Promise<void> {
  await sql`
    UPDATE admin_actions SET outcome = ${outcome}, details = details || ${JSON.stringify(details)}::text::jsonb
    WHERE id = ${id} AND outcome = 'asked'`;
}

/** Newest first; `before` is the id at which the page before ended. */
export async function listAdminActions(
  sql: postgres.Sql,
  { before, limit }: { readonly before?: number | undefined; readonly limit: number },
): Promise<StoredAction[]> {
  const rows = await sql<(Omit<StoredAction, "id"> & { readonly id: string })[]>`
    SELECT id, at, actor, action, subject, outcome, details FROM admin_actions
    WHERE id < ${before ?? Number.MAX_SAFE_INTEGER} ORDER BY id DESC LIMIT ${limit}`;
  return rows.map((row) => ({ ...row, id: Number(row.id) }));
}
