import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Role } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import { AckLevel, ExecType, type ExecutionReport, type Order } from "../../../src/gen/penstock/v1/order_pb.ts";
import {
  CancelAllOrdersRequestSchema,
  CancelOrderRequestSchema,
  type ReplaceOrderRequest,
  type SubmitOrderRequest,
} from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { failureOf } from "../api/failure.ts";
import { newClientId } from "../commands/client-id.ts";
import type { Command } from "../commands/command.ts";
import { type Outcome, Outbox, type Store } from "../commands/outbox.ts";
import { SentOrders } from "../commands/sent-times.ts";
import { Ticket } from "../commands/ticket.ts";
import { Live } from "../live/live.ts";
import { MyOrders } from "../live/my-orders.ts";
import type { Notice, Notices } from "./notices.ts";
import { described, news } from "./wording.ts";

const TONES: ReadonlyMap<ExecType, Notice["tone"]> = new Map([
  [ExecType.TRADE, "good"],
  [ExecType.REJECTED, "bad"],
  [ExecType.CANCEL_REJECTED, "bad"],
  [ExecType.REPLACE_REJECTED, "bad"],
]);

export interface DeskOptions {
  readonly clients: Clients;
  readonly account: string;
  readonly role: Role;
  readonly notices: Notices;
  readonly store: Store;
  readonly onSessionEnd: () => void;
}

/** Everything of one signed-in account: what it watches, its orders, and what it has on the way. */
export class Desk {
  readonly account: string;
  readonly role: Role;
  readonly clients: Clients;
  readonly live: Live;
  readonly orders: MyOrders;
  readonly outbox: Outbox;
  readonly sent: SentOrders;
  readonly #notices: Notices;
  readonly #store: Store;
  readonly #tickets = new Map<string, Ticket>();
  readonly #instruments = signal<readonly Instrument[] | undefined>(undefined);
  readonly #instrumentTrouble = signal<string | undefined>(undefined);
  readonly #closed = new AbortController();

  constructor({ clients, account, role, notices, store, onSessionEnd }: DeskOptions) {
    this.account = account;
    this.role = role;
    this.clients = clients;
    this.#notices = notices;
    this.#store = store;
    this.live = new Live(clients, onSessionEnd);
    this.orders = new MyOrders(clients.orders, this.live, (report) => this.#tell(report));
    this.outbox = new Outbox({ orders: clients.orders, store, account, onSessionEnd });
    this.sent = new SentOrders(store);
  }

  /** By symbol; undefined until they are known. */
  get instruments(): ReadonlySignal<readonly Instrument[] | undefined> {
    return this.#instruments;
  }

  get instrumentTrouble(): ReadonlySignal<string | undefined> {
    return this.#instrumentTrouble;
  }

  start(): void {
    void this.orders.start();
    void this.loadInstruments();
    for (const { pending, outcome } of this.outbox.resume()) void this.#resumed(pending.command, outcome);
  }

  close(): void {
    this.#closed.abort();
    this.orders.close();
    this.outbox.close();
    this.live.close();
  }

  /** Until the server answers. */
  async loadInstruments(): Promise<void> {
    for (let attempt = 0; !this.#closed.signal.aborted; attempt++) {
      try {
        const { instruments } = await this.clients.market.listInstruments({}, { signal: this.#closed.signal });
        this.#instruments.value = instruments;
        this.#instrumentTrouble.value = undefined;
        return;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        const { message, retryAfterMs } = failureOf(error);
        this.#instrumentTrouble.value = message;
        await wait(retryAfterMs ?? backoffMs(attempt), this.#closed.signal).catch(() => {});
      }
    }
  }

  ticketOf(symbol: string): Ticket {
    const ticket = this.#tickets.get(symbol) ?? new Ticket(symbol, this.account, this.#store);
    this.#tickets.set(symbol, ticket);
    return ticket;
  }

  /** Sends what is in the ticket, which tells of its outcome. */
  async submit(ticket: Ticket): Promise<void> {
    const request = ticket.request();
    const sentAt = Date.now();
    const outcome = await this.outbox.send({ kind: "submit", request });
    const orderId = orderIdOf(outcome);
    if (orderId !== undefined) this.sent.note(orderId, { sentAt, answeredAt: Date.now() });
    this.#submitted(request, outcome);
  }

  async cancel({ orderId }: Order): Promise<void> {
    const request = { clientRequestId: newClientId(), orderId, ackLevel: AckLevel.MATCHED };
    await this.#send({ kind: "cancel", request: create(CancelOrderRequestSchema, request) });
  }

  /** Of one symbol, or of all. */
  async cancelAll(symbol: string): Promise<void> {
    const request = { clientRequestId: newClientId(), symbol, ackLevel: AckLevel.MATCHED };
    await this.#send({ kind: "cancelAll", request: create(CancelAllOrdersRequestSchema, request) });
  }

  /** Where it is refused, who asks shows why. */
  async replace(request: ReplaceOrderRequest): Promise<Outcome> {
    const outcome = await this.outbox.send({ kind: "replace", request });
    if (outcome.kind !== "refused") this.#settled(outcome);
    return outcome;
  }

  async #send(command: Command): Promise<void> {
    this.#settled(await this.outbox.send(command));
  }

  async #resumed(command: Command, outcome: Promise<Outcome>): Promise<void> {
    this.#notices.say("plain", "Asking what became of what was sent before the page was loaded anew.");
    const known = await outcome;
    if (command.kind !== "submit") return this.#settled(known);
    this.#submitted(command.request, known);
    const what = described(command.request);
    if (known.kind === "refused") this.#notices.say("bad", `Not taken. ${what}.`);
    else if (known.kind !== "unknown") this.#notices.say("good", `It is in the log. ${what}.`, orderIdOf(known));
  }

  #submitted({ symbol, clientOrderId }: SubmitOrderRequest, outcome: Outcome): void {
    this.orders.learn(orderOf(outcome));
    const isOver = outcome.kind !== "refused" || outcome.failure.code === Code.AlreadyExists;
    this.ticketOf(symbol).settle(clientOrderId, outcome, isOver);
    if (outcome.kind !== "unknown" || this.#closed.signal.aborted) return;
    this.#notices.say("bad", `The order with the id ${clientOrderId} may be in the log: look at your orders.`);
  }

  /** What became of a cancel or a replace. What the engine did is told by its reports. */
  #settled(outcome: Outcome): void {
    this.orders.learn(orderOf(outcome));
    if (this.#closed.signal.aborted) return;
    if (outcome.kind === "unknown") this.#notices.say("bad", `${outcome.failure.message} It may have been done.`);
    else if (outcome.kind === "refused") this.#notices.say("bad", outcome.failure.message);
  }

  #tell(report: ExecutionReport): void {
    const text = news(report);
    if (text === undefined) return;
    this.#notices.say(TONES.get(report.execType) ?? "plain", text, report.order?.orderId || undefined);
  }
}

function orderIdOf(outcome: Outcome): string | undefined {
  if (outcome.kind === "found") return outcome.order.orderId;
  if (outcome.kind === "answered" && "orderId" in outcome.answer) return outcome.answer.orderId;
  return undefined;
}

/** The order as the outcome of its command tells it. */
function orderOf(outcome: Outcome): Order | undefined {
  if (outcome.kind === "found") return outcome.order;
  if (outcome.kind === "answered" && "order" in outcome.answer) return outcome.answer.order;
  return undefined;
}
