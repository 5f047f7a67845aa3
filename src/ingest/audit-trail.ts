import type postgres from "postgres";
import type { Logger } from "pino";

import { ActionOutcome, type AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { type AdminAction, listAdminActions, recordAsked, settle } from "../store/admin-actions.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateListAdminActions } from "./validation/accounts.ts";
import { isRefused } from "./validation/violation.ts";

type ListAdminActions = Implementation<typeof AdminService>["listAdminActions"];

const OUTCOMES = { done: ActionOutcome.DONE, asked: ActionOutcome.ASKED, refused: ActionOutcome.REFUSED } as const;

/** Refusals after which the log has nothing of what was asked. */
const NOTHING_DONE: ReadonlySet<string> = new Set(["ABORTED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED"]);

/** The audit trail: reading it, and writing of what is done in the log and not in Postgres. */
export class AuditTrail implements Pick<Implementation<typeof AdminService>, "listAdminActions"> {
  readonly #sql: postgres.Sql;
  readonly #log: Logger;

  constructor(sql: postgres.Sql, log: Logger) {
    this.#sql = sql;
    this.#log = log;
  }

  listAdminActions: ListAdminActions = async (request) => {
    const fields = validateListAdminActions(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { limit, before } = fields;
    // One more than asked for tells whether there is another page.
    const found = await listAdminActions(this.#sql, { before, limit: limit + 1 });
    const actions = found.slice(0, limit);
    const nextPageToken = found.length > limit ? String(actions.at(-1)!.id) : "";
    return {
      actions: actions.map(({ id, at, outcome, ...action }) => ({
        ...action,
        id: BigInt(id),
        at: timestampOf(at.getTime()),
        outcome: OUTCOMES[outcome],
      })),
      nextPageToken,
    };
  };

  /**
   * Writes down what is asked, does it, and writes down what came of it: `work` gives the place of its command in the
   * log. Where this process or Postgres ends in between, or the answer is not known, it stays as asked: the log tells.
   */
  async around(action: AdminAction, work: () => Promise<string>): Promise<string> {
    const id = await recordAsked(this.#sql, action);
    try {
      const commandId = await work();
      await this.#settle(id, "done", { command_id: commandId });
      return commandId;
    } catch (error) {
      if (error instanceof RequestError && NOTHING_DONE.has(error.code)) {
        await this.#settle(id, "refused", { reason: error.message });
      }
      throw error;
    }
  }

  async #settle(id: number, outcome: "done" | "refused", details: Readonly<Record<string, string>>): Promise<void> {
    try {
      await settle(this.#sql, id, outcome, details);
    } catch (error) {
      this.#log.warn({ err: error, action: id, outcome, ...details }, "the audit trail could not be completed");
    }
  }
}
