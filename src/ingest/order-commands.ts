import { OrderStatus } from "../gen/penstock/v1/order_pb.ts";
import type {
  CancelAllOrdersRequest,
  CancelOrderRequest,
  ReplaceOrderRequest,
  SubmitOrderRequest,
} from "../gen/penstock/v1/order_service_pb.ts";
import type { Target } from "../stream/command.ts";
import {
  type PreparedCommand,
  prepareCancel,
  prepareMassCancel,
  prepareReplace,
  prepareSubmit,
} from "../stream/prepared-command.ts";
import type { Placement } from "../stream/flush.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { Partitioning } from "../stream/partition.ts";
import { orderIdBytes } from "../stream/position.ts";
import type { Admission } from "./admission.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { OrderReads } from "./order-reads.ts";
import { timestampOf } from "./timestamp.ts";
import { validateCancel, validateCancelAll, validateReplace, validateReplaceValues } from "./validation/requests.ts";
import { validateSubmit } from "./validation/submit.ts";
import type { Target as RequestedTarget } from "./validation/target.ts";
import { isRefused } from "./validation/violation.ts";

export interface OrderCommandsOptions {
  readonly instruments: InstrumentBook;
  readonly partitioning: Partitioning;
  readonly admission: Admission;
  readonly reads: OrderReads;
  readonly metrics: IngestMetrics;
}

/** A command that passed the door, and where it goes: one partition, or for a mass cancel all that it concerns. */
export interface Checked {
  readonly partitions: readonly number[];
  readonly command: PreparedCommand;
}

interface Aim {
  readonly partition: number;
  readonly symbol: string;
  readonly target: Target;
}

/** What is between a request and the log, and between its places there and the answer: checks, and nothing appended. */
export class OrderCommands {
  readonly #options: OrderCommandsOptions;
  /** By partition: the list of it alone. */
  readonly #alone: readonly (readonly number[])[];

  constructor(options: OrderCommandsOptions) {
    this.#options = options;
    this.#alone = options.partitioning.all().map((partition) => [partition]);
  }

  /** Throws where no new orders at all are taken at present: before any work is done for one. */
  admit(): void {
    const refusal = this.#options.admission.refusal;
    if (refusal !== undefined) throw refusal;
  }

  /** What to wait for before the symbols are looked at: one that is not known may have been defined elsewhere a moment ago. */
  learn(requests: readonly { readonly symbol: string }[]): Promise<void> | undefined {
    const { instruments } = this.#options;
    return requests.some(({ symbol }) => instruments.isUnknown(symbol)) ? instruments.refresh() : undefined;
  }

  /** `now` in milliseconds since 1970. Never throws. */
  submit(request: SubmitOrderRequest, account: string, now: number): Checked | RequestError {
    const { instruments, partitioning, admission } = this.#options;
    const fields = validateSubmit(request, instruments, now);
    if (isRefused(fields)) return invalidArgument(fields);
    const partition = partitioning.of(fields.symbol);
    const refusal = admission.refusalOf(partition);
    if (refusal !== undefined) return refusal;
    return { partitions: this.#alone[partition]!, command: prepareSubmit(account, fields) };
  }

  /** A promise where an order that is named by its id is looked up. Throws, or rejects with, a RequestError. */
  cancel(request: CancelOrderRequest, account: string): Checked | Promise<Checked> {
    const fields = validateCancel(request, this.#options.instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    return aimed(this.#aim(fields.target, account), ({ partition, symbol, target }) => ({
      partitions: this.#alone[partition]!,
      command: prepareCancel(account, fields.clientRequestId, symbol, target),
    }));
  }

  /** As `cancel`. */
  replace(request: ReplaceOrderRequest, account: string): Checked | Promise<Checked> {
    const { instruments, admission } = this.#options;
    const fields = validateReplace(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    this.admit();
    return aimed(this.#aim(fields.target, account), ({ partition, symbol, target }) => {
      const refusal = admission.refusalOf(partition);
      if (refusal !== undefined) throw refusal;
      const instrument = instruments.get(symbol);
      if (instrument === undefined)
        throw new RequestError("UNAVAILABLE", "the order's instrument cannot be read at present");
      const values = fields.values ?? validateReplaceValues(request, instrument);
      if (isRefused(values)) throw invalidArgument(values);
      const command = prepareReplace(account, fields.clientRequestId, symbol, target, values);
      return { partitions: this.#alone[partition]!, command };
    });
  }

  /** Throws a RequestError. */
  cancelAll(request: CancelAllOrdersRequest, account: string): Checked {
    const { instruments, partitioning } = this.#options;
    const fields = validateCancelAll(request, instruments);
    if (isRefused(fields)) throw invalidArgument(fields);
    const symbol = fields.instrument?.symbol ?? "";
    return {
      partitions: symbol === "" ? partitioning.all() : this.#alone[partitioning.of(symbol)]!,
      command: prepareMassCancel(account, fields.clientRequestId, symbol),
    };
  }

  /** The answer to a submit. Throws where its id stands for another payload. */
  submitted(clientOrderId: string, placement: Placement) {
    const { id, ms, outcome } = placed(placement);
    const duplicate = outcome === "duplicate";
    if (duplicate) this.#options.metrics.duplicates.inc();
    else this.#options.metrics.accepted.inc();
    return { orderId: id, clientOrderId, status: OrderStatus.PENDING_NEW, createdAt: timestampOf(ms), duplicate };
  }

  /** The answer to a cancel or replace; throws likewise. */
  changed(clientRequestId: string, placement: Placement) {
    const { id, ms, outcome } = placed(placement);
    return { commandId: id, clientRequestId, createdAt: timestampOf(ms), duplicate: outcome === "duplicate" };
  }

  /** The answer to a mass cancel, by its places in all its partitions; throws likewise. */
  allCancelled(clientRequestId: string, placements: readonly Placement[]) {
    for (const placement of placements) placed(placement);
    return {
      commandIds: placements.map(({ id }) => id),
      clientRequestId,
      createdAt: timestampOf(Math.max(...placements.map(({ ms }) => ms))),
      // A retry after a partial failure repeats in some partitions only: the call as a whole is new then.
      duplicate: placements.every(({ outcome }) => outcome === "duplicate"),
    };
  }

  /** Where a cancel or replace goes. An order that is named by its id must be there, and the caller's own. */
  #aim(target: RequestedTarget, account: string): Aim | Promise<Aim> {
    if (target.by === "order_id") return this.#lookUp(target, account);
    const { symbol } = target.instrument;
    const partition = this.#options.partitioning.of(symbol);
    return { partition, symbol, target: { case: "clientOrderId", value: target.clientOrderId } };
  }

  async #lookUp(target: RequestedTarget & { readonly by: "order_id" }, account: string): Promise<Aim> {
    const { symbol } = await this.#options.reads.find(target, account);
    const value = orderIdBytes(target.orderId);
    return { partition: target.place.partition, symbol, target: { case: "orderId", value } };
  }
}

/** At once where nothing is awaited: what needs no look-up is not to wait for one. */
function aimed(aim: Aim | Promise<Aim>, then: (aim: Aim) => Checked): Checked | Promise<Checked> {
  return aim instanceof Promise ? aim.then(then) : then(aim);
}

/** The placement itself, unless the client's id stands for another payload. */
function placed(placement: Placement): Placement {
  if (placement.outcome !== "conflict") return placement;
  throw new RequestError("ALREADY_EXISTS", `this client id stands for another payload already: ${placement.id}`);
}
