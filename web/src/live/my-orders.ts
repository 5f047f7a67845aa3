import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { signal } from "@preact/signals";
import { Subscription, type WatchRequest, type WatchResponse } from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { ExecType, type ExecutionReport, type Order, type Position } from "../../../src/gen/penstock/v1/order_pb.ts";
import { WatchOrdersRequestSchema } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { Frames } from "./frames.ts";
import type { Live, Topic } from "./live.ts";
import { OrderList } from "./order-list.ts";

const PAGE = 1_000;
/** The engine lets an account have 10,000 open orders in a partition. */
const PAGES = 10;
/** Of orders that have ended, at the start. */
const RECENT = 100;

/**
 * The account's own orders: what is listed at the start, and every report after that. It resumes where it was when the stream
 * is interrupted, so that each report is told of once.
 */
export class MyOrders implements Topic {
  readonly subscription = Subscription.ORDERS;
  readonly symbol = "";
  readonly frames = new Frames();
  readonly list = new OrderList();
  readonly loaded = signal(false);
  readonly trouble = signal<string | undefined>(undefined);
  readonly #orders: Clients["orders"];
  readonly #live: Live;
  readonly #onReport: (report: ExecutionReport) => void;
  /** By partition: the place up to which all is known. */
  #reached = new Map<number, Position>();
  #remove: (() => void) | undefined;
  readonly #closed = new AbortController();

  constructor(orders: Clients["orders"], live: Live, onReport: (report: ExecutionReport) => void) {
    this.#orders = orders;
    this.#live = live;
    this.#onReport = onReport;
  }

  /** Lists what there is, then watches. Tries until it succeeds or is closed. */
  async start(): Promise<void> {
    for (let attempt = 0; !this.#closed.signal.aborted; attempt++) {
      try {
        await this.#load();
        this.#remove = this.#live.add(this);
        return;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        const { message, retryAfterMs } = failureOf(error);
        this.trouble.value = message;
        await wait(retryAfterMs ?? backoffMs(attempt), this.#closed.signal).catch(() => {});
      }
    }
  }

  close(): void {
    this.#closed.abort();
    this.#remove?.();
  }

  ask(request: WatchRequest): void {
    request.orders = create(WatchOrdersRequestSchema, { after: [...this.#reached.values()] });
  }

  take(update: WatchResponse["update"]): void {
    if (update.case !== "orders") return;
    const told = update.value.update;
    if (this.trouble.peek() !== undefined) this.trouble.value = undefined;
    if (told.case === "heartbeat") {
      for (const position of told.value.highWater) this.#reached.set(position.partition, position);
    } else if (told.case === "execution") {
      this.#report(told.value);
    }
  }

  interrupted({ code, message }: Failure, again: boolean): void {
    this.trouble.value = message;
    if (again || code !== Code.OutOfRange) return;
    // The place is no longer kept: from the list again.
    this.#remove = undefined;
    void this.start();
  }

  /** What the answer of a command tells; the report of it may have come before. */
  learn(order: Order | undefined): void {
    if (order !== undefined && this.list.learn(order)) this.frames.touch();
  }

  async #load(): Promise<void> {
    const { signal: closed } = this.#closed;
    const reached = new Map<number, Position>();
    const open: Order[] = [];
    let pageToken = "";
    for (let page = 0; page < PAGES; page++) {
      const answer = await this.#orders.listOrders({ openOnly: true, pageSize: PAGE, pageToken }, { signal: closed });
      open.push(...answer.orders);
      // The first page is of the earliest time; what is told of twice is the same again.
      if (page === 0) for (const position of answer.asOf) reached.set(position.partition, position);
      pageToken = answer.nextPageToken;
      if (pageToken === "") break;
    }
    const recent = await this.#orders.listOrders({ pageSize: RECENT }, { signal: closed });
    this.list.reset([...open, ...recent.orders]);
    this.#reached = reached;
    this.loaded.value = true;
    this.trouble.value = undefined;
    this.frames.touch();
  }

  #report(report: ExecutionReport): void {
    const { position, order, execType } = report;
    if (position !== undefined) this.#reached.set(position.partition, position);
    if (order !== undefined && execType !== ExecType.MASS_CANCEL_REPORT && order.orderId !== "") {
      this.list.set(order);
      this.frames.touch();
    }
    this.#onReport(report);
  }
}
