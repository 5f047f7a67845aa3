import { OrderStatus } from "../gen/penstock/v1/order_pb.ts";
import type { OrderService, SubmitOrderRequest } from "../gen/penstock/v1/order_service_pb.ts";
import {
  type PreparedCommand,
  prepareCancel,
  prepareMassCancel,
  prepareReplace,
  prepareSubmit,
  type Target,
} from "../stream/command.ts";
import type { Placement } from "../stream/flush.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { Partitioning } from "../stream/partition.ts";
import { orderIdBytes } from "../stream/position.ts";
import type { Admission } from "./admission.ts";
import type { Call, Implementation } from "./call.ts";
import { asRequestError, invalidArgument, RequestError, toStatus } from "./errors.ts";
import type { OrderLog } from "./order-log.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { OrderReads } from "./order-reads.ts";
import type { RateLimits } from "./rate-limits.ts";
import { timestampOf } from "./timestamp.ts";
import {
  validateBatchSize,
  validateCancel,
  validateCancelAll,
  validateReplace,
  validateReplaceValues,
} from "./validation/requests.ts";
import { validateSubmit } from "./validation/submit.ts";
import type { Target as RequestedTarget } from "./validation/target.ts";
import { isRefused } from "./validation/violation.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderEntryOptions {
  readonly log: OrderLog;
  readonly instruments: InstrumentBook;
  readonly partitioning: Partitioning;
  readonly admission: Admission;
  readonly rateLimits: RateLimits;
  readonly reads: OrderReads;
  readonly metrics: IngestMetrics;
}

/** An order that passed the door, or why it did not. */
interface Checked {
  readonly partition: number;
  readonly command: PreparedCommand;
}

/** The calls that change something: request → validated → appended → answered with its place. */
export class OrderEntry implements Omit<OrderMethods, "getOrder" | "listOrders"> {
  readonly #options: OrderEntryOptions;

  constructor(options: OrderEntryOptions) {
    this.#options = options;
  }

  submitOrder: OrderMethods["submitOrder"] = async (request, call) => {
    const { log, instruments, metrics } = this.#options;
    this.#admit();
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const checked = this.#check(request, call, Date.now());
    if (checked instanceof RequestError) {
      metrics.refused.inc();
      throw checked;
    }
    const [placement] = await log.append(checked.partition, [checked.command], call);
    return this.#submitted(request.clientOrderId, placement!);
  };

  submitOrders: OrderMethods["submitOrders"] = async (request, call) => {
    const { log, instruments, metrics, rateLimits } = this.#options;
    const size = validateBatchSize(request.orders.length);
    if (size !== undefined) throw invalidArgument(size);
    // The first of them was counted as the call.
    rateLimits.take(call.principal, request.orders.length - 1);
    this.#admit();
    if (request.orders.some(({ symbol }) => instruments.isUnknown(symbol))) await instruments.refresh();
    const now = Date.now();
    const checked = request.orders.map((order) => this.#check(order, call, now));

    // The orders of a partition go together, in the order of the request.
    const byPartition = new Map<number, number[]>();
    for (const [i, order] of checked.entries()) {
      if (order instanceof RequestError) continue;
      const group = byPartition.get(order.partition);
      if (group === undefined) byPartition.set(order.partition, [i]);
      else group.push(i);
    }
    const outcomes: (Placement | RequestError)[] = checked.map((order) => order as RequestError);
    await Promise.all(
      Array.from(byPartition, async ([partition, group]) => {
        try {
          const commands = group.map((i) => (checked[i] as Checked).command);
          const placements = await log.append(partition, commands, call);
          for (const [k, i] of group.entries()) outcomes[i] = placements[k]!;
        } catch (error) {
          for (const i of group) outcomes[i] = asRequestError(error);
        }
      }),
    );
    return {
      results: outcomes.map((outcome, i) => {
        try {
          if (outcome instanceof RequestError) throw outcome;
          return { result: { case: "accepted", value: this.#submitted(request.orders[i]!.clientOrderId, outcome) } };
        } catch (error) {
          metrics.refused.inc();
          return { result: { case: "refused", value: toStatus(asRequestError(error)) } };
        }
      }),
    };
  };

  cancelOrder: OrderMethods["cancelOrder"] = async (request, call) => {
    const { instruments } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const fields = validateCancel(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { partition, symbol, target } = await this.#target(fields.target, call);
    const command = prepareCancel(call.principal.account, fields.clientRequestId, symbol, target);
    return this.#commanded(partition, command, fields.clientRequestId, call);
  };

  replaceOrder: OrderMethods["replaceOrder"] = async (request, call) => {
    const { instruments } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const fields = validateReplace(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    this.#admit();
    const { partition, symbol, target } = await this.#target(fields.target, call);
    const instrument = instruments.get(symbol);
    if (instrument === undefined)
      throw new RequestError("UNAVAILABLE", "the order's instrument cannot be read at present");
    const values = fields.values ?? validateReplaceValues(request, instrument);
    if (isRefused(values)) throw invalidArgument(values);
    const command = prepareReplace(call.principal.account, fields.clientRequestId, symbol, target, values);
    return this.#commanded(partition, command, fields.clientRequestId, call);
  };

  cancelAllOrders: OrderMethods["cancelAllOrders"] = async (request, call) => {
    const { instruments, partitioning, log } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const fields = validateCancelAll(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    const symbol = fields.instrument?.symbol ?? "";
    const partitions = symbol === "" ? partitioning.all() : [partitioning.of(symbol)];
    const command = prepareMassCancel(call.principal.account, fields.clientRequestId, symbol);
    const placements = await Promise.all(
      partitions.map(async (partition) => placed((await log.append(partition, [command], call))[0]!)),
    );
    return {
      commandIds: placements.map(({ id }) => id),
      clientRequestId: fields.clientRequestId,
      createdAt: timestampOf(Math.max(...placements.map(({ ms }) => ms))),
      // A retry after a partial failure repeats in some partitions only: the call as a whole is new then.
      duplicate: placements.every(({ outcome }) => outcome === "duplicate"),
    };
  };

  #admit(): void {
    const refusal = this.#options.admission.refusal;
    if (refusal !== undefined) throw refusal;
  }

  #check(request: SubmitOrderRequest, call: Call, now: number): Checked | RequestError {
    const { instruments, partitioning } = this.#options;
    const fields = validateSubmit(request, instruments, now);
    if (isRefused(fields)) return invalidArgument(fields);
    return { partition: partitioning.of(fields.symbol), command: prepareSubmit(call.principal.account, fields) };
  }

  #submitted(clientOrderId: string, placement: Placement) {
    const { id, ms, outcome } = placed(placement);
    const duplicate = outcome === "duplicate";
    if (duplicate) this.#options.metrics.duplicates.inc();
    else this.#options.metrics.accepted.inc();
    return { orderId: id, clientOrderId, status: OrderStatus.PENDING_NEW, createdAt: timestampOf(ms), duplicate };
  }

  /** Where a cancel or replace goes. An order that is named by its id must be there, and the caller's own. */
  async #target(target: RequestedTarget, call: Call): Promise<{ partition: number; symbol: string; target: Target }> {
    if (target.by === "client_order_id") {
      const { symbol } = target.instrument;
      const partition = this.#options.partitioning.of(symbol);
      return { partition, symbol, target: { case: "clientOrderId", value: target.clientOrderId } };
    }
    const order = await this.#options.reads.find(target, call.principal.account);
    const value = orderIdBytes(target.orderId);
    return { partition: target.place.partition, symbol: order.symbol, target: { case: "orderId", value } };
  }

  async #commanded(partition: number, command: PreparedCommand, clientRequestId: string, call: Call) {
    const [placement] = await this.#options.log.append(partition, [command], call);
    const { id, ms, outcome } = placed(placement!);
    return { commandId: id, clientRequestId, createdAt: timestampOf(ms), duplicate: outcome === "duplicate" };
  }
}

/** The placement itself, unless the client's id stands for another payload. */
function placed(placement: Placement): Placement {
  if (placement.outcome !== "conflict") return placement;
  throw new RequestError("ALREADY_EXISTS", `this client id stands for another payload already: ${placement.id}`);
}
