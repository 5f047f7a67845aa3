import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { Logger } from "pino";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { findAccount } from "../store/accounts.ts";
import type { AdminAction } from "../store/admin-actions.ts";
import {
  type PreparedCommand,
  prepareAccountLimits,
  prepareTradingStatus,
  prepareVoid,
} from "../stream/prepared-command.ts";
import type { Placement } from "../stream/flush.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findSeen } from "../stream/lookup.ts";
import type { Partitioning } from "../stream/partition.ts";
import { noSuchAccount } from "./accounts.ts";
import type { AuditTrail } from "./audit-trail.ts";
import type { Call, Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import type { OrderLog } from "./order-log.ts";
import { timestampOf } from "./timestamp.ts";
import { validateAccountLimits, validateTradingStatus, validateVoid } from "./validation/engine.ts";
import { enumeration, namesOf } from "./validation/enumeration.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;

export interface EngineCommandsOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly partitions: readonly PartitionKeys[];
  readonly partitioning: Partitioning;
  readonly instruments: InstrumentBook;
  readonly orderLog: OrderLog;
  readonly engines: EngineClient;
  readonly trail: AuditTrail;
  readonly log: Logger;
}

const RETRY_AFTER_MS = 1_000;

/** What operators tell the engine: commands in the log, which stand in the audit trail before they are there. */
export class EngineCommands implements Pick<AdminMethods, "setTradingStatus" | "setAccountLimits" | "voidEntry"> {
  readonly #options: EngineCommandsOptions;

  constructor(options: EngineCommandsOptions) {
    this.#options = options;
  }

  setTradingStatus: AdminMethods["setTradingStatus"] = async (request, call) => {
    const { instruments, partitioning } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const fields = validateTradingStatus(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { requestId, symbol, status } = fields;
    const actor = call.principal.account;
    const details = { request_id: requestId, status: namesOf(1 << status, enumeration(TradingStatus)) };
    const action = { actor, action: "SetTradingStatus", subject: symbol, details };
    const command = prepareTradingStatus(actor, requestId, symbol, status);
    const [placement] = await this.#log([partitioning.of(symbol)], command, action, call);
    return answerOf(placement!);
  };

  setAccountLimits: AdminMethods["setAccountLimits"] = async (request, call) => {
    const { sql, partitioning } = this.#options;
    const fields = validateAccountLimits(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { requestId, account, maxOpenOrders, maxQuantity } = fields;
    if ((await findAccount(sql, account)) === undefined) throw noSuchAccount();
    const actor = call.principal.account;
    const details = {
      request_id: requestId,
      max_open_orders: String(maxOpenOrders),
      max_quantity_lots: String(maxQuantity),
    };
    const action = { actor, action: "SetAccountLimits", subject: account, details };
    const command = prepareAccountLimits(actor, requestId, { account, maxOpenOrders, maxQuantity });
    const placements = await this.#log(partitioning.all(), command, action, call);
    return {
      commandIds: placements.map(({ id }) => id),
      createdAt: timestampOf(Math.max(...placements.map(({ ms }) => ms))),
      // A retry after a partial failure repeats in some partitions only: the call as a whole is new then.
      duplicate: placements.every(({ outcome }) => outcome === "duplicate"),
    };
  };

  voidEntry: AdminMethods["voidEntry"] = async (request, call) => {
    const { redis, partitions } = this.#options;
    const fields = validateVoid(request, partitions.length);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { requestId, partition, entryId, reason } = fields;
    const actor = call.principal.account;
    const command = prepareVoid(actor, requestId, entryId, reason);
    const refusal = await this.#whyNotVoided(partition, entryId, call);
    if (refusal !== undefined) {
      // One that is logged already is answered again, though the engine has gone on since.
      const seen = await findSeen(redis, partitions[partition]!, command.identity.slice(0, 16));
      if (seen === undefined) throw refusal;
    }
    const details = { request_id: requestId, entry_id: entryId, reason };
    const action = { actor, action: "VoidEntry", subject: `partition ${partition}`, details };
    const [placement] = await this.#log([partition], command, action, call);
    return answerOf(placement!);
  };

  /** Appends a command to several partitions. Throws ALREADY_EXISTS where its id stands for another payload. */
  async #log(
    partitions: readonly number[],
    command: PreparedCommand,
    action: AdminAction,
    call: Call,
  ): Promise<readonly Placement[]> {
    const { orderLog, trail, log } = this.#options;
    let placements: readonly Placement[] = [];
    await trail.around(action, async () => {
      placements = await orderLog.appendToEach(partitions, command, call);
      if (placements.every(isConflict)) throw conflictOf(placements);
      return placements.map(({ id }) => id).join(" ");
    });
    if (placements.some(isConflict)) throw conflictOf(placements);
    log.info({ ...action }, "the engine was told");
    return placements;
  }

  /** Undefined where the engine stands still at this entry, because it cannot process it. */
  async #whyNotVoided(partition: number, entryId: string, call: Call): Promise<RequestError | undefined> {
    const status = (await this.#options.engines.getStatus(call.deadline)).find((one) => one.partition === partition);
    if (status === undefined) {
      return new RequestError("UNAVAILABLE", "no engine answers at present", { retryAfterMs: RETRY_AFTER_MS });
    }
    if (status.unworkable === entryId) return undefined;
    const where = status.unworkable === "" ? "at no entry" : `at ${status.unworkable}`;
    return new RequestError("FAILED_PRECONDITION", `the engine of partition ${partition} stands still ${where}`);
  }
}

function isConflict({ outcome }: Placement): boolean {
  return outcome === "conflict";
}

function conflictOf(placements: readonly Placement[]): RequestError {
  const id = placements.find(isConflict)?.id;
  return new RequestError("ALREADY_EXISTS", `this request id stands for another payload already: ${id}`);
}

function answerOf({ id, ms, outcome }: Placement) {
  return { commandId: id, createdAt: timestampOf(ms), duplicate: outcome === "duplicate" };
}
